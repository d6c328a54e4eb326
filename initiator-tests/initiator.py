"""A small iSCSI initiator on a plain socket, for what well-behaved libraries will not do.

It speaks RFC 7143 at error recovery level 0, one connection a session, with digests where they are
agreed on, and shows every PDU it gets. It is not a general initiator: it checks numbering and the target's answers, and
raises ProtocolError at whatever a correct target never sends. Commands may be left in flight:
submit() returns a task, wait() runs until that task has ended.

As a program it runs one command:  initiator.py iscsi://HOST:PORT/TARGET/LUN CDB [in=N] [out=HEX]
"""
import socket
import struct
import sys
import time

NOP_OUT, SCSI_COMMAND, TASK_MANAGEMENT, LOGIN, TEXT, DATA_OUT, LOGOUT = 0, 1, 2, 3, 4, 5, 6
SNACK = 0x10
NOP_IN, SCSI_RESPONSE, TASK_RESPONSE, LOGIN_RESPONSE = 0x20, 0x21, 0x22, 0x23
TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE, R2T = 0x24, 0x25, 0x26, 0x31
ASYNC, REJECT = 0x32, 0x3F

ABORT_TASK, ABORT_TASK_SET, LOGICAL_UNIT_RESET = 1, 2, 5

IMMEDIATE, FINAL, CONTINUE = 0x40, 0x80, 0x40
NO_TAG = 0xFFFFFFFF


class ProtocolError(Exception):
    """The target sent what RFC 7143 does not allow."""


class Closed(Exception):
    """The target closed the connection."""


class Refused(Exception):
    """A login that ended in a status other than 0."""

    def __init__(self, status):
        super().__init__(f"login status {status:04x}")
        self.status = status


class Task:
    """A command in flight, and afterwards its outcome."""

    def __init__(self, tag, data_out, expected_bytes):
        self.tag = tag
        self.data_out = data_out
        self.expected_bytes = expected_bytes
        self.data = bytearray()
        self.done = False
        self.status = None
        self.response = None
        self.sense = b""
        self.residual = 0
        self.r2ts = []

    @property
    def sense_code(self):
        """"key/asc/ascq" of fixed-format or descriptor sense data, "" where there is none."""
        if len(self.sense) < 4:
            return ""
        if self.sense[0] & 0x7F in (0x72, 0x73):
            return "%02x/%02x/%02x" % (self.sense[1] & 15, self.sense[2], self.sense[3])
        return "%02x/%02x/%02x" % (self.sense[2] & 15, self.sense[12], self.sense[13])

    def __str__(self):
        return f"status {self.status} sense {self.sense_code or 'none'} data {len(self.data)}"


def lun_bytes(lun):
    """A single-level LUN: peripheral addressing below 256, flat space above (SAM-5 4.7); bytes are a
    LUN field as it is."""
    if isinstance(lun, bytes):
        return lun
    return struct.pack(">H6x", lun if lun < 256 else 0x4000 | lun)


