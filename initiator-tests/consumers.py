"""Sequences of commands that consumers send when they attach a disk (see consumers.sh).

A row is what it is for, the CDB, the allocation length, and the answer in hexadecimal: ".." is any
byte, as of identities; a sense code "KK/CC/QQ" stands for a refusal. An answer is compared whole, so
its length is part of what is expected. Blanks are for the eye."""
import os
import re
import struct
import sys

import initiator
from cases import check, end, equal

ANY = ".."
# --- answers that several ask for -------------------------------------------------------------------

INQUIRY = ("0000 06 12 5b 00 10 02" + "RINGSAN ".encode().hex() + "VIRTUAL-DISK    ".encode().hex() +
           "0001".encode().hex() + "00" * 22 + "00a0 0460 04c0 0960" + "00" * 30)
SERIAL = "0080 000b" + "RACK7-SLOT3".encode().hex()
PAGES = "0000 0008 00 80 83 86 87 b0 b1 b2"
# NAA first, then vendor and serial, the port's number, its group, its name, and the target's.
DESIGNATORS = ("0083 0087" + "0103 0010 652534e" + "." * 25 +
               "0201 0013" + "RINGSAN RACK7-SLOT3".encode().hex() +
               "5194 0004 00000001" + "5195 0004 00000001" +
               "5398 0028" + "iqn.2026-11.io.ringsan:test,t,0x0001".encode().hex() + "00" * 4 +
               "53a8 001c" + "iqn.2026-11.io.ringsan:test".encode().hex() + "00")
EXTENDED = "0086 003c 00 07 01 01 08 00000000 1c" + "00" * 50
POLICY = "0087 0004 3fff 0000"
# WSNZ; COMPARE AND WRITE; multiples of 4 KiB; UNMAP without a limit, 64 KiB, aligned; WRITE SAME.
LIMITS = ("00b0 003c 01 ff 0008 00000000 00000000 00000000 ffffffff 00000fff 00000080 80000000"
          "00000000ffffffff" + "00" * 20)
CHARACTERISTICS = "00b1 003c 0001 0000 03" + "00" * 55
PROVISIONING = "00b2 0004" + ANY + os.environ.get("PROVISIONING", "e6") + "02 00"
CAPACITY_10 = "001fffff 00000200"
CAPACITY_16 = "00000000001fffff 00000200 00 03 c000" + "00" * 16
DESCRIPTOR = "00200000 00000200"
# LBPERE: soft thresholds are told of.
RECOVERY = "810a" + "00" * 5 + "80" + "00" * 4
CACHING = "8812 04" + "00" * 17
CONTROL = "8a0a 22 10 00 40 0000 ffff 0000"
EXCEPTIONS = "9c0a 08" + "00" * 9
ALL_MODES = RECOVERY + CACHING + CONTROL + EXCEPTIONS
LUN_0 = "0000000000000000"
LUN_1 = "0001000000000000"


def plain(text):
    return text.replace(" ", "").lower()


def cut(text, count):
    return plain(text)[:2 * count]


def vpd(page, length=255):
    return f"1201{page:02x}00{length:02x}00"


def mode_6(page, length, dbd=False):
    return f"1a{8 if dbd else 0:02x}{page:02x}00{length:02x}00"


def mode_10(page, length, byte1=0):
    return f"5a{byte1:02x}{page:02x}00000000{length:04x}00"


REPORT_16 = "a00000000000000000100000"
REPORT_FULL = "a00000000000000001000000"
READ_CAPACITY_10 = "25000000000000000000"


def read_capacity_16(length):
    return f"9e10{0:016x}{length:08x}0000"


TEST_UNIT_READY = "000000000000"

# --- the sequences ----------------------------------------------------------------------------------

