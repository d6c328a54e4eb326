"""The daemons under measurement: ringsand in its variants, and tgt, each pinned, on a free loopback port.

A server is a context manager: inside it listens, after it the process has ended. Read next: measure.py.
"""
import ctypes
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

IQN = "iqn.2026-11.io.ringsan:bench"
LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1  # prctl(2), which Python lacks.
START_S_MAX, STOP_S_MAX = 20, 10


class Failed(Exception):
    """A server that does not do its part, with the last of what it said."""


class Server:
    """A process with a log file, pinned to CPUs."""

    def __init__(self, folder, name, cpus):
        self.name, self.cpus = name, cpus
        self.folder = Path(folder) / name
        self.folder.mkdir(exist_ok=True)
        self.log = self.folder / "log"
        self.process = None
        self.port = 0

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, *command):
        try:
            with open(self.log, "wb") as log:
                self.process = subprocess.Popen(
                    [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                    preexec_fn=self.settle)
        except (OSError, subprocess.SubprocessError) as error:
            raise Failed(f"{self.name} cannot be started: {error}") from None

    def settle(self):
        """In the new process: on its CPUs, and not to outlive even a suite that is killed."""
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.sched_setaffinity(0, self.cpus)

    def said(self):
        return self.log.read_text(encoding="utf-8", errors="replace")

    def fail(self, what):
        raise Failed(f"{self.name} {what}: {self.said()[-500:].strip()}")

    def wait_until(self, ready):
        """Poll `ready` until it gives something; that is returned."""
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            found = ready()
            if found:
                return found
            if self.process.poll() is not None:
                self.fail(f"ended with status {self.process.returncode}")
            time.sleep(0.01)
        return self.fail("does not listen")

    def url(self, lun):
        return f"iscsi://127.0.0.1:{self.port}/{IQN}/{lun}"

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()


class Ringsand(Server):
    """ringsand with the LUNs given as lines of its configuration, by number; limits as one line, too."""

    def __init__(self, folder, name, cpus, program, engine, luns, limits=""):
        super().__init__(folder, name, cpus)
        self.program, self.engine, self.luns, self.limits = program, engine, luns, limits

    def configuration(self):
        luns = "\n".join(f"\tlun {number} {{ {text} }}" for number, text in self.luns.items())
        return (f'state-dir = "{self.folder}"\ncontrol-socket = "{self.folder}/ringsand.sock"\n'
                f'engine = {self.engine}\nloops = {len(self.cpus)}\nlimits {{ {self.limits} }}\n'
                f'portal "127.0.0.1:0" {{ }}\ntarget "{IQN}" {{\n{luns}\n}}\n')

    def start(self):
        conf = self.folder / "ringsan.conf"
        conf.write_text(self.configuration(), encoding="utf-8")
        self.spawn(self.program, "-c", conf)
        ready = self.wait_until(
            lambda: re.search(r"ready: .*127\.0\.0\.1:(\d+).* engine (\w+)", self.said()))
        self.port, self.engine = int(ready[1]), ready[2]


class Tgt(Server):
    """Debian's tgt with the LUNs given as (bstype, path), by number."""

    def __init__(self, folder, cpus, luns):
        super().__init__(folder, "tgt", cpus)
        self.luns = luns

    def admin(self, *words):
        command = ["tgtadm", "-C", str(self.port), "--lld", "iscsi", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise Failed(f"{' '.join(command)}: {done.stderr.strip()}")

    def start(self):
        if not shutil.which("tgtd") or not shutil.which("tgtadm"):
            raise Failed("tgt is not installed, so there is no peer to compare with")
        self.port = free_port()
        # The number of the control socket; the port is one that is free, too.
        self.spawn("tgtd", "-f", "-C", self.port, "--iscsi", f"portal=127.0.0.1:{self.port}")
        self.wait_until(lambda: is_listening(self.port))
        self.admin("--op", "new", "--mode", "target", "--tid", "1", "-T", IQN)
        for number, (kind, path) in self.luns.items():
            self.admin("--op", "new", "--mode", "logicalunit", "--tid", "1", "--lun", str(number),
                       "--bstype", kind, "-b", str(path))
        self.admin("--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL")

    def stop(self):
        """At once: it heeds no SIGTERM while it has targets. And its sockets are nobody else's."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for left in Path("/run/tgtd").glob(f"socket.{self.port}*"):
            left.unlink(missing_ok=True)


def free_port():
    """Below the ports that the kernel hands out to clients, so that none of those takes it meanwhile;
    and a number that tgt takes for its control socket, too."""
    while True:
        port = random.randrange(20000, 30000)
        if not is_listening(port):
            return port


def is_listening(port):
    """Read from the kernel's table: a connection would be an initiator that says nothing."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        return any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
                   for line in file.readlines()[1:])
