"""How large one daemon may be: thousands of LUNs, hundreds of sessions, and whether they are fair to
each other; see scale.sh. Figures are printed as lines "figure NAME VALUE UNIT", bounds are cases.

usage: scale.py RINGSAND SCALE_LOAD FOLDER PORT ENGINE short|long
"""
import os
import resource
import signal
import subprocess
import sys
import time

from cases import check, end, equal
import initiator

PREFIX = "iqn.2026-11.io.ringsan:"
LUNS_PER_TARGET = 100
# What one target may have at most: the longest answer of REPORT LUNS.
LUNS_IN_ONE_TARGET = 8000
QUIET_SECONDS = 0.5
# A disk's delay, of which a neighbour must not notice as much as a quarter.
SLOW_MS = 200
# Hosts in the middle of a login, at most.
LOGINS = 256


class Form:
    """How much is tried. Bounds of time have a margin of ten, machines differ."""

    def __init__(self, name):
        self.long = name == "long"
        self.luns = 10000 if self.long else 2000
        self.images = min(self.luns, descriptors_for_images()) if self.long else 400
        self.sessions = 1000 if self.long else 200
        self.load_seconds = 5 if self.long else 1
        self.idle_seconds = 40 if self.long else 2
        self.idle_percent_max = 1 if self.long else 10


def descriptors_for_images():
    """Each image has two."""
    return (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 2000) // 2


def figure(name, value, unit):
    print(f"figure {name:44} {value:>10} {unit}", flush=True)


# --- the daemon ------------------------------------------------------------------------------------

