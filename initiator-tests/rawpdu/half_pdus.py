"""PDUs in two pieces, cut at every byte border, with and without digests: the same answer. And peers
that hang up there: no answer, and nothing is left behind."""
import time

from initiator import FINAL
import scene as s

PAUSE_SECONDS = 0.001  # So that the daemon sees the first half alone, most times.


def in_two(scene, peer, message, at):
    peer.socket.sendall(message[:at])
    time.sleep(PAUSE_SECONDS)
    peer.socket.sendall(message[at:])
    return scene.next(peer)


def requests(peer, number):
    yield "ping", "nop-in", s.nop(peer, tag=number, data=b"12345")
    yield "write", "response 00/00", s.command(peer, s.write_cdb(256, 1), FINAL | s.WRITE, 512,
                                               tag=number, data=b"%03d!" % number * 128)


def cut_everywhere(scene, keys, which):
    peer = scene.session(keys)
    length = len(peer.framed(list(requests(peer, 0))[which][2]))
    borders = [at for at in range(1, length) if at < 60 or at > length - 10]
    found = {}
    for at in borders:
        what, wanted, message = list(requests(peer, at))[which]
        answer = in_two(scene, peer, peer.framed(message), at)
        if answer != wanted:
            found[at] = answer
        peer.cmd_sn += which
    name = "with digests" if keys else "without digests"
    scene.equal(f"{what} {name}, cut at each of {len(borders)} borders", {}, found)
    if what == "write":
        scene.equal("the last write's data", b"%03d!" % borders[-1] * 128, scene.blocks(256, 1))
    peer.logout()


def hang_up(scene):
    """Of a write, so that a buffer and a task are held."""
    before = scene.blocks(300, 1)
    for at in (1, 5, 8, 47, 48, 49, 100, 48 + 511):
        peer = scene.session()
        peer.socket.sendall(s.command(peer, s.write_cdb(300, 1), FINAL | s.WRITE, 512,
                                      data=b"H" * 512)[:at])
        peer.close()
    scene.equal("who hangs up in the middle has written nothing", before, scene.blocks(300, 1))


def login_byte_by_byte(scene):
    peer = scene.connect()
    for byte in peer.login_pdu({"InitiatorName": peer.name, "TargetName": scene.target,
                                "SessionType": "Normal"}):
        peer.socket.sendall(bytes([byte]))
    scene.equal("a login request byte by byte", "login 00/00", scene.next(peer))
    peer.close()
    for at in (1, 8, 47, 48, 49):
        peer = scene.connect()
        peer.socket.sendall(peer.login_pdu({"InitiatorName": peer.name})[:at])
        peer.close()


def case(scene):
    cut_everywhere(scene, None, 0)
    cut_everywhere(scene, s.DIGESTS, 1)
    hang_up(scene)
    login_byte_by_byte(scene)
