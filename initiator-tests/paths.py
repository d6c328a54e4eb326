"""Target port groups as hosts on several paths see them (see paths.sh). First argument: which part."""
import json
import socket
import struct
import sys

import initiator
from cases import check, end, equal

OPTIMIZED, NON_OPTIMIZED, STANDBY, UNAVAILABLE = range(4)
OFFLINE, TRANSITIONING = 0xE, 0xF
LOGICAL_UNIT_RESET = 5
TEST_UNIT_READY = bytes(6)
CHANGED = "06/2a/06"
ALL_STATES = 0xCF


def open_url(url, number):
    """A session with an ISID of its own, so that it is another nexus."""
    return initiator.open_url(url, isid=b"\x80\0\0\0\0" + bytes([number]))


def report(session, extended=False, length=255):
    """REPORT TARGET PORT GROUPS, as sg_rtpg shows it: groups by tag, and the transition time."""
    cdb = struct.pack(">BB4xIxx", 0xA3, 0x2A if extended else 0x0A, length)
    data = bytes(session.command(0, cdb, data_in=length).data)
    if len(data) < 4:
        return {}, None
    check("RETURN DATA LENGTH", len(data) == struct.unpack(">I", data[:4])[0] + 4, data.hex())
    groups, at = {}, 8 if extended else 4
    while at < len(data):
        state, support, tag, cause, ports = struct.unpack(">BBHxBxB", data[at:at + 8])
        numbers = struct.unpack(">" + "xxH" * ports, data[at + 8:at + 8 + 4 * ports])
        groups[tag] = {"state": state & 15, "preferred": state >> 7, "support": support,
                       "cause": cause, "ports": numbers}
        at += 8 + 4 * ports
    if extended:
        equal("format of the extended header", 1, data[4] >> 4)
    return groups, data[5] if extended else None


def set_states(session, **states):
    """SET TARGET PORT GROUPS: states of groups, as g1=STANDBY."""
    data = bytes(4) + b"".join(struct.pack(">BxH", state, int(group[1:]))
                               for group, state in states.items())
    return session.command(0, struct.pack(">BB4xIxx", 0xA4, 0x0A, len(data)), data_out=data)


def designators(session):
    """Of the target port, by type: page 83h as multipath reads it."""
    page, found, at = session.inquiry(0, 0x83, 1024), {}, 4
    while at < len(page):
        association, kind, length = page[at + 1] >> 4 & 3, page[at + 1] & 15, page[at + 3]
        if association == 1:
            found[kind] = page[at + 4:at + 4 + length]
        at += 4 + length
    return found


def told_once(sessions, what):
    for session in sessions:
        equal(f"{what}: told", CHANGED, session.command(0, TEST_UNIT_READY).sense_code)
        code = session.command(0, TEST_UNIT_READY).sense_code
        check(f"{what}: once", not code.startswith("06"), code)


def check_path(session, tag, target):
    found = designators(session)
    number = struct.pack(">xxH", tag)
    equal(f"relative target port of path {tag}", number, found.get(4))
    equal(f"target port group of path {tag}", number, found.get(5))
    equal(f"name of path {tag}", f"{target},t,0x{tag:04x}", found[8].rstrip(b"\0").decode())


def state_changes(one, others, far):
    """`one` makes them; `others` and it are on group 1, `far` on group 2."""
    equal("SET TARGET PORT GROUPS", 0, set_states(one, g2=STANDBY).status)
    equal("who asked is not told", 0, one.command(0, TEST_UNIT_READY).status)
    told_once(others + far, "standby")
    for session in far:
        equal("a read on a standby path", "02/04/0b", session.read(0, 0, 1).sense_code)
        equal("a write", "02/04/0b", session.write(0, 0, bytes(512)).sense_code)
        equal("READ CAPACITY", 0,
              session.command(0, bytes.fromhex("25000000000000000000"), data_in=8).status)
        equal("the disk is there", 0, session.inquiry(0)[0])
        # Unit attentions are each logical unit's.
        equal("the other disk is told, too", CHANGED,
              session.command(1, TEST_UNIT_READY).sense_code)
    for session in [one] + others:
        equal("the other group goes on", 0, session.read(0, 0, 1).status)
    groups, _ = report(far[0])
    equal("who changed it", [0, 1], [groups[1]["cause"], groups[2]["cause"]])
    equal("the same again", 0, set_states(one, g2=STANDBY).status)
    equal("tells nobody", "02/04/0b", far[0].command(0, TEST_UNIT_READY).sense_code)
    equal("a state that there is not", "05/26/00", set_states(one, g2=4).sense_code)
    equal("offline is the administrator's", "05/26/00", set_states(one, g2=OFFLINE).sense_code)
    equal("a group that there is not", "05/26/00", set_states(one, g3=STANDBY).sense_code)


