"""Pages and lists byte by byte, at every allocation length, as golden_tables.py has them (see golden.sh)."""
import sys

import golden_tables as tables
import initiator
from cases import check, end, equal

MODE_FORMS = {
    # Opcode with byte 1, the bytes between the subpage and the length, the header.
    "(6)": ("1a00", "LL 00", "short", "04"),
    "(6) DBD": ("1a08", "LL 00", "none", "04"),
    "(10)": ("5a00", "000000 LLLL 00", "short", "08"),
    "(10) DBD": ("5a08", "000000 LLLL 00", "none", "08"),
    "(10) LLBAA": ("5a10", "000000 LLLL 00", "long", "08"),
    "(10) LLBAA DBD": ("5a18", "000000 LLLL 00", "none", "08"),
}


def plain(text):
    return text.replace(" ", "")


def fields_of(disk):
    values = {name: others.get(disk, usual) for name, (usual, others) in tables.FIELDS.items()}
    return {**values, "number": str(tables.DISKS.index(disk))}


def lun_field(digits):
    return bytes.fromhex(digits.ljust(16, "0"))


class Sweep:
    """Commands on one LUN, many in flight; each answer compared whole, with its residual."""

    def __init__(self, session, lun, name):
        self.session = session
        self.lun = lun
        self.name = name
        self.flight = []
        self.what = None
        self.wrong = {}

    def submit(self, cdb, room, whole, allowed):
        """`room`: what the initiator expects; `allowed`: what the CDB allows."""
        task = self.session.submit(self.lun, cdb, room)
        self.flight.append((task, self.what, room, whole[:allowed], cdb))
        if len(self.flight) >= 32:
            self.settle(16)

    def settle(self, left=0):
        while len(self.flight) > left:
            task, what, room, answer, cdb = self.flight.pop(0)
            self.session.wait(task)
            found = (task.status, bytes(task.data), task.residual)
            if found != (0, answer[:room], room - len(answer)):
                self.wrong.setdefault(what, f"{cdb.hex()}, {room} bytes: {task}, residual {found[2]}, "
                                            f"{found[1].hex()}; expected {answer[:room].hex()}")

    def end(self, topic):
        """One case, or one for each that failed."""
        self.settle()
        for what, wrong in self.wrong.items():
            check(f"{self.name}: {topic}, {what}", False, wrong)
        if not self.wrong:
            check(f"{self.name}: {topic}", True)
        self.wrong = {}


def lengths_of(whole, width, every):
    longest = min(len(whole) + 8, 256 ** width - 1)
    if every:
        return range(longest + 1)
    return sorted({n for n in (0, 1, 4, 8, len(whole) - 1, len(whole), longest) if n <= longest})


