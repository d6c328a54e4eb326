"""What the cases share: the daemon's address, a healthy session beside them, and words for what came
back. A case is a module with one function, case(scene), which reports through scene.equal.
"""
import os
import socket
import struct
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import cases  # noqa: E402
import initiator  # noqa: E402
from initiator import FINAL, IMMEDIATE, NO_TAG, lun_bytes, pdu  # noqa: E402

BLOCK = 512
DIGESTS = {"HeaderDigest": "CRC32C", "DataDigest": "CRC32C"}

# What a peer may find in place of an answer.
GONE = (initiator.Closed, ConnectionError)

NAMES = {0x20: "nop-in", 0x21: "response", 0x22: "function", 0x23: "login", 0x24: "text",
         0x25: "data-in", 0x26: "logout", 0x31: "r2t", 0x32: "async", 0x3F: "reject"}


class Scene:
    """One daemon, two targets with the same LUN: `main`, and `own` for what ends sessions."""

    def __init__(self, url, pid):
        self.host, self.port, self.target, self.lun = initiator.split_url(url)
        self.own = self.target + ".own"
        self.pid = pid
        self.name = ""
        self.guests = 0
        self.healthy = self.session(name="iqn.2026-11.io.ringsan:healthy")
        self.beats = 0

    # --- reports --------------------------------------------------------------------------------

    def equal(self, what, expected, found):
        return cases.equal(f"{self.name}: {what}", expected, found)

    def check(self, what, good, detail=""):
        return cases.check(f"{self.name}: {what}", good, detail)

    def beat(self):
        """The healthy session writes and reads back."""
        self.beats += 1
        data = struct.pack(">Q", self.beats) * 512
        assert self.healthy.write(self.lun, 2048, data).status == 0, "the healthy write failed"
        assert self.healthy.read(self.lun, 2048, 8).data == data, "the healthy read differs"

    # --- connections ----------------------------------------------------------------------------

    def connect(self, name=None):
        """An initiator port of its own that has not logged in, from an address of its own: who is
        refused there makes nobody else wait."""
        self.guests += 1
        source = f"127.0.{1 + self.guests // 250}.{1 + self.guests % 250}"
        return initiator.Initiator(self.host, self.port, name or
                                   f"iqn.2026-11.io.ringsan:guest-{self.guests}", source=source)

    def session(self, keys=None, target=None, name=None, cmd_sn=1):
        peer = self.connect(name)
        peer.cmd_sn = cmd_sn
        peer.login(target or self.target, keys)
        peer.clear_unit_attention(self.lun)
        return peer

    def discovery(self):
        return self.connect().login()

    # --- what came back -------------------------------------------------------------------------

    def next(self, peer, seconds=10):
        """The next PDU in words."""
        peer.socket.settimeout(seconds)
        try:
            return describe(*receive(peer))
        except GONE:
            return "closed"
        except socket.timeout:
            return "nothing"

    def until_ping(self, peer):
        """All that comes back until a ping behind it is answered: "ignored" where that is nothing
        else, "closed" at the end where the connection does not live so long."""
        found = []
        fence = peer.new_tag() | 0x40000000
        try:
            peer.send(fence_pdu(peer, fence))
            while True:
                header, data = receive(peer)
                if int.from_bytes(header[16:20], "big") == fence:
                    return ", ".join(found) or "ignored"
                found.append(describe(header, data))
        except GONE:
            return ", ".join(found + ["closed"])

    def after(self, peer, message, bad=""):
        """Send it; what follows, in words. For what is answered on the spot, or not at all."""
        try:
            peer.send(message, bad)
        except GONE:
            return "closed"
        return self.until_ping(peer)

    def answer(self, peer, message):
        """Send it; its answer, which may take a disk's time, and whatever else follows."""
        peer.send(message)
        first = self.next(peer)
        rest = self.until_ping(peer) if first != "closed" else "ignored"
        return first if rest == "ignored" else f"{first}, {rest}"

    def closed(self, peer, seconds=10):
        """True if nothing comes but the end."""
        return self.next(peer, seconds) == "closed"

    def blocks(self, block, count=8):
        return bytes(self.healthy.read(self.lun, block, count).data)


def receive(peer):
    """One PDU, of which only StatSN is judged (RFC 7143 11.4.4): requests may be as wrong as they like."""
    header, data = peer.receive_pdu()
    stat_sn = int.from_bytes(header[24:28], "big")
    uncounted = (header[0] == initiator.R2T or header[0] == initiator.DATA_IN and not header[1] & 1
                 or header[0] == initiator.NOP_IN and header[16:20] == b"\xff" * 4)
    if header[0] == initiator.LOGIN_RESPONSE and not peer.exp_stat_sn:
        peer.exp_stat_sn = stat_sn
    if not uncounted:
        if stat_sn != peer.exp_stat_sn:
            raise initiator.ProtocolError(f"StatSN {stat_sn}, expected {peer.exp_stat_sn}")
        peer.exp_stat_sn = (stat_sn + 1) & 0xFFFFFFFF
    return header, data


