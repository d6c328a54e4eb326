"""Which status a login ends in that is not let in (RFC 7143 11.13.5); see auth.sh, which sets up the
targets. Not here: 02/04, for a target that was removed; 03/00, when the machine has no randomness
(tests/unit/iscsi_login_chap.c); 03/02, in hostile.py."""
import sys

from cases import end, equal
import initiator

HOST = "iqn.2026-11.io.ringsan:host-1"


def status_of(host, port, target, keys=None, name=HOST):
    try:
        initiator.Initiator(host, port, name).login(target, keys)
    except initiator.Refused as refusal:
        return refusal.status
    except (initiator.Closed, initiator.ProtocolError, OSError) as error:
        return repr(error)
    return 0


class Login:
    """A login by single requests, whose headers a test may change."""

    def __init__(self, host, port):
        self.peer = initiator.Initiator(host, port, HOST)
        self.keys = {}

    def request(self, keys, change=None, **stages):
        """Status of the answer; what it says is left in self.keys."""
        message = bytearray(self.peer.login_pdu(keys, **stages))
        for place, value in (change or {}).items():
            message[place] = value
        self.peer.socket.sendall(bytes(message))
        header, data = self.peer.receive_pdu()
        self.keys = dict(pair.decode().split("=", 1) for pair in data.split(b"\0") if pair)
        return int.from_bytes(header[36:38], "big")


def names(target):
    return {"InitiatorName": HOST, "TargetName": target, "SessionType": "Normal"}


def statuses(host, port, iqn):
    equal("an open target", 0, status_of(host, port, f"{iqn}.open"))
    equal("a target that does not exist: 02/03", 0x0203, status_of(host, port, f"{iqn}.none"))
    equal("a name that is not admitted: 02/02", 0x0202,
          status_of(host, port, f"{iqn}.named", name="iqn.2026-11.io.ringsan:guest-1"))
    equal("straight to operational where CHAP is asked: 02/01", 0x0201,
          status_of(host, port, f"{iqn}.chap"))
    equal("a session type that does not exist: 02/09", 0x0209,
          status_of(host, port, f"{iqn}.open", {"SessionType": "Guest"}))
    equal("a target out of service: 03/01", 0x0301, status_of(host, port, f"{iqn}.resting"))
    equal("no InitiatorName: 02/07", 0x0207,
          Login(host, port).request({"TargetName": f"{iqn}.open", "SessionType": "Normal"}))
    equal("from a stage to itself: 02/00", 0x0200,
          Login(host, port).request(names(f"{iqn}.open"), next_stage=1))
    equal("a version to come: 02/05", 0x0205,
          Login(host, port).request(names(f"{iqn}.open"), {3: 1}))


def moved(host, port, iqn):
    login = Login(host, port)
    equal("moved for now: 01/01", 0x0101, login.request(names(f"{iqn}.moved")))
    equal("and where to", f"127.0.0.2:{port}", login.keys.get("TargetAddress"))
    login = Login(host, port)
    equal("moved for good: 01/02", 0x0102, login.request(names(f"{iqn}.gone")))
    equal("and where to, in IPv6", "[2001:db8::7]:3261", login.keys.get("TargetAddress"))


def md5_refused(host, port, iqn):
    login = Login(host, port)
    keys = dict(names(f"{iqn}.md5less"), AuthMethod="CHAP")
    equal("a target without MD5", 0, login.request(keys, {1: 0}))
    equal("takes the first that it has", 0, login.request({"CHAP_A": "5,6,8,7"}, {1: 0}))
    equal("which is SHA3-256", "8", login.keys.get("CHAP_A"))
    login = Login(host, port)
    login.request(keys, {1: 0})
    equal("and refuses MD5 alone: 02/01", 0x0201, login.request({"CHAP_A": "5"}, {1: 0}))


def sessions(host, elsewhere, port, iqn):
    first = initiator.Initiator(host, port, HOST).login(f"{iqn}.open")
    tsih = first.tsih.to_bytes(2, "big")
    into = {14: tsih[0], 15: tsih[1]}
    keys = names(f"{iqn}.open")
    equal("a second connection: 02/06", 0x0206, Login(host, port).request(keys, {**into, 21: 9}))
    equal("through another portal group: 02/08", 0x0208, Login(elsewhere, port).request(keys, into))
    equal("a session of nobody: 02/0a", 0x020A,
          Login(host, port).request(keys, {14: tsih[0], 15: tsih[1] ^ 1}))
    login = Login(host, port)
    equal("a login that goes on", 0, login.request(keys, {1: 4}))
    login.peer.socket.sendall(initiator.pdu(initiator.NOP_OUT, tag=9))
    header, _ = login.peer.receive_pdu()
    equal("something else within login: 02/0b", 0x020B, int.from_bytes(header[36:38], "big"))
    equal("the session that was there", b"ping", first.nop())
    first.logout()


def main():
    host, elsewhere, port, iqn = sys.argv[1:]
    port = int(port)
    statuses(host, port, iqn)
    moved(host, port, iqn)
    md5_refused(host, port, iqn)
    sessions(host, elsewhere, port, iqn)
    end()


main()
