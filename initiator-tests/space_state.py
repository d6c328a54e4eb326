"""What hosts meet when the state directory is full (see space.sh): mode pages and reservations that
cannot be kept are refused, those that were kept stay, and I/O goes on.
Run: space_state.py URL before|full|after|kept"""
import struct
import sys

import initiator
from cases import check, end, equal

KEY = 0x1122334455667788
FAILED = "04/44/00"


def register(session, lun, old, new):
    """PERSISTENT RESERVE OUT, REGISTER with APTPL."""
    data = struct.pack(">QQIBBH", old, new, 0, 1, 0, 0)
    return session.command(lun, struct.pack(">BBBHIB", 0x5F, 0, 0, 0, len(data), 0), data_out=data)


def keys(session, lun):
    data = bytes(session.command(lun, bytes([0x5E, 0, 0, 0, 0, 0, 0, 1, 0, 0]), data_in=256).data)
    return [int.from_bytes(data[at:at + 8], "big") for at in range(8, len(data), 8)]


def swp(session, lun, control):
    """SWP of the control mode page as it is now (0) or saved (3)."""
    cdb = bytes([0x1A, 8, control << 6 | 0x0A, 0, 255, 0])
    return bytes(session.command(lun, cdb, data_in=255).data)[4 + 4] >> 3 & 1


def save(session, lun, bit):
    page = bytearray(session.command(lun, bytes([0x1A, 8, 0x0A, 0, 255, 0]), data_in=255).data)
    page[0] = page[2] = 0
    page[4] &= 0x3F
    page[8] = page[8] & ~8 | bit << 3
    return session.command(lun, bytes([0x15, 0x11, 0, 0, len(page), 0]), data_out=bytes(page))


def kept(session, lun, name, key, bit):
    equal(f"{name}: registrations", [key], keys(session, lun))
    equal(f"{name}: the mode page, now and saved", (bit, bit), (swp(session, lun, 0), swp(session, lun, 3)))


def before(session, lun):
    equal("a key is registered", 0, register(session, lun, 0, KEY).status)
    equal("a mode page is saved", 0, save(session, lun, 0).status)
    equal("a write", 0, session.write(lun, 0, b"\x11" * 512).status)
    kept(session, lun, "before", KEY, 0)


def full(session, lun):
    for _ in range(2):
        equal("full: another key is refused", FAILED, register(session, lun, KEY, KEY + 1).sense_code)
        equal("full: a page cannot be saved", FAILED, save(session, lun, 1).sense_code)
        kept(session, lun, "full", KEY, 0)
    equal("full: writes go on", 0, session.write(lun, 0, b"\x22" * 512).status)
    check("full: and reads", bytes(session.read(lun, 0, 1).data) == b"\x22" * 512)


def after(session, lun):
    equal("space again: another key", 0, register(session, lun, KEY, KEY + 1).status)
    equal("space again: a page is saved", 0, save(session, lun, 1).status)
    kept(session, lun, "space again", KEY + 1, 1)


def main():
    url, step = sys.argv[1:]
    lun = initiator.split_url(url)[3]
    session = initiator.open_url(url)
    steps = {"before": before, "full": full, "after": after,
             "kept": lambda session, lun: kept(session, lun, "restarted", KEY + 1, 1)}
    steps[step](session, lun)
    session.logout()
    end()


main()