SEQUENCES = {
    "a KVM host (Linux sd, multipath, LVM)": [
        ("standard INQUIRY, as far as the SCSI layer asks first", "120000002400", 36, cut(INQUIRY, 36)),
        ("and all of it", "120000006000", 96, INQUIRY),
        ("the first unit attention", TEST_UNIT_READY, 0, "06/29/00"),
        ("and no second one", TEST_UNIT_READY, 0, ""),
        ("supported pages", vpd(0), 255, PAGES),
        ("serial", vpd(0x80), 255, SERIAL),
        ("identity", vpd(0x83), 255, DESIGNATORS),
        ("capacity", read_capacity_16(32), 32, CAPACITY_16),
        ("write protection", mode_6(0x3F, 4), 4, "43 00 10 08"),
        ("write cache, its length", mode_6(0x08, 4), 4, "1f 00 10 08"),
        ("write cache", mode_6(0x08, 32), 32, "1f001008" + DESCRIPTOR + CACHING),
        ("block limits", vpd(0xB0, 64), 64, LIMITS),
        ("rotation", vpd(0xB1, 64), 64, CHARACTERISTICS),
        ("provisioning", vpd(0xB2, 64), 64, PROVISIONING),
        ("application tag owner (ATO)", mode_6(0x0A, 36, True), 36, "0f001000" + CONTROL),
    ],
    "oVirt (vdsm: scsi_id of both pages, discard limits)": [
        ("identity", vpd(0x83, 254), 254, DESIGNATORS),
        ("serial", vpd(0x80, 254), 254, SERIAL),
        ("block limits", vpd(0xB0), 255, LIMITS),
        ("provisioning", vpd(0xB2), 255, PROVISIONING),
    ],
    "VMware ESXi": [
        ("standard INQUIRY", "12000000ff00", 255, INQUIRY),
        ("the unit attention", TEST_UNIT_READY, 0, "06/29/00"),
        ("identity", vpd(0x83), 255, DESIGNATORS),
        ("capacity", READ_CAPACITY_10, 8, CAPACITY_10),
        ("capacity", read_capacity_16(32), 32, CAPACITY_16),
        ("control page", mode_6(0x0A, 255), 255, "17001008" + DESCRIPTOR + CONTROL),
        ("control page, short", mode_6(0x0A, 16), 16, cut("17001008" + DESCRIPTOR + CONTROL, 16)),
        ("caching page, short", mode_6(0x08, 8), 8, cut("1f001008" + DESCRIPTOR, 8)),
        ("caching page, long form", mode_10(0x08, 255), 255,
         "0022 00 10 00 00 0008" + DESCRIPTOR + CACHING),
        ("exceptions", mode_6(0x1C, 255), 255, "17001008" + DESCRIPTOR + EXCEPTIONS),
        ("exceptions, no descriptor", mode_6(0x1C, 24, True), 24, "0f001000" + EXCEPTIONS),
        ("limits for ATS, UNMAP and WRITE SAME", vpd(0xB0), 255, LIMITS),
        ("thin", vpd(0xB2), 255, PROVISIONING),
    ],
    "Microsoft Windows, Hyper-V, failover cluster": [
        ("REPORT LUNS", REPORT_FULL, 256, "00000010 00000000" + LUN_0 + LUN_1),
        ("standard INQUIRY", "12000000ff00", 255, INQUIRY),
        ("the unit attention", TEST_UNIT_READY, 0, "06/29/00"),
        ("supported pages", vpd(0x00), 255, PAGES),
        ("serial", vpd(0x80), 255, SERIAL),
        ("identity, equal on every node", vpd(0x83), 255, DESIGNATORS),
        ("extended INQUIRY", vpd(0x86), 255, EXTENDED),
        ("mode page policy", vpd(0x87), 255, POLICY),
        ("block limits", vpd(0xB0), 255, LIMITS),
        ("characteristics", vpd(0xB1), 255, CHARACTERISTICS),
        ("provisioning", vpd(0xB2), 255, PROVISIONING),
        ("a page that is not announced", vpd(0x8F), 255, "05/24/00"),
        ("capacity", read_capacity_16(32), 32, CAPACITY_16),
        ("caching page", mode_6(0x08, 192), 192, "1f001008" + DESCRIPTOR + CACHING),
        ("exceptions", mode_6(0x1C, 192), 192, "17001008" + DESCRIPTOR + EXCEPTIONS),
        ("all mode pages", mode_6(0x3F, 192), 192, "43001008" + DESCRIPTOR + ALL_MODES),
    ],
    "XenServer (sg_luns, scsi_id, sginfo -s)": [
        ("REPORT LUNS", "a00000000000000020000000", 8192, "00000010 00000000" + LUN_0 + LUN_1),
        ("the unit attention", TEST_UNIT_READY, 0, "06/29/00"),
        ("identity", vpd(0x83, 252), 252, DESIGNATORS),
        ("serial", vpd(0x80, 252), 252, SERIAL),
        ("serial, short", vpd(0x80, 8), 8, cut(SERIAL, 8)),
        ("limits", vpd(0xB0), 255, LIMITS),
        ("provisioning", vpd(0xB2), 255, PROVISIONING),
    ],
    "QEMU's block/iscsi": [
        ("the unit attention", TEST_UNIT_READY, 0, "06/29/00"),
        ("standard INQUIRY", "120000004000", 64, cut(INQUIRY, 64)),
        ("WP and DPOFUA", mode_6(0x3F, 255, True), 255, "3b001000" + ALL_MODES),
        ("capacity", read_capacity_16(32), 32, CAPACITY_16),
        ("supported pages, 64 bytes", vpd(0x00, 64), 64, PAGES),
        ("provisioning, 64 bytes", vpd(0xB2, 64), 64, PROVISIONING),
        ("limits, 64 bytes", vpd(0xB0, 64), 64, LIMITS),
        ("identity, 64 bytes first", vpd(0x83, 64), 64, cut(DESIGNATORS, 64)),
        ("and then as long as it is", vpd(0x83, 139), 139, DESIGNATORS),
        ("flush", "35000000000000000000", 0, ""),
    ],
    "libvirt's iscsi-direct pool": [
        ("REPORT LUNS of 16 bytes", REPORT_16, 16, cut("00000010 00000000" + LUN_0, 16)),
        ("and of all", "a00000000000000000180000", 24, "00000010 00000000" + LUN_0 + LUN_1),
        ("TEST UNIT READY until it is", TEST_UNIT_READY, 0, "06/29/00"),
        ("which is the second time", TEST_UNIT_READY, 0, ""),
        ("standard INQUIRY", "120000004000", 64, cut(INQUIRY, 64)),
        ("capacity", read_capacity_16(32), 32, CAPACITY_16),
    ],
}


