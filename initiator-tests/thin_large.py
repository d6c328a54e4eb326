"""Very large commands of thin provisioning, each beside another host (see thin_large.sh).
Run: thin_large.py fragment PATH PIECES, before the daemon; thin_large.py run URL OF LUN 0"""
import os
import socket
import struct
import sys
import time

import initiator
from cases import check, end, equal

TIB = 1 << 31  # Blocks.
PIECE = 4096
STATUS_BYTES = 32768
FLOOD = 64
BLOCK = 512


def fragment(path, pieces):
    """Every second piece of the file has data."""
    with open(path, "wb") as image:
        image.truncate(2 * PIECE * pieces)
        for at in range(pieces):
            os.pwrite(image.fileno(), b"\x5a" * PIECE, 2 * PIECE * at)
        os.fsync(image.fileno())


def write_same(lba, count, bits):
    return struct.pack(">BBQIBB", 0x93, bits, lba, count, 0, 0)


def unmap(lba, count):
    data = struct.pack(">HHIQII", 22, 16, 0, lba, count, 0)
    return bytes([0x42, 0, 0, 0, 0, 0, 0, 0, len(data), 0]), data


def lba_status(lba, length, report_type=0):
    return struct.pack(">BBQIBB", 0x9E, 0x12, lba, length, report_type, 0)


def descriptors(task):
    data = bytes(task.data)
    return [struct.unpack(">QIB", data[at:at + 13]) for at in range(8, len(data), 16)]


def beside(session, tasks, other, lun, seconds=120):
    """Until all tasks have ended another host writes; answers how long that took, and its slowest write."""
    began = time.monotonic()
    slowest, count = 0.0, 0
    while not all(task.done for task in tasks) and time.monotonic() - began < seconds:
        then = time.monotonic()
        if other.write(lun, 3 * TIB + count % 4096 * 2048, b"\x77" * PIECE).status:
            check("a write beside", False, "not GOOD")
        slowest = max(slowest, time.monotonic() - then)
        count += 1
        session.socket.settimeout(0.001)
        try:
            while session.socket.recv(1, socket.MSG_PEEK):
                session.socket.settimeout(20)
                session.step()
                session.socket.settimeout(0.001)
        except TimeoutError:
            pass
    session.socket.settimeout(20)
    return f"{(time.monotonic() - began) * 1000:.0f} ms; {count} writes beside, the slowest {slowest * 1000:.0f} ms"


def zeroes(session, other, lun):
    """As many blocks as the command has numbers for: nothing is taken for zeroes, unless ANCHOR asks for it."""
    for bits, what, status in ((0x01, "zeroes", 1), (0x19, "anchored zeroes", 2), (0x01, "zeroes over these", 2)):
        task = session.submit(lun, write_same(0, 0xFFFFFFFF, bits))
        print(f"WRITE SAME of 2 TiB of {what}: {beside(session, [task], other, lun)}")
        equal(f"WRITE SAME of 2 TiB of {what}", 0, task.status)
        answer = session.command(lun, lba_status(0, 24), data_in=24)
        equal(f"{what}: what becomes of it", [(0, 0xFFFFF800, status)], descriptors(answer))
    task = session.submit(lun, write_same(0, 0xFFFFFFFF, 0x01))
    response = session.task_management(initiator.ABORT_TASK, lun, task, seconds=60)
    check("ABORT TASK of it", response in (0, 1), f"response {response}")
    cdb, data = unmap(0, 0xFFFFFFFF)
    task = session.submit(lun, cdb, data_out=data, immediate_bytes=len(data))
    print(f"UNMAP of 2 TiB of that: {beside(session, [task], other, lun)}")
    equal("UNMAP of 2 TiB of that", 0, task.status)


def reached(session, lun, pattern, start, end_block):
    """How many blocks from the start on hold the pattern; none behind does."""
    low, high = 0, end_block - start
    while low < high:
        middle = (low + high) // 2
        if bytes(session.read(lun, start + middle, 1).data) == pattern:
            low = middle + 1
        else:
            high = middle
    return low