def describe(header, data):
    name = NAMES.get(header[0], f"opcode {header[0]:02x}")
    if header[0] == initiator.REJECT:
        return f"reject {header[2]:02x}" + ("" if len(data) == 48 else " without its header")
    if header[0] == initiator.SCSI_RESPONSE:
        sense = data[2:]
        code = f" {sense[2] & 15:x}/{sense[12]:02x}" if len(sense) > 12 else ""
        return f"response {header[2]:02x}/{header[3]:02x}{code}"
    if header[0] in (initiator.TASK_RESPONSE, initiator.LOGOUT_RESPONSE):
        return f"{name} {header[2]:02x}"
    if header[0] == initiator.LOGIN_RESPONSE:
        return f"login {header[36]:02x}/{header[37]:02x}"
    return name


# --- PDUs: bytes only; nothing of the initiator's state changes ------------------------------------

def fence_pdu(peer, tag):
    """What is answered whatever else happens: a ping, or in discovery a question."""
    if peer.parameters.get("TargetPortalGroupTag"):
        return pdu(initiator.NOP_OUT | IMMEDIATE, FINAL, bytes(8), tag,
                   (NO_TAG, peer.cmd_sn, peer.exp_stat_sn))
    return pdu(initiator.TEXT | IMMEDIATE, FINAL, bytes(8), tag,
               (NO_TAG, peer.cmd_sn, peer.exp_stat_sn), b"Fence=\0")


def nop(peer, tag=0x1001, data=b"", immediate=True, cmd_sn=None):
    return pdu(initiator.NOP_OUT | (IMMEDIATE if immediate else 0), FINAL, bytes(8), tag,
               (NO_TAG, peer.cmd_sn if cmd_sn is None else cmd_sn, peer.exp_stat_sn), data)


def command(peer, cdb, flags=FINAL | 1, expected=0, **more):
    """more: tag, cmd_sn, lun, data, ahs, immediate."""
    message = pdu(initiator.SCSI_COMMAND | (IMMEDIATE if more.get("immediate") else 0), flags,
                  lun_bytes(more.get("lun", 0)), more.get("tag", 0x2002),
                  (expected, more.get("cmd_sn", peer.cmd_sn), peer.exp_stat_sn),
                  more.get("data", b""), ahs=more.get("ahs", b""))
    return message[:32] + bytes(cdb).ljust(16, b"\0") + message[48:]


def test_unit_ready(peer, **more):
    return command(peer, bytes(6), **more)


def write_cdb(block, blocks):
    return struct.pack(">BBIBHB", 0x2A, 0, block, 0, blocks, 0)


def read_cdb(block, blocks):
    return struct.pack(">BBIBHB", 0x28, 0, block, 0, blocks, 0)


READ, WRITE = 0x40, 0x20


def data_out(peer, tag, target_tag, offset, data, **more):
    """more: data_sn, final."""
    return pdu(initiator.DATA_OUT, FINAL if more.get("final", True) else 0, bytes(8), tag,
               (target_tag, 0, peer.exp_stat_sn, 0, more.get("data_sn", 0), offset), data)


def text(peer, data=b"", flags=FINAL, **more):
    """more: tag, target_tag, immediate, cmd_sn."""
    return pdu(initiator.TEXT | (IMMEDIATE if more.get("immediate", True) else 0), flags, bytes(8),
               more.get("tag", 0x3003), (more.get("target_tag", NO_TAG),
                                         more.get("cmd_sn", peer.cmd_sn), peer.exp_stat_sn), data)


def function(peer, code, lun=0, **more):
    """more: tag, referenced, ref_cmd_sn, immediate, cmd_sn."""
    return pdu(initiator.TASK_MANAGEMENT | (IMMEDIATE if more.get("immediate", True) else 0),
               FINAL | code, lun_bytes(lun), more.get("tag", 0x4004),
               (more.get("referenced", NO_TAG), more.get("cmd_sn", peer.cmd_sn), peer.exp_stat_sn,
                more.get("ref_cmd_sn", 0)))


def logout(peer, reason=0, cid=0, **more):
    """more: immediate, cmd_sn."""
    return pdu(initiator.LOGOUT | (IMMEDIATE if more.get("immediate", True) else 0),
               FINAL | reason, bytes(8), 0x5005,
               (cid << 16, more.get("cmd_sn", peer.cmd_sn), peer.exp_stat_sn))


def bare(peer, opcode, data=b"", ahs=b"", lun=bytes(8)):
    """A PDU of any opcode with the numbers that those have in which they stand."""
    return pdu(opcode, FINAL, lun, 0x6006, (NO_TAG, peer.cmd_sn, peer.exp_stat_sn), data, ahs=ahs)


# --- a write that waits for its data ----------------------------------------------------------------

def start_write(peer, lun, block, data, immediate_bytes=0):
    """Submit it and hold its first R2T: (task, target tag, (offset, length))."""
    peer.hold_r2ts = True
    peer.held_r2ts = []
    task = peer.submit(lun, write_cdb(block, len(data) // BLOCK), 0, data, immediate_bytes)
    while not peer.held_r2ts:
        peer.step()
    _, _, target_tag, piece = peer.held_r2ts[0]
    peer.hold_r2ts = False
    return task, target_tag, piece
