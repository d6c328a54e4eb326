"""What changes under LUNs while hosts use them; see snapshots.sh.

usage: snapshots.py FOLDER URL                    all but what follows
       snapshots.py FOLDER URL killed FIRST       load from that number on, until the daemon is killed
       snapshots.py FOLDER URL killed             what is left, when it runs again
"""
import fcntl
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from cases import check, end, equal
import initiator

FOLDER, URL = sys.argv[1:3]
SOCKET = f"{FOLDER}/a/ringsand.sock"
CONF = f"{FOLDER}/a/ringsan.conf"
MIB = 1 << 20
CAPACITY_CHANGED, MEDIUM_CHANGED = "06/2a/09", "06/28/00"


def ask(request, **parameters):
    """The answer, whole: {"result": ...} or {"error": ...}."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(60)
        channel.connect(SOCKET)
        stream = channel.makefile("rwb")
        stream.readline()
        stream.write(json.dumps({"request": request, "parameters": parameters}).encode() + b"\n")
        stream.flush()
        while True:
            answer = json.loads(stream.readline())
            if "progress" not in answer:
                return answer


def refused(name, code, part, answer):
    error = answer.get("error", {})
    check(name, error.get("code") == code and part in error.get("message", ""), str(answer))


def image(number):
    return f"{FOLDER}/{number}.{'img' if number == 5 else 'qcow2'}"


def host(name="one", isid=1):
    """Logged in, with nothing pending."""
    session = initiator.open_url(URL, name=f"iqn.2026-11.io.ringsan:{name}",
                                 isid=b"\x80\0\0\0\0" + bytes([isid]))
    for number in (0, 1, 3, 4, 5):
        session.clear_unit_attention(number)
    return session


def attention(session, number):
    """What TEST UNIT READY hears, "" for nothing."""
    return session.command(number, bytes(6)).sense_code


def size(session, number):
    cdb = bytes.fromhex("9e10000000000000000000000020") + b"\0\0"
    data = session.command(number, cdb, data_in=32).data
    return (struct.unpack(">Q", data[:8])[0] + 1) * struct.unpack(">I", data[8:12])[0]


def images_grow():
    one, other = host("one", 1), host("two", 2)
    for number in (3, 5):
        one.write(number, 0, b"%d" % number * 4096)
        answer = ask("image-resize", image=image(number), size=32 * MIB)
        equal(f"LUN {number} grows", 32 * MIB, answer.get("result", answer).get("size_bytes"))
        for session in (one, other):
            equal("its hosts hear of it", CAPACITY_CHANGED, attention(session, number))
            # The threshold of thin provisioning is another, too.
            session.clear_unit_attention(number)
            equal("and see the new size", 32 * MIB, size(session, number))
        equal("what was there is there", b"%d" % number * 4096, bytes(one.read(number, 0, 8).data))
        equal("what is new is zeroes", bytes(4096), bytes(one.read(number, 32 * 2048 - 8, 8).data))
        equal("and can be written", 0, one.write(number, 32 * 2048 - 8, b"e" * 4096).status)
    for session in (one, other):
        session.logout()


def what_cannot_grow():
    refused("an image becomes no smaller", "refused", "would lose",
            ask("image-resize", image=image(3), size=MIB))
    refused("or ends inside a block", "refused", "multiple",
            ask("image-resize", image=image(3), size=64 * MIB + 512 - 1))
    refused("one that no LUN serves is not known", "not-found", "no LUN serves it",
            ask("image-resize", image=CONF, size=64 * MIB))
    refused("nor one that is not there", "not-found", "no such file",
            ask("image-resize", image=f"{FOLDER}/none", size=64 * MIB))
    refused("paths are absolute", "refused", "absolute",
            ask("image-resize", image="3.qcow2", size=64 * MIB))
    refused("the configuration's size is changed there", "refused", "change `size` there",
            ask("image-resize", image=image(0), size=64 * MIB))
    refused("a read-only LUN stays as it is", "refused", "read-only",
            ask("image-resize", image=image(4), size=64 * MIB))
    os.truncate(image(5), 64 * MIB)
    refused("a file that has become longer is not cut off", "busy", "longer by now",
            ask("image-resize", image=image(5), size=48 * MIB))
    equal("and stays as it is", 64 * MIB, os.stat(image(5)).st_size)


def content(name, offset=0, length=8):
    """Bytes of an image's disk, read by others than the daemon while it has the file open."""
    with tempfile.NamedTemporaryFile(dir=FOLDER) as file:
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", f"{FOLDER}/{name}", file.name],
                       check=True)
        file.seek(offset)
        return file.read(length)


