"""What initiators see of a disk that fails, delays or sticks; see faults.sh.

usage: faults.py URL CONTROL-FILE        (LUN 0 is the faulty one, 1 and 2 are beside it)
       faults.py --traffic URL           writes until the daemon goes
       faults.py --stuck-write URL       one write, waits for ever
"""
import os
import struct
import sys
import time

from cases import check, end, equal
import initiator

FAULTY, GOOD, OTHER_FAULTY = 0, 1, 2
# NOP and task management never wait for a disk; what is stuck is so for ever, and a machine may be busy.
PROMPT_SECONDS = 10.0
# Responses by function code; 3 is CLEAR ACA, 8 TASK REASSIGN. 7 ends every session of the target.
FUNCTIONS = {1: 0, 2: 0, 3: 5, 4: 0, 5: 0, 6: 0, 8: 4, 9: 7, 10: 7, 11: 0, 12: 0}
TARGET_COLD_RESET = {7: 0}


class Faults:
    """The control files of the faulty LUNs."""

    def __init__(self, path):
        self.paths = {FAULTY: path, OTHER_FAULTY: path + ".2"}

    def set(self, rules, lun=FAULTY):
        temporary = self.paths[lun] + ".new"
        with open(temporary, "w", encoding="ascii") as text:
            text.write(rules + "\n")
        os.rename(temporary, self.paths[lun])

    def clear(self):
        for lun in self.paths:
            self.set("", lun)


def read16(block, blocks):
    return struct.pack(">BBQIBB", 0x88, 0, block, blocks, 0, 0)


def write16(block, blocks):
    return struct.pack(">BBQIBB", 0x8A, 0, block, blocks, 0, 0)


FLUSH = bytes.fromhex("35000000000000000000")
UNMAP_BLOCKS_8_TO_15 = bytes.fromhex("0016001000000000" "0000000000000008" "00000008" "00000000")


def timed(function, *arguments):
    began = time.monotonic()
    answer = function(*arguments)
    return answer, time.monotonic() - began


def errors_become_sense(session, faults):
    """rules, command, data in, data out, status, sense."""
    block = b"e" * 512
    for rules, cdb, data_in, data_out, status, sense in (
            ("fail read EIO lba 100 1", read16(100, 1), 512, b"", 2, "03/11/00"),
            ("fail read EIO lba 100 1", read16(96, 8), 4096, b"", 2, "03/11/00"),
            ("fail read EIO lba 100 1", read16(101, 1), 512, b"", 0, ""),
            ("fail write EIO lba 100 1", write16(100, 1), 0, block, 2, "03/0c/00"),
            ("fail write EIO lba 100 1", write16(99, 1), 0, block, 0, ""),
            ("fail write EIO lba 100 1", read16(100, 1), 512, b"", 0, ""),
            ("fail write ENOSPC", write16(100, 1), 0, block, 2, "07/27/07"),
            ("fail write EROFS", write16(100, 1), 0, block, 2, "07/27/00"),
            ("fail unmap EIO", bytes.fromhex("42000000000000001800"), 0, UNMAP_BLOCKS_8_TO_15, 2,
             "03/0c/00")):
        faults.set(rules)
        task = session.command(FAULTY, cdb, data_in, data_out)
        equal(f"'{rules}', opcode {cdb[0]:02x} block {cdb[9] if len(cdb) == 16 else 8}",
              (status, sense), (task.status, task.sense_code))
        task = session.read(GOOD, 0, 8)
        check("  the other LUN is well", task.status == 0, str(task))
    faults.set("fail read EIO count 1")
    in_flight = [session.submit(FAULTY, read16(n * 8, 8), 4096) for n in range(8)]
    outcomes = sorted(session.wait(task).status for task in in_flight)
    equal("one error among eight commands in flight", [0] * 7 + [2], outcomes)
    faults.clear()
    check("afterwards all is well", session.read(FAULTY, 100, 1).status == 0)