def pdu(opcode, flags=FINAL, lun=bytes(8), tag=0, words=(), data=b"", specific=b"\0\0", ahs=b""):
    """Bytes of a PDU; `words` fill bytes 20 to 47 as 32-bit numbers."""
    header = struct.pack(">BB2sI", opcode, flags, specific, len(data) | len(ahs) // 4 << 24) + lun
    header += struct.pack(">I", tag) + b"".join(struct.pack(">I", w & 0xFFFFFFFF) for w in words)
    header = header.ljust(48, b"\0") + ahs
    return header + data + bytes(-len(data) % 4)


def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC32C = crc32c_table()


def digest(data):
    """CRC32C as it travels (RFC 7143 13.1)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC32C[(crc ^ byte) & 0xFF] ^ crc >> 8
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def spoiled(crc):
    return bytes([crc[0] ^ 1]) + crc[1:]


class Initiator:
    """One session of one connection."""

    def __init__(self, host, port, name="iqn.2026-11.io.ringsan:initiator", timeout=20, source=None):
        self.socket = socket.create_connection((host, port), timeout,
                                               (source, 0) if source else None)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.name = name
        self.cmd_sn = 1
        self.exp_stat_sn = 0
        self.max_cmd_sn = 0
        self.next_tag = 1
        self.tasks = {}
        self.answers = {}
        self.parameters = {}
        self.tsih = 0
        self.digests = (False, False)
        self.hold_r2ts = False
        self.held_r2ts = []

    def close(self):
        self.socket.close()

    # --- PDUs -----------------------------------------------------------------------------------

    def framed(self, message, bad=""):
        """A PDU with the digests that were agreed on; `bad` names those that are to be wrong."""
        of_header, of_data = self.digests
        split = 48 + message[4] * 4
        header, data = message[:split], message[split:]
        if of_header:
            crc = digest(header)
            header += spoiled(crc) if "header" in bad else crc
        if of_data and data:
            crc = digest(data)
            data += spoiled(crc) if "data" in bad else crc
        return header + data

    def send(self, message, bad=""):
        self.socket.sendall(self.framed(message, bad))

    def receive_exactly(self, count):
        out = bytearray()
        while len(out) < count:
            part = self.socket.recv(count - len(out))
            if not part:
                raise Closed()
            out += part
        return bytes(out)

    def receive_pdu(self):
        of_header, of_data = self.digests
        header = self.receive_exactly(48)
        length = int.from_bytes(header[5:8], "big")
        if header[4]:
            raise ProtocolError("AHS in a PDU of the target")
        if of_header and self.receive_exactly(4) != digest(header):
            raise ProtocolError("a header digest is wrong")
        data = self.receive_exactly(length + -length % 4)
        if of_data and data and self.receive_exactly(4) != digest(data):
            raise ProtocolError("a data digest is wrong")
        if any(data[length:]):
            raise ProtocolError("padding that is not zero")
        return header, data[:length]

    def take_status_numbers(self, header, counted):
        stat_sn, exp_cmd_sn, max_cmd_sn = struct.unpack(">III", header[24:36])
        if counted:
            if stat_sn != self.exp_stat_sn:
                raise ProtocolError(f"StatSN {stat_sn}, expected {self.exp_stat_sn}")
            self.exp_stat_sn = (stat_sn + 1) & 0xFFFFFFFF
        if (max_cmd_sn - self.max_cmd_sn) & 0xFFFFFFFF < 0x80000000:
            self.max_cmd_sn = max_cmd_sn
        if (exp_cmd_sn - self.cmd_sn - 1) & 0xFFFFFFFF < 0x7FFFFFFF:
            raise ProtocolError(f"ExpCmdSN {exp_cmd_sn} beyond CmdSN {self.cmd_sn}")

    def new_tag(self):
        self.next_tag += 1
        return self.next_tag

    # --- login ----------------------------------------------------------------------------------

    def login_pdu(self, keys, stage=1, next_stage=3, isid=b"\x80\0\0\0\0\1"):
        text = b"".join(f"{k}={v}\0".encode() for k, v in keys.items())
        flags = FINAL | stage << 2 | next_stage
        header = bytearray(pdu(LOGIN | IMMEDIATE, flags, isid + struct.pack(">H", self.tsih),
                               1, (0, self.cmd_sn, self.exp_stat_sn)))
        header[5:8] = len(text).to_bytes(3, "big")
        return bytes(header) + text + bytes(-len(text) % 4)

    def login(self, target=None, keys=None, isid=b"\x80\0\0\0\0\1"):
        """In one request. A key whose value is None is not sent."""
        wanted = {"InitiatorName": self.name}
        if target is None:
            wanted["SessionType"] = "Discovery"
        else:
            wanted.update(SessionType="Normal", TargetName=target)
        wanted.update({"HeaderDigest": "None", "DataDigest": "None", "ErrorRecoveryLevel": "0",
                       "InitialR2T": "Yes", "ImmediateData": "Yes",
                       "MaxRecvDataSegmentLength": "262144", "FirstBurstLength": "65536",
                       "MaxBurstLength": "262144", "MaxOutstandingR2T": "1"})
        wanted.update(keys or {})
        wanted = {key: value for key, value in wanted.items() if value is not None}
        self.socket.sendall(self.login_pdu(wanted, isid=isid))
        header, data = self.receive_pdu()
        if header[0] != LOGIN_RESPONSE:
            raise ProtocolError(f"opcode {header[0]:#x} as answer to a login")
        status = int.from_bytes(header[36:38], "big")
        if status:
            raise Refused(status)
        self.exp_stat_sn = int.from_bytes(header[24:28], "big")
        self.max_cmd_sn = int.from_bytes(header[32:36], "big")
        self.take_status_numbers(header, True)
        for pair in data.split(b"\0"):
            if pair:
                key, _, value = pair.decode().partition("=")
                self.parameters[key] = value
        if header[1] & 0x83 != 0x83:
            raise ProtocolError(f"login without transit to full feature: flags {header[1]:#x}")
        self.tsih = int.from_bytes(header[14:16], "big")
        self.digests = tuple(self.parameters.get(key) == "CRC32C"
                             for key in ("HeaderDigest", "DataDigest"))
        return self

    def begin_login(self, target):
        """The first request of a login and its answer: the target waits for more."""
        text = f"InitiatorName={self.name}\0SessionType=Normal\0TargetName={target}\0".encode()
        isid = b"\x80\0\0\0\0\1\0\0"
        # From operational negotiation to nowhere yet (RFC 7143 11.12.1).
        self.socket.sendall(pdu(LOGIN | IMMEDIATE, 0x04, isid, 1, (0, self.cmd_sn, 0), text))
        header, _ = self.receive_pdu()
        status = int.from_bytes(header[36:38], "big")
        if header[0] != LOGIN_RESPONSE or status:
            raise Refused(status)

    # --- commands -------------------------------------------------------------------------------

    def submit(self, lun, cdb, data_in=0, data_out=b"", immediate_bytes=0, wait_for_room=True,
               unsolicited_bytes=0):
        """Send a command; of data_out the first bytes with it, the next unasked, the rest by R2T."""
        while wait_for_room and (self.max_cmd_sn - self.cmd_sn) & 0xFFFFFFFF >= 0x80000000:
            self.step()
        tag = self.new_tag()
        # RFC 7143 11.3.1: F is clear where unsolicited Data-Out follows.
        flags = (0x40 if data_in else 0) | (0x20 if data_out else 0) | 1
        flags |= 0 if unsolicited_bytes else FINAL
        task = Task(tag, data_out, data_in)
        self.tasks[tag] = task
        first = data_out[:immediate_bytes]
        header = pdu(SCSI_COMMAND, flags, lun_bytes(lun), tag,
                     (len(data_out) or data_in, self.cmd_sn, self.exp_stat_sn), first)
        cdb = bytes(cdb).ljust(16, b"\0")
        self.send(header[:32] + cdb + header[48:])
        self.cmd_sn = (self.cmd_sn + 1) & 0xFFFFFFFF
        if unsolicited_bytes:
            self.send_data_out(task, lun_bytes(lun), NO_TAG, (immediate_bytes, unsolicited_bytes))
        return task

    def command(self, lun, cdb, data_in=0, data_out=b"", immediate_bytes=0):
        return self.wait(self.submit(lun, cdb, data_in, data_out, immediate_bytes))

    def wait(self, task, seconds=None):
        deadline = time.monotonic() + seconds if seconds else None
        while not task.done:
            self.step(deadline)
        return task

    def step(self, deadline=None):
        """Take one PDU and act on it."""
        if deadline is not None:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
        header, data = self.receive_pdu()
        opcode = header[0]
        tag = int.from_bytes(header[16:20], "big")
        handler = {DATA_IN: self.on_data_in, R2T: self.on_r2t, SCSI_RESPONSE: self.on_response,
                   NOP_IN: self.on_nop_in}.get(opcode)
        if handler:
            handler(tag, header, data)
        else:
            self.take_status_numbers(header, True)
            self.answers[tag if opcode != REJECT else "reject"] = (header, data)
        return opcode

    def on_nop_in(self, tag, header, data):
        target_tag = int.from_bytes(header[20:24], "big")
        self.take_status_numbers(header, tag != NO_TAG)
        if target_tag != NO_TAG:
            self.send(pdu(NOP_OUT | IMMEDIATE, FINAL, header[8:16], NO_TAG,
                                    (target_tag, self.cmd_sn, self.exp_stat_sn)))
        self.answers[tag] = (header, data)

    def on_data_in(self, tag, header, data):
        task = self.tasks[tag]
        offset = int.from_bytes(header[40:44], "big")
        if offset != len(task.data):
            raise ProtocolError(f"Data-In at {offset}, expected {len(task.data)}")
        task.data += data
        with_status = header[1] & 1
        self.take_status_numbers(header, with_status)
        if with_status:
            self.finish(task, header, header[3])

    def on_response(self, tag, header, data):
        task = self.tasks[tag]
        self.take_status_numbers(header, True)
        task.response = header[2]
        if len(data) >= 2:
            task.sense = data[2:2 + int.from_bytes(data[:2], "big")]
        self.finish(task, header, header[3])

    def finish(self, task, header, status):
        residual = int.from_bytes(header[44:48], "big")
        task.residual = residual if header[1] & 2 else -residual if header[1] & 4 else 0
        task.status = status
        task.done = True
        del self.tasks[task.tag]

    def on_r2t(self, tag, header, _data):
        task = self.tasks[tag]
        self.take_status_numbers(header, False)
        target_tag, = struct.unpack(">I", header[20:24])
        offset, length = struct.unpack(">II", header[40:48])
        if offset + length > len(task.data_out):
            raise ProtocolError(f"R2T for {offset}+{length} of {len(task.data_out)}")
        task.r2ts.append((offset, length))
        if self.hold_r2ts:
            self.held_r2ts.append((task, header[8:16], target_tag, (offset, length)))
        else:
            self.send_data_out(task, header[8:16], target_tag, (offset, length))

    def release_r2ts(self):
        """Answer the R2Ts that were held back."""
        held, self.held_r2ts = self.held_r2ts, []
        for arguments in held:
            self.send_data_out(*arguments)

    def send_data_out(self, task, lun_field, target_tag, piece):
        """One sequence of Data-Out, in PDUs that the target can take."""
        offset, length = piece
        limit = int(self.parameters.get("MaxRecvDataSegmentLength", 8192))
        for number, start in enumerate(range(offset, offset + length, limit)):
            part = task.data_out[start:min(start + limit, offset + length)]
            last = start + len(part) == offset + length
            self.send(pdu(DATA_OUT, FINAL if last else 0, lun_field, task.tag,
                                    (target_tag, 0, self.exp_stat_sn, 0, number, start), part))

    # --- the rest -------------------------------------------------------------------------------

    def ask(self, message, tag, seconds):
        deadline = time.monotonic() + seconds
        self.send(message)
        while tag not in self.answers:
            self.step(deadline)
        return self.answers.pop(tag)

    def nop(self, data=b"ping", seconds=5):
        tag = self.new_tag()
        message = pdu(NOP_OUT | IMMEDIATE, FINAL, bytes(8), tag,
                      (NO_TAG, self.cmd_sn, self.exp_stat_sn), data)
        return self.ask(message, tag, seconds)[1]

    def task_management(self, function, lun, task=None, seconds=5):
        """The response code (RFC 7143 11.6.1)."""
        tag = self.new_tag()
        message = pdu(TASK_MANAGEMENT | IMMEDIATE, FINAL | function, lun_bytes(lun), tag,
                      (task.tag if task else NO_TAG, self.cmd_sn, self.exp_stat_sn,
                       self.cmd_sn - 1 if task else 0))
        return self.ask(message, tag, seconds)[0][2]

    def text(self, keys, seconds=5):
        tag = self.new_tag()
        data = b"".join(f"{k}={v}\0".encode() for k, v in keys.items())
        message = pdu(TEXT | IMMEDIATE, FINAL, bytes(8), tag,
                      (NO_TAG, self.cmd_sn, self.exp_stat_sn), data)
        return self.ask(message, tag, seconds)[1]

    def logout(self, seconds=5):
        tag = self.new_tag()
        message = pdu(LOGOUT | IMMEDIATE, FINAL, bytes(8), tag,
                      (0, self.cmd_sn, self.exp_stat_sn))
        answer = self.ask(message, tag, seconds)[0][2]
        if answer == 0:
            # An end in order: a reset could overtake the answer. ConnectionResetError is for the caller.
            self.socket.settimeout(seconds)
            if self.socket.recv(1) != b'':
                raise ProtocolError('a PDU after the answer to a logout')
        self.close()
        return answer

    # --- SCSI commands that tests use -------------------------------------------------------------

    def clear_unit_attention(self, lun):
        for _ in range(4):
            if self.command(lun, bytes(6)).status != 2:
                return

    def read(self, lun, block, blocks, block_bytes=512):
        cdb = struct.pack(">BBQIBB", 0x88, 0, block, blocks, 0, 0)
        return self.command(lun, cdb, data_in=blocks * block_bytes)

    def write(self, lun, block, data, fua=False, block_bytes=512):
        cdb = struct.pack(">BBQIBB", 0x8A, 8 if fua else 0, block, len(data) // block_bytes, 0, 0)
        return self.command(lun, cdb, data_out=data)

    def inquiry(self, lun, page=None, length=255):
        cdb = struct.pack(">BBBHB", 0x12, 0 if page is None else 1, page or 0, length, 0)
        return bytes(self.command(lun, cdb, data_in=length).data)


def split_url(url):
    """iscsi://HOST:PORT/TARGET/LUN in its parts."""
    rest = url[len("iscsi://"):]
    portal, target, lun = rest.split("/")
    host, _, port = portal.rpartition(":")
    return host.strip("[]"), int(port), target, int(lun)


def open_url(url, keys=None, name="iqn.2026-11.io.ringsan:initiator", isid=b"\x80\0\0\0\0\1"):
    host, port, target, lun = split_url(url)
    session = Initiator(host, port, name).login(target, keys, isid)
    session.clear_unit_attention(lun)
    return session


def main():
    url, cdb, *options = sys.argv[1:]
    named = dict(option.split("=", 1) for option in options)
    session = open_url(url)
    task = session.command(split_url(url)[3], bytes.fromhex(cdb), int(named.get("in", 0)),
                           bytes.fromhex(named.get("out", "")))
    print(f"status={task.status:02x} sense={task.sense_code} residual={task.residual}")
    if task.data:
        print(task.data.hex())
    session.logout()
    return 0 if task.status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