def is_consistent(name):
    """To qemu-img: leaks at most."""
    done = subprocess.run(["qemu-img", "check", "-U", "-q", f"{FOLDER}/{name}"],
                          capture_output=True, text=True, check=False)
    return check(f"{name} is consistent", done.returncode in (0, 3), done.stdout + done.stderr)


class Ordered(threading.Thread):
    """Writes 1, 2, 3 ... to LUN 0 and, when that was answered, to LUN 1. What is in LUN 1 at any
    instant is in LUN 0."""

    def __init__(self, name="ordered", isid=9, first=1, durable=False):
        super().__init__()
        self.durable = durable
        self.session = host(name, isid)
        self.running = True
        self.number = first
        self.longest = 0
        self.wrong = []

    def write(self):
        while self.running:
            data = struct.pack(">Q", self.number) * 512
            for lun in (0, 1):
                began = time.monotonic()
                task = self.session.write(lun, 0, data, fua=self.durable)
                self.longest = max(self.longest, time.monotonic() - began)
                if task.status != 0:
                    self.wrong.append(str(task))
            self.number += 1

    def run(self):
        try:
            self.write()
        except (initiator.Closed, OSError):
            pass

    def finish(self):
        self.running = False
        self.join()
        self.session.logout()


def snapshots_under_load():
    load = Ordered()
    load.start()
    files = []
    paused = []
    for i in range(4):
        time.sleep(0.1)
        answer = ask("image-snapshot", images=[image(0), image(1)], name=f"group{i}")
        result = answer.get("result", {})
        check("a snapshot of two LUNs is taken",
              [one.get("file") for one in result.get("images", [])] ==
              [f"{n}@group{i}.qcow2" for n in (0, 1)], str(answer))
        paused.append(result.get("paused_ms", 0))
        files.append([f"{n}@group{i}.qcow2" for n in (0, 1)])
    time.sleep(0.1)
    refused("a name is given once", "refused", "group0",
            ask("image-snapshot", images=[image(0)], name="group0"))
    refused("and is one", "refused", "", ask("image-snapshot", images=[image(0)], name="../a"))
    refused("an image is given once", "refused", "twice",
            ask("image-snapshot", images=[image(0), image(0)], name="twice"))
    refused("raw images have none", "refused", "convert",
            ask("image-snapshot", images=[image(5)], name="raw"))
    load.finish()
    equal("writes go on meanwhile", [], load.wrong)
    last = 0
    for first, second in files:
        one, two = (struct.unpack(">Q", content(name))[0] for name in (first, second))
        check("no LUN is ahead of what it came after", last <= two <= one <= two + 1,
              f"{first} {one}, {second} {two}, before {last}")
        last = two
        for name in (first, second):
            is_consistent(name)
    print(f"# paused {paused} ms, longest write {load.longest * 1000:.1f} ms")


def rolled_back():
    one = host()
    data = [b"A" * 4096, b"B" * 4096, b"C" * 4096]
    one.write(3, 0, data[0])
    answer = ask("image-snapshot", images=[image(3)])
    name = answer.get("result", {}).get("snapshot", "")
    check("a snapshot is named by the time", name.endswith("Z"), str(answer))
    equal("its file lies beside the image, whatever links lead to that", f"3@{name}.qcow2",
          answer["result"]["images"][0]["file"])
    one.write(3, 0, data[1])
    identity = one.inquiry(3, 0x83)
    refused("hosts that are logged in are a reason not to roll back", "refused", "--force",
            ask("image-rollback", image=image(3), snapshot=name))
    equal("and nothing happens", data[1], bytes(one.read(3, 0, 8).data))
    answer = ask("image-rollback", image=image(3), snapshot=name, keep="kept", force=True)
    check("unless they are not to be", "result" in answer, str(answer))
    equal("they hear of it", MEDIUM_CHANGED, attention(one, 3))
    one.clear_unit_attention(3)
    equal("and see what was", data[0], bytes(one.read(3, 0, 8).data))
    equal("the disk is the same one", identity,
          one.inquiry(3, 0x83))
    one.write(3, 0, data[2], fua=True)
    one.logout()
    equal("what was written since is kept where that is asked for", data[1],
          content("3@kept.qcow2", 0, 4096))
    refused("there is no way back to what is not there", "not-found", "none",
            ask("image-rollback", image=image(3), snapshot="none", force=True))
    answer = ask("image-rollback", image=image(3), snapshot=name)
    while "logged in" in answer.get("error", {}).get("message", ""):
        time.sleep(0.05)
        answer = ask("image-rollback", image=image(3), snapshot=name)
    check("without sessions nobody is asked", "result" in answer, str(answer))
    one = host()
    equal("the snapshot is as it was", data[0], bytes(one.read(3, 0, 8).data))
    one.logout()
    while "logged in" in ask("image-rollback", image=image(3), snapshot=name).get("error", {}).get("message", ""):
        time.sleep(0.05)
    logged_in_meanwhile(name)


