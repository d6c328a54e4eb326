#!/usr/bin/env python3
"""What systemd does with descriptors that a service leaves with it (FDSTORE=1 of sd_notify(3)), for a daemon that a
script starts by itself.

Run: supervisor.py keep FOLDER                 until it is killed; makes FOLDER/notify and FOLDER/store
     supervisor.py run FOLDER COMMAND...       becomes COMMAND, with what is kept (sd_listen_fds(3))
"""
import fcntl
import os
import selectors
import socket
import sys

FIRST_FD, FDS_MAX, MESSAGE_BYTES = 3, 64, 4096


def keep(folder):
    kept = []
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    store = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    notify.bind(f"{folder}/notify")
    store.bind(f"{folder}/store")
    store.listen()
    waiting = selectors.DefaultSelector()
    waiting.register(notify, selectors.EVENT_READ)
    waiting.register(store, selectors.EVENT_READ)
    while True:
        for key, _ in waiting.select():
            if key.fileobj is store:
                with store.accept()[0] as taker:
                    socket.send_fds(taker, [b"%d" % len(kept)], kept)
                continue
            message, fds, _, _ = socket.recv_fds(notify, MESSAGE_BYTES, FDS_MAX)
            if b"FDSTOREREMOVE=1" in message.split(b"\n"):
                while kept:
                    os.close(kept.pop())
            kept += fds


def run(folder, command):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as store:
        store.connect(f"{folder}/store")
        _, fds, _, _ = socket.recv_fds(store, MESSAGE_BYTES, FDS_MAX)
    # None may lie where another is to go, nor be there twice.
    away = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_FD + FDS_MAX) for fd in fds]
    for fd in fds:
        os.close(fd)
    for at, fd in enumerate(away):
        os.dup2(fd, FIRST_FD + at, inheritable=True)
    os.environ.update(NOTIFY_SOCKET=f"{folder}/notify", LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))
    os.execvp(command[0], command)


if sys.argv[1] == "keep":
    keep(sys.argv[2])
run(sys.argv[2], sys.argv[3:])
