"""What hosts see when the configuration is read again; see reload.sh.

usage: reload.py RINGSAN FOLDER URL      (the target of URL has LUN 0, 16 MiB)
RELOAD_ROUNDS: how often all is changed beside load, 3 times each
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import threading
import time

from cases import check, end, equal
import initiator

RINGSAN, FOLDER, URL = sys.argv[1:4]
HOST, PORT, TARGET, _ = initiator.split_url(URL)
SECOND = TARGET + ".second"
SOCKET = f"{FOLDER}/a/ringsand.sock"
MIB = 1 << 20
LUNS_CHANGED, CAPACITY_CHANGED, POWER_ON = "06/3f/0e", "06/2a/09", "06/29/00"
MODE_CHANGED = "06/2a/01"
NO_LUN = "05/25/00"
CONFLICT = 0x18


def lun(number, size=16, kind="raw", more=""):
    return (f'lun {number} {{ type = {kind} image = "{FOLDER}/{number}.img" size = {size}M {more} }}')


def target(*luns, name=TARGET, more=""):
    return f'target "{name}" {{ {more} {" ".join(luns)} }}'


STUCK = lun(3, kind="fault", more=f'fault-control = "{FOLDER}/control"')


def configure(*targets, head="", pool_warn=0):
    with open(f"{FOLDER}/template", encoding="utf-8") as file:
        text = file.read().replace("@TARGETS@", "\n".join(targets))
    text = text.replace("warn = 0%", f"warn = {pool_warn}%", 1)
    with open(f"{FOLDER}/a/ringsan.conf", "w", encoding="utf-8") as file:
        file.write(head + text)


def ringsan(*words, timeout=30):
    done = subprocess.run([RINGSAN, *words, "--socket", SOCKET], capture_output=True, text=True,
                          timeout=timeout, check=False)
    return done.returncode, done.stdout + done.stderr


def reload(*targets, head="", options=(), pool_warn=0):
    configure(*targets, head=head, pool_warn=pool_warn)
    status, said = ringsan("reload", "--json", *options)
    return (json.loads(said) if status == 0 else None), said


def kinds(result):
    return sorted(change["change"] for change in (result or {}).get("changes", []))


def host(name="one", isid=1, url=URL):
    """Logged in, with nothing pending on LUN 0."""
    return initiator.open_url(url, name=f"iqn.2026-11.io.ringsan:{name}",
                              isid=b"\x80\0\0\0\0" + bytes([isid]))


def attention(session, number=0):
    """What TEST UNIT READY hears, "" for nothing."""
    return session.command(number, bytes(6)).sense_code


def listed(session):
    data = session.command(0, struct.pack(">B5xIxx", 0xA0, 4096), data_in=4096).data
    count = struct.unpack(">I", data[:4])[0] // 8
    return [struct.unpack(">H", data[8 + 8 * i:10 + 8 * i])[0] & 0x3FFF for i in range(count)]


def blocks(session, number=0):
    cdb = bytes.fromhex("9e10000000000000000000000020") + b"\0\0"
    return struct.unpack(">Q", session.command(number, cdb, data_in=32).data[:8])[0] + 1


def login_status(name=TARGET, initiator_name="iqn.2026-11.io.ringsan:probe"):
    session = initiator.Initiator(HOST, PORT, initiator_name)
    try:
        session.login(name, isid=b"\x80\0\0\0\x07\7")
    except initiator.Refused as refused:
        return f"{refused.status:04x}"
    except (initiator.Closed, ConnectionError):
        return "closed"
    session.logout()
    return "0000"


class Load(threading.Thread):
    """Writes and reads LUN 0 for as long as it lasts; counts what is not as it should be."""

    def __init__(self):
        super().__init__()
        self.session = host("load", 9)
        self.running = True
        self.wrong = []
        self.rounds = 0

    def run(self):
        while self.running:
            data = struct.pack(">Q", self.rounds) * 512
            for task in (self.session.write(0, 64, data), self.session.read(0, 64, 8)):
                if task.sense_code in (LUNS_CHANGED, CAPACITY_CHANGED):
                    break
                if task.status != 0 or task.data and bytes(task.data) != data:
                    self.wrong.append(str(task))
            self.rounds += 1

    def finish(self):
        self.running = False
        self.join()
        self.session.logout()


def luns_come_grow_and_go():
    one, other = host("one", 1), host("two", 2)
    result, said = reload(target(lun(0), lun(1)), options=("--dry-run",))
    equal("a dry run says what is different", ["lun-added"], kinds(result))
    equal("and changes nothing", [0], listed(one))
    result, said = reload(target(lun(0), lun(1)))
    check("a LUN is added", kinds(result) == ["lun-added"], said)
    equal("its hosts hear of it", LUNS_CHANGED, attention(one))
    equal("once", "", attention(one))
    equal("each of them", LUNS_CHANGED, attention(other))
    equal("REPORT LUNS lists it", [0, 1], listed(one))
    equal("it is new to them", POWER_ON, attention(one, 1))
    equal("then it can be written", 0, one.write(1, 0, b"n" * 4096).status)
    equal("and read by others", b"n" * 4096,
          bytes([other.clear_unit_attention(1), other.read(1, 0, 8)][1].data))
    result, said = reload(target(lun(0), lun(1)))
    check("the same once more is no difference", result and not result["changes"], said)
    equal("and no news", "", attention(one))

    result, said = reload(target(lun(0, 24), lun(1)))
    check("a LUN grows", kinds(result) == ["lun-resized"] and len(result["grown"]) == 1, said)
    equal("its hosts hear of the capacity", CAPACITY_CHANGED, attention(one))
    equal("once ", "", attention(one))
    equal("its neighbour has not grown", "", attention(one, 1))
    equal("READ CAPACITY says it", 24 * MIB // 512, blocks(one))
    equal("the new end can be written", 0, one.write(0, 24 * MIB // 512 - 8, b"e" * 4096).status)
    equal("the file has it", 24 * MIB, os.stat(f"{FOLDER}/0.img").st_size)

    os.truncate(f"{FOLDER}/1.img", 20 * MIB)
    plain = lun(1).replace(" size = 16M", "")
    result, said = reload(target(lun(0, 24), plain))
    check("an image that grew is noticed", result and len(result["grown"]) == 1, said)
    equal("and announced", CAPACITY_CHANGED, attention(other, 1))

    result, said = reload(target(lun(0, 24)))
    check("a LUN is removed", kinds(result) == ["lun-removed"] and result["going"] == 0, said)
    equal("it is there no more", NO_LUN, attention(one, 1))
    equal("the others hear of it", LUNS_CHANGED, attention(one))
    equal("REPORT LUNS lists what is left", [0], listed(one))
    result, said = reload(target(lun(0, 24), plain))
    one.clear_unit_attention(0)
    one.clear_unit_attention(1)
    equal("it comes back with its data", b"n" * 4096, bytes(one.read(1, 0, 8).data))
    one.logout()
    other.logout()


def qcow2_grows():
    """An image that is made, and made larger while it is closed for a moment."""
    one = host("one", 1)
    result, said = reload(target(lun(0, 24), lun(4, kind="qcow2")))
    check("a qcow2 LUN is made", "lun-added" in kinds(result), said)
    attention(one)
    attention(one, 4)
    end = 16 * MIB // 512 - 8
    equal("it can be written", 0, one.write(4, end, b"q" * 4096).status)
    result, said = reload(target(lun(0, 24), lun(4, 1 << 20, kind="qcow2")))
    check("it grows", kinds(result) == ["lun-resized"] and len(result["grown"]) == 1, said)
    equal("hosts hear of its capacity", CAPACITY_CHANGED, attention(one, 4))
    equal("READ CAPACITY (16) says it", (1 << 40) // 512, blocks(one, 4))
    equal("what was written is there", b"q" * 8, bytes(one.read(4, end, 8).data)[:8])
    equal("the new end can be written", 0,
          one.write(4, (1 << 40) // 512 - 8, b"e" * 4096).status)
    result, said = reload(target(lun(0, 24), lun(4, 65 << 20, kind="qcow2")))
    check("beyond what the format has is refused", result is None and "64T" in said, said)
    equal("and it goes on", 0, one.write(4, 0, b"g" * 4096).status)
    result, said = reload(target(lun(0, 24)))
    check("it is removed", kinds(result) == ["lun-removed"], said)
    attention(one)
    image = f"{FOLDER}/4.img"
    if shutil.which("qemu-img"):
        done = subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", image], check=False)
        equal("qemu-img finds it clean", 0, done.returncode)
        done = subprocess.run(["qemu-img", "info", "--output=json", image], check=True,
                              capture_output=True)
        equal("and as large", 1 << 40, json.loads(done.stdout)["virtual-size"])


def thresholds(session):
    """Of mode page 1Ch/02h: sets used, sets left; 0: none."""
    page = bytes(session.command(0, bytes.fromhex("1a081c02ff00"), data_in=255).data)[4:]
    return [int.from_bytes(page[at + 4:at + 8], "big") if page[at] & 0x80 else 0 for at in (16, 24)]


def warnings_follow():
    reload(target(lun(0, 24)))
    session = host()
    equal("nobody is to be warned", [0, 0], thresholds(session))
    result, said = reload(target(lun(0, 24, more="warn = 50%")))
    check("when a LUN warns", kinds(result) == ["lun-changed"], said)
    equal("hosts hear of their mode page", MODE_CHANGED, attention(session))
    half = thresholds(session)
    check("the threshold stands there", half[0] > 0 and half[1] == 0, half)
    result, said = reload(target(lun(0, 24, more="warn = 50%")), pool_warn=100)
    check("when a pool warns", kinds(result) == ["pool-changed"], said)
    equal("hosts hear of that, too", MODE_CHANGED, attention(session))
    check("and have the pool's", thresholds(session)[0] == half[0] and thresholds(session)[1] > 0,
          thresholds(session))
    result, said = reload(target(lun(0, 24)))
    check("never again", kinds(result) == ["lun-changed", "pool-changed"], said)
    equal("is one news", MODE_CHANGED, attention(session))
    equal("one only", "", attention(session))
    equal("of none", [0, 0], thresholds(session))
    session.logout()


def reservations_come_back():
    """Who was fenced off a disk stays so when it comes back, be the session as old as it was."""
    holder, other = host("one", 1), host("two", 2)
    reload(target(lun(0, 24), lun(1, 20)))
    for session in (holder, other):
        session.clear_unit_attention(0)
        session.clear_unit_attention(1)
    for action, parameters in ((0, struct.pack(">QQ8x", 0, 7)), (1, struct.pack(">QQ8x", 7, 0))):
        equal("reserved for one", 0,
              holder.command(1, struct.pack(">BBB5xBx", 0x5F, action, 3, 24), 0, parameters).status)
    equal("others are kept out", CONFLICT, other.write(1, 0, b"o" * 512).status)
    reload(target(lun(0, 24)))
    equal("it has gone", NO_LUN, attention(other, 1))
    reload(target(lun(0, 24), lun(1, 20)))
    equal("it is back", POWER_ON, attention(other, 1))
    equal("and others are still kept out", CONFLICT, other.write(1, 0, b"o" * 512).status)
    holder.clear_unit_attention(1)
    equal("who holds it is not", 0, holder.write(1, 0, b"h" * 512).status)
    equal("until it is given back", 0,
          holder.command(1, struct.pack(">BBB5xBx", 0x5F, 3, 0, 24), 0,
                         struct.pack(">QQ8x", 7, 0)).status)
    reload(target(lun(0, 24)))
    holder.logout()
    other.logout()


def many_go_at_once():
    session = host()
    many = [lun(number) for number in range(10, 60)]
    result, said = reload(target(lun(0, 24), *many))
    check("fifty LUNs are added", kinds(result) == ["lun-added"] * 50, said)
    equal("their hosts hear of one change", LUNS_CHANGED, attention(session))
    equal("of one", "", attention(session))
    equal("all are there", 51, len(listed(session)))
    result, said = reload(target(lun(0, 24)))
    check("fifty LUNs are removed", kinds(result) == ["lun-removed"] * 50, said)
    equal("that is one change, too", LUNS_CHANGED, attention(session))
    equal("one", "", attention(session))
    equal("none is left", [0], listed(session))
    session.logout()


def event(session):
    """The SCSI event that was sent before it was asked: its LUN and sense data; "" for none."""
    session.nop()
    header, data = session.answers.pop(initiator.NO_TAG, (None, b""))
    if header is None:
        return ""
    if (header[0], header[36], len(data)) != (initiator.ASYNC, 0, 2 + 18):
        return f"{bytes(header).hex()} {bytes(data).hex()}"
    key, code = data[2 + 2], data[2 + 12:2 + 14].hex()
    return f"LUN {header[9]}: {key:02x}/{code[:2]}/{code[2:]}"


def events_where_wanted():
    told, second = host("told", 1), host("second", 2)
    result, said = reload(target(lun(0, 24), lun(5)))
    check("LUNs come and go, and no events are wanted", result, said)
    equal("nobody is told at once", "", event(told))
    reload(target(lun(0, 24), lun(5), more="scsi-events = yes"))
    equal("that they are wanted now is no event", "", event(told))
    reload(target(lun(0, 24), lun(5), lun(6), more="scsi-events = yes"))
    equal("a LUN comes: each host is told at once", [f"LUN 0: {LUNS_CHANGED}"] * 2,
          [event(told), event(second)])
    equal("and hears of it by a unit attention, too", LUNS_CHANGED, attention(told))
    reload(target(lun(0, 24), lun(5, 20), lun(6), more="scsi-events = yes"))
    equal("one grows", [f"LUN 5: {CAPACITY_CHANGED}"] * 2, [event(told), event(second)])
    reload(target(lun(0, 24), lun(5, 20), more="scsi-events = yes"))
    equal("one goes", [f"LUN 0: {LUNS_CHANGED}"] * 2, [event(told), event(second)])
    reload(target(lun(0, 24), lun(5, 20)))
    reload(target(lun(0, 24)))
    equal("no more events", "", event(told))
    told.logout()
    second.logout()


def removed_beside_a_stuck_disk():
    session = host()
    reload(target(lun(0, 24), STUCK))
    session.clear_unit_attention(0)
    session.clear_unit_attention(3)
    with open(f"{FOLDER}/control", "w", encoding="ascii") as file:
        file.write("stick write\n")
    time.sleep(0.2)
    task = session.submit(3, struct.pack(">BBQIBB", 0x8A, 0, 0, 8, 0, 0), data_out=b"s" * 4096,
                          immediate_bytes=4096)
    session.nop()
    time.sleep(0.2)
    result, said = reload(target(lun(0, 24)))
    check("a stuck LUN is removed, and said to be on its way",
          result is not None and result["going"] == 1, said)
    session.wait(task, 5)
    equal("what it had under way is aborted", 0x40, task.status)
    equal("nobody finds it", NO_LUN, attention(session, 3))
    session.clear_unit_attention(0)
    equal("its neighbour serves", 0, session.write(0, 0, b"x" * 4096).status)
    _, said = reload(target(lun(0, 24), STUCK))
    check("it cannot come back meanwhile", "still in use" in said, said)
    result, said = reload(target(lun(0, 24), lun(4)))
    check("others come meanwhile", kinds(result) == ["lun-added"], said)
    with open(f"{FOLDER}/control", "w", encoding="ascii") as file:
        file.write("\n")
    for _ in range(100):
        result, said = reload(target(lun(0, 24), lun(4)))
        if result and result["going"] == 0:
            break
        time.sleep(0.1)
    check("it goes when the disk is well again", result and result["going"] == 0, said)
    reload(target(lun(0, 24)))
    session.logout()


def targets_come_and_go():
    equal("a target that is not there", "0203", login_status(SECOND))
    result, said = reload(target(lun(0, 24)), target(lun(5), name=SECOND))
    check("a target is added", kinds(result) == ["target-added"], said)
    equal("and found", "0000", login_status(SECOND))
    guest = host("guest", 3, URL.replace(TARGET, SECOND))
    stays = host("stays", 4)
    began = time.monotonic()
    result, said = reload(target(lun(0, 24)))
    check("a target is removed", kinds(result) == ["target-removed"], said)
    answers = []
    try:
        while True:
            guest.step(time.monotonic() + 10)
            if initiator.NO_TAG in guest.answers:
                answers.append(guest.answers.pop(initiator.NO_TAG)[0][36])
    except (initiator.Closed, ConnectionError):
        pass
    equal("its session is asked to log out, then dismissed", [1, 3], answers)
    check("that takes some seconds at most", time.monotonic() - began < 10)
    equal("who comes again is told that it was removed", "0204", login_status(SECOND))
    equal("the other target did not notice", "", attention(stays))
    stays.logout()
    # Its disk is closed a moment after its last session.
    for _ in range(200):
        result, said = reload(target(lun(0, 24)), target(lun(5), name=SECOND))
        if result or "still in use" not in said:
            break
        time.sleep(0.1)
    check("it may come back", kinds(result) == ["target-added"], said)
    equal("and is found", "0000", login_status(SECOND))
    reload(target(lun(0, 24)))


def access_changes():
    guest = host("guest", 5)
    rule = 'access { initiators = { "*:friend" } }'
    result, said = reload(target(lun(0, 24), more=rule))
    check("an access rule is added", kinds(result) == ["target-changed"], said)
    equal("who is not in it is refused", "0202", login_status(initiator_name="iqn.x:foe"))
    equal("who is in it comes in", "0000", login_status(initiator_name="iqn.x:friend"))
    try:
        guest.command(0, bytes(6))
        guest.command(0, bytes(6))
        check("who was there and is not in it has to go", False, "it goes on")
    except (initiator.Closed, ConnectionError, initiator.ProtocolError):
        check("who was there and is not in it has to go", True)
    with open(f"{FOLDER}/secrets", "w", encoding="ascii") as file:
        file.write("alice = a-secret-of-hers\n")
    os.chmod(f"{FOLDER}/secrets", 0o600)
    reload(target(lun(0, 24), more="auth { users = { alice } }"),
           head=f'secrets = "{FOLDER}/secrets"\n')
    equal("CHAP is asked for from then on", "0201", login_status())
    result, said = reload(target(lun(0, 24)))
    equal("and no more", "0000", login_status())


def refused():
    session = host()
    before = listed(session)
    for name, targets, head, wanted in (
            ("a file with an error", (target(lun(0, 24), "lun x { }"),), "", "LUN number"),
            ("another block size", (target(lun(0, 24, more="block-size = 4K")),), "", "block-size"),
            ("another image", (target(lun(0, 24).replace("0.img", "other.img")),), "", "image"),
            ("a smaller disk", (target(lun(0, 16)),), "", "shrinks"),
            ("another log level", (target(lun(0, 24)),), "log-level = debug\n", "log-level"),
            ("another portal group", (target(lun(0, 24), more="portal-groups = { 1 }"),), "",
             "portal-groups")):
        configure(*targets, head=head)
        status, said = ringsan("reload")
        check(f"{name} is refused", status == 1 and wanted in said, f"{status}: {said}")
    equal("and nothing has changed", before, listed(session))
    equal("nor is there news", "", attention(session))
    session.logout()


def beside_load():
    load = Load()
    load.start()
    rounds = int(os.environ.get("RELOAD_ROUNDS", "3"))
    for _ in range(rounds):
        reload(target(lun(0, 24), lun(6), lun(7)))
        reload(target(lun(0, 24), lun(7)))
        reload(target(lun(0, 24)))
    load.finish()
    check("reloads beside load disturb nobody", not load.wrong and load.rounds > 0,
          f"{load.rounds} rounds, {load.wrong[:3]}")


luns_come_grow_and_go()
qcow2_grows()
warnings_follow()
reservations_come_back()
many_go_at_once()
events_where_wanted()
removed_beside_a_stuck_disk()
targets_come_and_go()
access_changes()
refused()
beside_load()
end()
