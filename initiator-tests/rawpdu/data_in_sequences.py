"""Data-In as RFC 7143 11.7 has it, at several lengths: offsets and DataSN without gaps, segments within our
MaxRecvDataSegmentLength, F at the end of each burst and nowhere else, status in the last PDU alone."""
import initiator
from initiator import FINAL
import scene as s

SIZE = 150 * 512


def sequence(scene, keys):
    """(faults, bursts) of one read."""
    peer = scene.session(keys)
    segment, burst = int(keys["MaxRecvDataSegmentLength"]), int(peer.parameters["MaxBurstLength"])
    peer.send(s.command(peer, s.read_cdb(0, SIZE // 512), FINAL | s.READ, SIZE))
    at, number, in_burst, bursts, faults = 0, 0, 0, [], []
    while at < SIZE:
        header, data = s.receive(peer)
        in_burst += len(data)
        last = at + len(data) == SIZE
        found = (header[0], len(data) <= segment, int.from_bytes(header[36:40], "big"),
                 int.from_bytes(header[40:44], "big"), header[1] & 0x80 != 0, header[1] & 0x7F,
                 header[20:24])
        wanted = (initiator.DATA_IN, True, number, at, last or in_burst == burst, int(last),
                  b"\xff" * 4)
        if found != wanted:
            faults.append((wanted, found))
        if header[1] & 0x80:
            bursts.append(in_burst)
            in_burst = 0
        at += len(data)
        number += 1
    if scene.until_ping(peer) != "ignored":
        faults.append("something after the end")
    peer.close()
    return faults, max(bursts) <= burst


def case(scene):
    found = {}
    for segment, burst in ((512, 512), (512, 1024), (1000, 1536), (1001, 4099), (65536, 8192),
                           (262144, 262144), (16777215, 16777215)):
        found[segment, burst] = sequence(scene, {"MaxRecvDataSegmentLength": str(segment),
                                                 "MaxBurstLength": str(burst)})
    scene.equal("(segment, burst)", dict.fromkeys(found, ([], True)), found)
