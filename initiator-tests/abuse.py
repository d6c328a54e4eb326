"""A crowd of hostile connections beside a healthy session: memory stays in the bound that the daemon
states at its start, every command of the healthy session is served, and when the crowd has gone the
daemon is as it was. See abuse.sh.

usage: abuse.py URL DAEMON-PID LOG-FILE RSS-BESIDE-MIB CONNECTIONS SECONDS RINGSAN

The crowd is a process of its own and comes from many addresses of 127.0.0.0/8. Each connection has
one bad habit, and when it was closed it comes back.
"""
import errno
import json
import multiprocessing
import os
import re
import selectors
import socket
import struct
import subprocess
import sys
import time

from cases import check, end, equal
import initiator

HOSTILE = "iqn.2026-11.io.ringsan:hostile"
# What a connection waits before it comes back, so that the crowd does not need the whole machine.
PAUSE_SECONDS = 0.25
READ = struct.pack(">BBQIBB", 0x88, 0, 0, 512, 0, 0)


def login_bytes(number, target, next_stage):
    """One login request, and behind it reads that nobody will take the data of."""
    keys = {"InitiatorName": f"{HOSTILE}-{number}", "SessionType": "Normal", "TargetName": target,
            "MaxRecvDataSegmentLength": "262144"}
    text = b"".join(f"{key}={value}\0".encode() for key, value in keys.items())
    flags = 0x87 if next_stage else 0x04
    message = initiator.pdu(initiator.LOGIN | initiator.IMMEDIATE, flags, b"\x80\0\0\0\0\1\0\0", 1,
                            (0, 1, 0), text)
    if next_stage:
        for sn in range(1, 9):
            read = initiator.pdu(initiator.SCSI_COMMAND, 0xC1, bytes(8), sn, (512 * 512, sn, 0))
            message += read[:32] + READ.ljust(16, b"\0")
    return message


class Foe:
    """One connection; `habit` is a row of HABITS."""

    def __init__(self, crowd, number):
        self.crowd, self.number = crowd, number
        self.habit = HABITS[number % len(HABITS)]
        self.socket, self.left, self.again_at = None, b"", 0.0

    def source(self):
        """Half of the habits use an address each, the others sixteen together."""
        number = self.number if self.habit.__name__ in ("silent", "never_reads") else self.number % 16
        return f"127.{10 + number % 200}.{1 + number // 200 % 200}.{1 + number // 40000}"

    def begin(self):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            self.socket.bind((self.source(), 0))
            result = self.socket.connect_ex(self.crowd.address)
        except OSError as error:
            result = error.errno
        if result not in (0, errno.EINPROGRESS):
            self.finish()
            return
        self.crowd.selector.register(self.socket, selectors.EVENT_WRITE, self)

    def finish(self, reset=False):
        try:
            self.crowd.selector.unregister(self.socket)
        except KeyError:
            pass
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.socket, self.left = None, b""
        self.again_at = time.monotonic() + PAUSE_SECONDS

    def send(self, count=None):
        try:
            self.left = self.left[self.socket.send(self.left[:count]):]
        except OSError as error:
            if error.errno != errno.EAGAIN:
                self.finish()

    def ready(self, events):
        if events & selectors.EVENT_READ:
            try:
                if self.socket.recv(4096):
                    return
            except OSError:
                pass
            self.crowd.closed += 1
            self.finish()
        elif self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.finish()
        else:
            self.crowd.connected += 1
            self.crowd.selector.modify(self.socket, selectors.EVENT_READ, self)
            self.habit(self)


# --- the habits: what a connection does once it is there -------------------------------------------

def silent(_foe):
    pass


def byte_by_byte(foe):
    """The crowd sends one of them each second."""
    foe.left = login_bytes(foe.number, foe.crowd.target, False)


def hangs_up(foe):
    foe.finish(reset=True)


def half_a_login(foe):
    """Begins well and says no more."""
    foe.left = login_bytes(foe.number, foe.crowd.target, False)
    foe.send()


def never_reads(foe):
    """Logs in, asks for a lot and takes nothing. It does not even see that it was closed."""
    foe.crowd.selector.unregister(foe.socket)
    foe.left = login_bytes(foe.number, foe.crowd.target, True)
    foe.send()


HABITS = (silent, byte_by_byte, hangs_up, half_a_login, never_reads)


