"""Plays tables of commands of several hosts (see consumers.sh), which lie in sequences_*.py.

A table is a list of rows, each one command: (host, what it is for, CDB, data, answer).

host    "A", "B": initiators of their own, through the first portal. "A2" is host A again through the
        second portal: the same name, another ISID. A host logs in when its first row comes, where it
        must find exactly one unit attention, 29/00.
CDB     hexadecimal, or one of ACTIONS, which are no SCSI commands.
data    bytes to send, the number of bytes that may come, or None.
answer  hexadecimal or bytes that must come, whole, ".." being any byte and ".*" any bytes; "" for
        GOOD without data; "KK/CC/QQ" for a sense code, with " at N" for a valid INFORMATION field; "conflict" for
        RESERVATION CONFLICT.

A table has a LUN of its own, numbered as they come, and what is played after a restart of the target.

usage: sequences.py count              how many LUNs
       sequences.py begin URL URL      through both portals; the number of the LUN is 0
       sequences.py restarted URL URL
"""
import re
import sys

import initiator
import sequences_attention
import sequences_clusters
import sequences_disks
from cases import check, end, equal

CONFLICT = 0x18
TABLES = {**sequences_disks.TABLES, **sequences_clusters.TABLES, **sequences_attention.TABLES}


class Hosts:
    """Sessions by the name of the host in the table."""

    def __init__(self, title, urls, lun):
        self.title = title
        self.portals = [initiator.split_url(url) for url in urls]
        self.lun = lun
        self.sessions = {}

    def log_in_and_wait(self, name):
        host, port, target, _ = self.portals[len(name) - 1]
        session = initiator.Initiator(host, port, f"iqn.2026-11.io.ringsan:host-{name[0].lower()}")
        self.sessions[name] = session.login(target, isid=b"\x80\0\0\0\0" + bytes([len(name)]))

    def log_in(self, name):
        self.log_in_and_wait(name)
        for what, wanted in (("told of power on", "06/29/00"), ("once", "")):
            task = self.sessions[name].command(self.lun, bytes(6))
            equal(f"{self.title}: {name}: logs in: {what}", wanted, task.sense_code)

    def session(self, name):
        if name not in self.sessions:
            self.log_in(name)
        return self.sessions[name]

    def log_out(self, name):
        self.sessions.pop(name).logout()

    def vanish(self, name):
        self.sessions.pop(name).close()

    def reset(self, name):
        equal(f"{self.title}: {name}: LOGICAL UNIT RESET", 0,
              self.session(name).task_management(initiator.LOGICAL_UNIT_RESET, self.lun))


ACTIONS = {"log in": Hosts.log_in, "log in and wait": Hosts.log_in_and_wait, "log out": Hosts.log_out,
           "vanish": Hosts.vanish, "reset": Hosts.reset}


def information(task):
    return int.from_bytes(task.sense[3:7], "big") if task.sense[0] & 0x80 else None


def matches(answer, task):
    if isinstance(answer, bytes):
        return task.status == 0 and bytes(task.data) == answer
    if answer == "conflict":
        return task.status == CONFLICT and not task.sense
    if "/" in answer:
        code, _, at = answer.partition(" at ")
        return task.sense_code == code and (not at or information(task) == int(at))
    return task.status == 0 and re.fullmatch(answer.replace(" ", ""), bytes(task.data).hex())


def shortened(data):
    text = bytes(data).hex() if not isinstance(data, str) else data
    return text if len(text) <= 320 else text[:320] + "..."


def play(title, rows, urls, lun):
    hosts = Hosts(title, urls, lun)
    for name, what, cdb, data, answer in rows:
        if cdb in ACTIONS:
            ACTIONS[cdb](hosts, name)
            continue
        out = data if isinstance(data, bytes) else b""
        task = hosts.session(name).command(hosts.lun, bytes.fromhex(cdb),
                                           data if isinstance(data, int) else 0, out)
        check(f"{title}: {name}: {what}", matches(answer, task),
              f"{task} {shortened(task.data)} {task.sense.hex()}, expected {shortened(answer)}")
    for name in list(hosts.sessions):
        hosts.log_out(name)


def main():
    part, *urls = sys.argv[1:]
    if part == "count":
        print(len(TABLES))
        return
    number = ("begin", "restarted").index(part)
    for lun, (title, parts) in enumerate(TABLES.items()):
        if number < len(parts):
            play(f"{title}, restarted" if number else title, parts[number], urls, lun)
    end()


main()