def a_stuck_lun_alone_is_stuck(session, faults):
    faults.set("stick all")
    stuck = [session.submit(FAULTY, read16(n * 64, 8), 4096) for n in range(4)]
    stuck_write = session.submit(FAULTY, write16(0, 1), data_out=b"w" * 512)
    time.sleep(0.2)
    data = b"g" * 8192
    (task, took) = timed(session.write, GOOD, 0, data)
    check("a stuck LUN: writes to the other LUN of the session",
          task.status == 0 and took < PROMPT_SECONDS, f"{task} in {took:.1f} s")
    (task, took) = timed(session.read, GOOD, 0, 16)
    check("a stuck LUN: reads from the other LUN", task.data == data and took < PROMPT_SECONDS,
          f"{task} in {took:.1f} s")
    (answer, took) = timed(session.nop)
    check("a stuck LUN: NOP", answer == b"ping" and took < PROMPT_SECONDS, f"{took:.1f} s")
    (task, took) = timed(session.command, FAULTY, bytes.fromhex("12000000ff00"), 255)
    check("a stuck LUN: INQUIRY of it", task.status == 0 and took < PROMPT_SECONDS,
          f"{task} in {took:.1f} s")
    equal("none of the stuck commands has ended", 0, sum(task.done for task in stuck))

    aborted = stuck.pop(0)
    (answer, took) = timed(session.task_management, initiator.ABORT_TASK, FAULTY, aborted)
    check("a stuck LUN: ABORT TASK is answered at once", answer == 0 and took < PROMPT_SECONDS,
          f"response {answer} in {took:.1f} s")
    (answer, took) = timed(session.task_management, initiator.LOGICAL_UNIT_RESET, FAULTY)
    check("a stuck LUN: LOGICAL UNIT RESET is answered at once",
          answer == 0 and took < PROMPT_SECONDS, f"response {answer} in {took:.1f} s")
    faults.clear()
    time.sleep(0.3)
    session.nop()
    equal("no response follows an abort", 0,
          sum(task.done for task in stuck + [aborted, stuck_write]))
    for task in stuck + [aborted, stuck_write]:
        session.tasks.pop(task.tag, None)
    session.clear_unit_attention(FAULTY)
    task = session.read(FAULTY, 0, 8)
    check("released, the LUN goes on", task.status == 0, str(task))


def an_orphan_does_not_overwrite(session, url, faults):
    """A write that was aborted but is still at the disk must not land on one that came later."""
    host = initiator.open_url(url, name="iqn.2026-11.io.ringsan:later")
    faults.set("stick write count 1")
    old = session.submit(FAULTY, write16(800, 8), data_out=b"o" * 4096)
    time.sleep(0.2)
    equal("ABORT TASK of a write at the disk", 0,
          session.task_management(initiator.ABORT_TASK, FAULTY, old))
    session.tasks.pop(old.tag, None)
    new = host.submit(FAULTY, write16(804, 8), data_out=b"n" * 4096)
    elsewhere = host.submit(FAULTY, write16(900, 8), data_out=b"e" * 4096)
    equal("a write elsewhere goes on", 0, host.wait(elsewhere, 5).status)
    check("a write on its blocks waits", not new.done)
    faults.clear()
    equal("and goes on when the disk lets go", 0, host.wait(new, 10).status)
    equal("the later data stands", b"n" * 4096, bytes(host.read(FAULTY, 804, 8).data))
    host.logout()


def another_connection_is_not_stuck(session, url, faults):
    """The stuck LUN's session is dropped; its port can log in again and use the other LUN."""
    faults.set("stick all", OTHER_FAULTY)
    first = initiator.open_url(url, name="iqn.2026-11.io.ringsan:dropped")
    first.clear_unit_attention(OTHER_FAULTY)
    first.submit(OTHER_FAULTY, write16(0, 8), data_out=b"d" * 4096)
    time.sleep(0.2)
    first.close()
    (again, took) = timed(initiator.open_url, url, None, "iqn.2026-11.io.ringsan:dropped")
    check("a dropped session with a stuck write: the host logs in again", took < PROMPT_SECONDS,
          f"{took:.1f} s")
    again.clear_unit_attention(GOOD)
    task = again.write(GOOD, 0, b"a" * 512)
    check("and its other LUN is well", task.status == 0, str(task))
    again.logout()
    faults.clear()
    check("and the first host never noticed", session.nop() == b"ping")


