"""Who reads, writes, compares and gives back blocks: rows for sequences.py, on a thin LUN of 16 GiB with
blocks of 512 bytes on 4096 that is all zeroes when a table begins."""
from cdb import (SYNCHRONIZE_CACHE, TEST_UNIT_READY, compare_and_write, get_lba_status, inquiry,
                 read_10, read_16, read_capacity_16, report_target_port_groups,
                 request_sense, unmap, unmap_list, verify_10, verify_16, write_10, write_16, write_same_10,
                 write_same_16)

BLOCKS = 16 << 21  # The capacity.
MIB = 2048  # In blocks.
FUA, UNMAP, NDOB, ANCHOR = 8, 8, 1, 16
CAPACITY = f"{BLOCKS - 1:016x}00000200" + "00" + "03" + "c000" + "00" * 16
# Two groups of a port each, active/optimized; all but "LBA dependent" is supported.
GROUPS = "00000018" + "00cf0002 00000001 00000002" + "00cf0001 00000001 00000001"


def block(text, count=1):
    """Blocks filled with a letter or a text."""
    return (text.encode() * 512)[:512] * count


MAPPED, DEALLOCATED = 0, 1


def lba_status(first, status):
    """GET LBA STATUS cut to one range from this block on, of whatever length. Bytes 4 to 7: RTP, and that
    it ended for want of room, or at the end of the medium (SBC-4)."""
    return f".{{8}} 0000000[37] {first:016x} .{{8}} {status:02x}000000"


ZERO, A, B = bytes(512), block("A"), block("B")


def differing(data, at):
    """The same, but for one byte."""
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


ESXI = [
    # ATS on a VMFS lock (one block), then the heartbeat, a generation each time.
    ("A", "the lock is free", read_16(16), 512, ZERO),
    ("A", "ATS: takes it", compare_and_write(16), ZERO + A, ""),
    ("B", "ATS: takes what it saw free", compare_and_write(16), ZERO + B, "0e/1d/00 at 0"),
    ("B", "sees whose it is", read_16(16), 512, A),
    ("B", "ATS: the first difference is byte 17", compare_and_write(16), differing(A, 17) + B,
     "0e/1d/00 at 17"),
    ("B", "ATS: the first difference is the last byte", compare_and_write(16), differing(A, 511) + B,
     "0e/1d/00 at 511"),
    ("A", "nothing was written", read_16(16), 512, A),
    ("A", "heartbeat", compare_and_write(24), ZERO + block("gen 1"), ""),
    ("A", "heartbeat", compare_and_write(24), block("gen 1") + block("gen 2"), ""),
    ("A", "the same again, as after a lost answer", compare_and_write(24), block("gen 1") + block("gen 2"),
     "0e/1d/00 at 4"),
    ("A", "sees its own generation", read_16(24), 512, block("gen 2")),
    ("A", "the block beside it", read_16(25), 512, ZERO),
    ("A", "by another path", "log out", None, None),
    ("A2", "heartbeat", compare_and_write(24), block("gen 2") + block("gen 3"), ""),
    ("B", "breaks a stale heartbeat", compare_and_write(24), block("gen 3") + ZERO, ""),
    ("A2", "has lost it", compare_and_write(24), block("gen 3") + block("gen 4"), "0e/1d/00 at 0"),
    ("A2", "releases the lock", compare_and_write(16), A + ZERO, ""),
    ("B", "ATS: takes it", compare_and_write(16), ZERO + B, ""),
    ("B", "ATS of no blocks", compare_and_write(16, 0), None, ""),
    ("B", "ATS beyond the end", compare_and_write(BLOCKS), ZERO + A, "05/21/00"),
    # VAAI Zero: an eager-zeroed disk, WRITE SAME(16) of a zero block, 1 MiB each, without UNMAP.
    ("A2", "something to be zeroed", write_16(3 * MIB - 1, 3), A * 3, ""),
    ("A2", "Zero", write_same_16(3 * MIB, MIB), ZERO, ""),
    ("A2", "Zero", write_same_16(4 * MIB, MIB), ZERO, ""),
    ("A2", "zeroes, but not before", read_16(3 * MIB - 1, 3), 1536, A + ZERO * 2),
    # VAAI Delete: several descriptors, aligned to 1 MiB.
    ("A2", "four places", write_16(8 * MIB - 1, 2), A * 2, ""),
    ("A2", "four places", write_16(9 * MIB - 1, 2), A * 2, ""),
    ("A2", "four places", write_16(16 * MIB - 1, 2), A * 2, ""),
    ("A2", "four places", write_16(20 * MIB - 1, 2), A * 2, ""),
    ("A2", "Delete", unmap([(8 * MIB, MIB), (16 * MIB, 4 * MIB)]),
     unmap_list([(8 * MIB, MIB), (16 * MIB, 4 * MIB)]), ""),
    ("A2", "given back from here", read_16(8 * MIB - 1, 2), 1024, A + ZERO),
    ("A2", "to there", read_16(9 * MIB - 1, 2), 1024, ZERO + A),
    ("B", "and from here", read_16(16 * MIB - 1, 2), 1024, A + ZERO),
    ("B", "to there", read_16(20 * MIB - 1, 2), 1024, ZERO + A),
    ("B", "a thin disk's capacity", read_capacity_16(), 32, CAPACITY),
]