def await_first(session, lun, pattern, start):
    """Until it has begun."""
    while bytes(session.read(lun, start, 1).data) != pattern:
        time.sleep(0.01)


def await_end(session, lun, pattern, start):
    """Until nothing more is written: how many blocks are."""
    before, count = 0, -1
    while count != before:
        before = count
        time.sleep(0.5)
        count = reached(session, lun, pattern, start, start + TIB)
    return count


def abort_amid(session, other, lun):
    """WRITE SAME of data, 1 TiB that nobody waits for: it stops where the abort met it, and what
    is written then is not overwritten."""
    start = TIB
    pattern = b"\x3c" * BLOCK
    for delay_s in (0, 0.2):
        task = session.submit(lun, write_same(start, TIB, 0), data_out=pattern, immediate_bytes=BLOCK)
        await_first(other, lun, pattern, start)
        time.sleep(delay_s)
        response = session.task_management(initiator.ABORT_TASK, lun, task, seconds=60)
        equal("ABORT TASK amid WRITE SAME", 0, response)
        count = reached(other, lun, pattern, start, start + TIB)
        equal("a write behind it", 0, other.write(lun, start + count, b"\x4d" * 8 * BLOCK).status)
        time.sleep(0.3)
        print(f"WRITE SAME aborted after {count // 2048} MiB")
        check("some of it was done", count > 0, count)
        equal("it has stopped", b"\x4d" * BLOCK, bytes(other.read(lun, start + count, 1).data))
        equal("and nothing lies behind", bytes(BLOCK), bytes(other.read(lun, start + count + 8, 1).data))
        check("the command has no answer", not task.done, task.status)
        cdb, data = unmap(start, TIB)
        equal("all of it is unmapped", 0, other.command(lun, cdb, data_out=data).status)
    session.submit(lun, write_same(start, TIB, 0), data_out=pattern, immediate_bytes=BLOCK)
    await_first(other, lun, pattern, start)
    session.socket.close()
    check("a cut connection ends it as well", await_end(other, lun, pattern, start) < TIB)
    cdb, data = unmap(start, TIB)
    equal("and is unmapped", 0, other.command(lun, cdb, data_out=data).status)


def pieces(url, other):
    """A file in pieces: a host asks for the states of all of it, many times at once; and unmaps it."""
    session = initiator.open_url(url[:-1] + "1", isid=b"\x80\0\0\0\0\5")
    capacity = session.command(1, struct.pack(">BBQIBB", 0x9E, 0x10, 0, 32, 0, 0), data_in=32)
    last = int.from_bytes(capacity.data[:8], "big")
    for what, report_type in (("all states", 0), ("anchored blocks, of which there are none", 4)):
        tasks = [session.submit(1, lba_status(0, STATUS_BYTES, report_type), data_in=STATUS_BYTES) for _ in range(FLOOD)]
        print(f"{FLOOD} GET LBA STATUS of {what}: {beside(session, tasks, other, 0)}")
        check(f"GET LBA STATUS of {what}: each has ended", all(task.status in (0, 8) for task in tasks), [task.status for task in tasks])
        good = [task for task in tasks if task.status == 0]
        check("some are GOOD, all of these the same", len({bytes(task.data) for task in good}) == 1)
    cdb, data = unmap(0, last + 1)
    task = session.submit(1, cdb, data_out=data, immediate_bytes=len(data))
    print(f"UNMAP of {(last + 1) // 16} pieces: {beside(session, [task], other, 0)}")
    equal("UNMAP of all pieces", 0, task.status)
    answer = session.command(1, lba_status(0, 40), data_in=40)
    equal("nothing is left", [(0, last + 1, 1)], descriptors(answer))
    session.logout()


def run(url):
    lun = initiator.split_url(url)[3]
    session = initiator.open_url(url)
    other = initiator.open_url(url, isid=b"\x80\0\0\0\0\2")
    zeroes(session, other, lun)
    pieces(url, other)
    abort_amid(session, other, lun)
    other.logout()
    end()


if sys.argv[1] == "fragment":
    fragment(sys.argv[2], int(sys.argv[3]))
else:
    run(sys.argv[2])
