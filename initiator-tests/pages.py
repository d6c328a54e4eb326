"""Byte by byte: what hosts read of a LUN before they use it (see iscsi_inq.sh)."""
import sys

import initiator
from cases import check, end, equal


def report_luns(session, length, lun=0):
    cdb = b"\xa0\0\0\0\0\0" + length.to_bytes(4, "big") + b"\0\0"
    return bytes(session.command(lun, cdb, data_in=length).data)


def mode_sense(session, lun, page, length=255, ten=False):
    if ten:
        cdb = bytes([0x5A, 8, page, 0, 0, 0, 0]) + length.to_bytes(2, "big") + b"\0"
    else:
        cdb = bytes([0x1A, 8, page, 0, length, 0])
    return session.command(lun, cdb, data_in=length)


def unit_attention(session, lun):
    first = session.command(lun, bytes(6))
    equal("a new session's first command gets 29/00", "06/29/00", first.sense_code)
    equal("and the second none", 0, session.command(lun, bytes(6)).status)
    equal("a second LUN has its own", "06/29/00", session.command(2, bytes(6)).sense_code)
    session.clear_unit_attention(300)


def standard_inquiry(session, lun):
    data = session.inquiry(lun)
    equal("additional length tells the truth", len(data), data[4] + 5)
    for length in (5, 8, 36):
        equal(f"INQUIRY cut to {length} bytes", data[:length], session.inquiry(lun, None, length))
    equal("an unmapped LUN number", 0x7F, session.inquiry(9)[0])
    missing = session.command(9, bytes(6))
    equal("a command for an unmapped LUN number", "05/25/00", missing.sense_code)
    wrong = session.command(lun, bytes.fromhex("12000000ff00")[:2] + b"\x80" + b"\0\xff\0", 255)
    equal("a page code without EVPD", "05/24/00", wrong.sense_code)


def vital_product_data(session, lun):
    pages = session.inquiry(lun, 0)
    listed = list(pages[4:])
    equal("page 00 is sorted", sorted(listed), listed)
    equal("page 00 counts", len(listed), int.from_bytes(pages[2:4], "big"))
    check("pages that hosts ask for", {0, 0x80, 0x83, 0x86, 0x87, 0xB0, 0xB1, 0xB2} <= set(listed),
          listed)
    for page in listed:
        data = session.inquiry(lun, page)
        equal(f"page {page:02x} says its code", page, data[1])
        equal(f"page {page:02x} says its length", len(data), int.from_bytes(data[2:4], "big") + 4)
        equal(f"page {page:02x} cut to 64 bytes", data[:64], session.inquiry(lun, page, 64))
    wrong = session.command(lun, bytes.fromhex("12010100ff00"), 255)
    equal("a page that is not listed", "05/24/00", wrong.sense_code)

    designators = session.inquiry(lun, 0x83)
    equal("first designator: binary, LUN, NAA, 16 bytes", bytes.fromhex("01030010"),
          designators[4:8])
    equal("NAA 6 with the default company id", "652534e", designators[8:24].hex()[:7])


def limits(session, lun):
    page = session.inquiry(lun, 0xB0)
    number = {name: int.from_bytes(page[at:at + size], "big") for name, at, size in (
        ("transfer", 8, 4), ("unmap blocks", 20, 4), ("unmap descriptors", 24, 4),
        ("granularity", 28, 4), ("alignment", 32, 4), ("write same", 36, 8))}
    equal("WSNZ", 1, page[4] & 1)
    equal("COMPARE AND WRITE of up to 255 blocks", 255, page[5])
    check("maximum transfer", number["transfer"] == 0 or number["transfer"] >= 8192, number)
    check("maximum UNMAP", number["unmap blocks"] >= 8388608, number)
    check("UNMAP descriptors", number["unmap descriptors"] >= 256, number)
    check("UNMAP granularity divides 1 MiB, 4 KiB at least",
          number["granularity"] >= 8 and 2048 % number["granularity"] == 0, number)
    equal("UNMAP alignment 0, valid", 0x80000000, number["alignment"])
    check("maximum WRITE SAME", number["write same"] == 0 or number["write same"] > 10485760, number)

    equal("B1: not rotating", b"\0\x01", session.inquiry(lun, 0xB1)[4:6])
    provisioning = session.inquiry(lun, 0xB2)
    equal("B2: LBPU LBPWS LBPWS10 LBPRZ", 0xE4, provisioning[5] & 0xFC)
    equal("B2: thin", 2, provisioning[6] & 7)


def lun_lists(session, other):
    data = report_luns(session, 256)
    luns = bytes(8) + bytes.fromhex("0002000000000000") + bytes.fromhex("412c000000000000")
    equal("REPORT LUNS", (24).to_bytes(4, "big") + bytes(4) + luns, data)
    equal("REPORT LUNS of 16 bytes keeps the whole length", data[:16], report_luns(session, 16))
    equal("without a LUN 0, LUN 0 still lists", "0000000800000000" "0005000000000000",
          report_luns(other, 256).hex())
    check("and answers INQUIRY with no device", other.inquiry(0)[0] in (0x7F, 0x3F), other.inquiry(0))


def modes(session):
    for ten in (False, True):
        name = "MODE SENSE(10)" if ten else "MODE SENSE(6)"
        header = 8 if ten else 4
        task = mode_sense(session, 0, 0x3F, ten=ten)
        data = bytes(task.data)
        counted = int.from_bytes(data[:2], "big") + 2 if ten else data[0] + 1
        equal(f"{name}: length", len(data), counted)
        equal(f"{name}: DPOFUA and no WP", 0x10, data[3 if ten else 2])
        pages = {}
        at = header + (data[7] if ten else data[3] if len(data) > 3 else 0)
        while at + 1 < len(data):
            pages[data[at] & 0x3F] = data[at:at + 2 + data[at + 1]]
            at += 2 + data[at + 1]
        check(f"{name}: pages 01, 08, 0A, 1C", {1, 8, 0x0A, 0x1C} <= set(pages), sorted(pages))
        equal(f"{name}: write cache on", 4, pages.get(8, b"\0\0\0")[2] & 4)
        equal(f"{name}: cut to 4 bytes", data[:4], bytes(mode_sense(session, 0, 0x3F, 4, ten).data))
    off = bytes(mode_sense(session, 2, 8).data)
    equal("write-cache = off: WCE 0", 0, off[6] & 4)
    equal("a page that does not exist", "05/24/00", mode_sense(session, 0, 0x2F).sense_code)


def main():
    url, other_url = sys.argv[1:]
    host, port, target, lun = initiator.split_url(url)
    session = initiator.Initiator(host, port).login(target)
    other = initiator.open_url(other_url)
    unit_attention(session, lun)
    standard_inquiry(session, lun)
    vital_product_data(session, lun)
    vital_product_data(session, 300)
    limits(session, lun)
    lun_lists(session, other)
    modes(session)
    session.logout()
    other.logout()
    end()


main()
