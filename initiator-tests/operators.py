"""What operators do with images that hosts are writing: snapshots, ways back, clones, growth, jobs; see kills.py.

Each of the disks has one. What was answered is noted, so that it can be asked for when the daemon has been killed:
`facts` are files that must be there, or not, a Disk knows its job and what is so when that has ended. What
snapshots hold is known by images/load, which is told of each before it is made.

Used with kills.py's arguments. Read next: kills.py.
"""
import collections
import contextlib
import itertools
import json
import os
import queue
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time

FOLDER, RINGSAN, SEED, BYTES, KILLS = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
SOCKET = f"{FOLDER}/a/ringsand.sock"
STATE = f"{FOLDER}/a/state"
IS_LONG = KILLS >= 100
# Of a disk; and how many snapshots are looked at after a kill, of those that have changed.
CHAIN_MAX, FILES_MAX, LOOKS_MAX = (6, 8, 100) if IS_LONG else (5, 5, 1)
# For what needs no time at all where nothing is wrong.
PATIENCE_S = 60
JOBS = ("stream", "stream-base", "stream-layer", "remove", "commit")
SWITCHES = ("snapshot", "rollback", "clone", "resize", "cancel")
LAYER = re.compile(r"(thin|clone|standard)@[sk][0-9]+\.qcow2|copy-[0-9]+\.qcow2")

dice = random.Random(SEED)
guard = threading.Lock()
met = collections.Counter()
figures = collections.Counter()
refusals = collections.Counter()
wrong = []


class Dead(Exception):
    """The daemon was not there to be asked."""


class Gone(Dead):
    """It went before it had answered."""


class Refused(Exception):
    pass


def give_up(text):
    """From any thread."""
    with guard:
        print("FAULT", " | ".join([*wrong, text]), flush=True)
        os._exit(1)


def count(counter, what, number=1):
    with guard:
        counter[what] += number


def accuse(text):
    with guard:
        wrong.append(text)
    print(f"wrong: {text}", file=sys.stderr, flush=True)


