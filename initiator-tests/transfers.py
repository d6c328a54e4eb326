"""Every way in which data may cross (RFC 7143 4.2.5.2, 13.10 to 13.17); see transfers.sh."""
import itertools
import random
import struct
import sys

from cases import check, end, equal
import initiator

BLOCK = 512
source = random.Random(7143)


def write10(block, blocks):
    return struct.pack(">BBIBHB", 0x2A, 0, block, 0, blocks, 0)


def write_and_read_back(session, reader, lun, size, first_bytes):
    """first_bytes: (immediate, unsolicited). None if all is well, else what is not."""
    data = source.randbytes(size)
    block = source.randrange(0, 4096)
    immediate, unsolicited = first_bytes
    task = session.wait(session.submit(lun, write10(block, size // BLOCK), 0, data, immediate,
                                       unsolicited_bytes=unsolicited), 15)
    if task.status != 0 or task.residual != 0:
        return f"{size} bytes: {task}, residual {task.residual}"
    asked = sorted(task.r2ts)
    at = immediate + unsolicited
    for offset, length in asked:
        if offset != at or length > int(session.parameters["MaxBurstLength"]):
            return f"{size} bytes: R2Ts {asked}"
        at += length
    if at != size:
        return f"{size} bytes: R2Ts {asked} leave {size - at}"
    found = reader.read(lun, block, size // BLOCK)
    return None if found.data == data else f"{size} bytes at block {block}: other data came back"


def combinations(url, reader, lun):
    for initial_r2t, immediate_data in itertools.product(("Yes", "No"), repeat=2):
        for first_burst, max_burst, segment in ((512, 512, 512), (4096, 16384, 8192),
                                                (65536, 262144, 262144)):
            session = initiator.open_url(url, {
                "InitialR2T": initial_r2t, "ImmediateData": immediate_data,
                "FirstBurstLength": str(first_burst), "MaxBurstLength": str(max_burst),
                "MaxRecvDataSegmentLength": str(segment), "MaxOutstandingR2T": "4"})
            name = f"InitialR2T={initial_r2t} ImmediateData={immediate_data} bursts {first_burst}," \
                   f"{max_burst} segment {segment}"
            got = session.parameters
            check(f"{name}: agreed", got["InitialR2T"] == initial_r2t
                  and got["ImmediateData"] == immediate_data
                  and int(got["FirstBurstLength"]) <= first_burst
                  and int(got["MaxBurstLength"]) <= max_burst, got)
            equal(f"{name}: every size", [], [
                fault for fault in transfers(session, reader, lun) if fault])
            session.logout()


def transfers(session, reader, lun):
    """Write sizes around each limit, with all that may be sent unasked, some of it, and none."""
    got = session.parameters
    first_burst = int(got["FirstBurstLength"])
    max_burst = int(got["MaxBurstLength"])
    segment = int(got.get("MaxRecvDataSegmentLength", 8192))
    sizes = {BLOCK, 2 * BLOCK}
    for limit in (first_burst, max_burst, segment):
        sizes |= {limit - BLOCK, limit, limit + BLOCK}
    sizes |= {3 * max_burst + BLOCK} if max_burst > BLOCK else {17 * BLOCK}
    for size in sorted(s for s in sizes if BLOCK <= s <= 1 << 20):
        room = min(size, first_burst)
        immediate = min(room, segment) if got["ImmediateData"] == "Yes" else 0
        choices = {(0, 0), (immediate, 0)}
        if got["InitialR2T"] == "No":
            choices = {(immediate, room - immediate), (0, room), (immediate // 1024 * 512, room -
                                                                  immediate // 1024 * 512)}
        for choice in sorted(choices):
            yield write_and_read_back(session, reader, lun, size, choice)


def several_r2ts(url, reader, lun):
    """As many R2Ts as agreed come before any is answered, and no more."""
    session = initiator.open_url(url, {"MaxOutstandingR2T": "4", "MaxBurstLength": "16384",
                                       "FirstBurstLength": "4096"})
    agreed = int(session.parameters["MaxOutstandingR2T"])
    session.hold_r2ts = True
    pieces = 8
    data = source.randbytes(16384 * pieces)
    task = session.submit(lun, write10(0, len(data) // BLOCK), 0, data)
    counts = []
    while pieces:
        while len(session.held_r2ts) < min(agreed, pieces):
            session.step()
        session.nop()  # Whatever else the target would send comes before the answer.
        counts.append(len(session.held_r2ts))
        pieces -= len(session.held_r2ts)
        session.release_r2ts()
    session.wait(task)
    check("several R2Ts: never more than agreed, and all of them", max(counts) == agreed
          and sum(counts) == 8, f"{counts}, agreed {agreed}")
    equal("several R2Ts: the data", data, bytes(reader.read(lun, 0, len(data) // BLOCK).data))
    check("several R2Ts: more than one was agreed", agreed > 1, agreed)
    session.logout()


def residuals(session, lun):
    """Expected length against transfer length (RFC 7143 11.4.5): +underflow, -overflow."""
    read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 4, 0)
    task = session.command(lun, read, data_in=4096)
    equal("read, underflow", (0, 2048, 2048), (task.status, len(task.data), task.residual))
    task = session.command(lun, read, data_in=1024)
    equal("read, overflow", (0, 1024, -1024), (task.status, len(task.data), task.residual))
    task = session.command(lun, write10(0, 4), data_out=bytes(4096))
    equal("write, underflow", (0, 2048), (task.status, task.residual))
    task = session.command(lun, write10(0, 8), data_out=bytes(2048))
    equal("write, overflow", -2048, task.residual)


def too_much_unasked(url):
    """More than FirstBurstLength without an R2T: the command or the connection ends, not the daemon."""
    session = initiator.open_url(url, {"InitialR2T": "No", "FirstBurstLength": "4096"})
    task = session.submit(0, write10(0, 64), 0, bytes(32768), 0, unsolicited_bytes=32768)
    try:
        session.wait(task, 5)
        check("more than FirstBurstLength unasked: no GOOD", task.status != 0, str(task))
    except (initiator.Closed, ConnectionError):
        check("more than FirstBurstLength unasked: no GOOD", True)
    session.close()


def main():
    url = sys.argv[1]
    lun = initiator.split_url(url)[3]
    reader = initiator.open_url(url, name="iqn.2026-11.io.ringsan:reader")
    combinations(url, reader, lun)
    several_r2ts(url, reader, lun)
    residuals(reader, lun)
    too_much_unasked(url)
    equal("the reader is well to the end", b"ping", reader.nop())
    reader.logout()
    end()


main()
