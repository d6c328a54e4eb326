"""Who fences, reserves and arbitrates: rows for sequences.py. Every table begins on a LUN that nobody has
touched, so PRGENERATION counts from 0: what changes registrations adds one, RESERVE and RELEASE none."""
from cdb import (APTPL, CLEAR, EA, PREEMPT, PREEMPT_AND_ABORT, READ_FULL_STATUS, READ_KEYS, READ_RESERVATION,
                 REGISTER, REGISTER_AND_IGNORE, REGISTER_AND_MOVE, RELEASE, RELEASE_10, RELEASE_6,
                 REPORT_CAPABILITIES, RESERVE, RESERVE_10, RESERVE_6, TEST_UNIT_READY, WE, WE_AR, WE_RO,
                 inquiry, keys, pr_in, pr_list, pr_out, read_10, request_sense, reservation, write_10)

BLOCK = b"\x5a" * 512
ZEROES = bytes(512)
CAPABILITIES = "0008 1d b0 ea01 0000"
SG_LENGTH = 8192  # What sg_persist and libmpathpersist ask for.


def full_status(generation, *entries):
    """READ FULL STATUS: of each (key, holder, type, port, name of the initiator, ISID)."""
    text = ""
    for key, holder, kind, port, name, isid in entries:
        who = f"iqn.2026-11.io.ringsan:host-{name},i,0x{isid:012x}".encode() + b"\0"
        who += bytes(-len(who) % 4)
        transport_id = f"4500{len(who):04x}" + who.hex()
        text += (f"{key:016x}00000000{holder:02x}{kind:02x}00000000{port:04x}"
                 f"{len(transport_id) // 2:08x}{transport_id}")
    return f"{generation:08x}{len(text) // 2:08x}{text}"


KEY_A, KEY_B, KEY_C = 0xAAAA0001, 0xBBBB0001, 0xCCCC0001

