"""CDBs and parameter lists in hexadecimal, for tables of commands. Lengths are in bytes, blocks in blocks."""

TEST_UNIT_READY = "000000000000"
RESERVE_6, RELEASE_6 = "160000000000", "170000000000"
RESERVE_10, RELEASE_10 = "56000000000000000000", "57000000000000000000"
SYNCHRONIZE_CACHE = "35000000000000000000"
READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS = range(4)
REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE, \
    REGISTER_AND_MOVE = range(8)
# Types of persistent reservations, scope LU.
WE, EA, WE_RO, EA_RO, WE_AR, EA_AR = 1, 3, 5, 6, 7, 8
APTPL = 1


def inquiry(page=None, length=255):
    return f"12{page is not None:02x}{page or 0:02x}{length:04x}00"


def request_sense(length=252):
    return f"03000000{length:02x}00"


def mode_select_6(length):
    return f"15100000{length:02x}00"


def read_capacity_16(length=32):
    return f"9e10{0:016x}{length:08x}0000"


def read_10(block, blocks=1):
    return f"2800{block:08x}00{blocks:04x}00"


def write_10(block, blocks=1, flags=0):
    return f"2a{flags:02x}{block:08x}00{blocks:04x}00"


def read_16(block, blocks=1):
    return f"8800{block:016x}{blocks:08x}0000"


def write_16(block, blocks=1, flags=0):
    return f"8a{flags:02x}{block:016x}{blocks:08x}0000"


def verify_10(block, blocks=1, compare=0):
    return f"2f{compare << 1:02x}{block:08x}00{blocks:04x}00"


def verify_16(block, blocks=1, compare=0):
    return f"8f{compare << 1:02x}{block:016x}{blocks:08x}0000"


def compare_and_write(block, blocks=1):
    return f"8900{block:016x}000000{blocks:02x}0000"


def write_same_16(block, blocks, flags=0):
    return f"93{flags:02x}{block:016x}{blocks:08x}0000"


def write_same_10(block, blocks, flags=0):
    return f"41{flags:02x}{block:08x}00{blocks:04x}00"


def get_lba_status(block, length=24):
    return f"9e12{block:016x}{length:08x}0000"


def report_target_port_groups(length=252, extended=False):
    return f"a3{0x2a if extended else 0x0a:02x}00000000{length:08x}0000"


def set_target_port_groups(*states):
    """CDB and parameter list for (group, state)."""
    entries = "".join(f"{state:02x}00{group:04x}" for group, state in states)
    return f"a40a00000000{4 + len(entries) // 2:08x}0000", bytes(4) + bytes.fromhex(entries)


def unmap(ranges):
    """The CDB for a list of (block, blocks)."""
    return f"42000000000000{8 + 16 * len(ranges):04x}00"


def unmap_list(ranges):
    size = 16 * len(ranges)
    return bytes.fromhex(f"{size + 6:04x}{size:04x}00000000" +
                         "".join(f"{block:016x}{blocks:08x}00000000" for block, blocks in ranges))


def pr_in(action, length=8192):
    return f"5e{action:02x}0000000000{length:04x}00"


def pr_out(action, kind=0, length=24):
    return f"5f{action:02x}{kind:02x}0000{length:08x}00"


def pr_list(key, new=0, flags=0):
    """The basic parameter list: RESERVATION KEY, SERVICE ACTION RESERVATION KEY, APTPL and its like."""
    return bytes.fromhex(f"{key:016x}{new:016x}00000000{flags:02x}000000")


def keys(generation, *held):
    """What READ KEYS answers."""
    return f"{generation:08x}{8 * len(held):08x}" + "".join(f"{key:016x}" for key in held)


def reservation(generation, key=None, kind=0):
    """What READ RESERVATION answers."""
    if key is None:
        return f"{generation:08x}00000000"
    return f"{generation:08x}00000010{key:016x}0000000000{kind:02x}0000"
