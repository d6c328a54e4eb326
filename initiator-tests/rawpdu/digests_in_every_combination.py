"""Header and data digests, each on or off, on all kinds of PDUs and on data of every length modulo 4."""
import itertools
import scene as s


def use(scene, peer, data):
    peer.write(scene.lun, 4096, data)
    found = [bytes(peer.read(scene.lun, 4096, len(data) // s.BLOCK).data) == data]
    found += [peer.nop(b"x" * length) == b"x" * length for length in (0, 1, 2, 3, 4, 5, 511)]
    found += [peer.text({"Colour": "blue"}) == b"Colour=NotUnderstood\0"]
    found += [peer.task_management(2, scene.lun) == 0]
    found += [peer.command(scene.lun, b"\x12\0\0\0\x24", data_in=36).status == 0]
    found += [peer.command(scene.lun, b"\xff").sense_code == "05/20/00"]
    return found


def case(scene):
    for number, (header, data) in enumerate(itertools.product(("None", "CRC32C"), repeat=2)):
        peer = scene.session({"HeaderDigest": header, "DataDigest": data, "MaxBurstLength": "4096",
                              "FirstBurstLength": "1024", "MaxRecvDataSegmentLength": "512"})
        scene.equal(f"{header}, {data}: agreed", (header, data),
                    (peer.parameters["HeaderDigest"], peer.parameters["DataDigest"]))
        found = use(scene, peer, bytes([number + 1]) * 16384)
        scene.equal(f"{header}, {data}: every PDU", [True] * len(found), found)
        peer.logout()
