"""What LUNs answer, in hexadecimal: the one place to change when a page or a command changes.

A row of ANSWERS is a name, the CDB with its allocation length as L's, and the whole answer. {names} are
fields in which the disks of golden.sh differ; their values are in FIELDS. Blanks are for the eye."""

import os

# The disks by LUN number, and on which of them every allocation length is tried.
DISKS = ("512e", "512n", "4Kn", "read-only", "no write cache", "write cache by hosts", "two paths")
EVERY_LENGTH = DISKS[:4]
# It belongs to a target of its own, with two portal groups.
PATHS = "two paths"


def text(characters):
    return characters.encode().hex()


def zeroes(count):
    return "00" * count


# LBPU, LBPWS, LBPWS10, LBPRZ, and ANC_SUP where the file system anchors: lib.sh knows.
PROVISIONING = os.environ.get("PROVISIONING", "e6")

PORT = text("iqn.2026-11.io.ringsan:test,t,0x0001") + zeroes(4)
TARGET = text("iqn.2026-11.io.ringsan:test") + "00"

# Of all disks, and of those that differ.
FIELDS = {
    "last_block": ("0001ffff", {"4Kn": "00003fff"}),
    "blocks": ("00020000", {"4Kn": "00004000"}),
    "block_bytes": ("00000200", {"4Kn": "00001000"}),
    "exponent": ("03", {"512n": "00", "4Kn": "00"}),
    "lbpme_lbprz": ("c0", {"read-only": "00"}),
    "granularity": ("0008", {"4Kn": "0001"}),
    # Blocks and descriptors at most; granularity, alignment with UGAVALID.
    "unmap": ("ffffffff 00000fff 00000080 80000000",
              {"4Kn": "ffffffff 00000fff 00000010 80000000", "read-only": zeroes(16)}),
    "provisioning": (PROVISIONING + " 02", {"read-only": "00 00"}),
    # Sets of a thousandth of the capacity and up; LBPERE; SITUA, ENABLED and THRESHOLD COUNT.
    "threshold_exponent": ("07", {"4Kn": "04", "read-only": "00"}),
    "lbpere": ("80", {"read-only": "00"}),
    "situa_may_change": ("01", {"read-only": "00"}),
    "threshold_may_change": ("80 00 0000 ffffffff", {"read-only": zeroes(8)}),
    "log_pages": ("0002 00 0c", {"read-only": "0001 00"}),
    "log_subpages": ("0006 0000 00ff 0c00", {"read-only": "0004 0000 00ff"}),
    "v_sup": ("01", {"no write cache": "00"}),
    "wp_dpofua": ("10", {"read-only": "90"}),
    "tpgs": ("00", {PATHS: "30"}),
    "page_83_bytes": ("0084", {PATHS: "0090"}),
    "port": ("28" + PORT, {PATHS: "2c" + text("iqn.2026-11.io.ringsan:test.paths,t,0x0001") + zeroes(2)}),
    "target": ("1c" + TARGET, {PATHS: "24" + text("iqn.2026-11.io.ringsan:test.paths") + zeroes(3)}),
    "wce": ("04", {"no write cache": "00"}),
    "wce_may_change": ("00", {"write cache by hosts": "04"}),
}

INQUIRY = ("00 00 06 12 5b {tpgs} 10 02" + text("RINGSAN VIRTUAL-DISK    0001") + zeroes(22) +
           "00a0 0460 04c0 0960" + zeroes(30))

