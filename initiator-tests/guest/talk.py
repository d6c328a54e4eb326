#!/usr/bin/env python3
"""talk.py SOCKET SECONDS: run the script on standard input in the guest behind the socket.

Prints the script's output and ends with its status; 125 if the guest has gone, 124 if it has not answered
within the time. Whatever answers an older request is passed over.
"""
import base64
import os
import socket
import sys
import time

GONE, LATE = 125, 124


def ask(peer, deadline, script):
    ident = os.urandom(8).hex()
    peer.settimeout(max(0.1, deadline - time.monotonic()))
    peer.sendall(f"{ident} {base64.b64encode(script).decode()}\n".encode())
    received = bytearray()
    while True:
        peer.settimeout(max(0.1, deadline - time.monotonic()))
        data = peer.recv(65536)
        if not data:
            return GONE, b""
        received += data
        *lines, received = received.split(b"\n")
        for line in lines:
            fields = line.split()
            if len(fields) >= 2 and fields[0] == ident.encode():
                return int(fields[1]), base64.b64decode(fields[2]) if len(fields) > 2 else b""


def main():
    deadline = time.monotonic() + float(sys.argv[2])
    status, output = GONE, b""
    with socket.socket(socket.AF_UNIX) as peer:
        try:
            peer.connect(sys.argv[1])
            status, output = ask(peer, deadline, sys.stdin.buffer.read())
        except TimeoutError:
            status = LATE
        except OSError as error:
            print(f"talk: {error}", file=sys.stderr)
    sys.stdout.buffer.write(output)
    return status


sys.exit(main())
