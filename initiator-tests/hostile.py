"""Peers that do what they should not, beside a healthy session that must not notice. See hostile.sh,
which sets the limits that this file knows: login 2 s, write stall and Data-Out 3 s, 8 connections
before login from one address, 6 sessions.

usage: hostile.py URL DAEMON-PID LOG-FILE RSS-MIB-MAX
"""
import os
import random
import select
import socket
import struct
import sys
import time

from cases import check, end, equal
import initiator

LOGIN_SECONDS = 2
STALL_SECONDS = 3
CONNECTIONS_MAX = 8
SESSIONS_MAX = 6
HEALTHY_SECONDS = 5
# What follows a deadline comes within this; a machine may be busy.
SLACK_SECONDS = 20


class Scene:
    """The daemon, its log, and the healthy session."""

    def __init__(self, url, pid, log, rss_mib_max):
        self.host, self.port, self.target, self.lun = initiator.split_url(url)
        self.pid = pid
        self.log = log
        self.rss_mib_max = rss_mib_max
        self.healthy = initiator.open_url(url, name="iqn.2026-11.io.ringsan:healthy")
        self.beats = 0

    def connect(self):
        peer = socket.create_connection((self.host, self.port), timeout=20)
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return peer

    def session(self, number=0, keys=None):
        peer = initiator.Initiator(self.host, self.port, f"iqn.2026-11.io.ringsan:guest-{number}")
        return peer.login(self.target, keys)

    def beat(self):
        """The healthy session writes, reads back and pings; none of it may take long."""
        self.beats += 1
        data = struct.pack(">Q", self.beats) * 2048
        began = time.monotonic()
        assert self.healthy.write(self.lun, 64, data).status == 0, "the healthy write failed"
        assert self.healthy.read(self.lun, 64, 32).data == data, "the healthy read differs"
        assert self.healthy.nop() == b"ping", "the healthy ping differs"
        took = time.monotonic() - began
        assert took < HEALTHY_SECONDS, f"the healthy session waited {took:.1f} s"

    def log_lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as text:
            return text.read().splitlines()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def rss_mib(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as text:
            for line in text:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) // 1024
        return 0


