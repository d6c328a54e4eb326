"""Immediate commands (RFC 7143 4.2.2.1) take no CmdSN and run at once, beside holes; too many of them are
rejected, never lost. A task tag that is in use is rejected, and its first task unharmed."""
from initiator import FINAL
import scene as s


def case(scene):
    peer = scene.session()
    due = peer.cmd_sn
    peer.send(s.test_unit_ready(peer, tag=1, cmd_sn=due + 1))
    scene.equal("beside a hole", "response 00/00",
                scene.answer(peer, s.test_unit_ready(peer, tag=2, immediate=True)))
    peer.send(s.test_unit_ready(peer, tag=3, cmd_sn=due))
    scene.equal("the number is still due", ["response 00/00"] * 2, [scene.next(peer), scene.next(peer)])
    peer.close()

    peer = scene.session()
    data = b"I" * 1024
    for tag in range(40):
        peer.send(s.command(peer, s.write_cdb(400, 2), FINAL | s.WRITE, 1024, tag=tag,
                            immediate=True))
    found = scene.until_ping(peer).split(", ")
    scene.equal("forty that wait for data: answered, each", 40, len(found))
    scene.equal("some asked for theirs, the others are too many", {"r2t", "reject 06"}, set(found))
    scene.equal("a command is possible", "response 00/00", scene.answer(
        peer, s.command(peer, s.write_cdb(400, 2), FINAL | s.WRITE, 1024, tag=99, data=data)))
    peer.close()

    peer = scene.session()
    task, tag, piece = s.start_write(peer, 0, 400, data)
    scene.equal("a tag in use", "reject 07", scene.after(peer, s.test_unit_ready(peer,
                                                                                tag=task.tag)))
    peer.cmd_sn += 1
    scene.equal("a tag of 2^32 - 1", "reject 09",
                scene.after(peer, s.test_unit_ready(peer, tag=0xFFFFFFFF)))
    peer.cmd_sn += 1
    peer.send_data_out(task, bytes(8), tag, piece)
    scene.equal("its task goes on", (0, data), (peer.wait(task).status, scene.blocks(400, 2)))
    both = s.command(peer, s.write_cdb(0, 1), FINAL | s.READ | s.WRITE, 512)
    scene.equal("read and write at once", "reject 09", scene.after(peer, both))
    peer.close()
    attributes(scene)


def attributes(scene):
    """Task attributes are three bits; ACA has no meaning without an ACA condition."""
    peer = scene.session()
    found = {}
    for attribute in range(8):
        found[attribute] = scene.answer(peer, s.test_unit_ready(peer) if attribute == 1 else
                                       s.command(peer, bytes(6), FINAL | attribute))
        peer.cmd_sn += 1
    wanted = dict.fromkeys(range(4), "response 00/00")
    wanted.update(dict.fromkeys((5, 6, 7), "reject 09"))
    aca = found.pop(4)
    scene.equal("task attributes", wanted, found)
    scene.check("ACA is refused", aca not in ("response 00/00", "closed", "ignored"), aca)
    peer.close()