VDSM = [
    # sanlock: each host has a block of its own in the ids volume, four of eight share 4096 bytes of medium.
    ("A", "reads the lease area", read_10(2 * MIB, 2048), 1 << 20, bytes(1 << 20)),
    ("A", "delta lease: writes its block", write_10(2 * MIB + 1), block("host 1, 1"), ""),
    ("B", "delta lease: writes its block", write_10(2 * MIB + 2), block("host 2, 1"), ""),
    ("A", "delta lease: reads it again", read_10(2 * MIB + 1), 512, block("host 1, 1")),
    ("A", "renews", write_10(2 * MIB + 1), block("host 1, 2"), ""),
    ("B", "renews", write_10(2 * MIB + 2), block("host 2, 2"), ""),
    ("B", "sees both, and nothing else", read_10(2 * MIB, 8), 4096,
     ZERO + block("host 1, 2") + block("host 2, 2") + ZERO * 5),
    # Paxos leases: 1 MiB each; a ballot is a block for each host, read as a whole.
    ("A", "paxos: phase 1", write_10(3 * MIB + 3), block("ballot 1"), ""),
    ("B", "paxos: reads all ballots", read_10(3 * MIB, 2048), 1 << 20,
     ZERO * 3 + block("ballot 1") + ZERO * 2044),
    ("A", "paxos: the leader", write_10(3 * MIB), block("leader 1"), ""),
    ("B", "paxos: sees the leader", read_10(3 * MIB), 512, block("leader 1")),
    # LVM: metadata of one host must be there for the other at once.
    ("A", "metadata", write_10(4 * MIB, 8), block("vg, seqno 2", 8), ""),
    ("A", "flush", SYNCHRONIZE_CACHE, None, ""),
    ("B", "metadata, read with O_DIRECT", read_10(4 * MIB, 8), 4096, block("vg, seqno 2", 8)),
    # blkdiscard --zeroout --step 32M, which is WRITE SAME(16), since Linux 4.12 without UNMAP; then --step 32M.
    ("A", "an old disk's blocks", write_10(64 * MIB - 1, 2), A * 2, ""),
    ("A", "and its last ones", write_10(96 * MIB - 1, 2), A * 2, ""),
    ("A", "zeroout 32 MiB, as it once was", write_same_16(64 * MIB, 32 * MIB - 8, UNMAP), ZERO, ""),
    ("A", "zeroout 32 MiB", write_same_16(64 * MIB, 32 * MIB), ZERO, ""),
    ("A", "zeroes from here", read_10(64 * MIB - 1, 2), 1024, A + ZERO),
    ("A", "to there", read_10(96 * MIB - 1, 2), 1024, ZERO + A),
    ("A", "discard 32 MiB", unmap([(64 * MIB, 32 * MIB)]), unmap_list([(64 * MIB, 32 * MIB)]), ""),
    ("A", "zeroes", read_10(64 * MIB, 8), 4096, ZERO * 8),
    # multipathd: equal sizes on all paths before `resize map`, and its path checkers.
    ("A", "size by path 1", read_capacity_16(), 32, CAPACITY),
    ("A2", "size by path 2", read_capacity_16(), 32, CAPACITY),
    ("A2", "TPGS of both kinds: this target lets hosts set states", inquiry(None, 6), 6, "000006125b30"),
    ("A2", "prioritizer alua: the group of this path", inquiry(0x83), 255,
     "0083 .* 5194 0004 00000002 5195 0004 00000002 .*"),
    ("A2", "prioritizer alua: its state", report_target_port_groups(), 252, GROUPS),
    ("A2", "checker tur", TEST_UNIT_READY, None, ""),
    ("A2", "checker directio", read_10(0, 8), 4096, bytes(4096)),
    ("A2", "checker readsector0", read_10(0), 512, ZERO),
    ("A2", "sg_requests, nothing to tell", request_sense(18), 18,
     "70 00 00 00000000 0a 00000000 0000 00 000000"),
]