def late_data(one, others, far):
    """A write that waits for its data when its path is closed."""
    equal("back", 0, set_states(far[0], g2=NON_OPTIMIZED).status)
    told_once([one] + others + far[1:], "back")
    equal("the block before", 0, one.write(0, 8, b"\x11" * 512).status)
    far[0].hold_r2ts = True
    late = far[0].submit(0, struct.pack(">BBQIBB", 0x8A, 0, 8, 256, 0, 0),
                         data_out=b"\x22" * 131072)
    while not far[0].held_r2ts:
        far[0].step()
    equal("closed meanwhile", 0, set_states(one, g2=UNAVAILABLE).status)
    far[0].hold_r2ts = False
    far[0].release_r2ts()
    equal("the write is refused", "02/04/0c", far[0].wait(late).sense_code)
    equal("and has changed nothing", b"\x11" * 512, bytes(one.read(0, 8, 1).data))
    told_once(others + far, "unavailable")
    equal("INQUIRY says that the disk is elsewhere", 0x20, far[1].inquiry(0)[0])
    equal("a reset passes", 0, far[1].task_management(LOGICAL_UNIT_RESET, 0))
    for session in [one] + others + far:
        session.clear_unit_attention(0)
    sense = bytes(far[1].command(0, bytes.fromhex("030000001200"), data_in=18).data)
    equal("REQUEST SENSE says what is wrong", "02040c", sense[2:3].hex() + sense[12:14].hex())


def explicit(near_url, far_url):
    target = initiator.split_url(near_url)[2]
    near = [open_url(near_url, number) for number in range(1, 4)]
    far = [open_url(far_url, number) for number in range(4, 6)]
    for session in near + far:
        session.clear_unit_attention(1)
    equal("TPGS", 3, near[0].inquiry(0)[5] >> 4)
    groups, time = report(far[0], extended=True)
    equal("implicit transition time", 5, time)
    equal("groups, states, preference, ports",
          {1: (OPTIMIZED, 1, (1,)), 2: (NON_OPTIMIZED, 0, (2,))},
          {tag: (g["state"], g["preferred"], g["ports"]) for tag, g in groups.items()})
    equal("states that there are", {ALL_STATES}, {g["support"] for g in groups.values()})
    equal("the short header says the same", groups, report(near[0])[0])
    check_path(near[0], 1, target)
    check_path(far[0], 2, target)
    for session in far:
        equal("a non-optimized path serves", 0, session.write(0, 0, bytes(512)).status)
    state_changes(near[0], near[1:], far)
    late_data(near[0], near[1:], far)
    late = open_url(far_url, 9)
    equal("who logs in later finds it so", "02/04/0c",
          late.command(0, TEST_UNIT_READY).sense_code)
    equal("the way back, from the closed path itself", 0,
          set_states(late, g1=OPTIMIZED, g2=NON_OPTIMIZED).status)
    told_once(near + far, "open again")
    for session in near + far + [late]:
        equal("all paths serve", 0, session.read(0, 0, 1).status)
        session.logout()


def knows(session, opcode, action):
    cdb = struct.pack(">BBBBHIxx", 0xA3, 0x0C, 2, opcode, action, 64)
    return session.command(0, cdb, data_in=64).data[1] & 7 == 3


