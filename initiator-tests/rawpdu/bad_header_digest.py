"""A wrong header digest ends the connection without a word (RFC 7143 7.8): the length it covers may be
what is wrong, so nothing behind it can be found."""
import initiator
from initiator import FINAL
import scene as s


def requests(peer):
    yield "ping", s.nop(peer)
    yield "ping with data", s.nop(peer, data=b"12345")
    yield "command", s.test_unit_ready(peer)
    yield "command with data", s.command(peer, s.write_cdb(8, 1), FINAL | s.WRITE, 512,
                                         data=b"W" * 512)
    yield "Data-Out", s.data_out(peer, 0x2002, 1, 0, b"D" * 512)
    yield "text", s.text(peer, b"SendTargets=\0")
    yield "task management", s.function(peer, initiator.ABORT_TASK_SET)
    yield "logout", s.logout(peer)
    yield "unknown opcode", s.bare(peer, 0x1C)
    yield "command with AHS", s.command(peer, bytes(6), ahs=bytes(8))


def case(scene):
    before = scene.blocks(8)
    for agreed in ("None", "CRC32C"):
        keys = {"HeaderDigest": "CRC32C", "DataDigest": agreed}
        found = {}
        expected = {}
        for number in range(10):
            peer = scene.session(keys)
            name, message = list(requests(peer))[number]
            peer.send(message, "header")
            expected[name] = "closed"
            found[name] = scene.next(peer)
            peer.close()
        scene.equal(f"DataDigest={agreed}: each opcode", expected, found)
    peer = scene.session(s.DIGESTS)
    scene.equal("both digests wrong", "closed",
                scene.after(peer, s.nop(peer, data=b"12345"), "header data"))
    scene.equal("nothing was written", before, scene.blocks(8))
