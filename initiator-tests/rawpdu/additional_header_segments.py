"""Additional header segments (RFC 7143 11.2.2): extended CDBs are not supported and rejected, with or
without digests; on any other request AHS are an invalid field; nothing of them is taken for data."""
from initiator import FINAL
import scene as s

EXTENDED_CDB = b"\x00\x05\x01\x00" + bytes(4)
BIDIRECTIONAL = b"\x00\x05\x02\x00" + bytes(4)
MALFORMED = b"\xff\xff\xff\xff"


def case(scene):
    for keys in (None, s.DIGESTS):
        peer = scene.session(keys)
        found = {}
        for name, ahs in (("extended CDB", EXTENDED_CDB), ("two directions", BIDIRECTIONAL),
                          ("no such type", MALFORMED), ("256 bytes", bytes(256))):
            found[name] = scene.after(peer, s.command(peer, bytes(6), ahs=ahs))
            peer.cmd_sn += 1
            found[f"{name}, with data"] = scene.after(peer, s.command(
                peer, s.write_cdb(0, 1), FINAL | s.WRITE, 512, ahs=ahs, data=bytes(512)))
            peer.cmd_sn += 1
        for name, message in (("ping", s.bare(peer, 0x40, ahs=EXTENDED_CDB)),
                              ("text", s.bare(peer, 0x44, ahs=EXTENDED_CDB)),
                              ("function", s.bare(peer, 0x42, ahs=EXTENDED_CDB)),
                              ("logout", s.bare(peer, 0x46, ahs=EXTENDED_CDB))):
            found[name] = scene.after(peer, message)
        found["Data-Out"] = scene.after(peer, s.bare(peer, 0x05, bytes(512), EXTENDED_CDB))
        scene.equal("with digests" if keys else "without digests",
                    dict.fromkeys(found, "reject 09"), found)
        peer.logout()
