"""The golden matrix: each of the 64 opcodes with and without the immediate bit, before login, during
login, in discovery and in the full feature phase. `.` is answered in good order, `-` ignored, a digit
the reason of the Reject, `x` closed without a word, `b` login status 02/0B, `l` a login response."""
import initiator
import scene as s

# Requests 0 to 7, others below 0x10, SNACK, others below 0x20, responses of targets, others.
KINDS = ["0", "1", "2", "3", "4", "5", "6", "7", "8-f", "10", "11-1b", "1c-1f", "20-3f"]

GOLDEN = {
    #                            0  1  2  3  4  5  6  7  8-f 10 11-1b 1c-1f 20-3f
    "before login":            "x  x  x  l  x  x  x  x  x   x  x     x     x",
    "before login, immediate": "x  x  x  l  x  x  x  x  x   x  x     x     x",
    "during login":            "b  b  b  l  b  b  b  b  b   b  b     b     b",
    "during login, immediate": "b  b  b  l  b  b  b  b  b   b  b     b     b",
    "discovery":               "4  4  4  4  .  4  .  5  5   4  5     5     4/5",
    "discovery, immediate":    "4  4  4  4  .  4  .  5  5   4  5     5     4/5",
    "full feature":            ".  .  .  4  .  -  .  5  5   3  5     5     4/5",
    "full feature, immediate": ".  .  .  4  .  9  .  5  5   9  5     5     4/5",
}

FROM_TARGETS = (0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3F)


def kind_of(opcode):
    if opcode >= 0x20:
        return "20-3f"
    if opcode >= 0x1C:
        return "1c-1f"
    if opcode >= 0x11:
        return "11-1b"
    return "8-f" if 8 <= opcode < 0x10 else f"{opcode:x}"


def expected(row, opcode):
    cell = GOLDEN[row].split()[KINDS.index(kind_of(opcode))]
    if cell == "4/5":
        return "4" if opcode in FROM_TARGETS else "5"
    return cell


def letter(found):
    """One character for what came back."""
    if found.startswith("reject 0") and len(found) == 9:
        return found[8]
    return {"closed": "x", "ignored": "-", "login 02/0b": "b"}.get(
        found, "l" if found.startswith("login") else ".")


def compare(scene, row, found):
    wanted = {f"{opcode:02x}": expected(row, opcode) for opcode in found}
    found = {f"{opcode:02x}": cell for opcode, cell in found.items()}
    wrong = {opcode: (wanted[opcode], cell) for opcode, cell in found.items()
             if cell != wanted[opcode]}
    scene.equal(f"{row}: (expected, found)", {}, wrong)


def login_request(peer, flags):
    """Names, and so long as T is clear no end of the login."""
    request = bytearray(peer.login_pdu({"InitiatorName": peer.name, "SessionType": "Discovery"}))
    request[1] = flags
    return bytes(request)


def before_login(scene, immediate):
    """All of them at once: each is an end, and some ends take a second."""
    found = {}
    for opcode in range(0x40):
        peer = scene.connect()
        message = bytearray(login_request(peer, 0x04) if opcode == initiator.LOGIN
                            else s.bare(peer, opcode))
        message[0] = opcode | immediate
        peer.send(bytes(message))
        found[opcode] = letter(scene.next(peer))
        peer.close()
    return found


def during_login(scene, immediate):
    peers = {}
    for opcode in range(0x40):
        peers[opcode] = scene.connect()
        peers[opcode].send(login_request(peers[opcode], 0x04))
    for opcode, peer in peers.items():
        assert scene.next(peer) == "login 00/00"
        message = bytearray(peer.login_pdu({}) if opcode == initiator.LOGIN
                            else s.bare(peer, opcode))
        message[0] = opcode | immediate
        peer.send(bytes(message))
    found = {opcode: letter(scene.next(peer)) for opcode, peer in peers.items()}
    for peer in peers.values():
        peer.close()
    return found


def in_session(scene, immediate, open_session):
    found = {}
    peer = open_session()
    for opcode in range(0x40):
        if opcode == initiator.TASK_MANAGEMENT:
            message = s.function(peer, 2, immediate=immediate)
        elif opcode == initiator.SCSI_COMMAND:
            message = s.test_unit_ready(peer, immediate=immediate)
        elif opcode == initiator.LOGOUT:
            message = s.logout(peer, reason=2, immediate=immediate)
        else:
            message = bytearray(s.bare(peer, opcode, b"A=\0" if opcode == initiator.TEXT else b""))
            message[0] = opcode | immediate
        before = peer.cmd_sn
        found[opcode] = letter((scene.after if opcode == initiator.DATA_OUT else scene.answer)(
            peer, bytes(message)))
        numbered = opcode in (0, 1, 2, 3, 4, 6)
        peer.cmd_sn = before + (1 if numbered and not immediate else 0)
    peer.logout()
    return found


def case(scene):
    for immediate, suffix in ((0, ""), (initiator.IMMEDIATE, ", immediate")):
        compare(scene, "before login" + suffix, before_login(scene, immediate))
        compare(scene, "during login" + suffix, during_login(scene, immediate))
        compare(scene, "discovery" + suffix, in_session(scene, immediate, scene.discovery))
        compare(scene, "full feature" + suffix, in_session(scene, immediate, scene.session))
