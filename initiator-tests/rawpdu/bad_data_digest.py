"""A wrong data digest is rejected with reason 2, and ends the session: that is all the recovery there
is at level 0 (RFC 7143 7.1.5, 7.8). The data go nowhere."""
from initiator import FINAL
import scene as s

EXPECTED = "reject 02, closed"


def send_and_see(scene, peer, message):
    peer.send(message, "data")
    return ", ".join([scene.next(peer), scene.next(peer)])


def case(scene):
    before = scene.blocks(8)
    for agreed in ("None", "CRC32C"):
        keys = {"HeaderDigest": agreed, "DataDigest": "CRC32C"}
        found = {}
        peer = scene.session(keys)
        found["ping"] = send_and_see(scene, peer, s.nop(peer, data=b"12345"))
        peer = scene.session(keys)
        found["long ping"] = send_and_see(scene, peer, s.nop(peer, data=bytes(4096)))
        peer = scene.session(keys)
        found["text"] = send_and_see(scene, peer, s.text(peer, b"SendTargets=\0"))
        peer = scene.session(keys)
        found["immediate data"] = send_and_see(scene, peer, s.command(
            peer, s.write_cdb(8, 1), FINAL | s.WRITE, 512, data=b"W" * 512))
        peer = scene.session(keys)
        task, tag, _ = s.start_write(peer, 0, 8, b"W" * 1024)
        found["Data-Out"] = send_and_see(scene, peer, s.data_out(peer, task.tag, tag, 0, b"W" * 512,
                                                                 final=False))
        peer = scene.session(keys)
        found["rejected for another reason"] = send_and_see(scene, peer,
                                                            s.bare(peer, 0x1C, b"12345678"))
        scene.equal(f"HeaderDigest={agreed}", dict.fromkeys(found, EXPECTED), found)
    scene.equal("nothing was written", before, scene.blocks(8))
    peer = scene.session(s.DIGESTS)
    stale = s.command(peer, s.write_cdb(8, 1), FINAL | s.WRITE, 512, data=b"W" * 512,
                      cmd_sn=peer.cmd_sn - 1)
    scene.equal("on a command that is ignored: ignored as well", "ignored",
                scene.after(peer, stale, "data"))
    peer.logout()
