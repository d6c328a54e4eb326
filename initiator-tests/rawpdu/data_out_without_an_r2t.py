"""Data-Out that nobody waits for: of tasks that are done, aborted, never begun, or that read. It is
dropped without a word, or fails the command that it names, and changes no data."""
import initiator
from initiator import FINAL, NO_TAG
import scene as s


def case(scene):
    peer = scene.session(target=scene.own)
    lun = scene.lun
    peer.write(lun, 0, b"0" * 512)
    found = {}
    found["a tag that was never used"] = scene.after(
        peer, s.data_out(peer, 0x7777, 0x10, 0, b"X" * 512))
    found["and unsolicited"] = scene.after(peer, s.data_out(peer, 0x7777, NO_TAG, 0, b"X" * 512))
    found["tags of 2^32 - 1"] = scene.after(peer, s.data_out(peer, NO_TAG, NO_TAG, 0, b"X" * 512))
    found["the longest segment"] = scene.after(
        peer, s.data_out(peer, 0x7777, 0x10, 0, b"X" * 65536))
    scene.equal("no such task", dict.fromkeys(found, "ignored"), found)

    task, tag, _ = s.start_write(peer, lun, 0, b"1" * 512)
    peer.send_data_out(task, bytes(8), tag, (0, 512))
    peer.wait(task)
    found = {"solicited": scene.after(peer, s.data_out(peer, task.tag, tag, 0, b"X" * 512)),
             "unsolicited": scene.after(peer, s.data_out(peer, task.tag, NO_TAG, 0, b"X" * 512))}
    scene.equal("a task that is done", dict.fromkeys(found, "ignored"), found)

    task, tag, _ = s.start_write(peer, lun, 0, b"2" * 512)
    scene.equal("ABORT TASK", 0, peer.task_management(initiator.ABORT_TASK, lun, task))
    found = {"solicited": scene.after(peer, s.data_out(peer, task.tag, tag, 0, b"2" * 512)),
             "unsolicited": scene.after(peer, s.data_out(peer, task.tag, NO_TAG, 0, b"2" * 512))}
    scene.equal("a task that was aborted", dict.fromkeys(found, "ignored"), found)
    scene.equal("the data are those of the task that ended well", b"1" * 512,
                bytes(peer.read(lun, 0, 1).data))

    task, tag, _ = s.start_write(peer, lun, 0, b"3" * 1024)
    peer.send(s.data_out(peer, task.tag, NO_TAG, 0, b"X" * 512))
    scene.equal("unsolicited data for a task that asked", "response 00/02 b/4b", scene.next(peer))
    scene.equal("the task's R2T is void", "ignored",
                scene.after(peer, s.data_out(peer, task.tag, tag, 0, b"3" * 1024)))
    data_for_commands_that_take_none(scene, peer)
    peer.logout()


def data_for_commands_that_take_none(scene, peer):
    """A command and Data-Out in one send: whether the data meet it or come after its end, it is
    answered once, and nothing else is."""
    for name, cdb, flags in (("reads", s.read_cdb(0, 1), s.READ), ("moves nothing", bytes(6), 0)):
        message = s.command(peer, cdb, FINAL | flags, 512 if flags else 0)
        both = message + s.data_out(peer, 0x2002, NO_TAG, 0, b"X" * 512)
        peer.cmd_sn += 1
        found = scene.answer(peer, both)
        scene.check(f"data for a command that {name}: one answer",
                    found in ("data-in", "response 00/00", "response 00/02 b/4b"), found)
