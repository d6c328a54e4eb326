"""SNACK belongs to error recovery level 1 (RFC 7143 11.16): at level 0 each type is rejected, and a flood
of them costs its sender only."""
import initiator
from initiator import FINAL, NO_TAG, pdu
import scene as s


def snack(kind, run=(0, 0)):
    return pdu(initiator.SNACK, FINAL | kind, bytes(8), 0x1234, (NO_TAG, 0, 0, 0, 0) + run)


def case(scene):
    peer = scene.session()
    found = {kind: scene.after(peer, snack(kind)) for kind in range(16)}
    scene.equal("types 0 to 15", dict.fromkeys(range(16), "reject 03"), found)
    scene.equal("a run of 2^32 - 1", "reject 03", scene.after(peer, snack(0, (0, NO_TAG))))
    flood = 500
    peer.send(b"".join(snack(1) for _ in range(flood)))
    scene.equal("a flood", ", ".join(["reject 03"] * flood), scene.until_ping(peer))
    peer.close()
