"""Thin provisioning by its commands (see thin.sh): what GET LBA STATUS answers, byte by byte, after
writes, UNMAP and WRITE SAME with and without ANCHOR; and an UNMAP of 4 TiB beside I/O of another
host. Run: thin.py URL OF A FRESH LUN of 4 TiB"""
import os
import struct
import sys
import time

import initiator
from cases import check, end, equal

MAPPED, DEALLOCATED, ANCHORED = 0, 1, 2
# COMPLETION CONDITION and RTP: enough was looked at; the answer is as long as was asked for; the medium
# has ended.
ENOUGH, FULL, CAPACITY = 1, 3, 7
PROVISIONING = os.environ.get("PROVISIONING", "e6")
ANCHORS = PROVISIONING == "e6"
# What has space and reads as zeroes is mapped, where there are no anchors.
KEEPS_SPACE = PROVISIONING == "qcow2"
BLOCKS = 4 << 31
MIB = 2048
LONGEST = 0xFFFFF800


def status_cdb(lba, length, report_type=0):
    return struct.pack(">BBQIBB", 0x9E, 0x12, lba, length, report_type, 0)


def unmap(descriptors, anchor=False):
    body = b"".join(struct.pack(">QII", lba, count, 0) for lba, count in descriptors)
    data = struct.pack(">HHI", len(body) + 6, len(body), 0) + body
    return struct.pack(">BBIBHB", 0x42, 1 if anchor else 0, 0, 0, len(data), 0), data


def write_same(lba, count, bits):
    return struct.pack(">BBQIBB", 0x93, bits, lba, count, 0, 0)


def answer(condition, descriptors):
    body = b"".join(struct.pack(">QIBBH", lba, count, status, 0, 0)
                    for lba, count, status in descriptors)
    return struct.pack(">IBBBB", len(body) + 4, 0, 0, 0, condition) + body


