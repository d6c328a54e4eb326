"""A data segment longer than our MaxRecvDataSegmentLength cannot be told from a broken length: it ends
the connection, before one byte of it is waited for (RFC 7143 13.12)."""
import struct

import initiator
import scene as s


def announced(message, count):
    return message[:5] + struct.pack(">I", count)[1:] + message[8:48]


def case(scene):
    peer = scene.session()
    limit = int(peer.parameters["MaxRecvDataSegmentLength"])
    scene.equal("a ping of the limit comes back whole", limit, len(peer.nop(bytes(limit))))
    rows = {"ping": s.nop(peer), "command": s.test_unit_ready(peer), "text": s.text(peer),
            "Data-Out": s.data_out(peer, 1, 1, 0, b""), "logout": s.logout(peer),
            "unknown opcode": s.bare(peer, 0x1C)}
    peer.logout()
    found = {}
    for name, message in rows.items():
        for count in (limit + 1, 0xFFFFFF):
            peer = scene.session()
            peer.send(announced(message, count))
            found[f"{name} of {count}"] = scene.next(peer)
            peer.close()
    scene.equal("closed at the header", dict.fromkeys(found, "closed"), found)
    peer = scene.connect()
    header = peer.login_pdu({"InitiatorName": peer.name})
    peer.send(announced(header, 8193))
    scene.equal("a login request of over 8192 bytes", "login 02/00", scene.next(peer))
    peer.close()
    peer = scene.connect()
    request = bytearray(peer.login_pdu({"InitiatorName": peer.name, "SessionType": "Discovery"}))
    request[1] = 4
    peer.send(bytes(request))
    peer.send(announced(bytes(request), 8193))
    scene.equal("and a later one", ["login 00/00", "login 02/00"],
                [scene.next(peer), scene.next(peer)])
    peer.close()
    peer = scene.session()
    limit = initiator.pdu(initiator.NOP_OUT, ahs=bytes(1020))
    scene.equal("1020 bytes of AHS", "closed", scene.after(peer, limit))
    peer.close()
