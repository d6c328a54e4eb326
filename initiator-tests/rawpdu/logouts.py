"""Logout of every kind (RFC 7143 11.14, 11.15): what ends the session, what is answered and leaves it, and
what is no logout at all."""
import scene as s


def reasons(scene, open_session, name):
    found = {}
    for reason, cid in ((0, 0), (0, 7), (1, 0), (1, 7), (2, 0), (2, 7), (3, 0), (64, 0), (127, 0)):
        peer = open_session()
        found[reason, cid] = scene.after(peer, s.logout(peer, reason, cid))
        peer.close()
    expected = {(0, 0): "logout 00, closed", (0, 7): "logout 00, closed",
                (1, 0): "logout 00, closed", (1, 7): "logout 01", (2, 0): "logout 02",
                (2, 7): "logout 02", (3, 0): "reject 09", (64, 0): "reject 09",
                (127, 0): "reject 09"}
    scene.equal(f"{name}: (reason, CID)", expected, found)


def case(scene):
    reasons(scene, scene.session, "full feature")
    reasons(scene, scene.discovery, "discovery")
    peer = scene.session()
    scene.equal("not immediate", "logout 00, closed",
                scene.after(peer, s.logout(peer, immediate=False)))
    peer.close()
    peer = scene.session()
    s.start_write(peer, 0, 0, bytes(4096))
    scene.equal("with a task under way: it is not answered", "logout 00, closed",
                scene.after(peer, s.logout(peer)))
    peer.close()
    peer = scene.session()
    before = scene.blocks(0, 1)
    command = s.command(peer, s.write_cdb(0, 1), s.FINAL | s.WRITE, 512, data=b"L" * 512)
    scene.equal("nothing behind it is looked at", "logout 00, closed",
                scene.after(peer, s.logout(peer) + command))
    scene.equal("nor written", before, scene.blocks(0, 1))
    peer.close()