FENCE_SCSI = [
    # fence_scsi's unfencing on each node: sg_turs, sg_persist -i -k, -o -G, -i -r, -o -R -T 5.
    ("A", "sg_turs", TEST_UNIT_READY, None, ""),
    ("A", "which keys: none", pr_in(READ_KEYS), SG_LENGTH, keys(0)),
    ("A", "REGISTER AND IGNORE", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("A", "which reservation: none", pr_in(READ_RESERVATION), SG_LENGTH, reservation(1)),
    ("A", "RESERVE, write exclusive, registrants only", pr_out(RESERVE, WE_RO), pr_list(KEY_A), ""),
    ("A", "it holds", pr_in(READ_RESERVATION), SG_LENGTH, reservation(1, KEY_A, WE_RO)),
    ("B", "which keys", pr_in(READ_KEYS), SG_LENGTH, keys(1, KEY_A)),
    ("B", "a write of a node that is not unfenced", write_10(8), BLOCK, "conflict"),
    ("B", "a read of it", read_10(8), 512, ZEROES),
    ("B", "REGISTER AND IGNORE", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_B), ""),
    ("B", "which reservation", pr_in(READ_RESERVATION), SG_LENGTH, reservation(2, KEY_A, WE_RO)),
    ("B", "a write", write_10(8), BLOCK, ""),
    ("A", "a write", write_10(16), BLOCK, ""),
    ("A", "unfencing again, as after a reload", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("A", "both keys, once each", pr_in(READ_KEYS), SG_LENGTH, keys(3, KEY_A, KEY_B)),
    # B fences A, which holds the reservation: PREEMPT AND ABORT, and it holds itself.
    ("B", "fences A", pr_out(PREEMPT_AND_ABORT, WE_RO), pr_list(KEY_B, KEY_A), ""),
    ("B", "only its key is left", pr_in(READ_KEYS), SG_LENGTH, keys(4, KEY_B)),
    ("B", "it holds", pr_in(READ_RESERVATION), SG_LENGTH, reservation(4, KEY_B, WE_RO)),
    ("A", "a write of the fenced node", write_10(16), b"x" * 512, "conflict"),
    ("A", "it is told why", TEST_UNIT_READY, None, "06/2a/05"),
    ("A", "once", TEST_UNIT_READY, None, ""),
    ("A", "still fenced", write_10(16), b"x" * 512, "conflict"),
    ("A", "its watchdog finds its key gone", pr_in(READ_KEYS), SG_LENGTH, keys(4, KEY_B)),
    ("A", "reads go on", read_10(16), 512, BLOCK),
    ("B", "fences it once more: no such key", pr_out(PREEMPT_AND_ABORT, WE_RO), pr_list(KEY_B, KEY_A),
     "conflict"),
    ("A", "unfenced", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("A", "a write", write_10(16), BLOCK, ""),
    ("B", "its own key away, and the reservation with it", pr_out(REGISTER_AND_IGNORE), pr_list(0, 0), ""),
    ("A", "it is told", TEST_UNIT_READY, None, "06/2a/04"),
    ("A", "no reservation", pr_in(READ_RESERVATION), SG_LENGTH, reservation(6)),
    ("A", "RESERVE", pr_out(RESERVE, WE_RO), pr_list(KEY_A), ""),
    ("A", "sg_persist -C", pr_out(CLEAR), pr_list(KEY_A), ""),
    ("A", "nothing left", pr_in(READ_KEYS), SG_LENGTH, keys(7)),
]

FENCE_MPATH = [
    # mpathpersist registers each path, reserves by one of them, and fences all paths of a key at once.
    ("A", "capabilities", pr_in(REPORT_CAPABILITIES), SG_LENGTH, CAPABILITIES),
    ("A", "registers path 1", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("A2", "registers path 2", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("B", "registers path 1", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_B), ""),
    ("B2", "registers path 2", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_B), ""),
    ("A", "a key for each path", pr_in(READ_KEYS), SG_LENGTH, keys(4, KEY_A, KEY_A, KEY_B, KEY_B)),
    ("A", "RESERVE", pr_out(RESERVE, WE_RO), pr_list(KEY_A), ""),
    ("A2", "RESERVE by path 2: path 1 holds", pr_out(RESERVE, WE_RO), pr_list(KEY_A), "conflict"),
    ("A2", "but it may write", write_10(8), BLOCK, ""),
    ("A2", "who holds", pr_in(READ_RESERVATION), SG_LENGTH, reservation(4, KEY_A, WE_RO)),
    ("B2", "full status", pr_in(READ_FULL_STATUS), SG_LENGTH,
     full_status(4, (KEY_A, 1, WE_RO, 1, "a", 0x800000000001), (KEY_A, 0, 0, 2, "a", 0x800000000002),
                 (KEY_B, 0, 0, 1, "b", 0x800000000001), (KEY_B, 0, 0, 2, "b", 0x800000000002))),
    ("A2", "RELEASE by path 2 is good and does nothing", pr_out(RELEASE, WE_RO), pr_list(KEY_A), ""),
    ("A2", "path 1 holds", pr_in(READ_RESERVATION), SG_LENGTH, reservation(4, KEY_A, WE_RO)),
    # A path that comes back: multipathd looks for the key and registers the path again.
    ("A2", "path 2 is lost", "vanish", None, None),
    ("A2", "path 2 is back: its key is there", pr_in(READ_KEYS), SG_LENGTH,
     keys(4, KEY_A, KEY_A, KEY_B, KEY_B)),
    ("A2", "and registered again", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("A2", "a write", write_10(8), BLOCK, ""),
    ("B2", "fences both paths of A by one of its own", pr_out(PREEMPT_AND_ABORT, WE_RO),
     pr_list(KEY_B, KEY_A), ""),
    ("A", "path 1 is fenced", write_10(8), BLOCK, "conflict"),
    ("A2", "path 2 is fenced", write_10(8), BLOCK, "conflict"),
    ("A", "path 1 is told", TEST_UNIT_READY, None, "06/2a/05"),
    ("A2", "path 2 is told", TEST_UNIT_READY, None, "06/2a/05"),
    ("B", "path 1 of B writes", write_10(8), BLOCK, ""),
    ("B", "path 1 of B hears of nothing", TEST_UNIT_READY, None, ""),
    ("B2", "who holds", pr_in(READ_RESERVATION), SG_LENGTH, reservation(6, KEY_B, WE_RO)),
    ("B", "CLEAR", pr_out(CLEAR), pr_list(KEY_B), ""),
    ("B2", "the other path is told", TEST_UNIT_READY, None, "06/2a/03"),
]

NODE_1, NODE_2, NODE_3 = 0x6D734E4F44450001, 0x6D734E4F44450002, 0x6D734E4F44450003

WINDOWS = [
    # "Validate SCSI-3 Persistent Reservation", then arbitration as the cluster disk driver does it.
    ("A", "one identity", inquiry(0x83, 4), 4, "0083 00.."),
    ("A", "READ KEYS", pr_in(READ_KEYS, 8), 8, keys(0)),
    ("A", "RESERVE without a registration", pr_out(RESERVE, WE_RO), pr_list(NODE_1), "conflict"),
    ("A", "REGISTER with a key that is not there", pr_out(REGISTER), pr_list(NODE_2, NODE_1), "conflict"),
    ("A", "REGISTER", pr_out(REGISTER), pr_list(0, NODE_1), ""),
    ("A", "REGISTER again with no key", pr_out(REGISTER), pr_list(0, NODE_1), "conflict"),
    ("A", "RESERVE with another's key", pr_out(RESERVE, WE_RO), pr_list(NODE_2), "conflict"),
    ("A", "RESERVE", pr_out(RESERVE, WE_RO), pr_list(NODE_1), ""),
    ("A", "RESERVE what it holds", pr_out(RESERVE, WE_RO), pr_list(NODE_1), ""),
    ("A", "another type of what it holds", pr_out(RESERVE, WE), pr_list(NODE_1), "conflict"),
    ("A", "READ RESERVATION, at once", pr_in(READ_RESERVATION, 24), 24, reservation(1, NODE_1, WE_RO)),
    ("B", "REGISTER", pr_out(REGISTER), pr_list(0, NODE_2), ""),
    ("B", "RESERVE what A holds", pr_out(RESERVE, WE_RO), pr_list(NODE_2), "conflict"),
    ("B", "RELEASE of what A holds does nothing", pr_out(RELEASE, WE_RO), pr_list(NODE_2), ""),
    ("B", "A holds", pr_in(READ_RESERVATION, 24), 24, reservation(2, NODE_1, WE_RO)),
    ("A", "RELEASE of another type", pr_out(RELEASE, WE), pr_list(NODE_1), "05/26/04"),
    ("A", "RELEASE", pr_out(RELEASE, WE_RO), pr_list(NODE_1), ""),
    ("B", "told of the release", TEST_UNIT_READY, None, "06/2a/04"),
    ("B", "RESERVE", pr_out(RESERVE, WE_RO), pr_list(NODE_2), ""),
    ("A", "not told of a reservation", TEST_UNIT_READY, None, ""),
    ("B", "CLEAR", pr_out(CLEAR), pr_list(NODE_2), ""),
    ("A", "told of the clearing", TEST_UNIT_READY, None, "06/2a/03"),
    ("A", "no key", pr_in(READ_KEYS, 8), 8, keys(3)),
    # Node 1 owns the disk.
    ("A", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_1), ""),
    ("A", "reserves", pr_out(RESERVE, WE_RO), pr_list(NODE_1), ""),
    # Node 2 arbitrates while node 1 lives: the owner finds its key within 3 s and removes it.
    ("B", "challenges", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_2), ""),
    ("B", "who owns", pr_in(READ_RESERVATION, 24), 24, reservation(5, NODE_1, WE_RO)),
    ("A", "finds the challenger", pr_in(READ_KEYS, 1024), 1024, keys(5, NODE_1, NODE_2)),
    ("A", "defends: removes its key", pr_out(PREEMPT, WE_RO), pr_list(NODE_1, NODE_2), ""),
    ("B", "is told that it has lost", pr_out(PREEMPT, WE_RO), pr_list(NODE_2, NODE_1), "06/2a/05"),
    ("B", "and has", pr_out(PREEMPT, WE_RO), pr_list(NODE_2, NODE_1), "conflict"),
    ("A", "still holds", pr_in(READ_RESERVATION, 24), 24, reservation(6, NODE_1, WE_RO)),
    ("A", "hears of nothing", TEST_UNIT_READY, None, ""),
    # Node 1 hangs: nobody removes the key, and after 6 s node 2 takes the disk.
    ("B", "challenges", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_2), ""),
    ("B", "its key is still there", pr_in(READ_KEYS, 1024), 1024, keys(7, NODE_1, NODE_2)),
    ("B", "takes the disk", pr_out(PREEMPT, WE_RO), pr_list(NODE_2, NODE_1), ""),
    ("B", "owns it at once", pr_in(READ_RESERVATION, 24), 24, reservation(8, NODE_2, WE_RO)),
    ("B", "its sector", write_10(64), BLOCK, ""),
    ("A", "comes back and writes", write_10(64), ZEROES, "conflict"),
    ("A", "is told on its way to defend", pr_out(REGISTER), pr_list(NODE_1, NODE_1), "06/2a/05"),
    ("A", "a disk that it has lost", pr_out(REGISTER), pr_list(NODE_1, NODE_1), "conflict"),
    ("A", "nothing of it was written", read_10(64), 512, BLOCK),
    # Cluster shared volume: more nodes write with their keys beside the owner's.
    ("A", "joins", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_1), ""),
    ("C", "joins", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_3), ""),
    ("C", "writes", write_10(72), BLOCK, ""),
    ("B", "the owner crashes", "vanish", None, None),
    ("A", "the reservation stays", pr_in(READ_RESERVATION, 24), 24, reservation(10, NODE_2, WE_RO)),
    ("A", "writes go on", write_10(80), BLOCK, ""),
    ("A", "takes over", pr_out(PREEMPT, WE_RO), pr_list(NODE_1, NODE_2), ""),
    ("C", "a registrant of the same type hears of nothing", TEST_UNIT_READY, None, ""),
    ("C", "keys", pr_in(READ_KEYS, 1024), 1024, keys(11, NODE_1, NODE_3)),
    ("B", "the crashed node logs in as a stranger", write_10(64), ZEROES, "conflict"),
]