SBD = [
    # Pacemaker's sbd: a header and a slot for each node, in blocks; the victim polls its slot.
    ("A", "header", write_10(0), block("SBD_SBD_"), ""),
    ("A", "allocates slot 0", write_10(1), block("node a"), ""),
    ("B", "allocates slot 1", write_10(3), block("node b"), ""),
    ("B", "lists", read_10(0, 5), 2560, block("SBD_SBD_") + block("node a") + ZERO + block("node b") + ZERO),
    ("B", "polls its mailbox", read_10(4), 512, ZERO),
    ("A", "fences B: message reset", write_10(4), block("reset"), ""),
    ("B", "finds it", read_10(4), 512, block("reset")),
    ("A", "clears", write_10(4), ZERO, ""),
]

QEMU = [
    # block/iscsi and Proxmox's iscsidirect: (10)-byte commands; DPOFUA is set, so FUA is used.
    ("A", "a write", write_10(8, 8), A * 8, ""),
    ("A", "a write with FUA", write_10(16, 8, FUA), B * 8, ""),
    ("A", "flush", SYNCHRONIZE_CACHE, None, ""),
    ("A", "a read over both", read_10(8, 16), 8192, A * 8 + B * 8),
    ("A", "write zeroes that may unmap", write_same_16(8, 8, UNMAP), ZERO, ""),
    ("A", "write zeroes that may not", write_same_16(16, 4), ZERO, ""),
    ("A", "write zeroes by (10)", write_same_10(20, 2, UNMAP), ZERO, ""),
    ("A", "what is left", read_10(8, 16), 8192, ZERO * 14 + B * 2),
    ("A", "discard", unmap([(16, 8)]), unmap_list([(16, 8)]), ""),
    ("A", "zeroes", read_10(16, 8), 4096, bytes(4096)),
    # Status by allocation unit; the answer must begin with the block that was asked for.
    ("A", "status of what was given back", get_lba_status(17), 24, lba_status(17, DEALLOCATED)),
    ("A", "a write", write_10(64, 8), A * 8, ""),
    ("A", "status of what is there", get_lba_status(64), 24, lba_status(64, MAPPED)),
    ("A", "status from its middle", get_lba_status(66), 24, lba_status(66, MAPPED)),
    ("A", "status of the last block", get_lba_status(BLOCKS - 1), 24, lba_status(BLOCKS - 1, DEALLOCATED)),
    ("A", "status beyond the end", get_lba_status(BLOCKS), 24, "05/21/00"),
    ("A", "discard of nothing", unmap([]), unmap_list([]), ""),
    ("A", "(16) beyond 2 TiB is beyond the end", read_16(1 << 32), 512, "05/21/00"),
]

XENSERVER = [
    # lvhdoiscsi: LVM metadata and VHD headers of one block each; trim is a discard of TiB.
    ("A", "LVM label", write_10(1), block("LABELONE"), ""),
    ("A", "VHD footer", write_10(100 * MIB + 511), block("conectix"), ""),
    ("B", "another pool member's view", read_10(100 * MIB + 510, 2), 1024, ZERO + block("conectix")),
    ("A", "trim: 4 GiB a descriptor, what Block Limits allows", unmap([(MIB, 1 << 23)]),
     unmap_list([(MIB, 1 << 23)]), ""),
    ("A", "trim: 8 GiB in two", unmap([(MIB, 1 << 23), ((1 << 23) + MIB, 1 << 23)]),
     unmap_list([(MIB, 1 << 23), ((1 << 23) + MIB, 1 << 23)]), ""),
    ("A", "the footer is gone", read_10(100 * MIB + 511), 512, ZERO),
    ("A", "the label is not", read_10(1), 512, block("LABELONE")),
]

# Lengths that do not fit 32 bits of bytes, between two blocks that must stay.
FIRST = MIB
GIBS_4, GIBS_5 = 1 << 23, 5 << 21