def logged_in_meanwhile(name):
    """Files are made ready while somebody else works in the folder; a host comes."""
    answers = []
    asker = threading.Thread(target=lambda: answers.append(
        ask("image-rollback", image=image(3), snapshot=name)))
    folder = os.open(FOLDER, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    asker.start()
    time.sleep(0.5)
    one = host()
    os.close(folder)
    asker.join()
    refused("who logs in meanwhile is a reason as well", "refused", "--force", answers[0])
    one.logout()


def cloned():
    base, clone = f"{FOLDER}/0@group0.qcow2", f"{FOLDER}/clone.qcow2"
    refused("what is written is no base", "refused", "", ask("image-clone", base=image(0), image=clone))
    disk = f"{FOLDER}/guest.img"
    shutil.copy(base, disk)
    ask("image-clone", base=disk, image=f"{FOLDER}/above.qcow2")
    info = json.loads(subprocess.run(["qemu-img", "info", "--output=json", f"{FOLDER}/above.qcow2"],
                                     check=True, capture_output=True, text=True).stdout)
    equal("a header of qcow2 in a raw disk is not believed", "raw", info["backing-filename-format"])
    answer = ask("image-clone", base=base, image=clone)
    check("a snapshot is cloned", "result" in answer, str(answer))
    refused("once under a name", "refused", "", ask("image-clone", base=base, image=clone))
    with open(CONF, encoding="utf-8") as file:
        text = file.read()
    with open(CONF, "w", encoding="utf-8") as file:
        file.write(text.replace("lun 5 {", f'lun 6 {{ type = qcow2 image = "{clone}" }} lun 5 {{'))
    answer = ask("reload")
    check("and served", "result" in answer, str(answer))
    one = host()
    one.clear_unit_attention(6)
    equal("it has what the snapshot has", content("0@group0.qcow2", 0, 4096),
          bytes(one.read(6, 0, 8).data))
    equal("and can be written", 0, one.write(6, 0, b"c" * 4096).status)
    ids = [one.inquiry(n, 0x83) for n in (0, 6)]
    check("it is another disk", ids[0] != ids[1])
    one.logout()


def acknowledged():
    with open(f"{FOLDER}/acknowledged", encoding="utf-8") as file:
        return json.load(file)


def until_killed(first):
    """Load, snapshots and ways back until the daemon is killed; the last number that was answered
    in a file."""
    load = Ordered(first=first, durable=True)
    load.start()
    count = 0
    while load.number == first and load.is_alive():
        time.sleep(0.01)
    try:
        # Whoever sees its file may kill.
        ask("image-snapshot", images=[image(3)], name=f"kill{first}")
        while load.running:
            count += 1
            # Until their chains are too long.
            ask("image-snapshot", images=[image(0), image(1)], name=f"kill{first}-{count}")
            ask("image-snapshot", images=[image(3)], name=f"more{first}-{count}")
            ask("image-rollback", image=image(3), snapshot=f"kill{first}", force=True)
    except (OSError, ValueError):
        load.running = False
    load.join()
    with open(f"{FOLDER}/acknowledged", "w", encoding="utf-8") as file:
        json.dump(load.number - 1, file)


def after_kill():
    one = host()
    numbers = [struct.unpack(">Q", bytes(one.read(n, 0, 8).data)[:8])[0] for n in (0, 1)]
    check("what was answered is there", acknowledged() <= numbers[1] <= numbers[0] <= acknowledged() + 1,
          f"{numbers}, answered {acknowledged()}")
    equal("where it was rolled back", b"A" * 4096, bytes(one.read(3, 0, 8).data))
    ids = [one.inquiry(n, 0x83).hex()
           for n in (0, 1, 3)]
    try:
        with open(f"{FOLDER}/identities", encoding="utf-8") as file:
            equal("disks are the same", json.load(file), ids)
    except FileNotFoundError:
        with open(f"{FOLDER}/identities", "w", encoding="utf-8") as file:
            json.dump(ids, file)
    one.logout()
    for name in sorted(os.listdir(FOLDER)):
        if name.endswith(".qcow2"):
            is_consistent(name)


if len(sys.argv) > 4:
    until_killed(int(sys.argv[4]))
elif len(sys.argv) > 3:
    after_kill()
else:
    images_grow()
    what_cannot_grow()
    snapshots_under_load()
    rolled_back()
    cloned()
end()
