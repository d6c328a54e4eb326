"""Unit attentions: who is told of what, in which order, and that it is once. Rows for sequences.py.

The order is that of SAM-5 5.14: of power on and resets first, and then what SPC-4 and ours have below."""
from cdb import (CLEAR, PREEMPT, REGISTER_AND_IGNORE, RELEASE, RESERVE, TEST_UNIT_READY, WE_RO, inquiry,
                 mode_select_6, pr_list, pr_out, read_10, request_sense, set_target_port_groups,
                 write_10)

ZEROES = bytes(512)
KEY_A, KEY_B, KEY_C = 0xA, 0xB, 0xC
CACHING = "0812" + "04" + "00" * 17
NO_CACHE = "0812" + "00" + "00" * 17
NO_SENSE = "70 00 00 00000000 0a 00000000 0000 00 000000"
MODES_CHANGED = "70 00 06 00000000 0a 00000000 2a01 00 000000"


def mode(page):
    return mode_select_6(4 + len(page) // 2), bytes(4) + bytes.fromhex(page)


def told(host, what, code):
    """That it is told, by whatever it sends, and once."""
    return [(host, f"{what}: told", read_10(0), 512, code),
            (host, f"{what}: once", TEST_UNIT_READY, None, "")]


def not_told(*hosts):
    return [(host, "hears of nothing", TEST_UNIT_READY, None, "") for host in hosts]


EACH = [
    *not_told("A", "B", "C", "A2"),
    # 2A/01, for all but who changed them, and as well by another path of the same host.
    ("A", "MODE SELECT", *mode(NO_CACHE), ""),
    *not_told("A"),
    *told("B", "mode parameters changed", "06/2a/01"),
    *told("C", "mode parameters changed", "06/2a/01"),
    *told("A2", "mode parameters changed", "06/2a/01"),
    ("A", "MODE SELECT that changes nothing", *mode(NO_CACHE), ""),
    *not_told("A", "B", "C", "A2"),
    ("A", "MODE SELECT", *mode(CACHING), ""),
    ("B", "INQUIRY does not care", inquiry(None, 5), 5, "000006125b"),
    ("B", "nor REPORT LUNS", "a00000000000000000100000", 16, ".." * 16),
    ("B", "REQUEST SENSE takes it as data", request_sense(18), 18, MODES_CHANGED),
    ("B", "and so it is gone", request_sense(18), 18, NO_SENSE),
    *not_told("B"),
    ("C", "a write is not done", write_10(0), b"x" * 512, "06/2a/01"),
    ("C", "at all", read_10(0), 512, ZEROES),
    *told("A2", "mode parameters changed", "06/2a/01"),
    # 2A/05 and 2A/04: B is preempted, C loses what it held.
    ("A", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    ("B", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_B), ""),
    ("C", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_C), ""),
    *not_told("A", "B", "C", "A2"),
    ("A", "RESERVE", pr_out(RESERVE, WE_RO), pr_list(KEY_A), ""),
    *not_told("A", "B", "C", "A2"),
    ("A", "RELEASE", pr_out(RELEASE, WE_RO), pr_list(KEY_A), ""),
    *told("B", "reservations released", "06/2a/04"),
    *told("C", "reservations released", "06/2a/04"),
    *not_told("A", "A2"),
    ("A", "PREEMPT", pr_out(PREEMPT, WE_RO), pr_list(KEY_A, KEY_B), ""),
    *told("B", "registrations preempted", "06/2a/05"),
    *not_told("A", "C", "A2"),
    # 2A/03.
    ("A", "CLEAR", pr_out(CLEAR), pr_list(KEY_A), ""),
    *told("C", "reservations preempted", "06/2a/03"),
    *not_told("A", "B", "A2"),
    # 2A/06, by every path.
    ("A", "SET TARGET PORT GROUPS", *set_target_port_groups((2, 1)), ""),
    *not_told("A"),
    *told("B", "asymmetric access state changed", "06/2a/06"),
    *told("C", "asymmetric access state changed", "06/2a/06"),
    *told("A2", "asymmetric access state changed", "06/2a/06"),
    ("C", "the way back", *set_target_port_groups((2, 0)), ""),
    *not_told("C"),
    *told("A", "asymmetric access state changed", "06/2a/06"),
    *told("B", "asymmetric access state changed", "06/2a/06"),
    *told("A2", "asymmetric access state changed", "06/2a/06"),
    # 29/03.
    ("B", "LOGICAL UNIT RESET", "reset", None, None),
    *told("A", "reset", "06/29/03"),
    *told("B", "its own reset", "06/29/03"),
    *told("C", "reset", "06/29/03"),
    *told("A2", "reset", "06/29/03"),
]

ORDER = [
    ("B", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_B), ""),
    ("A", "registers", pr_out(REGISTER_AND_IGNORE), pr_list(0, KEY_A), ""),
    # In the order in which nobody is told of them.
    ("A", "MODE SELECT", *mode(NO_CACHE), ""),
    ("A", "and again", *mode(CACHING), ""),
    ("A", "PREEMPT", pr_out(PREEMPT), pr_list(KEY_A, KEY_B), ""),
    ("A", "LOGICAL UNIT RESET", "reset", None, None),
    ("B", "the reset first", TEST_UNIT_READY, None, "06/29/03"),
    ("B", "then the registration", TEST_UNIT_READY, None, "06/2a/05"),
    ("B", "then mode parameters, once for both changes", TEST_UNIT_READY, None, "06/2a/01"),
    ("B", "and that is all", TEST_UNIT_READY, None, ""),
    ("A", "told of its reset", TEST_UNIT_READY, None, "06/29/03"),
    # A new nexus hears 29/00 and nothing else, whatever happened before it asked.
    ("B", "logs out", "log out", None, None),
    ("B", "logs in and asks nothing", "log in and wait", None, None),
    ("A", "MODE SELECT", *mode(NO_CACHE), ""),
    ("A", "LOGICAL UNIT RESET", "reset", None, None),
    ("B", "29/00", TEST_UNIT_READY, None, "06/29/00"),
    ("B", "and nothing else", TEST_UNIT_READY, None, ""),
    # A port that logs in again is a new nexus, whose old attentions are gone.
    ("A", "told of its reset", TEST_UNIT_READY, None, "06/29/03"),
    ("A", "MODE SELECT", *mode(CACHING), ""),
    ("B", "its connection is lost", "vanish", None, None),
    ("B", "back again", "log in", None, None),
    *not_told("A", "B"),
]

TABLES = {
    "Unit attentions, each once": [EACH],
    "Unit attentions, their order": [ORDER],
}