def run_table(session, lun):
    def write(lba, count):
        return session.write(lun, lba, b"\x5a" * (512 * count))

    def command(cdb, data=b""):
        return session.command(lun, cdb, data_out=data)

    steps = [
        ("write 1 MiB at 1 MiB", lambda: write(MIB, MIB)),
        ("write 1 MiB at 4 MiB", lambda: write(4 * MIB, MIB)),
        ("WRITE SAME(16) of zeroes, what has space keeps it, and of the hole behind it",
         lambda: command(write_same(4 * MIB, 2 * MIB, 0x01))),
        ("UNMAP half of what was written", lambda: command(*unmap([(MIB, MIB // 2)]))),
        ("UNMAP with overlaps, out of order, one of no blocks",
         lambda: command(*unmap([(MIB + 1536, 256), (MIB + 1280, 384), (0, 0), (BLOCKS, 0)]))),
    ]
    if ANCHORS:
        steps += [
            ("UNMAP with ANCHOR at 6 MiB", lambda: command(*unmap([(6 * MIB, MIB)], True))),
            ("WRITE SAME(16) with UNMAP, ANCHOR and NDOB at 7 MiB",
             lambda: command(write_same(7 * MIB, MIB, 0x19)))]
    for name, step in steps:
        equal(name, 0, step().status)
    begin = [(0, MIB + 1024, DEALLOCATED), (MIB + 1024, 256, MAPPED),
             (MIB + 1280, 512, DEALLOCATED), (MIB + 1792, 256, MAPPED),
             (2 * MIB, 2 * MIB, DEALLOCATED)]
    if ANCHORS:
        begin += [(4 * MIB, MIB, ANCHORED), (5 * MIB, MIB, DEALLOCATED),
                  (6 * MIB, 2 * MIB, ANCHORED)]
        hole = 8 * MIB
    elif KEEPS_SPACE:
        begin += [(4 * MIB, MIB, MAPPED), (5 * MIB, LONGEST, DEALLOCATED)]
        hole = 5 * MIB + LONGEST
    else:
        begin[-1] = (2 * MIB, LONGEST, DEALLOCATED)
        hole = 2 * MIB + LONGEST
    whole = list(begin)
    while hole < BLOCKS:
        whole.append((hole, min(LONGEST, BLOCKS - hole), DEALLOCATED))
        hole += LONGEST
    of = {status: [d for d in whole if d[2] == status] for status in (MAPPED, ANCHORED)}
    asked = [
        ("all of it", 0, 4096, 0, CAPACITY, whole),
        ("one descriptor", 0, 24, 0, FULL, whole[:1]),
        ("one descriptor from the middle of a written range", MIB + 1100, 24, 0, FULL,
         [(MIB + 1100, 180, MAPPED)]),
        ("two descriptors", 0, 40, 0, FULL, whole[:2]),
        ("mapped ones only", 0, 4096, 2, CAPACITY, of[MAPPED]),
        ("anchored ones only", 0, 4096, 4, CAPACITY, of[ANCHORED]),
        ("the last block", BLOCKS - 1, 24, 0, CAPACITY, [(BLOCKS - 1, 1, DEALLOCATED)]),
    ]
    for name, lba, length, report_type, condition, descriptors in asked:
        task = session.command(lun, status_cdb(lba, length, report_type), data_in=length)
        # A LUN that has seen enough for one command says so: of what is asked for, all was found.
        if KEEPS_SPACE and condition == CAPACITY and task.data[7:8] == bytes([ENOUGH]):
            condition = ENOUGH
        equal(f"GET LBA STATUS: {name}", answer(condition, descriptors)[:length].hex(),
              bytes(task.data).hex())
    task = session.command(lun, status_cdb(0, 14), data_in=14)
    equal("an answer cut short keeps its length field",
          answer(FULL, whole[:1])[:14].hex(), bytes(task.data).hex())
    for lba in (BLOCKS, 1 << 63):
        task = session.command(lun, status_cdb(lba, 24), data_in=24)
        equal(f"block {lba:x} is out of range", "05/21/00", task.sense_code)
    task = command(*unmap([(MIB + 1024, 8), (BLOCKS - 1, 2)]))
    equal("a descriptor beyond the end", "05/21/00", task.sense_code)
    equal("then nothing was unmapped", b"\x5a" * 512, bytes(session.read(lun, MIB + 1024, 1).data))


EVERYTHING = [(0, 1 << 31), (1 << 31, 1 << 31), (2 << 31, 1 << 31), (3 << 31, 1 << 31)]


def run_race(url, session, lun):
    """All of the LUN is unmapped on one session while another writes and reads it."""
    other = initiator.open_url(url, isid=b"\x80\0\0\0\0\2")
    cdb, data = unmap(EVERYTHING)
    task = session.submit(lun, cdb, data_out=data, immediate_bytes=len(data))
    began = time.monotonic()
    slowest, count = 0.0, 0
    session.socket.setblocking(False)
    while not task.done and time.monotonic() - began < 60:
        then = time.monotonic()
        good = other.write(lun, (count * 7919 % 4096) << 20, b"\x77" * 4096).status == 0
        slowest = max(slowest, time.monotonic() - then)
        count += 1
        if not good:
            check("a write beside the UNMAP", False, "not GOOD")
        try:
            if session.socket.recv(1, 0x02):  # MSG_PEEK: an answer has begun.
                session.socket.setblocking(True)
                session.wait(task)
        except BlockingIOError:
            pass
    session.socket.settimeout(30)
    session.wait(task)
    took = time.monotonic() - began
    equal("UNMAP of 4 TiB beside writes", 0, task.status)
    print(f"4 TiB in {took * 1000:.0f} ms; {count} writes beside, the slowest {slowest * 1000:.1f} ms")
    task = session.submit(lun, cdb, data_out=data, immediate_bytes=len(data))
    then = time.monotonic()
    response = session.task_management(1, lun, task, seconds=30)
    print(f"ABORT TASK answered after {(time.monotonic() - then) * 1000:.1f} ms")
    check("ABORT TASK of an UNMAP of 4 TiB", response in (0, 1), f"response {response}")
    equal("the LUN goes on", 0, other.write(lun, 0, b"\x66" * 4096).status)
    equal("all of it is unmapped in the end", 0, other.command(lun, cdb, data_out=data).status)
    task = other.command(lun, status_cdb(0, 4096, 2), data_in=4096)
    equal("nothing is mapped", answer(CAPACITY, []).hex(), bytes(task.data).hex())
    equal("and reads as zeroes", bytes(4096), bytes(other.read(lun, 0, 8).data))
    other.logout()


def main():
    url = sys.argv[1]
    lun = initiator.split_url(url)[3]
    session = initiator.open_url(url)
    run_table(session, lun)
    run_race(url, session, lun)
    session.logout()
    end()


main()
