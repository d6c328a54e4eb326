"""SIGTERM: every session in the full feature phase is told that all connections go, and may come back at
once: event 3, Parameter2 = 0 (RFC 7143 11.9.1), with the next StatSN; discovery ends without a word."""
import os
import signal
import struct
import time

import initiator
import scene as s

LAST = True


def case(scene):
    plain, digests = scene.session(), scene.session(s.DIGESTS)
    busy = scene.session()
    s.start_write(busy, 0, 0, bytes(4096))
    discovery = scene.discovery()
    half = scene.session()
    half.socket.sendall(s.nop(half)[:20])
    os.kill(scene.pid, signal.SIGTERM)
    for name, peer in (("plain", plain), ("with digests", digests), ("with a task under way", busy),
                       ("in the middle of a request", half)):
        header, data = peer.receive_pdu()
        numbers = struct.unpack(">I", header[24:28])[0]
        event, code, *parameters = struct.unpack(">BBHHH", header[36:44])
        scene.equal(f"{name}: opcode, StatSN, event, code, parameters, data",
                    (initiator.ASYNC, peer.exp_stat_sn, 3, 0, [0, 0, 0], b""),
                    (header[0], numbers, event, code, parameters, data))
        scene.equal(f"{name}: LUN, tag", (bytes(8), initiator.NO_TAG),
                    (header[8:16], struct.unpack(">I", header[16:20])[0]))
        scene.check(f"{name}: then the connection ends", scene.closed(peer))
    scene.check("discovery ends", scene.closed(discovery))
    # Whoever started it reads its status, and may send a signal of his own, which must not meet its end.
    scene.check("the daemon ends", has_ended(scene.pid))


def has_ended(pid):
    for _ in range(1000):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
                state = stat.read().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False