def sweep(to, what, template, whole, every=True):
    """Every allocation length; and where less is expected than is allowed, or more."""
    to.what = what
    template = plain(template)
    digits = template.count("L")
    for length in lengths_of(whole, digits // 2 or 1, every):
        if digits:
            cdb = bytes.fromhex(template.replace("L" * digits, f"{length:0{digits}x}"))
            to.submit(cdb, length, whole, length)
        else:
            to.submit(bytes.fromhex(template), length, whole, len(whole))
    if digits:
        longest = min(len(whole) + 8, 16 ** digits - 1)
        cdb = bytes.fromhex(template.replace("L" * digits, f"{longest:0{digits}x}"))
        for room in (len(whole) // 2, len(whole), longest + 100):
            to.submit(cdb, room, whole, longest)


# --- mode pages -------------------------------------------------------------------------------------


def mode_pages(page, subpage, control, fields):
    """The bytes of all pages that a CDB asks for, or none."""
    out = ""
    for (code, sub), images in tables.MODE_PAGES.items():
        if page in (code, 0x3F) and (subpage == 0xFF or (subpage == sub and not (page == 0x3F and sub))):
            out += images[control == 1].format(**fields)
    return plain(out)


def mode_answer(form, page, subpage, control, fields):
    _, _, descriptor, header = MODE_FORMS[form]
    descriptors = {"none": "", "short": tables.SHORT_DESCRIPTOR, "long": tables.LONG_DESCRIPTOR}
    block = plain(descriptors[descriptor].format(**fields))
    pages = mode_pages(page, subpage, control, fields)
    rest = len(block + pages) // 2
    if header == "04":
        head = f"{rest + 3:02x}00{fields['wp_dpofua']}{len(block) // 2:02x}"
    else:
        head = f"{rest + 6:04x}00{fields['wp_dpofua']}{descriptor == 'long':02x}00{len(block) // 2:04x}"
    return bytes.fromhex(head + block + pages)


def modes(to, fields, every):
    asked = [*tables.MODE_PAGES, (0x0A, 0xFF), (0x1C, 0xFF), (0x3F, 0x00), (0x3F, 0xFF)]
    for control in range(4):
        for page, subpage in asked:
            for form, (opcode, rest, *_) in MODE_FORMS.items():
                cdb = f"{opcode}{control << 6 | page:02x}{subpage:02x}{rest}"
                sweep(to, f"{form} of {page:02x}/{subpage:02x}, PC {control}", cdb,
                      mode_answer(form, page, subpage, control, fields),
                      every and (page, subpage) == (0x3F, 0xFF) and form in ("(6)", "(10) LLBAA"))
    to.end("MODE SENSE")


# --- commands ---------------------------------------------------------------------------------------


def commands_of(disk):
    """Opcode, service action or None, usage map, times."""
    for usage, with_action, times in tables.COMMANDS:
        usage = plain(usage)
        if usage[:4] in tables.LACKS.get(disk, ()):
            continue
        usage = bytearray.fromhex(usage)
        usage[1] &= ~tables.NOT_IN_BYTE_1.get(disk, {}).get(f"{usage[0]:02x}", 0)
        yield usage[0], usage[1] & 0x1F if with_action else None, bytes(usage), times


def timeouts(times):
    return bytes.fromhex("000a0000") + b"".join(seconds.to_bytes(4, "big") for seconds in times)


def commands(to, disk, every):
    known = list(commands_of(disk))
    for rctd in (0, 0x80):
        listed = b""
        for opcode, action, usage, times in known:
            listed += bytes([opcode, 0, 0, action or 0, 0, (2 if rctd else 0) | (action is not None), 0,
                             len(usage)])
            listed += timeouts(times) if rctd else b""
            one = bytes([0, (rctd and 0x80) | 3, 0, len(usage)]) + usage
            one += timeouts(times) if rctd else b""
            for option in (1 if action is None else 2, 3):
                sweep(to, f"command {usage.hex()} alone, {rctd | option:02x}",
                      f"a30c {rctd | option:02x} {opcode:02x} {action or 0:04x} LLLLLLLL 0000", one,
                      every and rctd and option < 3)
        sweep(to, f"all commands, {rctd:02x}", f"a30c {rctd:02x} 00 0000 LLLLLLLL 0000",
              len(listed).to_bytes(4, "big") + listed, every)
    for opcode in {0x42, 0x7F} - {opcode for opcode, *_ in known}:
        for option in (0x01, 0x83):
            sweep(to, f"command {opcode:02x}, which is not there",
                  f"a30c {option:02x} {opcode:02x} 0000 LLLLLLLL 0000", bytes([0, 1, 0, 0]))
    to.end("REPORT SUPPORTED OPERATION CODES")


def refusals(session, lun, name):
    for what, cdb, pointer in tables.REFUSED:
        task = session.command(lun, bytes.fromhex(plain(cdb)), 255)
        equal(f"{name}: {what}", ("05/24/00", pointer), (task.sense_code, task.sense[15:18].hex()))


def disk_answers(session, disk):
    lun = tables.DISKS.index(disk)
    fields = fields_of(disk)
    every = disk in tables.EVERY_LENGTH
    to = Sweep(session, lun, disk)
    for what, cdb, answer in tables.ANSWERS + tables.MORE_ANSWERS.get(disk, []):
        sweep(to, what, cdb, bytes.fromhex(plain(answer.format(**fields))), every)
        to.end(what)
    modes(to, fields, every)
    commands(to, disk, lun == 0)


# --- LUN numbers ------------------------------------------------------------------------------------


def lists(session, lun, luns, name):
    whole = bytes.fromhex(f"{8 * len(luns):08x}00000000" + "".join(n.ljust(16, "0") for n in luns))
    to = Sweep(session, lun, name)
    for select in ("00", "02"):
        sweep(to, f"SELECT REPORT {select}", f"a000{select}000000LLLLLLLL0000", whole)
    sweep(to, "SELECT REPORT 01", "a00001000000LLLLLLLL0000", bytes(8))
    to.end("REPORT LUNS")


def attentions(session):
    """A fresh session, on which nothing was asked yet."""
    for number in tables.LUNS:
        lun = lun_field(number)
        equal(f"INQUIRY of LUN {number} passes the unit attention", 0x00, session.inquiry(lun)[0])
        equal(f"LUN {number}: the unit attention", "06/29/00", session.command(lun, bytes(6)).sense_code)
        equal(f"LUN {number}: and no other", 0, session.command(lun, bytes(6)).status)


def numbers(session):
    for one, other in tables.BOTH_FORMS:
        pages = [session.inquiry(lun_field(form), 0x83) for form in (one, other)]
        equal(f"LUN {one} is LUN {other}", *pages)
        session.write(lun_field(one), 3, one.encode() * 1024, block_bytes=4096)
        equal(f"LUN {other} has no unit attention of its own", 0,
              session.command(lun_field(other), bytes(6)).status)
    equal("what is written to one form is read from the other", b"0002" * 1024,
          bytes(session.read(lun_field("4002"), 3, 1, 4096).data))
    absent = bytes.fromhex("7f" + plain(tables.INQUIRY.format(tpgs="00"))[2:])
    for number in tables.NO_LUNS:
        lun = lun_field(number)
        no_lun(session, lun, number, absent)
    lists(session, lun_field("c101"), tables.LUNS, "the well known logical unit")


def no_lun(session, lun, number, absent):
    name = f"LUN {number}, which is not there"
    equal(f"{name}: INQUIRY", absent, session.inquiry(lun))
    equal(f"{name}: pages", "7f00000100", session.inquiry(lun, 0).hex())
    task = session.command(lun, bytes.fromhex("03000000ff00"), 255)
    equal(f"{name}: REQUEST SENSE", "70000500000000" "0a" "00000000" "2500" "00000000", task.data.hex())
    found = [session.command(lun, bytes.fromhex(cdb), 255).sense_code
             for cdb in ("000000000000", "25000000000000000000", "1a003f00ff00", "12018300ff00")]
    equal(f"{name}: other commands, and a page", ["05/25/00"] * 3 + ["05/24/00"], found)
    equal(f"{name}: a reset", 2, session.task_management(initiator.LOGICAL_UNIT_RESET, lun))


def sizes(session):
    for lun, (what, short, long, blocks) in enumerate(tables.SIZES):
        session.clear_unit_attention(lun)
        block_bytes = int(long[-8:], 16)
        last = int(long[:16], 16)
        found = [bytes(session.command(lun, bytes.fromhex(plain(cdb)), room).data).hex() for cdb, room in (
            ("25 00 00000000 000000 00", 8), ("9e10 0000000000000000 0000000c 0000", 12),
            ("1a00 08 00 0c 00", 12), ("5a10 08 00 000000 0018 00", 24))]
        equal(f"{what}: READ CAPACITY and block descriptors",
              [plain(short), plain(long), f"1f001008{blocks}{block_bytes:08x}",
               f"002a00100100 0010{last + 1:016x}00000000{block_bytes:08x}".replace(" ", "")], found)
        equal(f"{what}: the last block", (0, block_bytes),
              (lambda task: (task.status, len(task.data)))(session.read(lun, last, 1, block_bytes)))
        equal(f"{what}: the next one", "05/21/00", session.read(lun, last + 1, 1, block_bytes).sense_code)
        equal(f"{what}: both", "05/21/00", session.read(lun, last, 2, block_bytes).sense_code)


def main():
    url, other_url, sizes_url, paths_url = sys.argv[1:]
    host, port, target, _ = initiator.split_url(url)
    session = initiator.Initiator(host, port).login(target)
    attentions(session)
    for disk in tables.DISKS:
        if disk != tables.PATHS:
            disk_answers(session, disk)
    refusals(session, 0, tables.DISKS[0])
    lists(session, 0, tables.LUNS, "nine LUNs")
    numbers(session)
    session.logout()
    other = initiator.open_url(other_url)
    for lun in (0, 5, 300):
        lists(other, lun, tables.LUNS_WITHOUT_0, f"no LUN 0, asked at {lun}")
    other.logout()
    other = initiator.open_url(sizes_url)
    sizes(other)
    other.logout()
    other = initiator.open_url(paths_url)
    disk_answers(other, tables.PATHS)
    other.logout()
    end()


main()