def ask(request, **parameters):
    """The result; Refused, or one of the above."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(PATIENCE_S)
        try:
            channel.connect(SOCKET)
            stream = channel.makefile("rwb")
            if not stream.readline():
                raise Dead
            stream.write(json.dumps({"request": request, "parameters": parameters}).encode() + b"\n")
            stream.flush()
        except OSError as error:
            raise Dead from error
        try:
            answer = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                accuse(f"{request} {parameters} is not answered")
            raise Gone from error
    if "error" in answer:
        raise Refused(f"{answer['error']['code']}: {answer['error']['message']}")
    return answer["result"]


@contextlib.contextmanager
def under_way(what):
    """A kill between the request and its answer has met it."""
    began = time.monotonic()
    try:
        yield
    except Gone:
        count(met, what)
        raise
    with guard:
        took[what] = (took.get(what, 0.01) + time.monotonic() - began) / 2


took = {}  # By what was asked: what it takes, in seconds.


class Load:
    """The program that writes, and knows what it has written."""

    def __init__(self):
        self.lock = threading.Lock()
        self.answers = queue.Queue()
        self.broken = threading.Event()
        self.process = None

    def start(self, arguments):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        threading.Thread(target=self.read, daemon=True).start()
        self.wait_for("begun")

    def read(self):
        for line in self.process.stdout:
            if line.startswith("broken"):
                self.broken.set()
            else:
                self.answers.put(line.strip())
        self.answers.put(f"it has ended with status {self.process.wait()}")

    def wait_for(self, word):
        answer = self.answers.get(timeout=600)
        if not answer.startswith(word):
            give_up(f"the load says '{answer}' where '{word}' was expected")
        return answer

    def tell(self, line, word):
        with self.lock:
            # It says why it has ended.
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.write(line + "\n")
            return self.wait_for(word)


# --- files ----------------------------------------------------------------------------------------


def backing(name):
    """By the header; "": none, or there is no such file."""
    try:
        with open(f"{FOLDER}/{name}", "rb") as file:
            head = file.read(4096)
            offset, length = struct.unpack(">QI", head[8:20])
            if head[:4] != b"QFI\xfb" or offset == 0:
                return ""
            file.seek(offset)
            return file.read(length).decode()
    except (OSError, struct.error):
        return ""


def is_there(name):
    return os.path.exists(f"{FOLDER}/{name}")


def files():
    """Names, and how many each file has; those that go meanwhile are not there."""
    found = {}
    for entry in os.scandir(FOLDER):
        with contextlib.suppress(FileNotFoundError):
            if entry.is_file() and not entry.name.startswith("port."):
                found[entry.name] = entry.stat().st_nlink
    return found


def layers():
    """Snapshots and clones; without second names, which a cut leaves until the next start."""
    return [name for name, links in files().items() if LAYER.fullmatch(name) and links == 1]


def cut_names():
    """What was being made, and has no meaning."""
    return [name for name, links in files().items() if name.endswith(".tmp") or links > 1]


class Disk:
    """One of them, and what its operator knows to be so."""

    def __init__(self, number, name):
        self.number, self.name = number, name
        self.active = f"{name}.qcow2"
        self.path = f"{FOLDER}/{self.active}"
        self.lock = threading.Lock()
        self.job = None        # Its name; None where there is none.
        self.effect = None     # True as soon as it has ended well.
        self.is_begun = False  # It was answered so.
        self.may_end = False   # Somebody has asked for that.
        self.canceled = False  # It was answered so.
        self.sizes = (BYTES, BYTES)  # At least what was answered, at most what was asked for.

    def chain(self):
        names = [self.active]
        while backing(names[-1]) and len(names) < 64:
            names.append(backing(names[-1]))
        return names

    def snapshots(self):
        return [name for name in layers() if name.startswith(f"{self.name}@")]

    def job_now(self):
        """As the daemon shows it. One that is not there any more has done what it was for."""
        for job in ask("jobs")["jobs"]:
            if job["image"] == self.path:
                return job
        self.judge("it has ended")
        return None

    def judge(self, why):
        if self.job and self.is_begun and not self.may_end and not self.effect():
            accuse(f"{self.name}: {self.job} has not done what it was for; {why}: {self.chain()}")
        elif self.job and self.is_begun:
            count(figures, "jobs ended")
        self.job = None


def children():
    """How many each file has. What has been written down, and is about to be removed, names itself."""
    found = collections.Counter()
    for name in [disk.active for disk in disks] + layers():
        if backing(name) != name:
            found[backing(name)] += 1
    return found


load = Load()
disks = [Disk(2, "thin"), Disk(3, "clone"), Disk(4, "standard")]
facts = {}       # File: whether it must be there.
moments = set()  # (name, number), known to the load.
serials = itertools.count(1)


def next_serial():
    with guard:
        return next(serials)


# --- switches -------------------------------------------------------------------------------------

snapshots_lock = threading.Lock()


def make_snapshot(group, before=None):
    """Of several disks at one instant."""
    name = f"s{next_serial()}"
    with snapshots_lock:
        load.tell(f"mark {name} {','.join(str(disk.number) for disk in group)}", "marked")
        moments.update((name, disk.number) for disk in group)
        if before:
            before()
        with under_way("snapshot"):
            ask("image-snapshot", images=[disk.path for disk in group], name=name)
        facts.update((f"{disk.name}@{name}.qcow2", True) for disk in group)
        load.tell("taken", "taken")
    count(figures, "snapshots")


def do_snapshot(disk, before):
    group = [disk] + [other for other in disks if other is not disk and dice.random() < 0.5
                      and other.lock.acquire(blocking=False)]
    try:
        make_snapshot(group, before)
    finally:
        for other in group[1:]:
            other.lock.release()


def is_spoiled(name):
    """Marked: a job has written into it what is to take its place."""
    try:
        return "user.ringsan.merge" in os.listxattr(f"{FOLDER}/{name}")
    except OSError:
        return True


def known_snapshots(disk):
    return [name for name in disk.snapshots() if (moment_of(name), disk.number) in moments and not is_spoiled(name)]


def moment_of(name):
    return name.split("@")[1].removesuffix(".qcow2")


def do_rollback(disk, before):
    """The disk's load rests meanwhile, and knows what it may become."""
    if not known_snapshots(disk):
        make_snapshot([disk])
        time.sleep(0.05)
    name = dice.choice(known_snapshots(disk))
    keep, is_kept = f"k{next_serial()}", dice.random() < 0.5
    with snapshots_lock:
        load.tell(f"mark {keep} {disk.number}", "marked")
        moments.add((keep, disk.number))
        load.tell(f"back {moment_of(name)} {disk.number}", "rests")
        before()
        try:
            with under_way("rollback"):
                ask("image-rollback", image=disk.path, snapshot=moment_of(name), force=True,
                    **({"keep": keep} if is_kept else {}))
        except Refused:
            load.tell("taken", "taken")
            load.tell(f"stayed {disk.number}", "goes")
            raise
        facts[f"{disk.name}@{keep}.qcow2"] = is_kept
        load.tell("taken", "taken")
        load.tell(f"went {disk.number}", "goes")
    count(figures, "ways back")