def twenty_reinstatements(session, url, faults):
    """A port that logs in again and again beside a stuck disk, each time with writes under way."""
    faults.set("stick write", OTHER_FAULTY)
    wrong = []
    for number in range(20):
        host = initiator.open_url(url, name="iqn.2026-11.io.ringsan:again")
        host.clear_unit_attention(GOOD)
        host.clear_unit_attention(OTHER_FAULTY)
        for block in range(4):
            host.submit(OTHER_FAULTY, write16(1000 + number * 32 + block * 8, 8),
                        data_out=b"s" * 4096)
        tasks = (host.write(GOOD, 800, b"h" * 4096), session.write(GOOD, 808, b"n" * 4096),
                 session.read(OTHER_FAULTY, 0, 8))
        wrong += [f"{number}: {task}" for task in tasks if task.status != 0]
    check("20 reinstatements beside a stuck LUN: its neighbours and others of its hosts are well",
          not wrong, wrong[:3])
    faults.clear()
    equal("and the LUN, too, when its disk is", 0,
          host.wait(host.submit(OTHER_FAULTY, write16(1000, 8), data_out=b"w" * 4096), 20).status)
    host.logout()


def each_function(url, faults, codes):
    """Functions beside a stuck disk: (code, the response that it must have, at once)."""
    found = {}
    for code in codes:
        faults.set("stick all")
        host = initiator.open_url(url, {"iSCSIProtocolLevel": "2"},
                                  "iqn.2026-11.io.ringsan:manager")
        task = host.submit(FAULTY, read16(0, 8), 4096)
        host.submit(FAULTY, write16(0, 8), data_out=b"f" * 4096)
        host.nop()
        (found[code], took) = timed(host.task_management, code, FAULTY, task)
        if took > PROMPT_SECONDS:
            found[code] = f"{found[code]} in {took:.1f} s"
        host.close()
        faults.clear()
    equal("each task management function beside a stuck LUN", codes, found)


def a_delay_delays_one_command(session, faults):
    faults.set("delay read 1500 lba 0 1")
    slow = session.submit(FAULTY, read16(0, 1), 512)
    (task, took) = timed(session.read, FAULTY, 8, 1)
    check("a delayed command does not hold up the next", task.status == 0 and not slow.done,
          f"{task}, the delayed one {'' if slow.done else 'not '}done, {took:.1f} s")
    equal("and ends well itself", 0, session.wait(slow, 20).status)
    faults.clear()


def a_failed_flush_is_final(session, faults):
    faults.set("fail flush EIO")
    session.write(OTHER_FAULTY, 0, b"f" * 512)
    faults.set("fail flush EIO", OTHER_FAULTY)
    task = session.command(OTHER_FAULTY, FLUSH)
    check("a failed flush is an error", task.status == 2 and task.sense_code[:2] in ("03", "04"),
          str(task))
    faults.clear()
    task = session.write(OTHER_FAULTY, 0, b"f" * 512)
    check("and final: no write is taken any more", task.status == 2, str(task))
    task = session.read(OTHER_FAULTY, 0, 1)
    check("but reads are", task.status == 0, str(task))


def traffic(url):
    session = initiator.open_url(url)
    lun = initiator.split_url(url)[3]
    while True:
        for task in [session.submit(lun, write16(n * 256, 256), data_out=bytes(131072))
                     for n in range(8)]:
            session.wait(task)


def stuck_write(url):
    session = initiator.open_url(url)
    session.wait(session.submit(initiator.split_url(url)[3], write16(0, 1), data_out=bytes(512)))


def main():
    if sys.argv[1] == "--traffic":
        traffic(sys.argv[2])
    elif sys.argv[1] == "--stuck-write":
        stuck_write(sys.argv[2])
    url, control = sys.argv[1:]
    faults = Faults(control)
    faults.clear()
    session = initiator.open_url(url)
    for lun in (GOOD, OTHER_FAULTY):
        session.clear_unit_attention(lun)
    errors_become_sense(session, faults)
    a_delay_delays_one_command(session, faults)
    a_stuck_lun_alone_is_stuck(session, faults)
    an_orphan_does_not_overwrite(session, url, faults)
    another_connection_is_not_stuck(session, url, faults)
    twenty_reinstatements(session, url, faults)
    each_function(url, faults, FUNCTIONS)
    for lun in (FAULTY, GOOD, OTHER_FAULTY):
        session.clear_unit_attention(lun)
    a_failed_flush_is_final(session, faults)
    session.logout()
    each_function(url, faults, TARGET_COLD_RESET)
    end()


main()