# Its keys were written with APTPL = 0; a restart of the target is not a loss of power.
WINDOWS_RESTARTED = [
    ("A", "keys survive a restart", pr_in(READ_KEYS, 1024), 1024, keys(11, NODE_1, NODE_3)),
    ("C", "so does the reservation", pr_in(READ_RESERVATION, 24), 24, reservation(11, NODE_1, WE_RO)),
    ("B", "and what it keeps away", write_10(64), ZEROES, "conflict"),
    ("C", "and what it does not", write_10(72), BLOCK, ""),
    ("A", "re-registers, as every 3 s", pr_out(REGISTER_AND_IGNORE), pr_list(0, NODE_1), ""),
    ("A", "offline: releases", pr_out(RELEASE, WE_RO), pr_list(NODE_1), ""),
    ("C", "told", TEST_UNIT_READY, None, "06/2a/04"),
    ("B", "nothing is kept from it any more", write_10(64), BLOCK, ""),
    ("A", "CLEAR", pr_out(CLEAR), pr_list(NODE_1), ""),
    ("C", "told", TEST_UNIT_READY, None, "06/2a/03"),
    ("B", "which is no registrant", TEST_UNIT_READY, None, ""),
]

LINUX_PR_OPS = [
    # The kernel's pr_ops (LVM's persistent reservations, dm, NFS layouts): REGISTER with APTPL.
    ("A", "IOC_PR_REGISTER", pr_out(REGISTER), pr_list(0, KEY_A, APTPL), ""),
    ("A", "IOC_PR_REGISTER, ignoring", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_C, APTPL), ""),
    ("A", "back again", pr_out(REGISTER), pr_list(KEY_C, KEY_A, APTPL), ""),
    ("A", "IOC_PR_RESERVE, write exclusive, all registrants", pr_out(RESERVE, WE_AR), pr_list(KEY_A), ""),
    ("A", "all registrants: no key of a holder", pr_in(READ_RESERVATION), SG_LENGTH,
     reservation(3, 0, WE_AR)),
    ("B", "IOC_PR_REGISTER", pr_out(REGISTER), pr_list(0, KEY_B, APTPL), ""),
    ("B", "holds it, too: RESERVE is good", pr_out(RESERVE, WE_AR), pr_list(KEY_B), ""),
    ("A", "IOC_PR_PREEMPT of one registrant", pr_out(PREEMPT, WE_AR), pr_list(KEY_A, KEY_B), ""),
    ("B", "a write", write_10(8), BLOCK, "conflict"),
    ("B", "told", TEST_UNIT_READY, None, "06/2a/05"),
    ("A", "its reservation", pr_in(READ_RESERVATION), SG_LENGTH, reservation(5, 0, WE_AR)),
]