def do_clone(disk, before):
    """Of a snapshot; looked at, and removed, while no daemon runs."""
    if not known_snapshots(disk):
        make_snapshot([disk])
    copy = f"copy-{next_serial()}.qcow2"
    before()
    with under_way("clone"):
        ask("image-clone", base=f"{FOLDER}/{dice.choice(known_snapshots(disk))}", image=f"{FOLDER}/{copy}")
    facts[copy] = True
    count(figures, "clones")


def do_resize(disk, before):
    size = disk.sizes[1] + 65536
    disk.sizes = (disk.sizes[0], size)
    before()
    with under_way("resize"):
        ask("image-resize", image=disk.path, size=size)
    disk.sizes = (size, size)
    count(figures, "growths")


def do_cancel(disk, before):
    begin_job(disk, dice.choice(JOBS), slow())
    disk.may_end = True
    before()
    try:
        with under_way("cancel"):
            ask("job-cancel", image=disk.path)
        disk.canceled = True
        count(figures, "jobs canceled")
    except Refused:
        # It was over before.
        if disk.job_now() and disk.job_now()["state"] != "finishing":
            raise


# --- jobs -----------------------------------------------------------------------------------------


def slow():
    """A second or more for what there is to do, at most minutes."""
    return BYTES // dice.choice((2, 4, 16))


def lengthen(disk):
    """Two snapshots in its chain, with something written between them."""
    while sum(name in disk.snapshots() for name in disk.chain()) < 2:
        make_snapshot([disk])
        time.sleep(dice.uniform(0.01, 0.06))


def order_of(disk, kind):
    """The request, and what is so when it has ended."""
    chain = disk.chain()
    if kind == "stream":
        return "image-stream", {"image": disk.path}, lambda: backing(disk.active) == ""
    if kind == "stream-base":
        base = dice.choice(chain[2:])
        return "image-stream", {"image": disk.path, "base": base}, lambda: backing(disk.active) == base
    if kind == "stream-layer":
        layer = dice.choice([name for name in chain[1:] if backing(name) and LAYER.fullmatch(name)])
        return "image-stream", {"image": f"{FOLDER}/{layer}"}, lambda: backing(layer) == ""
    if kind == "commit":
        gone, request, image = chain[1], "image-commit", disk.path
    else:
        gone = dice.choice([name for name in chain[2:] if LAYER.fullmatch(name)])
        request, image = "image-remove", f"{FOLDER}/{gone}"
    return request, {"image": image}, lambda: not is_there(gone)


def send_job(disk, kind, request, parameters, effect):
    facts_before = dict(facts)
    for name in disk.snapshots():
        facts.pop(name, None)
    disk.job, disk.effect = kind, effect
    disk.is_begun = disk.may_end = disk.canceled = False
    try:
        with under_way(f"{kind} asked for"):
            ask(request, **parameters)
        disk.is_begun = True
        count(figures, "jobs begun")
    except Refused:
        disk.job = None
        facts.update((name, is_so) for name, is_so in facts_before.items() if name not in facts)
        raise


def begin_job(disk, kind, rate, before=None):
    lengthen(disk)
    request, parameters, effect = order_of(disk, kind)
    if before:
        before()
    send_job(disk, kind, request, {**parameters, "rate": rate}, effect)


def hurry(disk):
    """Until it has no job."""
    deadline = time.monotonic() + PATIENCE_S
    while disk.job_now():
        with contextlib.suppress(Refused):
            ask("job-rate", image=disk.path, rate=0)
        if time.monotonic() > deadline:
            accuse(f"{disk.name}: {disk.job} does not end: {disk.job_now()}")
            return
        time.sleep(0.005)


def tidy(disk):
    """Neither a chain nor a folder grows for ever."""
    while len(disk.chain()) > CHAIN_MAX:
        begin_job(disk, "commit", 0)
        hurry(disk)
    while len(disk.snapshots()) > FILES_MAX:
        needed = children()
        alone = [name for name in disk.snapshots() if needed[name] == 0 and name not in disk.chain()]
        if not alone:
            begin_job(disk, "commit", 0)
        else:
            gone = dice.choice(alone)
            send_job(disk, "unlink", "image-remove", {"image": f"{FOLDER}/{gone}"}, lambda: not is_there(gone))
        hurry(disk)


SWITCH = {"snapshot": do_snapshot, "rollback": do_rollback, "clone": do_clone, "resize": do_resize, "cancel": do_cancel}
