"""Solicited data that are not what the R2T asked for (RFC 7143 11.7, 11.8): the command fails, alone;
data with a tag that no R2T has are dropped, and the right ones may still come."""
import scene as s

FAILS = "response 00/02 b/4b"
SIZE = 8192

# What is sent for an R2T of offset 0, 8192 bytes: (offset, bytes, F, DataSN), in order.
ROWS = {
    "offset too high": [(512, 512, False, 0)],
    "offset beyond the R2T": [(SIZE, 512, True, 0)],
    "offset beyond everything": [(0xFFFFFE00, 512, True, 0)],
    "a gap": [(0, 512, False, 0), (1024, 512, False, 1)],
    "an overlap": [(0, 1024, False, 0), (512, 512, False, 1)],
    "the same twice": [(0, 512, False, 0), (0, 512, False, 0)],
    "DataSN too high": [(0, 512, False, 1)],
    "DataSN that stands still": [(0, 512, False, 0), (512, 512, False, 0)],
    "DataSN of 2^32 - 1": [(0, 512, False, 0xFFFFFFFF)],
    "too long": [(0, SIZE + 512, True, 0)],
    "too long by its last piece": [(0, SIZE - 512, False, 0), (SIZE - 512, 1024, True, 1)],
    "too short: F before the end": [(0, 512, True, 0)],
    "no F at the end": [(0, SIZE, False, 0)],
    "F on nothing": [(0, 0, True, 0)],
}


def case(scene):
    before = scene.blocks(64, SIZE // s.BLOCK)
    peer = scene.session()
    found = {}
    for name, pieces in ROWS.items():
        task, tag, _ = s.start_write(peer, 0, 64, b"W" * SIZE)
        for offset, count, final, data_sn in pieces:
            peer.send(s.data_out(peer, task.tag, tag, offset, b"X" * count, final=final,
                                 data_sn=data_sn))
        found[name] = scene.next(peer)
        del peer.tasks[task.tag]
        late = s.data_out(peer, task.tag, tag, 0, b"Y" * SIZE)
        if scene.after(peer, late) != "ignored":
            found[name] += ", late data are not ignored"
    scene.equal("each fault fails the command alone", dict.fromkeys(ROWS, FAILS), found)
    scene.equal("nothing was written", before, scene.blocks(64, SIZE // s.BLOCK))

    task, tag, piece = s.start_write(peer, 0, 64, b"R" * SIZE)
    for wrong in (tag + 1, tag - 1, tag ^ 0x80000000, 0):
        peer.send(s.data_out(peer, task.tag, wrong & 0xFFFFFFFF, 0, b"X" * 512, final=False))
    peer.send(s.data_out(peer, task.tag + 7, tag, 0, b"X" * 512, final=False))
    scene.equal("another tag: dropped", "ignored", scene.until_ping(peer))
    peer.send_data_out(task, bytes(8), tag, piece)
    scene.equal("and the right data are written", (0, b"R" * SIZE),
                (peer.wait(task).status, scene.blocks(64, SIZE // s.BLOCK)))
    single_bytes(scene, peer)
    peer.logout()


def single_bytes(scene, peer):
    """Segments of no bytes, of one byte, of lengths that need padding: all of them in order."""
    task, tag, _ = s.start_write(peer, 0, 64, b"S" * 512)
    at = 0
    for number, count in enumerate((0, 1, 2, 3, 0, 5, 500, 1)):
        peer.send(s.data_out(peer, task.tag, tag, at, b"S" * count, final=at + count == 512,
                             data_sn=number))
        at += count
    scene.equal("segments of 0, 1, 2, 3 bytes", (0, b"S" * 512),
                (peer.wait(task).status, scene.blocks(64, 1)))