LINUX_PR_OPS_RESTARTED = [
    ("B", "still kept away", write_10(8), BLOCK, "conflict"),
    ("A", "keys", pr_in(READ_KEYS), SG_LENGTH, keys(5, KEY_A)),
    ("A", "RELEASE, as the last holder", pr_out(RELEASE, WE_AR), pr_list(KEY_A), ""),
    ("A", "IOC_PR_CLEAR", pr_out(CLEAR), pr_list(KEY_A), ""),
    ("A", "nothing is left", pr_in(READ_KEYS), SG_LENGTH, keys(6)),
]

PR_HELPER = [
    # qemu-pr-helper passes on what a guest sends, with the guest's lengths.
    ("A", "REPORT CAPABILITIES, 8 bytes", pr_in(REPORT_CAPABILITIES, 8), 8, CAPABILITIES),
    ("A", "REPORT CAPABILITIES, 4 bytes", pr_in(REPORT_CAPABILITIES, 4), 4, "0008 1d b0"),
    ("A", "REGISTER", pr_out(REGISTER), pr_list(0, KEY_A), ""),
    ("A", "READ KEYS, the length alone", pr_in(READ_KEYS, 8), 8, "00000001 00000008"),
    ("A", "READ KEYS", pr_in(READ_KEYS, 16), 16, keys(1, KEY_A)),
    ("A", "READ KEYS of no bytes", pr_in(READ_KEYS, 0), None, ""),
    ("A", "RESERVE, exclusive access", pr_out(RESERVE, EA), pr_list(KEY_A), ""),
    ("B", "a read", read_10(0), 512, "conflict"),
    ("B", "TEST UNIT READY, so that a path checker is content", TEST_UNIT_READY, None, ""),
    ("B", "INQUIRY", inquiry(None, 5), 5, "000006125b"),
    ("B", "READ KEYS", pr_in(READ_KEYS, 16), 16, keys(1, KEY_A)),
    ("A", "a list of 23 bytes", pr_out(REGISTER, 0, 23), pr_list(KEY_A, KEY_B)[:23], "05/1a/00"),
    ("A", "scope of an element", pr_out(RESERVE, 0x20 | WE), pr_list(KEY_A), "05/24/00"),
    ("A", "type 2", pr_out(RESERVE, 2), pr_list(KEY_A), "05/24/00"),
    ("A", "service action 1Fh", pr_out(0x1F), pr_list(KEY_A), "05/24/00"),
    ("A", "MOVE with a basic list", pr_out(REGISTER_AND_MOVE), pr_list(KEY_A, KEY_B), "05/1a/00"),
    ("A", "the key is as it was", pr_in(READ_KEYS, 16), 16, keys(1, KEY_A)),
    ("A", "unregisters", pr_out(REGISTER), pr_list(KEY_A, 0), ""),
    ("B", "a read", read_10(0), 512, ZEROES),
]

