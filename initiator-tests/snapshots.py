"""What changes under LUNs while hosts use them; see snapshots.sh.

usage: snapshots.py FOLDER URL
"""
import json
import socket
import struct
import sys

from cases import check, end, equal
import initiator

FOLDER, URL = sys.argv[1:3]
SOCKET = f"{FOLDER}/a/ringsand.sock"
CONF = f"{FOLDER}/a/ringsan.conf"
MIB = 1 << 20
CAPACITY_CHANGED = "06/2a/09"


def ask(request, **parameters):
    """The answer, whole: {"result": ...} or {"error": ...}."""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(60)
        channel.connect(SOCKET)
        stream = channel.makefile("rwb")
        stream.readline()
        stream.write(json.dumps({"request": request, "parameters": parameters}).encode() + b"\n")
        stream.flush()
        while True:
            answer = json.loads(stream.readline())
            if "progress" not in answer:
                return answer


def refused(name, code, part, answer):
    error = answer.get("error", {})
    check(name, error.get("code") == code and part in error.get("message", ""), str(answer))


def image(number):
    return f"{FOLDER}/{number}.{'img' if number == 5 else 'qcow2'}"


def host(name="one", isid=1):
    """Logged in, with nothing pending."""
    session = initiator.open_url(URL, name=f"iqn.2026-11.io.ringsan:{name}",
                                 isid=b"\x80\0\0\0\0" + bytes([isid]))
    for number in (0, 1, 3, 4, 5):
        session.clear_unit_attention(number)
    return session


def attention(session, number):
    """What TEST UNIT READY hears, "" for nothing."""
    return session.command(number, bytes(6)).sense_code


def size(session, number):
    cdb = bytes.fromhex("9e10000000000000000000000020") + b"\0\0"
    data = session.command(number, cdb, data_in=32).data
    return (struct.unpack(">Q", data[:8])[0] + 1) * struct.unpack(">I", data[8:12])[0]


def images_grow():
    one, other = host("one", 1), host("two", 2)
    for number in (3, 5):
        one.write(number, 0, b"%d" % number * 4096)
        answer = ask("image-resize", image=image(number), size=32 * MIB)
        equal(f"LUN {number} grows", 32 * MIB, answer.get("result", answer).get("size_bytes"))
        for session in (one, other):
            equal("its hosts hear of it", CAPACITY_CHANGED, attention(session, number))
            # The threshold of thin provisioning is another, too.
            session.clear_unit_attention(number)
            equal("and see the new size", 32 * MIB, size(session, number))
        equal("what was there is there", b"%d" % number * 4096, bytes(one.read(number, 0, 8).data))
        equal("what is new is zeroes", bytes(4096), bytes(one.read(number, 32 * 2048 - 8, 8).data))
        equal("and can be written", 0, one.write(number, 32 * 2048 - 8, b"e" * 4096).status)
    for session in (one, other):
        session.logout()


def what_cannot_grow():
    refused("an image becomes no smaller", "refused", "would lose",
            ask("image-resize", image=image(3), size=MIB))
    refused("or ends inside a block", "refused", "multiple",
            ask("image-resize", image=image(3), size=64 * MIB + 512 - 1))
    refused("one that no LUN serves is not known", "not-found", "no LUN serves it",
            ask("image-resize", image=CONF, size=64 * MIB))
    refused("nor one that is not there", "not-found", "no such file",
            ask("image-resize", image=f"{FOLDER}/none", size=64 * MIB))
    refused("paths are absolute", "refused", "absolute",
            ask("image-resize", image="3.qcow2", size=64 * MIB))
    refused("the configuration's size is changed there", "refused", "change `size` there",
            ask("image-resize", image=image(0), size=64 * MIB))
    refused("a read-only LUN stays as it is", "refused", "read-only",
            ask("image-resize", image=image(4), size=64 * MIB))


images_grow()
what_cannot_grow()
end()