def closed_within(peer, seconds, keep_busy=lambda: None):
    """Seconds until the daemon closed; None if it did not. What it sends is thrown away."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        keep_busy()
        if select.select([peer], [], [], 0.1)[0]:
            try:
                if not peer.recv(65536):
                    return time.monotonic() - began
            except OSError:
                return time.monotonic() - began
    return None


# --- the offenders: each answers None, or what went wrong ------------------------------------------

def port_scanner(scene):
    scene.connect().close()


def port_scanner_that_resets(scene):
    peer = scene.connect()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()


def sends(scene, data, seconds):
    peer = scene.connect()
    try:
        peer.sendall(data)
    except OSError:
        return None  # Closed before all was taken, which is as good.
    took = closed_within(peer, seconds, scene.beat)
    peer.close()
    return None if took is not None else f"still open after {seconds} s"


def http_get(scene):
    return sends(scene, b"GET / HTTP/1.1\r\nHost: storage\r\nAccept: */*\r\n\r\n",
                 LOGIN_SECONDS + SLACK_SECONDS)


def tls_hello(scene):
    hello = bytes.fromhex("160301020001 0001fc0303".replace(" ", "")) + bytes(range(256)) * 2
    return sends(scene, hello[:517], LOGIN_SECONDS + SLACK_SECONDS)


def random_bytes(scene):
    return sends(scene, random.Random(7).randbytes(4096), LOGIN_SECONDS + SLACK_SECONDS)


def sixteen_mebibytes_before_login(scene):
    header = bytearray(initiator.pdu(initiator.LOGIN | initiator.IMMEDIATE, 0x87))
    header[5:8] = b"\xff\xff\xff"
    return sends(scene, bytes(header) + bytes(1 << 20), SLACK_SECONDS)


def command_before_login(scene):
    return sends(scene, initiator.pdu(initiator.SCSI_COMMAND, 0xC1, tag=1, words=(512, 1, 1)),
                 SLACK_SECONDS)


def silence(scene):
    return sends(scene, b"", LOGIN_SECONDS + SLACK_SECONDS)


def half_a_header(scene):
    return sends(scene, initiator.pdu(initiator.LOGIN | initiator.IMMEDIATE, 0x87)[:20],
                 LOGIN_SECONDS + SLACK_SECONDS)


def login_that_never_ends(scene):
    """Sends a text with the C bit again and again: "more follows"."""
    peer = initiator.Initiator(scene.host, scene.port)
    state = {"next": 0.0}

    def another_piece():
        scene.beat()
        if time.monotonic() < state["next"]:
            return
        state["next"] = time.monotonic() + 0.4
        piece = bytearray(peer.login_pdu({"X-com.example.filler": "a" * 64}))
        piece[1] = 0x44  # C, operational stage, no transit.
        try:
            peer.socket.sendall(bytes(piece))
        except OSError:
            pass

    took = closed_within(peer.socket, LOGIN_SECONDS + SLACK_SECONDS, another_piece)
    peer.close()
    return None if took is not None else "still open"


def login_byte_by_byte(scene):
    peer = initiator.Initiator(scene.host, scene.port)
    message = iter(peer.login_pdu({"InitiatorName": "iqn.2026-11.io.ringsan:slow",
                                   "TargetName": scene.target, "SessionType": "Normal"}))

    def another_byte():
        scene.beat()
        try:
            peer.socket.sendall(bytes([next(message)]))
        except (OSError, StopIteration):
            pass

    took = closed_within(peer.socket, LOGIN_SECONDS + SLACK_SECONDS, another_byte)
    peer.close()
    return None if took is not None else "still open"


def never_reads(scene):
    descriptors = scene.descriptors()
    peer = scene.session()
    peer.clear_unit_attention(scene.lun)
    read = struct.pack(">BBQIBB", 0x88, 0, 0, 2048, 0, 0)
    while (peer.max_cmd_sn - peer.cmd_sn) & 0xFFFFFFFF < 0x80000000:
        peer.submit(scene.lun, read, data_in=2048 * 512)
    # Who does not read cannot see the end of the connection either; the daemon's descriptors tell.
    deadline = time.monotonic() + STALL_SECONDS + 2 * SLACK_SECONDS
    while scene.descriptors() > descriptors and time.monotonic() < deadline:
        scene.beat()
        time.sleep(0.1)
    peer.close()
    return None if scene.descriptors() <= descriptors else "still open"


def write_without_its_data(scene):
    peer = scene.session()
    peer.clear_unit_attention(scene.lun)
    cdb = struct.pack(">BBQIBB", 0x8A, 0, 0, 512, 0, 0)
    task = peer.submit(scene.lun, cdb, data_out=bytes(512 * 512))
    peer.on_r2t = lambda tag, header, data: None
    del task
    took = closed_within(peer.socket, STALL_SECONDS + SLACK_SECONDS, scene.beat)
    peer.close()
    return None if took is not None else "still open"


def too_long_a_data_segment(scene):
    peer = scene.session()
    header = bytearray(initiator.pdu(initiator.NOP_OUT | initiator.IMMEDIATE, tag=9,
                                     words=(initiator.NO_TAG, peer.cmd_sn, peer.exp_stat_sn)))
    header[5:8] = b"\xff\xff\xff"
    peer.socket.sendall(bytes(header))
    took = closed_within(peer.socket, SLACK_SECONDS, scene.beat)
    peer.close()
    return None if took is not None else "still open"


def unknown_opcode(scene):
    """Rejected (RFC 7143 11.17), and the session goes on or is closed; either is one line."""
    peer = scene.session()
    peer.socket.sendall(initiator.pdu(0x1C, tag=9, words=(0, peer.cmd_sn, peer.exp_stat_sn)))
    try:
        header, _ = peer.receive_pdu()
    except initiator.Closed:
        header = (initiator.REJECT,)
    peer.close()
    return None if header[0] == initiator.REJECT else f"answered with {header[0]:#x}"


OFFENDERS = (port_scanner, port_scanner_that_resets, http_get, tls_hello, random_bytes,
             sixteen_mebibytes_before_login, command_before_login, silence, half_a_header,
             login_that_never_ends, login_byte_by_byte, too_long_a_data_segment, unknown_opcode,
             write_without_its_data, never_reads)


def meet(scene, offender):
    name = offender.__name__.replace("_", " ")
    before = len(scene.log_lines())
    try:
        scene.beat()
        wrong = offender(scene)
        scene.beat()
    except (AssertionError, OSError, initiator.ProtocolError, initiator.Closed) as error:
        check(f"{name}: nobody else notices", False, repr(error))
        return
    check(f"{name}: closed, and nobody else notices", wrong is None, wrong)
    deadline = time.monotonic() + 2
    while len(scene.log_lines()) == before and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    lines = [line for line in scene.log_lines()[before:] if is_about_an_offence(line)]
    check(f"{name}: one line in the log", len(lines) == 1, lines)
    check(f"{name}: memory in its bound", scene.rss_mib() <= scene.rss_mib_max,
          f"{scene.rss_mib()} MiB")


def is_about_an_offence(line):
    """A session that began in good order is told of, too; that is not counted."""
    return "logged in to" not in line and "logged out" not in line


def too_many_connections(scene):
    before = len(scene.log_lines())
    peers = [scene.connect() for _ in range(CONNECTIONS_MAX + 4)]
    # The deadline of logins would close the last ones, too, but not so soon.
    excess = sum(closed_within(peer, LOGIN_SECONDS / 2) is not None for peer in peers[CONNECTIONS_MAX:])
    equal("more connections than allowed: the excess is closed at once",
          len(peers) - CONNECTIONS_MAX, excess)
    scene.beat()
    still_open = sum(closed_within(peer, LOGIN_SECONDS + SLACK_SECONDS) is None for peer in peers)
    equal("more connections than allowed: the rest at the deadline", 0, still_open)
    for peer in peers:
        peer.close()
    lines = [line for line in scene.log_lines()[before:] if is_about_an_offence(line)]
    check("more connections than allowed: at most a line each", 1 <= len(lines) <= len(peers),
          len(lines))
    scene.beat()


def too_many_sessions(scene):
    guests = []
    status = 0
    try:
        for number in range(SESSIONS_MAX):
            guests.append(scene.session(number))
    except initiator.Refused as refusal:
        status = refusal.status
    equal("more sessions than allowed: so many get in", SESSIONS_MAX - 1, len(guests))
    equal("more sessions than allowed: out of resources", 0x0302, status)
    scene.beat()
    for guest in guests:
        guest.logout()
    scene.session().logout()
    scene.beat()


def crowd_in_discovery(scene):
    """Strangers who need not prove anything take every session there is, and stay."""
    crowd = []
    for number in range(2 * SESSIONS_MAX):
        peer = initiator.Initiator(scene.host, scene.port, f"iqn.2026-11.io.ringsan:crowd-{number}")
        crowd.append(peer.login())
    guests = [scene.session(number) for number in range(SESSIONS_MAX - 1)]
    equal("a crowd in discovery: every host gets in", SESSIONS_MAX - 1, len(guests))
    scene.beat()
    check("a crowd in discovery: it made room", all(
        closed_within(peer.socket, SLACK_SECONDS) is not None for peer in crowd))
    for peer in guests + crowd:
        peer.close()
    scene.beat()


def flood(scene):
    """Connections that come and go as fast as they can, for two seconds."""
    began = time.monotonic()
    before = len(scene.log_lines())
    count = 0
    while time.monotonic() - began < 2:
        for _ in range(20):
            try:
                peer = scene.connect()
                peer.send(os.urandom(48))
                peer.close()
            except OSError:
                pass
            count += 1
        scene.beat()
    time.sleep(0.5)
    lines = len(scene.log_lines()) - before
    check("a flood of connections: nobody else notices", True)
    check("a flood of connections does not flood the log", lines < max(200, count // 4),
          f"{lines} lines for {count} connections")
    check("a flood of connections: memory in its bound", scene.rss_mib() <= scene.rss_mib_max,
          f"{scene.rss_mib()} MiB")


def main():
    url, pid, log, rss_mib_max = sys.argv[1:]
    scene = Scene(url, int(pid), log, int(rss_mib_max))
    for offender in OFFENDERS:
        meet(scene, offender)
    too_many_connections(scene)
    too_many_sessions(scene)
    crowd_in_discovery(scene)
    flood(scene)
    scene.healthy.logout()
    end()


main()