RESERVE_RELEASE = [
    # ESXi's first contact, Windows 2003 clusters and old fencing: SPC-2.
    ("A", "RESERVE(6)", RESERVE_6, None, ""),
    ("A", "RESERVE(6) again", RESERVE_6, None, ""),
    ("B", "RESERVE(6)", RESERVE_6, None, "conflict"),
    ("B", "a read", read_10(0), 512, "conflict"),
    ("B", "a write", write_10(0), BLOCK, "conflict"),
    ("B", "INQUIRY", inquiry(None, 5), 5, "000006125b"),
    ("B", "REQUEST SENSE", request_sense(18), 18, "70 00 00 00000000 0a 00000000 0000 00 000000"),
    ("B", "RELEASE(6) is good and does nothing", RELEASE_6, None, ""),
    ("B", "a read", read_10(0), 512, "conflict"),
    ("B", "REGISTER", pr_out(REGISTER), pr_list(0, KEY_B), "conflict"),
    ("A", "REGISTER", pr_out(REGISTER), pr_list(0, KEY_A), "conflict"),
    ("A", "a write", write_10(0), BLOCK, ""),
    ("A", "RELEASE(6)", RELEASE_6, None, ""),
    ("B", "a read", read_10(0), 512, BLOCK),
    ("B", "RESERVE(10)", RESERVE_10, None, ""),
    ("A", "RESERVE(10)", RESERVE_10, None, "conflict"),
    ("B", "its session ends", "log out", None, None),
    ("A", "and the reservation with it", RESERVE_10, None, ""),
    ("B", "conflict", TEST_UNIT_READY, None, "conflict"),
    ("B", "LOGICAL UNIT RESET breaks it", "reset", None, None),
    ("B", "told of its reset", TEST_UNIT_READY, None, "06/29/03"),
    ("B", "a write", write_10(0), BLOCK, ""),
    ("A", "told of the reset", write_10(0), BLOCK, "06/29/03"),
    ("A", "RELEASE(10)", RELEASE_10, None, ""),
    ("A", "REGISTER", pr_out(REGISTER), pr_list(0, KEY_A), ""),
    ("B", "RESERVE(6) where somebody is registered", RESERVE_6, None, "conflict"),
    ("A", "RESERVE(6) of a registrant", RESERVE_6, None, "conflict"),
    ("A", "CLEAR", pr_out(CLEAR), pr_list(KEY_A), ""),
]

# What comes after a restart of the target stands beside it.
TABLES = {
    "fence_scsi (sg_persist)": [FENCE_SCSI],
    "fence_mpath (mpathpersist, multipathd)": [FENCE_MPATH],
    "Windows failover cluster": [WINDOWS, WINDOWS_RESTARTED],
    "Linux pr_ops": [LINUX_PR_OPS, LINUX_PR_OPS_RESTARTED],
    "qemu-pr-helper": [PR_HELPER],
    "RESERVE and RELEASE": [RESERVE_RELEASE],
}
