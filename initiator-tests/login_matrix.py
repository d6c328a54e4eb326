"""Every login that matters: CHAP by each algorithm or none x both digests x InitialR2T x ImmediateData x
burst lengths; in each a write is read back. What libiscsi cannot ask for; see login_matrix.sh.

usage: login_matrix.py HOST PORT TARGET TARGET-WITH-CHAP
"""
import itertools
import struct
import sys

from cases import check, end, equal
import chap

USER = ("host-user", "secret-of-host-1")
OWN = ("target-user", "secret-of-target")
BURSTS = ((512, 512, 512), (4096, 16384, 8192), (65536, 262144, 262144))
SIZE = 12288
SWITCHES = (("None", "CRC32C"), ("None", "CRC32C"), ("Yes", "No"), ("Yes", "No"), BURSTS)


def log_in(host, port, targets, algorithm, keys, number):
    """CHAP is mutual every other time."""
    peer = chap.Peer(host, port, f"iqn.2026-11.io.ringsan:matrix-{number}")
    if algorithm:
        chosen = peer.authenticate(targets[1], USER, algorithm, OWN if number % 2 else None)
        assert chosen == algorithm, f"algorithm {chosen}"
        keys = dict(keys, InitiatorName=None, TargetName=None, SessionType=None)
    peer.login(targets[0], keys)
    return peer


def write_and_read(peer, number):
    """With all the data that may go unasked."""
    got = peer.parameters
    room = min(SIZE, int(got["FirstBurstLength"]))
    immediate = min(room, 8192) if got["ImmediateData"] == "Yes" else 0
    unsolicited = room - immediate if got["InitialR2T"] == "No" else 0
    data = struct.pack(">I", number) * (SIZE // 4)
    cdb = struct.pack(">BBIBHB", 0x2A, 0, 64, 0, SIZE // 512, 0)
    peer.clear_unit_attention(0)
    task = peer.wait(peer.submit(0, cdb, 0, data, immediate, unsolicited_bytes=unsolicited))
    return task.status == 0 and peer.read(0, 64, SIZE // 512).data == data


def fault(host, port, targets, algorithm, way, number):
    header, data, initial_r2t, immediate_data, bursts = way
    keys = {"HeaderDigest": header, "DataDigest": data, "InitialR2T": initial_r2t,
            "ImmediateData": immediate_data, "FirstBurstLength": str(bursts[0]),
            "MaxBurstLength": str(bursts[1]), "MaxRecvDataSegmentLength": str(bursts[2])}
    peer = log_in(host, port, targets, algorithm, keys, number)
    declared = "MaxRecvDataSegmentLength"
    if any(peer.parameters[key] != value for key, value in keys.items() if key != declared):
        return way, peer.parameters
    if not write_and_read(peer, number):
        return way, "the data"
    peer.logout()
    return None


def main():
    host, port, *targets = sys.argv[1:]
    number = 0
    for algorithm in ("", *chap.ALGORITHMS):
        faults = []
        for way in itertools.product(*SWITCHES):
            number += 1
            faults.append(fault(host, int(port), targets, algorithm, way, number))
        name = f"CHAP_A={algorithm}" if algorithm else "no CHAP"
        equal(f"{name}: {len(faults)} logins, digests x R2T x immediate data x bursts", [],
              [wrong for wrong in faults if wrong])
    peer = chap.Peer(host, int(port))
    equal("the first of a list", "7", peer.authenticate(targets[1], USER, "9,7,8,5"))
    check("every way was tried", number == 5 * 48, number)
    end()


main()