ANSWERS = [
    ("standard INQUIRY", "1200 00 LLLL 00", INQUIRY),
    ("page 00", "1201 00 LLLL 00", "0000 0008 00 80 83 86 87 b0 b1 b2"),
    ("page 80", "1201 80 LLLL 00", "0080 0008" + text("SERIAL-") + "3{number}"),
    # NAA, vendor and serial, the port's number, its group, its name, the target's.
    ("page 83", "1201 83 LLLL 00",
     "0083 {page_83_bytes} 0103 0010 652534e0 00000000 00000000 0000000{number}"
     "0201 0010" + text("RINGSAN SERIAL-") + "3{number}"
     "5194 0004 00000001 5195 0004 00000001"
     "5398 00{port} 53a8 00{target}"),
    # SIMPSUP; V_SUP; LUICLR; RTD_SUP; sense data of at most 28 bytes.
    ("page 86", "1201 86 LLLL 00", "0086 003c 00 07 {v_sup} 01 08 00 0000 00 1c" + zeroes(50)),
    ("page 87", "1201 87 LLLL 00", "0087 0004 3fff 0000"),
    # WSNZ; COMPARE AND WRITE; multiples of 4 KiB; no limits of transfers; UNMAP; WRITE SAME.
    ("page B0", "1201 b0 LLLL 00",
     "00b0 003c 01 ff {granularity} 00000000 00000000 00000000 {unmap} 00000000ffffffff" + zeroes(20)),
    # Does not rotate; FUAB, VBULS.
    ("page B1", "1201 b1 LLLL 00", "00b1 003c 0001 0000 03" + zeroes(55)),
    ("page B2", "1201 b2 LLLL 00", "00b2 0004 {threshold_exponent} {provisioning} 00"),
    ("READ CAPACITY(10)", "25 00 00000000 000000 00", "{last_block} {block_bytes}"),
    ("READ CAPACITY(16)", "9e10 0000000000000000 LLLLLLLL 0000",
     "00000000 {last_block} {block_bytes} 00 {exponent} {lbpme_lbprz} 00" + zeroes(16)),
    ("REQUEST SENSE", "0300 0000 LL 00", "70 00 00 00000000 0a 00000000 0000 00 000000"),
    ("REQUEST SENSE, DESC", "0301 0000 LL 00", "72 00 00 00 000000 00"),
    ("LOG SENSE, pages", "4d00 0000 00 0000 LLLL 00", "0000 {log_pages}"),
    ("LOG SENSE, subpages", "4d00 00ff 00 0000 LLLL 00", "40ff {log_subpages}"),
    # ATS ATSS CTSS LURS TRS; and their times, 10 s and 5 s.
    ("TASK MANAGEMENT FUNCTIONS", "a30d 00 000000 LLLLLLLL 0000", "de 07 00 00"),
    ("TASK MANAGEMENT FUNCTIONS, REPD", "a30d 80 000000 LLLLLLLL 0000",
     "de 07 00 0c 01 00 dc 07 00000064 00000032"),
    ("READ DEFECT DATA(10)", "3700 1d 00000000 LLLL 00", "00 1d 0000"),
    ("READ DEFECT DATA(12)", "b70a 00000000 LLLLLLLL 0000", "00 0a 0000 00000000"),
]

# Group 1 is preferred and active/optimized, group 2 active/non-optimized; a transition takes 5 s.
GROUPS = "01 cf 0002 00 00 00 01 0000 0002" "80 cf 0001 00 00 00 01 0000 0001"
MORE_ANSWERS = {PATHS: [
    ("REPORT TARGET PORT GROUPS", "a30a 00 000000 LLLLLLLL 0000", "00000018" + GROUPS),
    ("REPORT TARGET PORT GROUPS, extended", "a32a 00 000000 LLLLLLLL 0000", "0000001c 10 05 0000" + GROUPS),
]}

# Page code, subpage code: current, default and saved values; what may change. PS is set.
MODE_PAGES = {
    (0x01, 0x00): ("81 0a 0000000000 {lbpere} 00000000", "81 0a 0000000000 {lbpere} 00000000"),
    (0x08, 0x00): ("88 12 {wce}" + zeroes(17), "88 12 {wce_may_change}" + zeroes(17)),
    # TST 001b, D_SENSE, GLTSD; QUEUE ALGORITHM MODIFIER 1; SWP; no limit of BUSY.
    (0x0A, 0x00): ("8a 0a 22 10 00 40 0000 ffff 0000", "8a 0a 04 00 08 40 0000 0000 0000"),
    (0x0A, 0x01): ("ca 01 001c" + zeroes(28), "ca 01 001c" + zeroes(28)),
    (0x1C, 0x00): ("9c 0a 08 00 00000000 00000000", "9c 0a 00 00 00000000 00000000"),
    # Thresholds of what is used, armed increasing, and of what is left in the pool; none is enabled.
    (0x1C, 0x02): ("dc 02 001c" + zeroes(12) + "01 02 0000 00000000" + "00 01 0000 00000000",
                   "dc 02 001c {situa_may_change}" + zeroes(11) + "{threshold_may_change}" * 2),
}
SHORT_DESCRIPTOR = "{blocks} {block_bytes}"
LONG_DESCRIPTOR = "00000000 {blocks} 00000000 {block_bytes}"

