"""CmdSN (RFC 7143 4.2.2.1): what comes early waits, what comes twice or outside the window is ignored,
what leaves a hole that only TCP could explain ends the connection, and 2^32 - 1 is followed by 0."""
import struct

import initiator
import scene as s


def statuses(peer, tags):
    """The tags in the order of their answers."""
    order = []
    while len(order) < len(tags):
        header, _ = s.receive(peer)
        order.append(int.from_bytes(header[16:20], "big"))
    return order


def early_commands(scene):
    peer = scene.session()
    due = peer.cmd_sn
    for number in (3, 1, 2, 0):
        peer.send(s.test_unit_ready(peer, tag=0x100 + number, cmd_sn=due + number))
    order = statuses(peer, range(4))
    scene.equal("four commands in the wrong order are answered, all", [0x100, 0x101, 0x102, 0x103],
                sorted(order))
    scene.equal("the one that was due is the first", 0x100, order[0])
    peer.cmd_sn = due + 4
    scene.equal("and life goes on", "ignored", scene.until_ping(peer))
    return peer


def ignored(scene):
    peer = early_commands(scene)
    due = peer.cmd_sn
    window = (peer.max_cmd_sn - due) & 0xFFFFFFFF
    rows = (("the one before", -1), ("a thousand before", -1000), ("one beyond the window", 300),
            ("half way round", 0x7FFFFFFF), ("half way round and one", 0x80000000))
    found = {}
    for name, distance in rows:
        number = (due + distance) & 0xFFFFFFFF
        found[name] = (scene.after(peer, s.test_unit_ready(peer, cmd_sn=number)),
                       scene.after(peer, s.nop(peer, immediate=False, cmd_sn=number)),
                       scene.after(peer, s.function(peer, 2, immediate=False, cmd_sn=number)),
                       scene.after(peer, s.logout(peer, immediate=False, cmd_sn=number)))
    scene.equal("outside the window", dict.fromkeys(found, ("ignored",) * 4), found)
    scene.check("the window has room", window < 300, window)
    peer.send(s.test_unit_ready(peer, tag=0x200, cmd_sn=due + 1))
    scene.equal("a duplicate of one that waits", "ignored",
                scene.after(peer, s.test_unit_ready(peer, tag=0x201, cmd_sn=due + 1)))
    peer.send(s.test_unit_ready(peer, tag=0x202, cmd_sn=due))
    scene.equal("which still runs", [0x202, 0x200], statuses(peer, range(2)))
    peer.cmd_sn = due + 2
    peer.send(s.nop(peer, immediate=False))
    scene.equal("a number that was used by a ping", "nop-in", scene.next(peer))
    scene.equal("is no command's any more", "ignored",
                scene.after(peer, s.test_unit_ready(peer, cmd_sn=due + 2)))
    peer.close()


def requests_before_they_are_due(scene):
    rows = {"ping": lambda peer, early: s.nop(peer, immediate=False, cmd_sn=early),
            "text": lambda peer, early: s.text(peer, b"A=\0", immediate=False, cmd_sn=early),
            "logout": lambda peer, early: s.logout(peer, immediate=False, cmd_sn=early),
            "function": lambda peer, early: s.function(peer, 2, immediate=False, cmd_sn=early),
            "command that is wrong": lambda peer, early: s.command(
                peer, bytes(6), initiator.FINAL | s.READ | s.WRITE, 512, cmd_sn=early)}
    found = {}
    for name, make in rows.items():
        peer = scene.session()
        found[name] = scene.after(peer, make(peer, peer.cmd_sn + 1))
        peer.close()
    scene.equal("other requests early", dict.fromkeys(rows, "closed"), found)


def holes_are_filled_by_aborts(scene):
    peer = scene.session()
    due = peer.cmd_sn
    peer.send(s.test_unit_ready(peer, tag=0x301, cmd_sn=due + 2))
    found = []
    for number in (1, 0):
        peer.send(s.function(peer, initiator.ABORT_TASK, referenced=0x400 + number,
                             ref_cmd_sn=due + number, cmd_sn=due + 3))
        found.append(scene.next(peer))
    found.append(scene.next(peer))
    scene.equal("ABORT TASK of commands that never came", ["function 00"] * 2 + ["response 00/00"],
                sorted(found))
    scene.equal("one of them comes after all", "ignored",
                scene.after(peer, s.test_unit_ready(peer, cmd_sn=due + 1)))
    peer.cmd_sn = due + 3
    peer.send(s.test_unit_ready(peer, tag=0x302))
    scene.equal("the next number is due", "response 00/00", scene.next(peer))
    peer.close()


def wraps_round(scene):
    peer = scene.session(cmd_sn=0xFFFFFFFA)
    found = [peer.write(scene.lun, 4096, struct.pack(">H", number) * 256).status
             for number in range(12)]
    scene.equal("through 2^32 - 1 to 0", [0] * 12, found)
    peer.logout()
    peer = scene.session(cmd_sn=0xFFFFFFFD)
    assert peer.cmd_sn == 0xFFFFFFFF, "clearing unit attention takes two commands"
    for number in (1, 0, 0xFFFFFFFF):
        peer.send(s.test_unit_ready(peer, tag=0x500 + number & 0xFFFF, cmd_sn=number))
    scene.equal("early commands beyond it", 3, len(statuses(peer, range(3))))
    peer.cmd_sn = 2
    scene.equal("the one before it is old", "ignored",
                scene.after(peer, s.test_unit_ready(peer, cmd_sn=0xFFFFFFFF)))
    peer.logout()


def case(scene):
    ignored(scene)
    requests_before_they_are_due(scene)
    holes_are_filled_by_aborts(scene)
    wraps_round(scene)
