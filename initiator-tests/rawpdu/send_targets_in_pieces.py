"""SendTargets (RFC 7143 Appendix C) with an answer longer than the initiator takes at once: pieces with C
bit and a tag to ask for the next, in order and out of it; and who may ask for what."""
import initiator
from initiator import CONTINUE, FINAL, NO_TAG
import scene as s

LIMIT = 512
ALL = b"SendTargets=All\0"


def ask(peer, data, target_tag=NO_TAG):
    """(words, flags, target tag, text) of the answer."""
    peer.send(s.text(peer, data, target_tag=target_tag))
    header, text = s.receive(peer)
    return s.describe(header, text), header[1], int.from_bytes(header[20:24], "big"), text


def small_discovery(scene):
    return scene.connect().login(None, {"MaxRecvDataSegmentLength": str(LIMIT)})


def in_pieces(scene, whole):
    peer = small_discovery(scene)
    pieces, data, tag, faults = [], ALL, NO_TAG, []
    while not pieces or tag != NO_TAG:
        words, flags, tag, text = ask(peer, data, tag)
        if flags != (FINAL if tag == NO_TAG else CONTINUE) or words != "text" or len(text) > LIMIT:
            faults.append((words, flags, tag, len(text)))
        pieces.append(text)
        data = b""
    scene.equal("flags, tags and lengths of the pieces", [], faults)
    scene.check("there are many", len(pieces) > 5, len(pieces))
    scene.equal("together they are the list", whole, b"".join(pieces))
    peer.logout()


def out_of_order(scene, whole):
    peer = small_discovery(scene)
    _, _, tag, first = ask(peer, ALL)
    scene.equal("a tag of the past or the future", ["reject 04"] * 3, [
        ask(peer, b"", other & 0xFFFFFFFF)[0] for other in (tag - 1, tag + 1, tag ^ 0x80000000)])
    _, _, second_tag, second = ask(peer, b"", tag)
    scene.equal("the right one still serves", whole[:2 * LIMIT], first + second)
    scene.equal("but once", "reject 04", ask(peer, b"", tag)[0])
    scene.equal("a new question begins again", first, ask(peer, ALL)[3])
    scene.equal("and ends the old answer", "reject 04", ask(peer, b"", second_tag)[0])
    peer.send(s.text(peer, ALL))
    peer.close()


def answers(scene, open_session, values):
    peer = open_session()
    found = {value: ask(peer, f"SendTargets={value}\0".encode())[3] for value in values}
    peer.logout()
    return found


def who_may_ask(scene):
    refused = b"SendTargets=Reject\0"
    own = scene.target
    found = answers(scene, scene.session, ("", own, "All", scene.own, "iqn.no-such", "all"))
    mine = found[own]
    scene.check("a session is told of its own target", mine.startswith(f"TargetName={own}\0".encode()),
                mine)
    scene.equal("and of nothing else", {"": mine, own: mine, "All": refused, scene.own: refused,
                                        "iqn.no-such": refused, "all": refused}, found)
    found = answers(scene, scene.discovery, ("", own, "iqn.no-such", "all"))
    scene.equal("discovery is told what it names",
                {"": refused, own: mine, "iqn.no-such": b"", "all": b""}, found)


def case(scene):
    peer = scene.discovery()
    whole = ask(peer, ALL)[3]
    peer.logout()
    scene.equal("the list in one piece", 1, whole.count(f"TargetName={scene.own}\0".encode()))
    in_pieces(scene, whole)
    out_of_order(scene, whole)
    who_may_ask(scene)
