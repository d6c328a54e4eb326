"""Mode parameters as hosts change and see them (see modes.sh). First argument: which part."""
import sys

import initiator
from cases import check, end, equal

PF, RTD, SP = 0x10, 0x02, 0x01
LOGICAL_UNIT_RESET = 5
CONTROL = bytes.fromhex("0a0a221000400000ffff0000")
D_SENSE, SWP = (2, 0x04), (4, 0x08)
CACHING = bytes.fromhex("0812040000000000000000000000000000000000")


def open_url(url, number):
    """A session with an ISID of its own, so that it is another nexus."""
    return initiator.open_url(url, isid=b"\x80\0\0\0\0" + bytes([number]))


def sense(session, lun, page, control=0, subpage=0):
    """The page alone, without its header of 4 bytes, and the device-specific byte."""
    cdb = bytes([0x1A, 8, control << 6 | page, subpage, 255, 0])
    data = bytes(session.command(lun, cdb, data_in=255).data)
    return data[4:], data[2] if len(data) > 2 else None


def select(session, lun, flags, page=b"", long=False):
    data = bytes(8 if long else 4) + page if page else b""
    if long:
        cdb = bytes([0x55, flags, 0, 0, 0, 0, 0]) + len(data).to_bytes(2, "big") + b"\0"
    else:
        cdb = bytes([0x15, flags, 0, 0, len(data), 0])
    return session.command(lun, cdb, data_out=data)


def control(*bits):
    page = bytearray(CONTROL)
    for byte, bit in bits:
        page[byte] |= bit
    return bytes(page)


def set_control(session, lun, *bits, flags=PF, long=False):
    task = select(session, lun, flags, control(*bits), long)
    equal(f"MODE SELECT of {bits or 'the defaults'}", 0, task.status)


def sharing(url):
    lun = initiator.split_url(url)[3]
    # Sessions go to the least loaded loop, so these are on both.
    hosts = [open_url(url, number) for number in range(1, 5)]
    one, others = hosts[0], hosts[1:]
    set_control(one, lun, SWP, D_SENSE)
    equal("who asked is not told", 0, one.command(lun, bytes(6)).status)
    for host in others:
        task = host.command(lun, bytes(6))
        equal("others are told", "06/2a/01", task.sense_code)
        equal("in descriptor format", 0x72, task.sense[0])
        equal("once", 0, host.command(lun, bytes(6)).status)
    for host in hosts:
        equal("writes are refused", "07/27/02", host.write(lun, 0, bytes(512)).sense_code)
        equal("reads are not", 0, host.read(lun, 0, 1).status)
        equal("the header says WP", 0x90, sense(host, lun, 0x0A)[1])
    equal("the field pointer of descriptor format", "7205240000000008" "02060000cf000100",
          one.command(lun, bytes.fromhex("28800000000000000100"), 512).sense.hex())
    set_control(one, lun, long=True)
    for host in others:
        equal("told of the way back, in fixed format", 0x70, host.command(lun, bytes(6)).sense[0])
        equal("writes again", 0, host.write(lun, 0, bytes(512)).status)
    resets(one, others[0], lun)
    write_cache(one, others[0], lun)
    for host in hosts:
        host.logout()


def resets(one, other, lun):
    set_control(one, lun, SWP)
    other.clear_unit_attention(lun)
    equal("LOGICAL UNIT RESET", 0, one.task_management(LOGICAL_UNIT_RESET, lun))
    for host, name in ((other, "others are"), (one, "who asked for it is")):
        equal(f"{name} told of the reset alone", "06/29/03", host.command(lun, bytes(6)).sense_code)
    # The way back is a switch: it comes soon after the answer, and never waits for it.
    for _ in range(200):
        task = other.write(lun, 0, bytes(512))
        if task.sense_code != "07/27/02":
            break
    equal("what was not saved ends with it", 0, task.status)