# REPORT SUPPORTED OPERATION CODES: the usage map, which begins with the opcode; whether a service action
# follows in byte 1; nominal and recommended seconds.
ANSWER, TRANSFER, RANGE = (1, 10), (1, 60), (10, 180)
COMMANDS = [
    ("00 00 00 00 00 00", False, ANSWER),
    ("03 01 00 00 ff 00", False, ANSWER),
    ("08 1f ff ff ff 00", False, TRANSFER),
    ("0a 1f ff ff ff 00", False, TRANSFER),
    ("12 01 ff ff ff 00", False, ANSWER),
    ("15 13 00 00 ff 00", False, ANSWER),
    ("16 00 ff 00 00 00", False, ANSWER),
    ("17 00 ff 00 00 00", False, ANSWER),
    ("1a 08 ff ff ff 00", False, ANSWER),
    ("1b 01 00 00 05 00", False, RANGE),
    ("1e 00 00 00 01 00", False, ANSWER),
    ("25 00 00000000 0000 00 00", False, ANSWER),
    ("28 18 ffffffff 00 ffff 00", False, TRANSFER),
    ("2a 18 ffffffff 00 ffff 00", False, TRANSFER),
    ("2e 12 ffffffff 00 ffff 00", False, TRANSFER),
    ("2f 16 ffffffff 00 ffff 00", False, RANGE),
    ("34 02 ffffffff 1f ffff 00", False, ANSWER),
    ("35 02 ffffffff 00 ffff 00", False, RANGE),
    ("37 00 1f 00000000 ffff 00", False, ANSWER),
    ("41 18 ffffffff 00 ffff 00", False, RANGE),
    ("42 01 00000000 00 ffff 00", False, RANGE),
    ("4d 00 ffff 00 ffff ffff 00", False, ANSWER),
    ("55 13 00000000 00 ffff 00", False, ANSWER),
    ("56 00 ff 00000000 0000 00", False, ANSWER),
    ("57 00 ff 00000000 0000 00", False, ANSWER),
    ("5a 18 ffff 000000 ffff 00", False, ANSWER),
    ("5e 00 00000000 00 ffff 00", True, ANSWER),
    ("5e 01 00000000 00 ffff 00", True, ANSWER),
    ("5e 02 00000000 00 ffff 00", True, ANSWER),
    ("5e 03 00000000 00 ffff 00", True, ANSWER),
    ("5f 00 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 01 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 02 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 03 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 04 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 05 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 06 ff 0000 ffffffff 00", True, ANSWER),
    ("5f 07 ff 0000 ffffffff 00", True, ANSWER),
    ("88 18 ffffffffffffffff ffffffff 00 00", False, TRANSFER),
    ("89 18 ffffffffffffffff 000000 ff 00 00", False, TRANSFER),
    ("8a 18 ffffffffffffffff ffffffff 00 00", False, TRANSFER),
    ("8b 18 ffffffffffffffff ffffffff 00 00", False, TRANSFER),
    ("8e 12 ffffffffffffffff ffffffff 00 00", False, TRANSFER),
    ("8f 16 ffffffffffffffff ffffffff 00 00", False, RANGE),
    ("90 02 ffffffffffffffff ffffffff 1f 00", False, ANSWER),
    ("91 02 ffffffffffffffff ffffffff 00 00", False, RANGE),
    ("93 19 ffffffffffffffff ffffffff 00 00", False, RANGE),
    ("9e 10 0000000000000000 ffffffff 00 00", True, ANSWER),
    ("9e 12 ffffffffffffffff ffffffff ff 00", True, RANGE),
    ("a0 00 ff 000000 ffffffff 00 00", False, ANSWER),
    ("a3 ea 0000 0000 ffffffff 00 00", True, ANSWER),
    ("a3 0c 87 ff ffff ffffffff 00 00", True, ANSWER),
    ("a3 0d 80 00 0000 ffffffff 00 00", True, ANSWER),
    ("a4 0a 0000 0000 ffffffff 00 00", True, ANSWER),
    ("a8 18 ffffffff ffffffff 00 00", False, TRANSFER),
    ("aa 18 ffffffff ffffffff 00 00", False, TRANSFER),
    ("ae 12 ffffffff ffffffff 00 00", False, TRANSFER),
    ("af 16 ffffffff ffffffff 00 00", False, RANGE),
    ("b7 1f ffffffff ffffffff 00 00", False, ANSWER),
]
# What a disk lacks, by the first two bytes of the usage map, and what it does not understand of byte 1.
LACKS = {disk: ("a3ea", "a40a") for disk in DISKS if disk != PATHS}
LACKS["read-only"] += ("4201",)
NO_ANCHORS = {} if PROVISIONING == "e6" else {"41": 0x10, "42": 0x01, "93": 0x10}
NOT_IN_BYTE_1 = {disk: NO_ANCHORS for disk in DISKS} | {"read-only": {"41": 0x18, "93": 0x18}}

