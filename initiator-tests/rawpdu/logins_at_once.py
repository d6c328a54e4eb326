"""A host that has booted: it connects by all its paths, as many as connections-before-login-per-source allows
by default, before the first login request leaves. All are let in; one more is closed, and only that one."""
import initiator
import scene as s

PATHS = 64
SOURCE = "127.0.200.1"


def case(scene):
    peers = [initiator.Initiator(scene.host, scene.port, f"iqn.2026-11.io.ringsan:path-{number}",
                                 source=SOURCE) for number in range(PATHS)]
    one_more = initiator.Initiator(scene.host, scene.port, source=SOURCE)
    scene.check("one more is closed", scene.closed(one_more))
    wrong = []
    for peer in peers:
        try:
            peer.login(scene.target)
        except (*s.GONE, initiator.Refused) as error:
            wrong.append(repr(error))
    scene.equal("all are let in", [], wrong)
    for peer in peers:
        peer.logout()