def write_cache(one, other, lun):
    equal("WCE may change", 4, sense(one, lun, 8, 1)[0][2])
    equal("PF = 0 with a page", "05/24/00", select(one, lun, 0, CACHING).sense_code)
    off = CACHING[:2] + b"\0" + CACHING[3:]
    equal("WCE off", 0, select(one, lun, PF, off).status)
    equal("others are told", "06/2a/01", other.command(lun, bytes(6)).sense_code)
    equal("WCE is off for all", 0, sense(other, lun, 8)[0][2])
    equal("a write", 0, other.write(lun, 8, b"x" * 4096).status)
    equal("RTD turns it on again", 0, select(one, lun, RTD).status)
    other.clear_unit_attention(lun)
    equal("for all", 4, sense(other, lun, 8)[0][2])


def lengths(host, lun):
    """PARAMETER LIST LENGTH and what the host says that it sends need not agree."""
    data = bytes(4) + CONTROL + bytes(8)
    for listed, sent, code, residual in ((0, 16, "", 16), (4, 16, "", 12), (16, 16, "", 0), (16, 20, "", 4),
                                         (16, 12, "05/1a/00", 0), (16, 0, "05/1a/00", 0),
                                         (3, 4, "05/1a/00", 1), (17, 17, "05/1a/00", 0)):
        task = host.command(lun, bytes([0x15, PF, 0, 0, listed, 0]), data_out=data[:sent])
        equal(f"a list of {listed} bytes, {sent} sent", (code, residual), (task.sense_code, task.residual))


def forbidden(no_cache_url, url):
    no_cache, lun = initiator.split_url(no_cache_url)[3], initiator.split_url(url)[3]
    host = open_url(url, 1)
    host.clear_unit_attention(no_cache)
    equal("write-cache = off: WCE is off and stays so", [0, 0],
          [sense(host, no_cache, 8, control)[0][2] for control in (0, 1)])
    task = select(host, no_cache, PF, CACHING)
    equal("turning it on", "05/26/00", task.sense_code)
    equal("with a pointer to the bit", "8a0006", task.sense[15:18].hex())
    equal("write-cache on, but not the hosts' own: WCE is on and stays so", [4, 0],
          [sense(host, lun, 8, control)[0][2] for control in (0, 1)])
    task = select(host, lun, PF, CACHING[:2] + b"\0" + CACHING[3:])
    equal("turning it off", "05/26/00", task.sense_code)
    lengths(host, lun)
    host.logout()


def save(url):
    lun = initiator.split_url(url)[3]
    host = open_url(url, 1)
    equal("nothing is saved yet", CONTROL[2:], sense(host, lun, 0x0A, 3)[0][2:])
    set_control(host, lun, SWP, flags=PF | SP)
    set_control(host, lun, SWP, D_SENSE)
    equal("saved is what was to be saved", control(SWP)[2:], sense(host, lun, 0x0A, 3)[0][2:])
    host.logout()


def saved(url):
    lun = initiator.split_url(url)[3]
    host = open_url(url, 1)
    for page_control, name in ((0, "current"), (3, "saved")):
        equal(f"{name} values after a restart", control(SWP)[2:],
              sense(host, lun, 0x0A, page_control)[0][2:])
    equal("default values", CONTROL[2:], sense(host, lun, 0x0A, 2)[0][2:])
    equal("writes are refused", "07/27/02", host.write(lun, 0, bytes(512)).sense_code)
    host.logout()


def revert(url):
    lun = initiator.split_url(url)[3]
    host = open_url(url, 1)
    equal("RTD and SP", 0, select(host, lun, RTD | SP).status)
    equal("writes again", 0, host.write(lun, 0, bytes(512)).status)
    host.logout()


def reverted(url):
    lun = initiator.split_url(url)[3]
    host = open_url(url, 1)
    for page_control in (0, 2, 3):
        equal(f"defaults, page control {page_control}", CONTROL[2:],
              sense(host, lun, 0x0A, page_control)[0][2:])
    host.logout()


def unsaved(url):
    lun = initiator.split_url(url)[3]
    host = open_url(url, 1)
    task = select(host, lun, PF | SP, control(SWP))
    equal("what cannot be saved is an error", "04/44/00", task.sense_code)
    check("and changes nothing", sense(host, lun, 0x0A)[0][2:] == CONTROL[2:] and
          host.write(lun, 0, bytes(512)).status == 0)
    host.logout()


def main():
    parts = {part.__name__: part
             for part in (sharing, forbidden, save, saved, revert, reverted, unsaved)}
    parts[sys.argv[1]](*sys.argv[2:])
    end()


main()
