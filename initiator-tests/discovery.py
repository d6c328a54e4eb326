"""Answers to SendTargets (RFC 7143 Appendix C), in pieces of what the initiator can take; see
discovery.sh, which has set up the targets."""
import sys

from cases import check, end, equal
import initiator

TARGETS = 2000
PIECE_BYTES = 512


def ask(session, value):
    """(the text, lengths of its pieces, C bits of its pieces)"""
    text, lengths, flags = b"", [], []
    data, more = f"SendTargets={value}\0".encode(), initiator.NO_TAG
    while True:
        tag = session.new_tag()
        request = initiator.pdu(initiator.TEXT | initiator.IMMEDIATE, initiator.FINAL, bytes(8), tag,
                                (more, session.cmd_sn, session.exp_stat_sn), data)
        header, part = session.ask(request, tag, 10)
        text += part
        lengths.append(len(part))
        flags.append(bool(header[1] & 0x40))
        more, data = int.from_bytes(header[20:24], "big"), b""
        if header[1] & initiator.FINAL:
            equal(f"SendTargets={value}: the last piece has no tag", initiator.NO_TAG, more)
            return text.decode(), lengths, flags
        if more == initiator.NO_TAG:
            raise initiator.ProtocolError("more is to come, and there is no tag to ask for it")


def lines_of(text):
    return text.split("\0")[:-1]


def main():
    host, port, iqn = sys.argv[1:]
    address = f"TargetAddress={host}:{port},1"
    session = initiator.Initiator(host, int(port)).login(
        None, {"MaxRecvDataSegmentLength": str(PIECE_BYTES)})
    text, lengths, flags = ask(session, "All")
    wanted = [line for number in range(TARGETS)
              for line in (f"TargetName={iqn}-{number:04d}", address)]
    check("each target once, with its address, and none of somebody else", lines_of(text) == wanted,
          text[:300])
    check("no piece is longer than the initiator can take", max(lengths) <= PIECE_BYTES, max(lengths))
    check("and each but the last says that it goes on", all(flags[:-1]) and not flags[-1], flags[-3:])
    text, _, _ = ask(session, f"{iqn}-1234")
    equal("one name", [f"TargetName={iqn}-1234", address], lines_of(text))
    text, _, _ = ask(session, f"{iqn}-not-for-you")
    equal("one that it may not use", "", text)
    text, _, _ = ask(session, f"{iqn}-none")
    equal("one that is not there", "", text)
    session.logout()
    session = initiator.Initiator(host, int(port)).login(f"{iqn}-0007")
    text, _, _ = ask(session, "")
    equal("in a normal session: its own", [f"TargetName={iqn}-0007", address], lines_of(text))
    text, _, _ = ask(session, "All")
    equal("and no others", ["SendTargets=Reject"], lines_of(text))
    session.logout()
    end()


main()
