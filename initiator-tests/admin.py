"""The administrator's verbs beside running initiators (see admin.sh). Arguments: ringsan, its socket,
the URL of a disk, the URL of the same disk through another portal group; then, if that is the part
wanted, the folder where its reservations are kept."""
import json
import os
import subprocess
import sys
import threading
import time

import initiator
from cases import check, end, equal

RINGSAN, SOCKET, URL, SECOND = sys.argv[1:5]
HOST, PORT, TARGET, LUN = initiator.split_url(URL)
ACCESS_CHANGED, RESERVATION_PREEMPTED = "06/2a/06", "06/2a/03"


def ringsan(*words):
    """A verb's answer as JSON, and its exit status."""
    done = subprocess.run([RINGSAN, *words, "--json", "--socket", SOCKET], capture_output=True,
                          timeout=60, check=False)
    return json.loads(done.stdout or "null"), done.returncode


def answer(*words):
    result, status = ringsan(*words)
    equal(f"ringsan {' '.join(words)}", 0, status)
    return result


def open_host(number, url=URL):
    host = initiator.open_url(url, name=f"iqn.2026-11.io.ringsan:host{number}",
                              isid=b"\x80\0\0\0\0" + bytes([number]))
    host.clear_unit_attention(LUN)
    return host


def reserve_out(host, action, key=0, new_key=0, kind=0):
    data = key.to_bytes(8, "big") + new_key.to_bytes(8, "big") + bytes(8)
    return host.command(LUN, bytes([0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0]), data_out=data)


def sessions(hosts):
    listed = {row["initiator"]: row for row in answer("sessions")["sessions"]}
    equal("as many as are logged in", len(hosts), len(listed))
    for number, host in enumerate(hosts, 1):
        row = listed[f"iqn.2026-11.io.ringsan:host{number}"]
        equal("its ISID", f"8000000000{number:02x}", row["isid"])
        equal("its target", TARGET, row["target"])
        equal("its address", "%s:%d" % host.socket.getsockname(), row["address"])
        equal("its LUNs", 3, row["luns"])
        check("its window", row["window"] >= 8 and row["commands"] == 0, row)
    status = answer("status")
    equal("the sum of the loops", len(hosts), sum(loop["sessions"] for loop in status["loops"]))
    equal("sessions", len(hosts), status["sessions"])
    check("memory", status["memory_bytes"] > 1 << 20, status)
    equal("only those of a target", [], answer("sessions", TARGET + ".b")["sessions"])


def lun_row():
    return next(row for row in answer("luns", TARGET)["luns"] if row["lun"] == LUN)


def used(host):
    before = lun_row()["used_bytes"]
    equal("a write", 0, host.write(LUN, 0, bytes(range(256)) * 256).status)
    # As of the last look at the pool; asking has the next one come soon.
    for _ in range(600):
        now = lun_row()["used_bytes"]
        if now >= before + 65536 - 4096:
            break
        time.sleep(0.05)
    check("is seen in what is used", now >= before + 65536 - 4096, (before, now))
    designator = host.inquiry(LUN, 0x83)
    check("the identity is what hosts see", bytes.fromhex(lun_row()["naa"][4:]) in
          designator, lun_row())


def reservations(hosts):
    for number, host in enumerate(hosts, 1):
        equal("REGISTER", 0, reserve_out(host, 0, new_key=number).status)
    equal("RESERVE", 0, reserve_out(hosts[0], 1, key=1, kind=5).status)
    row = lun_row()
    equal("in the list", ("write-exclusive-registrants-only", 2), (row["reservation"],
                                                                   row["registrations"]))
    check("its holder", row["holder"].startswith("iqn.2026-11.io.ringsan:host1,i,0x80"), row)
    shown = answer("reservations", "show", TARGET, str(LUN))
    equal("keys", ["0x0000000000000001", "0x0000000000000002"],
          [row["key"] for row in shown["registrations"]])
    equal("who holds", [True, False], [row["holder"] for row in shown["registrations"]])
    equal("cleared what was shown", shown, answer("reservations", "clear", TARGET, str(LUN)))
    for host in hosts:
        equal("hosts are told", RESERVATION_PREEMPTED, host.command(LUN, bytes(6)).sense_code)
        equal("once", 0, host.command(LUN, bytes(6)).status)
    equal("nothing is left", [], answer("reservations", "show", TARGET, str(LUN))["registrations"])
    equal("RESERVE(6)", 0, hosts[0].command(LUN, bytes.fromhex("160000000000")).status)
    equal("keeps others out", 0x18, hosts[1].write(LUN, 0, bytes(512)).status)
    equal("in the list, too", "reserve", lun_row()["reservation"])
    equal("cleared", True, answer("reservations", "clear", TARGET, str(LUN))["reserve"])
    equal("its holder is told", RESERVATION_PREEMPTED,
          hosts[0].command(LUN, bytes(6)).sense_code)
    equal("others write", 0, hosts[1].write(LUN, 0, bytes(512)).status)