class Crowd:
    def __init__(self, address, target, count, seconds):
        self.address, self.target = address, target
        self.selector = selectors.DefaultSelector()
        self.foes = [Foe(self, number) for number in range(count)]
        self.until = time.monotonic() + seconds
        self.connected = self.closed = 0

    def tick(self, now):
        for foe in self.foes:
            if foe.socket is None:
                if now >= foe.again_at:
                    foe.begin()
            elif foe.habit is byte_by_byte and foe.left:
                foe.send(1)

    def run(self, pipe):
        next_tick = next_bytes = 0.0
        while time.monotonic() < self.until:
            for key, events in self.selector.select(0.05):
                if key.data.socket is not None:
                    key.data.ready(events)
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + 1
                self.tick(now)
            elif now >= next_bytes:
                next_bytes = now + PAUSE_SECONDS
                for foe in self.foes:
                    if foe.socket is None and now >= foe.again_at:
                        foe.begin()
        standing = sum(foe.socket is not None for foe in self.foes)
        pipe.send((self.connected, self.closed, standing))


class Scene:
    def __init__(self, url, pid, log, ringsan):
        self.url, self.pid, self.log, self.ringsan = url, pid, log, ringsan
        self.host, self.port, self.target, self.lun = initiator.split_url(url)

    def rss_mib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as text:
            return int(re.search(r"VmRSS:\s+(\d+)", text.read())[1]) // 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def stated_mib(self):
        with open(self.log, encoding="utf-8", errors="replace") as text:
            return int(re.search(r"memory: (\d+) MiB when all is in use", text.read())[1])

    def healthy(self, seconds):
        """Starts the session that must not notice."""
        # pylint: disable=consider-using-with
        return subprocess.Popen([self.ringsan, "bench", "--json", f"--time={seconds * 1000:.0f}ms",
                                 "--ramp=200ms", "--queue-depth=4", "--workload=mix", self.url],
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def result_of(self, process, name):
        said, complaint = process.communicate(timeout=120)
        if process.returncode != 0:
            check(name, False, complaint.decode(errors="replace")[-300:])
            return None
        result = json.loads(said)
        check(name, result["errors"] == {"io": 0, "verify": 0} and result["read"]["ios"] > 0,
              result["errors"])
        return result["read"]["latency_us"]


def under_attack(scene, count, seconds):
    """The healthy session is there before the crowd is. Its latencies, and the most memory seen."""
    ours, theirs = multiprocessing.Pipe()
    crowd = Crowd((scene.host, scene.port), scene.target, count, seconds)
    session = scene.healthy(seconds)
    time.sleep(0.1)
    process = multiprocessing.Process(target=crowd.run, args=(theirs,))
    process.start()
    most_mib = 0
    while process.is_alive():
        most_mib = max(most_mib, scene.rss_mib())
        process.join(0.1)
    latency = scene.result_of(session, f"beside {count} hostile connections: every command is served")
    return latency, most_mib, ours.recv()


def after_attack(scene, descriptors):
    """Its sockets closed, a crowd is soon forgotten."""
    deadline = time.monotonic() + 30
    while scene.descriptors() > descriptors and time.monotonic() < deadline:
        time.sleep(0.1)
    check("the crowd is gone: so are its descriptors", scene.descriptors() <= descriptors,
          f"{scene.descriptors()}, {descriptors} before")
    session = initiator.open_url(scene.url)
    equal("and whoever comes next is let in", b"ping", session.nop())
    session.logout()


def main():
    url, pid, log, beside_mib, count, seconds, ringsan = sys.argv[1:]
    scene = Scene(url, int(pid), log, ringsan)
    count, seconds = int(count), float(seconds)
    quiet = scene.result_of(scene.healthy(min(seconds / 2, 5)), "the healthy session alone")
    descriptors = scene.descriptors()
    bound_mib = scene.stated_mib() + int(beside_mib)
    latency, most_mib, (connected, closed, standing) = under_attack(scene, count, seconds)
    check("memory stays in the bound that was stated", most_mib <= bound_mib,
          f"{most_mib} MiB, {bound_mib} MiB allowed")
    after_attack(scene, descriptors)
    print(f"figure {count} hostile connections for {seconds:.0f} s: {connected} times connected, "
          f"{closed} closed, {standing} at the end")
    print(f"figure RSS at most {most_mib} MiB; stated {scene.stated_mib()} MiB and {beside_mib} MiB "
          f"for the program")
    if quiet and latency:
        print(f"figure healthy p50 {quiet['p50']:.0f} -> {latency['p50']:.0f} us, p99 "
              f"{quiet['p99']:.0f} -> {latency['p99']:.0f} us, "
              f"p99 ratio {latency['p99'] / quiet['p99']:.2f}")
    end()


main()