def long_range(what, blocks, cdb, data):
    end = FIRST + blocks
    return [
        ("A", f"{what}: before it", write_16(FIRST - 1, 2), A * 2, ""),
        ("A", f"{what}: its end", write_16(end - 1, 2), A * 2, ""),
        ("A", what, cdb, data, ""),
        ("A", f"{what}: its begin", read_16(FIRST - 1, 2), 1024, A + ZERO),
        ("A", f"{what}: its last block", read_16(end - 1, 2), 1024, ZERO + A),
    ]


def long_ranges(blocks, name):
    whole = [(FIRST, blocks)]
    return (long_range(f"WRITE SAME with UNMAP, {name}", blocks, write_same_16(FIRST, blocks, UNMAP), ZERO) +
            long_range(f"WRITE SAME with UNMAP and NDOB, {name}", blocks,
                       write_same_16(FIRST, blocks, UNMAP | NDOB), None) +
            long_range(f"UNMAP, {name}", blocks, unmap(whole), unmap_list(whole)))


DEFECTS = [
    # D4: byte counts of 32 bits.
    *long_ranges(GIBS_4 - 1, "4 GiB less a block"),
    *long_ranges(GIBS_4, "4 GiB"),
    *long_ranges(GIBS_5, "5 GiB"),
    ("A", "D4: WRITE SAME of no blocks, where WSNZ = 1", write_same_16(FIRST, 0), ZERO, "05/24/00"),
    ("A", "D4: nor by (10)", write_same_10(FIRST, 0), ZERO, "05/24/00"),
    ("A", "D4: UNMAP of no blocks is nothing", unmap([(FIRST - 1, 0)]), unmap_list([(FIRST - 1, 0)]), ""),
    ("A", "D4: nothing was done", read_16(FIRST - 1), 512, A),
    ("A", "D4: beyond the end by one", write_same_16(BLOCKS - GIBS_4, GIBS_4 + 1, UNMAP), ZERO, "05/21/00"),
    ("A", "D4: beyond 2^64", write_same_16((1 << 64) - 1, GIBS_4, UNMAP), ZERO, "05/21/00"),
    ("A", "D4: UNMAP beyond 2^64", unmap([((1 << 64) - 1, GIBS_4)]), unmap_list([((1 << 64) - 1, GIBS_4)]),
     "05/21/00"),
    # D6: SYNCHRONIZE CACHE has a range.
    ("A", "D6: a flush of the last block", f"3500{BLOCKS - 1:08x}00000100", None, ""),
    ("A", "D6: a flush beyond it", f"3500{BLOCKS - 1:08x}00000200", None, "05/21/00"),
    # D7: VERIFY that compares nothing.
    ("A", "D7: the data", write_10(8, 2), A + B, ""),
    ("A", "D7: VERIFY(10) of the same", verify_10(8, 2, 1), A + B, ""),
    ("A", "D7: VERIFY(10) of other data", verify_10(8, 2, 1), A + differing(B, 5), "0e/1d/00 at 517"),
    ("A", "D7: VERIFY(16) of other data", verify_16(8, 2, 1), differing(A, 3) + B, "0e/1d/00 at 3"),
    ("A", "D7: VERIFY(10) with one block for all", verify_10(8, 2, 3), A, "0e/1d/00 at 512"),
    ("A", "D7: VERIFY(10) of the medium", verify_10(8, 2), None, ""),
    ("A", "D7: VERIFY(10) beyond the end", verify_10(BLOCKS - 1, 2), None, "05/21/00"),
    # D8: COMPARE AND WRITE of one block only.
    ("A", "D8: 255 blocks", compare_and_write(MIB, 255), ZERO * 255 + B * 255, ""),
    ("A", "D8: all of them", read_10(MIB, 256), 256 * 512, B * 255 + ZERO),
    ("A", "D8: a miscompare in the last byte of 255", compare_and_write(MIB, 255),
     differing(B * 255, 255 * 512 - 1) + A * 255, f"0e/1d/00 at {255 * 512 - 1}"),
    ("A", "D8: the limit is announced", inquiry(0xB0, 6), 6, "00b0003c01ff"),
]

TABLES = {
    "VMware ESXi: [ATS], Zero, Delete": [ESXI],
    "oVirt: sanlock, LVM, blkdiscard, multipathd": [VDSM],
    "Pacemaker: sbd": [SBD],
    "QEMU and Proxmox: block/iscsi": [QEMU],
    "XenServer: lvhdoiscsi": [XENSERVER],
    "Defects of others": [DEFECTS],
}
