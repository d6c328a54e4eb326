"""More data than agreed (RFC 7143 13.10 to 13.14): immediate data where they are not agreed on, longer
than FirstBurstLength or than the command; unsolicited data beyond either, or where R2T comes first."""
from initiator import FINAL, NO_TAG
import scene as s

FAILS = "response 00/02 b/4b"


def write(peer, blocks, data, final=True):
    message = s.command(peer, s.write_cdb(128, blocks), (FINAL if final else 0) | s.WRITE,
                        blocks * s.BLOCK, data=data)
    peer.cmd_sn += 1
    return message


def immediate(scene):
    peer = scene.session({"ImmediateData": "No"})
    scene.equal("immediate data, not agreed on", "reject 09",
                scene.after(peer, write(peer, 1, bytes(512))))
    scene.equal("not one byte", "reject 09", scene.after(peer, write(peer, 1, b"1")))
    peer.close()
    peer = scene.session({"FirstBurstLength": "1024"})
    scene.equal("immediate data beyond FirstBurstLength", "reject 09",
                scene.after(peer, write(peer, 8, bytes(1025))))
    scene.equal("immediate data beyond the command", "reject 09",
                scene.after(peer, write(peer, 1, bytes(513))))
    scene.equal("immediate data for a command that reads", "reject 09", scene.after(
        peer, s.command(peer, s.read_cdb(128, 1), FINAL | s.READ, 512, data=bytes(512))))
    peer.cmd_sn += 1
    scene.equal("up to FirstBurstLength", "response 00/00",
                scene.answer(peer, write(peer, 2, bytes(1024))))
    peer.close()


def unsolicited(scene):
    peer = scene.session()
    scene.equal("no F where InitialR2T=Yes", "reject 09",
                scene.after(peer, write(peer, 2, b"", False)))
    peer.close()
    rows = {
        "beyond FirstBurstLength": [(0, 2048, False), (2048, 512, True)],
        "beyond it in one piece": [(0, 2560, True)],
        "with a gap": [(512, 512, True)],
        "from beyond everything": [(0xFFFFFF00, 256, True)],
    }
    found = {}
    for name, pieces in rows.items():
        peer = scene.session({"InitialR2T": "No", "FirstBurstLength": "2048"})
        message = write(peer, 16, b"", False)
        for number, (offset, count, final) in enumerate(pieces):
            message += s.data_out(peer, 0x2002, NO_TAG, offset, b"X" * count, final=final,
                                  data_sn=number)
        found[name] = scene.answer(peer, message)
        peer.close()
    scene.equal("unsolicited data", dict.fromkeys(rows, FAILS), found)
    peer = scene.session({"InitialR2T": "No", "FirstBurstLength": "2048"})
    message = write(peer, 1, b"", False) + s.data_out(peer, 0x2002, NO_TAG, 0, bytes(1024))
    scene.equal("unsolicited data beyond the command", FAILS, scene.answer(peer, message))
    peer.close()


def early_end(scene):
    """F before FirstBurstLength: the rest is asked for."""
    peer = scene.session({"InitialR2T": "No", "FirstBurstLength": "2048", "MaxBurstLength": "1024"})
    peer.hold_r2ts = True
    task = peer.submit(0, s.write_cdb(128, 8), 0, b"E" * 4096, 512, unsolicited_bytes=512)
    pieces = []
    while sum(length for _, length in pieces) < 3072:
        while not peer.held_r2ts:
            peer.step()
        pieces += [held[3] for held in peer.held_r2ts]
        peer.release_r2ts()
    scene.equal("fewer unsolicited data than allowed: R2Ts for the rest, none beyond MaxBurstLength",
                [(1024, 1024), (2048, 1024), (3072, 1024)], pieces)
    scene.equal("and the data", (0, b"E" * 4096), (peer.wait(task).status, scene.blocks(128, 8)))
    peer.logout()


def case(scene):
    immediate(scene)
    unsolicited(scene)
    early_end(scene)