class Daemon:
    """A ringsand with a configuration; `with` ends it and checks that it ends well."""
    last_log = ""

    def __init__(self, test, lines, targets, loops=2):
        self.test = test
        self.path = os.path.join(test.folder, "ringsan.conf")
        state = os.path.join(test.folder, "state")
        with open(self.path, "w", encoding="ascii") as out:
            out.write(f'state-dir = "{state}"\ncontrol-socket = "{test.folder}/ringsand.sock"\n')
            out.write(f'engine = {test.engine}\nloops = {loops}\n{lines}\n')
            out.write(f'portal "127.0.0.1:{test.port}" {{ }}\n')
            for name, luns in targets.items():
                out.write(f'target "{PREFIX}{name}" {{\n')
                out.writelines(f"lun {number} {{ {what} }}\n" for number, what in enumerate(luns))
                out.write("}\n")
        self.log_path = os.path.join(test.folder, "log")

    def __enter__(self):
        began = time.monotonic()
        with open(self.log_path, "w", encoding="ascii") as log:
            self.process = subprocess.Popen([self.test.ringsand, "-c", self.path], stderr=log)
        while "ringsand ready" not in self.log():
            if self.process.poll() is not None or time.monotonic() - began > 120:
                print(self.log()[-2000:])
                raise SystemExit("ringsand does not start")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=30)
        Daemon.last_log = self.log()
        if status:
            check("ringsand ends well", False, f"status {status}: {Daemon.last_log[-300:]}")

    def log(self):
        with open(self.log_path, encoding="ascii") as log:
            return log.read()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_bytes(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_seconds(self):
        """Of all threads, by the scheduler's count."""
        total = 0
        folder = f"/proc/{self.process.pid}/task"
        for thread in os.listdir(folder):
            with open(f"{folder}/{thread}/schedstat", encoding="ascii") as stat:
                total += int(stat.read().split()[0])
        return total / 1e9

    def log_line(self, words):
        return next((line for line in self.log().splitlines() if words in line), "")


class Test:
    """Where everything is."""

    def __init__(self, ringsand, load, folder, port, engine, form):
        self.ringsand, self.load_program, self.folder = ringsand, load, folder
        self.port, self.engine, self.form = int(port), engine, Form(form)

    def start_load(self, seconds, *groups):
        command = [self.load_program, "127.0.0.1", str(self.port), str(seconds)]
        command += [",".join(str(word) for word in group) for group in groups]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def finish_load(self, process, logged_in=""):
        """{"login": {...}, group name: {...}}, each a dictionary of numbers. Who waited for the line that
        says that all are logged in hands it on."""
        output = logged_in + process.communicate(timeout=300)[0]
        found = {}
        for line in output.splitlines():
            words = line.split()
            pairs = dict(word.split("=") for word in words[1:])
            name = pairs.pop("name", words[0])
            found[name] = {key: float(value) for key, value in pairs.items()}
        if process.returncode:
            check("the load runs to its end", False, f"exit status {process.returncode}: {output}")
        return found

    def load(self, *groups, seconds=None):
        return self.finish_load(self.start_load(seconds or self.form.load_seconds, *groups))


def null_targets(count, per_target=LUNS_PER_TARGET):
    numbers = range((count + per_target - 1) // per_target)
    return {f"t{t}": ["type = null size = 1G"] * min(per_target, count - t * per_target)
            for t in numbers}


# --- LUNs --------------------------------------------------------------------------------------------

def discovered(test):
    """The names of all targets; the answer comes in parts, of which the last has the F bit."""
    session = initiator.Initiator("127.0.0.1", test.port).login()
    text, more = b"", initiator.NO_TAG
    data = b"SendTargets=All\0"
    while True:
        tag = session.new_tag()
        header, part = session.ask(
            initiator.pdu(initiator.TEXT | initiator.IMMEDIATE, initiator.FINAL, bytes(8), tag,
                          (more, session.cmd_sn, session.exp_stat_sn), data), tag, 10)
        text += part
        if header[1] & initiator.FINAL:
            break
        more, data = int.from_bytes(header[20:24], "big"), b""
    session.logout()
    return sorted(pair[11:].decode() for pair in text.split(b"\0") if pair.startswith(b"TargetName="))


def count_of_report_luns(test, target):
    session = initiator.open_url(f"iscsi://127.0.0.1:{test.port}/{PREFIX}{target}/0")
    cdb = bytes.fromhex("a00000000000") + (65536).to_bytes(4, "big") + b"\0\0"
    data = session.command(0, cdb, data_in=65536).data
    session.logout()
    return int.from_bytes(data[:4], "big") // 8


def start_twice(test, name, targets, luns, base_bytes):
    """The first start makes identities (and images), the second finds them."""
    with Daemon(test, "", targets) as daemon:
        figure(f"first start, {luns} {name}", f"{daemon.start_seconds:.2f}", "s")
    with Daemon(test, "", targets) as daemon:
        figure(f"start, {luns} {name}", f"{daemon.start_seconds:.2f}", "s")
        check(f"{luns} {name}: started in time", daemon.start_seconds < 3,
              f"{daemon.start_seconds:.1f} s")
        time.sleep(QUIET_SECONDS)
        each = (daemon.resident_bytes() - base_bytes) / luns
        figure(f"memory of an idle LUN, {name}", f"{each / 1024:.1f}", "KiB")
        check(f"{luns} {name}: little memory for each", each < 32768, f"{each:.0f} bytes")
        equal(f"{luns} {name}: none is offline", "", daemon.log_line("offline"))
        began = time.monotonic()
        names = discovered(test)
        figure(f"SendTargets, {len(targets)} targets", f"{time.monotonic() - began:.2f}", "s")
        equal("discovery tells each target once", sorted(PREFIX + name for name in targets), names)


def many_luns(test):
    with Daemon(test, "", null_targets(1)) as daemon:
        time.sleep(QUIET_SECONDS)
        base = daemon.resident_bytes()
        figure("memory of a daemon with one LUN", f"{base / 2 ** 20:.1f}", "MiB")
    form = test.form
    targets = null_targets(form.luns)
    start_twice(test, "null LUNs", targets, form.luns, base)
    folder = os.path.join(test.folder, "images")
    os.mkdir(folder)
    images = [f'image = "{folder}/{n}" size = 64M' for n in range(form.images)]
    targets = {f"t{n}": images[n:n + LUNS_PER_TARGET]
               for n in range(0, form.images, LUNS_PER_TARGET)}
    start_twice(test, "images", targets, form.images, base)
    luns = LUNS_IN_ONE_TARGET if form.long else form.luns
    with Daemon(test, "", null_targets(luns, luns)) as daemon:
        figure(f"first start, {luns} LUNs in one target", f"{daemon.start_seconds:.2f}", "s")
        equal("REPORT LUNS tells all LUNs of one target", luns, count_of_report_luns(test, "t0"))


# --- sessions ----------------------------------------------------------------------------------------

def memory_for(sessions, loops=2):
    """What the manual says, and room for windows to grow."""
    return (f"limits {{ memory = {(sessions * 640 + loops * 4096) // 1024 + 64}M sessions = {sessions} "
            f"connections-before-login = {LOGINS} login-timeout = 300s }}")


def fill_doorway(test, daemon, target):
    """A login works in 64 KiB, which are used again but never given back. How many of hosts that come at
    once are in the doorway at the same time is a matter of speed: so fill it, once, for certain."""
    halfway = []
    for number in range(LOGINS):
        # A source may have only so many of them.
        peer = initiator.Initiator("127.0.0.1", test.port, source=f"127.2.0.{1 + number % 250}")
        peer.begin_login(target)
        halfway.append(peer)
    # Each of them was answered, and none has been sent away, so all are in it now.
    full = daemon.descriptors()
    for peer in halfway:
        peer.close()
    deadline = time.monotonic() + 60
    while daemon.descriptors() > full - LOGINS and time.monotonic() < deadline:
        time.sleep(0.01)
    check("the doorway is empty again", daemon.descriptors() <= full - LOGINS,
          f"{full} descriptors, then {daemon.descriptors()}")


def many_sessions(test):
    form = test.form
    with Daemon(test, memory_for(form.sessions), null_targets(form.luns)) as daemon:
        figure("pools of that daemon", daemon.log_line("memory:").split("memory: ")[-1], "")
        fill_doorway(test, daemon, PREFIX + "t0")
        time.sleep(QUIET_SECONDS)
        before = daemon.resident_bytes()
        load = test.start_load(form.idle_seconds + 4,
                               ("idle", form.sessions, 0, 8, "idle", PREFIX + "t0", 0))
        logged_in = load.stdout.readline()
        time.sleep(QUIET_SECONDS)
        after = daemon.resident_bytes()
        cpu = daemon.cpu_seconds()
        time.sleep(form.idle_seconds)
        percent = (daemon.cpu_seconds() - cpu) / form.idle_seconds * 100
        login = test.finish_load(load, logged_in)["login"]
    each = (after - before) / form.sessions
    figure(f"{form.sessions} hosts log in at once", f"{login['seconds']:.2f}", "s")
    figure("memory of an idle session", f"{each / 1024:.1f}", "KiB")
    figure(f"idle, {form.sessions} sessions, {form.luns} LUNs", f"{percent:.2f}", "% of a CPU")
    check("all hosts got in at the first try", login["retries"] == 0, f"{login['retries']} retries")
    check("in time", login["seconds"] < 10, f"{login['seconds']} s")
    check("little memory for each session", each < 65536, f"{each:.0f} bytes")
    check("next to no processor time when idle", percent < form.idle_percent_max, f"{percent} %")


def placement(test):
    """Hosts that come to one busy loop and one idle one go to the idle one."""
    target = PREFIX + "t0"
    loads = []
    with Daemon(test, "", null_targets(1)) as daemon:
        # One after the other: by count they take turns.
        for n in range(5):
            for group in ((f"busy{n}", 1, 8, 8, "read", target, 0),
                          (f"idle{n}", 1, 0, 8, "idle", target, 0)):
                loads.append(test.start_load(20, group))
                loads[-1].stdout.readline()
        # The log names loops, ten logins in ten seconds.
        time.sleep(12)
        test.load(("more", 4, 0, 8, "idle", target, 0), seconds=1)
        loops = [line.rsplit(" ", 1)[1] for line in daemon.log().splitlines()
                 if "logged in to" in line]
        for load in loads:
            test.finish_load(load)
    equal("idle hosts take turns on loops", ["0", "1"] * 5, loops[:10])
    equal("equal counts, one loop busy: the next hosts go to the other", ["1"] * 4, loops[10:])


# --- fairness ------------------------------------------------------------------------------------------

def fairness(test):
    """One loop, so that all compete; a LUN without storage, so that nothing else is waited for."""
    target = PREFIX + "t0"
    one = ("one", 1, 1, 8, "read", target, 0)
    with Daemon(test, memory_for(200, 1), {"t0": ["type = null size = 1G"] * 2}, loops=1):
        alone = test.load(one)["one"]
        deep = test.load(one, ("deep", 1, 256, 8, "read", target, 0))["one"]
        figure("depth 1 alone, median and 99 %", f"{alone['p50_us']:.0f} {alone['p99_us']:.0f}", "us")
        figure("depth 1 beside depth 256", f"{deep['p50_us']:.0f} {deep['p99_us']:.0f}", "us")
        check("a deep session leaves room for one of depth 1", deep["p50_us"] < 5000, str(deep))
        for kind in ("read", "write"):
            many = test.load(("many", 64, 32, 8, kind, target, 0))["many"]
            share = many["min"] / max(many["max"], 1)
            figure(f"64 sessions {kind}, least to most", f"{share:.2f}", "")
            check(f"64 sessions of one loop get the like, {kind}", share > 0.25, str(many))
        small = test.load(("small", 8, 1, 8, "read", target, 1),
                          ("stream", 1, 32, 2048, "read", target, 0))
        figure("depth 1 beside 1 MiB reads, depth 32",
               f"{small['small']['p50_us']:.0f} {small['small']['p99_us']:.0f}", "us")
        figure("  and those 1 MiB reads", f"{small['stream']['iops']:.0f}", "MiB/s")
        check("large blocks leave room for small ones", small["small"]["p50_us"] < 20000, str(small))


def set_rules(control, rules):
    with open(control + ".new", "w", encoding="ascii") as out:
        out.write(rules + "\n")
    os.rename(control + ".new", control)


def neighbours(test):
    """Sessions of the same loop with another LUN do not notice that one is slow or stuck."""
    target = PREFIX + "t0"
    control = os.path.join(test.folder, "control")
    set_rules(control, "")
    luns = [f'type = fault image = "{test.folder}/bad" size = 64M fault-control = "{control}"',
            f'image = "{test.folder}/good" size = 64M']
    groups = [("reader", 2, 1, 8, "read", target, 1), ("writer", 2, 1, 8, "write", target, 1)]
    with Daemon(test, memory_for(200, 1), {"t0": luns}, loops=1):
        # Blocks that are there cost less than those that are not.
        test.load(("fill", 2, 8, 8, "write", target, 1), seconds=1)
        alone = test.load(*groups)
        for name, rules in (("slow", f"delay all {SLOW_MS}"), ("stuck", "stick all")):
            set_rules(control, rules)
            bad = test.start_load(test.form.load_seconds + 2, ("r", 8, 32, 8, "read", target, 0),
                                  ("w", 8, 32, 8, "write", target, 0))
            time.sleep(1)
            beside = test.load(*groups)
            set_rules(control, "")
            test.finish_load(bad)
            for group in ("reader", "writer"):
                now, then = beside[group], alone[group]
                figure(f"{group} beside a {name} LUN (and alone)",
                       f"{now['p50_us']:.0f} ({then['p50_us']:.0f})", "us, median")
                check(f"a {name} LUN does not slow the {group} of another",
                      now["done"] > 0 and now["p50_us"] < max(10 * then["p50_us"], SLOW_MS * 250),
                      f"{now} alone {then}")
                equal("nor makes it fail", 0, now["errors"])
        # Hosts that vanish leave hundreds of writes with a disk that is slow: the end waits for them.
        set_rules(control, "delay write 700")
        test.load(("w", 8, 32, 8, "write", target, 0), seconds=1)
    check("the end waits for a slow disk's last writes", "good order" in Daemon.last_log,
          Daemon.last_log[-300:])


def main():
    test = Test(*sys.argv[1:])
    many_luns(test)
    many_sessions(test)
    fairness(test)
    neighbours(test)
    if test.form.long:
        placement(test)
    end()


main()