def states(host, other):
    equal("standby", True, answer("alua", "set", TARGET, "2", "standby")["changed"])
    group = [row for row in answer("alua", "show", TARGET)["groups"] if row["group"] == 2]
    equal("shown", ("standby", "administrator"), (group[0]["state"], group[0]["changed_by"]))
    for session in (host, other):
        equal("all hosts are told", ACCESS_CHANGED, session.command(LUN, bytes(6)).sense_code)
    equal("no I/O through it", "02/04/0b", other.read(LUN, 0, 1).sense_code)
    equal("through the other", 0, host.read(LUN, 0, 1).status)
    equal("it is so already", False, answer("alua", "set", TARGET, "2", "standby")["changed"])
    equal("nobody is told", 0, host.command(LUN, bytes(6)).status)
    equal("back", True, answer("alua", "set", TARGET, "2", "optimized")["changed"])
    equal("told again", ACCESS_CHANGED, other.command(LUN, bytes(6)).sense_code)
    equal("I/O again", 0, other.read(LUN, 0, 1).status)
    host.clear_unit_attention(LUN)


def names():
    """Whatever a host calls itself is JSON in JSON, and nothing that a terminal obeys."""
    name = 'iqn.2026-11.io.ringsan:"\\\u009b2J\u00fc{}'
    host = initiator.open_url(URL, name=name)
    equal("any name", [name], [row["initiator"] for row in answer("sessions")["sessions"]])
    shown = subprocess.run([RINGSAN, "sessions", "--socket", SOCKET], capture_output=True,
                           timeout=60, check=False).stdout.decode()
    check("without control characters", "\u009b" not in shown and "??2J\u00fc" in shown, shown)
    host.logout()


def come_and_go(number, failures):
    """A host that logs in, writes, reserves, and leaves, again and again."""
    try:
        for turn in range(12):
            host = open_host(number, URL if turn % 2 else SECOND)
            reserve_out(host, 6, new_key=number)
            for block in range(8):
                host.write(LUN, number * 64 + block, bytes(512))
            host.logout()
    except (OSError, initiator.ProtocolError, initiator.Closed) as error:
        failures.append(repr(error))


def beside_load():
    """Every verb while sessions come and go and write: nothing is torn, nothing stops."""
    failures, asked = [], 0
    threads = [threading.Thread(target=come_and_go, args=(number, failures))
               for number in range(1, 4)]
    for thread in threads:
        thread.start()
    while asked < 2 or any(thread.is_alive() for thread in threads):
        found = [ringsan(*words)[1] for words in (
            ("status",), ("sessions",), ("luns",), ("reservations", "show", TARGET, str(LUN)),
            ("reservations", "clear", TARGET, str(LUN)), ("alua", "set", TARGET, "2",
                                                          "non-optimized" if asked % 2 else
                                                          "optimized"))]
        failures += [status for status in found if status != 0]
        asked += 1
    for thread in threads:
        thread.join()
    equal("verbs beside load", [], failures)


def refused():
    result, status = ringsan("reservations", "clear", TARGET, "3")
    equal("an error is JSON, too", ("not-found", 1), (result["error"]["code"], status))


def beside_stuck(fifo_folder):
    """A change of reservations that meets a stuck disk: its file is a FIFO that nobody reads."""
    host = open_host(1)
    equal("REGISTER", 0, reserve_out(host, 0, new_key=1).status)
    host.logout()
    naa = lun_row()["naa"][4:]
    os.mkfifo(f"{fifo_folder}/reservations-{naa}.new")
    result, status = ringsan("reservations", "clear", TARGET, str(LUN), "--timeout", "1")
    equal("clearing finds no end", (None, 3), (result, status))
    row = lun_row()
    equal("luns answers", ("unknown", None, True),
          (row["reservation"], row["registrations"], row["online"]))
    equal("what is not stuck as ever", None,
          next(row for row in answer("luns", TARGET)["luns"] if row["lun"] == 1)["reservation"])
    for _ in range(3):
        equal("as often as it is asked", "unknown", lun_row()["reservation"])
    equal("alua goes on", 1, len(answer("alua", "show", TARGET)["groups"]))
    print(f"{fifo_folder}/reservations-{naa}.new", file=sys.stderr)


def main():
    hosts = [open_host(1), open_host(2)]
    sessions(hosts)
    used(hosts[0])
    reservations(hosts)
    other = open_host(3, SECOND)
    states(hosts[0], other)
    refused()
    for host in [*hosts, other]:
        host.logout()
    equal("nobody is left", [], answer("sessions")["sessions"])
    names()
    beside_load()
    end()


if len(sys.argv) > 5:
    beside_stuck(sys.argv[5])
    end()
main()