def implicit(near_url, far_url):
    near, far = open_url(near_url, 1), open_url(far_url, 2)
    equal("TPGS, implicit alone", 1, near.inquiry(0)[5] >> 4)
    check("RTPG is known", knows(far, 0xA3, 0x0A), "")
    check("STPG is not", not knows(far, 0xA4, 0x0A), "")
    equal("nor served", "05/24/00", set_states(near, g2=OPTIMIZED).sense_code)
    equal("standby from the beginning", "02/04/0b", far.read(0, 0, 1).sense_code)
    equal("the other path serves", 0, near.read(0, 0, 1).status)
    groups, time = report(near, extended=True)
    equal("states", {1: OPTIMIZED, 2: STANDBY}, {t: g["state"] for t, g in groups.items()})
    equal("nothing is said of the time", 0, time)
    near.logout()
    far.logout()


def ask(path, request, **parameters):
    """One request to the control socket; answers its result, or the code of its error."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(20)
        control.connect(path)
        lines = control.makefile("rw", encoding="utf-8")
        lines.readline()
        lines.write(json.dumps({"request": request, "parameters": parameters, "id": 1}) + "\n")
        lines.flush()
        answer = json.loads(lines.readline())
        return answer.get("result") or answer["error"]["code"]


def administrator(near_url, far_url, path):
    target = initiator.split_url(near_url)[2]
    hosts = [open_url(near_url, 1), open_url(near_url, 2), open_url(far_url, 3)]
    for state, code, sense in (("offline", OFFLINE, "02/04/12"),
                               ("transitioning", TRANSITIONING, "02/04/0a"),
                               ("non-optimized", NON_OPTIMIZED, "")):
        answer = ask(path, "alua-set", target=target, group=2, state=state)
        equal(f"{state}: answered", True, answer["changed"])
        for host in hosts:
            equal(f"{state}: told", CHANGED, host.command(0, TEST_UNIT_READY).sense_code)
        equal(f"{state}: on its path", sense, hosts[2].command(0, TEST_UNIT_READY).sense_code)
        equal(f"{state}: on the other", 0, hosts[0].read(0, 0, 1).status)
        groups, _ = report(hosts[2])
        equal(f"{state}: reported, by no host", (code, 2),
              (groups[2]["state"], groups[2]["cause"]))
    for wanted in (1, 0):
        answer = ask(path, "alua-set", target=target, group=2, state="non-optimized",
                     preferred=bool(wanted))
        equal(f"preferred {wanted}: answered", True, answer["changed"])
        told_once(hosts, f"preferred {wanted}")
        groups, _ = report(hosts[0])
        equal(f"preferred {wanted}: reported", (1, wanted),
              (groups[1]["preferred"], groups[2]["preferred"]))
    answer = ask(path, "alua-set", target=target, group=2, state="non-optimized")
    equal("the same again", False, answer["changed"])
    equal("tells nobody", 0, hosts[0].command(0, TEST_UNIT_READY).status)
    shown = ask(path, "alua-show", target=target)["groups"]
    equal("shown", [(1, "optimized", None), (2, "non-optimized", "administrator")],
          sorted((g["group"], g["state"], g["changed_by"]) for g in shown))
    equal("a group that there is not", "not-found",
          ask(path, "alua-set", target=target, group=3, state="standby"))
    equal("a state that there is not", "bad-request",
          ask(path, "alua-set", target=target, group=2, state="active"))
    for host in hosts:
        host.logout()


def single(url):
    session = open_url(url, 1)
    equal("TPGS of a target with one group", 0, session.inquiry(0)[5] >> 4)
    check("RTPG is not known", not knows(session, 0xA3, 0x0A), "")
    session.logout()


def leave_standby(url):
    session = open_url(url, 1)
    equal("standby", 0, set_states(session, g2=STANDBY).status)
    session.logout()


def as_configured(url):
    session = open_url(url, 1)
    equal("after a restart", NON_OPTIMIZED, report(session)[0][2]["state"])
    session.logout()


PARTS = {part.__name__: part for part in
         (explicit, implicit, administrator, single, leave_standby, as_configured)}
PARTS[sys.argv[1]](*sys.argv[2:])
end()