def matches(expected, task):
    if re.fullmatch(r"../../..", expected):
        return task.sense_code == expected
    return task.status == 0 and re.fullmatch(plain(expected), bytes(task.data).hex()) is not None


def play(url, name, rows):
    host, port, target, lun = initiator.split_url(url)
    session = initiator.Initiator(host, port).login(target)
    for what, cdb, length, expected in rows:
        task = session.command(lun, bytes.fromhex(cdb), length)
        while task.sense_code == "06/29/00" and expected != "06/29/00":
            task = session.command(lun, bytes.fromhex(cdb), length)
        check(f"{name}: {what}", matches(expected, task),
              f"{task} {bytes(task.data).hex()}, expected {plain(expected)}")
        if re.fullmatch(r"../../..", expected) is None:
            equal(f"{name}: {what}: residual", len(task.data) - length, -abs(task.residual))
    session.logout()


def virtualbox(url, lun, write_cache):
    """Only READ CAPACITY is repeated after a unit attention. Without a write cache MODE SELECT follows,
    with PF = 0 and what MODE SENSE answered but for WCE; a refusal is logged and nothing else."""
    name = f"VirtualBox, write cache {'on' if write_cache else 'off'}"
    host, port, target, _ = initiator.split_url(url)
    session = initiator.Initiator(host, port).login(target)

    def ask(what, cdb, length, expected):
        task = session.command(lun, bytes.fromhex(cdb), length)
        check(f"{name}: {what}", matches(expected, task), f"{task} {bytes(task.data).hex()}")
        return bytes(task.data)

    luns = ask("REPORT LUNS of 16 bytes", REPORT_16, 16, "000000" + ANY + "00000000" + LUN_0)
    equal(f"{name}: the whole list's length", luns[3], 8 if ".one" in target else 16)
    ask("INQUIRY of 8 bytes, CMDQUE", "120000000800", 8, cut(INQUIRY, 8))
    ask("the unit attention", read_capacity_16(12), 12, "06/29/00")
    ask("capacity in 12 bytes", read_capacity_16(12), 12, cut(CAPACITY_16, 12))
    ask("WP", mode_6(0x3F, 4), 4, "43 00 10 08")
    caching = CACHING if write_cache else CACHING.replace("8812 04", "8812 00")
    data = ask("caching page", mode_6(0x08, 32), 32, "1f001008" + DESCRIPTOR + caching)
    if not write_cache:
        wanted = data[:14] + bytes([data[14] | 4]) + data[15:]
        task = session.command(lun, bytes.fromhex("150000002000"), data_out=wanted)
        equal(f"{name}: MODE SELECT with PF = 0", "05/24/00", task.sense_code)
        ask("the cache is as it was", mode_6(0x08, 32), 32, "1f001008" + DESCRIPTOR + caching)
    equal(f"{name}: a write", 0, session.write(lun, 0, b"v" * 512).status)
    equal(f"{name}: a read", b"v" * 512, bytes(session.read(lun, 0, 1).data))
    session.logout()


def linux_cache_type(url):
    """`echo write through > cache_type`: MODE SENSE, then MODE SELECT(6) with PF of the same bytes with
    WCE cleared, device-specific parameter and PS, too. Refused where hosts have no say in it."""
    host, port, target, lun = initiator.split_url(url)
    session = initiator.open_url(url)
    data = bytearray(session.command(lun, bytes.fromhex(mode_6(0x08, 64)), 64).data)
    data[0] = data[2] = 0
    data[12] &= 0x7F
    data[14] &= 0xFA
    task = session.command(lun, struct.pack(">BBBBBB", 0x15, 0x10, 0, 0, len(data), 0),
                           data_out=bytes(data))
    equal("Linux, write through: refused", "05/26/00", task.sense_code)
    equal("Linux, write through: the pointer", "8a000e", task.sense[15:18].hex())
    session.logout()


def main():
    url, one = sys.argv[1:]
    for name, rows in SEQUENCES.items():
        play(url, name, rows)
    virtualbox(one, 0, True)
    virtualbox(url, 1, False)
    linux_cache_type(url)
    end()


main()
