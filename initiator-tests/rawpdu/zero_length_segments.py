"""Requests without the data that they may have, and writes of nothing."""
from initiator import FINAL
import scene as s


def case(scene):
    peer = scene.session()
    rows = {
        "ping": (s.nop(peer), "nop-in"),
        "text": (s.text(peer), "text"),
        "text without F": (s.text(peer, flags=0), "text"),
        "command that moves nothing": (s.test_unit_ready(peer, immediate=True), "response 00/00"),
        "write of no blocks": (s.command(peer, s.write_cdb(0, 0), FINAL | s.WRITE, 0,
                                         immediate=True), "response 00/00"),
        "read of no blocks": (s.command(peer, s.read_cdb(0, 0), FINAL | s.READ, 0,
                                        immediate=True), "response 00/00"),
        "write that sends no data": (s.command(peer, s.write_cdb(0, 1), FINAL | s.WRITE, 0,
                                               immediate=True), "response 00/00"),
        "write, neither R nor W": (s.command(peer, s.write_cdb(0, 1), immediate=True),
                                   "response 00/00"),
        "answer to no ping of ours": (s.nop(peer, tag=0xFFFFFFFF), "ignored"),
    }
    before = scene.blocks(0, 1)
    found = {name: (scene.after if wanted == "ignored" else scene.answer)(peer, message)
             for name, (message, wanted) in rows.items()}
    scene.equal("each", {name: wanted for name, (_, wanted) in rows.items()}, found)
    scene.equal("nothing was written", before, scene.blocks(0, 1))
    peer.close()
