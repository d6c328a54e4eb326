"""Texts without end, in login and in the full feature phase (RFC 7143 6.1, 6.2): what is too long is
refused at its bound, endless C bits too, and keys of all lengths are answered or refused."""
import initiator
from initiator import CONTINUE, FINAL
import scene as s


def login_text(peer, data, flags=0x04):
    message = bytearray(peer.login_pdu({}))
    message[1] = flags
    message[5:8] = len(data).to_bytes(3, "big")
    return bytes(message) + data + bytes(-len(data) % 4)


def names(scene, peer):
    return f"InitiatorName={peer.name}\0TargetName={scene.target}\0SessionType=Normal\0".encode()


def in_login(scene):
    rows = {
        "64 KiB of text": [(b"A=" + b"x" * 8190, 0x04 | CONTINUE)] * 8,
        "64 KiB of NUL": [(bytes(8192), 0x04 | CONTINUE)] * 8,
        "C bits that never end": [(b"", 0x04 | CONTINUE)] * 80,
        "requests that never end": [(b"", 0x04)] * 80,
        "129 keys": [(b"".join(b"K%d=\0" % i for i in range(129)), 0x04)],
        "a key of 64 bytes": [(b"k" * 64 + b"=\0", 0x04)],
        "a key of 8000 bytes": [(b"k" * 8000 + b"=\0", 0x04)],
        "a value of over 8192 bytes": [(b"V=" + b"v" * 8000, 0x44), (b"v" * 8000 + b"\0", 0x04)],
        "no equals sign": [(b"InitialR2T\0", 0x04)],
        "no NUL": [(b"InitialR2T=No", 0x04)],
        "no key": [(b"=No\0", 0x04)],
        "a format": [(b"%n%s%n=%n%s\0", 0x04)],
    }
    found = {}
    for name, pieces in rows.items():
        peer = scene.connect()
        pieces = [(names(scene, peer), 0x04)] + pieces
        answer = ""
        for data, flags in pieces:
            peer.send(login_text(peer, data, flags))
            answer = scene.next(peer)
            if answer != "login 00/00":
                break
        found[name] = answer
        peer.close()
    scene.equal("login: the status", dict.fromkeys(rows, "login 02/00"), found)


def keys_of_all_lengths(scene):
    """CVE-2013-2850: a key name that a buffer for the answer does not hold."""
    peer = scene.session()
    wrong = []
    for length in list(range(1, 64)):
        key = "k" * length
        if peer.text({key: "x" * (length * 60)}) != f"{key}=NotUnderstood\0".encode():
            wrong.append(length)
    scene.equal("a key of each length up to 63 is not understood", [], wrong)
    peer.logout()


def in_full_feature(scene):
    piece = b"A=" + b"x" * 4090 + b"\0"
    peer = scene.session()
    exchange = []
    target_tag = initiator.NO_TAG
    for _ in range(6):
        peer.send(s.text(peer, piece, CONTINUE, target_tag=target_tag))
        header, data = s.receive(peer)
        exchange.append(s.describe(header, data))
        if header[0] != initiator.TEXT_RESPONSE:
            break
        target_tag = int.from_bytes(header[20:24], "big")
    scene.equal("text over 16 KiB", ["text"] * 4 + ["reject 04"], exchange[:5])
    scene.equal("a tag of no exchange", "reject 04",
                scene.after(peer, s.text(peer, b"A=\0", target_tag=0x12345)))
    scene.equal("F and C", "reject 04", scene.after(peer, s.text(peer, b"A=\0", FINAL | CONTINUE)))
    scene.equal("no task tag", "reject 04",
                scene.after(peer, s.text(peer, b"A=\0", tag=initiator.NO_TAG)))
    scene.equal("and the session goes on", "text", scene.after(peer, s.text(peer, b"A=\0")))
    peer.close()
    peer = scene.session()
    target_tag, count = initiator.NO_TAG, 0
    for count in range(200):
        peer.send(s.text(peer, b"", CONTINUE, target_tag=target_tag))
        header, _ = s.receive(peer)
        target_tag = int.from_bytes(header[20:24], "big")
    scene.equal("empty texts with C bits have no end, and cost nothing", 199, count)
    scene.equal("a new text ends them", "text", scene.after(peer, s.text(peer, b"A=\0")))
    peer.close()
    flood = 300
    peer = scene.session()
    peer.send(b"".join(s.text(peer, b"SendTargets=\0") for _ in range(flood)))
    scene.equal("a flood of questions", ", ".join(["text"] * flood), scene.until_ping(peer))
    peer.close()


def malformed(scene):
    """The session goes on with what was agreed at login (RFC 7143 7.11)."""
    found = {}
    peer = scene.session()
    for data in (b"InitialR2T\0", b"=x\0", b"A=x", b"HeaderDigest=None\0", b"k" * 64 + b"=\0"):
        found[data] = scene.after(peer, s.text(peer, b"MaxRecvDataSegmentLength=512\0" + data))
    scene.equal("malformed texts", dict.fromkeys(found, "reject 04"), found)
    scene.equal("leave MaxRecvDataSegmentLength as it is", 2048, len(peer.nop(bytes(2048))))
    peer.logout()


def case(scene):
    in_login(scene)
    keys_of_all_lengths(scene)
    in_full_feature(scene)
    malformed(scene)