# What is refused: the CDB, and the bytes of sense data from the sense-key specific ones on.
REFUSED = [
    ("CMDDT", "1202 00 00ff 00", "c90001"),
    ("a page code without EVPD", "1200 80 00ff 00", "cf0002"),
    ("a page that is not listed", "1201 8f 00ff 00", "cf0002"),
    ("a page that is not listed, of no bytes", "1201 b3 0000 00", "cf0002"),
    ("a mode page that is not there", "1a00 2f 00 ff 00", "cd0002"),
    ("a mode page that is not there, no bytes", "5a00 2f 00 000000 0000 00", "cd0002"),
    ("a mode subpage that is not there", "1a00 0a 02 ff 00", "cf0003"),
    ("LLBAA in the short form", "1a10 3f 00 ff 00", "cc0001"),
    ("a log page that is not there", "4d00 0d 00 00 0000 00ff 00", "cd0002"),
    ("a log subpage that is not there", "4d00 00 01 00 0000 00ff 00", "cf0003"),
    ("a log parameter that is not there", "4d00 00 00 00 0001 00ff 00", "cf0005"),
    ("PPC", "4d02 00 00 00 0000 00ff 00", "c90001"),
    ("SP of LOG SENSE", "4d01 00 00 00 0000 00ff 00", "c80001"),
    ("SELECT REPORT 10h", "a000 10 000000 00000100 0000", "cf0002"),
    ("SELECT REPORT 11h", "a000 11 000000 00000100 0000", "cf0002"),
    ("SELECT REPORT 12h", "a000 12 000000 00000100 0000", "cf0002"),
    ("PMI of READ CAPACITY(10)", "25 00 00000000 0000 01 00", "c80008"),
    ("PMI of READ CAPACITY(16)", "9e10 0000000000000000 00000020 0100", "c8000e"),
    ("one command of a service action's opcode", "a30c 01 9e 0000 000000ff 0000", "ca0002"),
    ("the service action of a plain opcode", "a30c 02 28 0000 000000ff 0000", "ca0002"),
    ("REPORTING OPTIONS 4", "a30c 04 28 0000 000000ff 0000", "ca0002"),
    ("a vendor's format of defects", "3700 06 00000000 00ff 00", "ca0002"),
    ("NACA", "0000 00 00 00 04", "ca0005"),
]

# The LUN numbers of golden.sh, as REPORT LUNS lists them: beyond 255 in flat space addressing.
LUNS = ["0000", "0001", "0002", "0003", "0004", "0005", "00ff", "4100", "7fff"]
LUNS_WITHOUT_0 = ["0005", "412c"]
# Both forms of some; and what names nothing: another bus, a second level, logical unit addressing, the
# well known logical unit of REPORT LUNS, which is not announced.
BOTH_FORMS = [("0000", "4000"), ("0002", "4002"), ("00ff", "40ff")]
NO_LUNS = ["0006", "4006", "4200", "7ffe", "0100", "0000000100000000", "0000000000000001", "8000", "a000",
           "c101", "d200000000000000", "ffffffffffffffff"]

# Sizes: blocks, the last one and the block length as READ CAPACITY(10) answers, then as (16) does, and the
# number of blocks in a short block descriptor.
SIZES = [
    ("the smallest", "000007ff 00000200", "00000000000007ff 00000200", "00000800"),
    ("2 TiB less a block", "fffffffe 00000200", "00000000fffffffe 00000200", "ffffffff"),
    ("2 TiB", "ffffffff 00000200", "00000000ffffffff 00000200", "ffffffff"),
    ("2 TiB and a block", "ffffffff 00000200", "0000000100000000 00000200", "ffffffff"),
    ("16 TiB less a block of 4 KiB", "fffffffe 00001000", "00000000fffffffe 00001000", "ffffffff"),
    ("16 TiB in blocks of 4 KiB", "ffffffff 00001000", "00000000ffffffff 00001000", "ffffffff"),
]
