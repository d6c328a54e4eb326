"""Which status a refused login ends in (RFC 7143 11.13.5); see auth.sh."""
import sys

from cases import check, end, equal
import initiator


def status_of(host, port, target, keys=None, name="iqn.2026-11.io.ringsan:host-1"):
    try:
        initiator.Initiator(host, port, name).login(target, keys)
    except initiator.Refused as refusal:
        return refusal.status
    except (initiator.Closed, initiator.ProtocolError, OSError) as error:
        return repr(error)
    return 0


def main():
    host, port, open_target, chap_target, named_target = sys.argv[1:]
    port = int(port)
    equal("an open target", 0, status_of(host, port, open_target))
    equal("a target that does not exist: not found", 0x0203,
          status_of(host, port, open_target + ".none"))
    guest = status_of(host, port, named_target, name="iqn.2026-11.io.ringsan:guest-1")
    check("a name that is not admitted: forbidden or not found", guest in (0x0202, 0x0203), guest)
    equal("straight to operational where CHAP is asked: authentication failure", 0x0201,
          status_of(host, port, chap_target))
    equal("no InitiatorName: missing parameter", 0x0207, missing_name(host, port, open_target))
    equal("a session type that does not exist", 0x0209,
          status_of(host, port, open_target, {"SessionType": "Guest"}))
    end()


def missing_name(host, port, target):
    session = initiator.Initiator(host, port)
    session.socket.sendall(session.login_pdu({"TargetName": target, "SessionType": "Normal"}))
    header, _ = session.receive_pdu()
    return int.from_bytes(header[36:38], "big")


main()
