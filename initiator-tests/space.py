"""Two hosts fill a small pool through two LUNs and go on when there is space again (see space.sh)."""
import struct
import sys
import time

import initiator
from cases import check, end, equal

CHUNK = 65536
BLOCKS = CHUNK // 512
CHUNKS = 1024  # Of a LUN of 64 MiB.
THRESHOLD, FULL = "06/38/07", "07/27/07"
PATIENCE_S = 60


class Host:
    """A session that remembers what it was told, and what it has written."""

    def __init__(self, url, number, lun):
        self.session = initiator.open_url(url, isid=b"\x80\0\0\0\0" + bytes([number]))
        self.lun = lun
        self.session.clear_unit_attention(lun)
        self.warned = 0
        self.written = {}
        self.refused = {}

    def do(self, run):
        """Repeat a command that only a warning has kept from running."""
        while True:
            task = run()
            if task.sense_code != THRESHOLD:
                return task
            self.warned += 1

    def write(self, chunk, mark):
        data = bytes([mark, self.lun]) + chunk.to_bytes(2, "big") + bytes([mark]) * (CHUNK - 4)
        task = self.do(lambda: self.session.write(self.lun, chunk * BLOCKS, data))
        (self.refused if task.status else self.written)[chunk] = data
        return task

    def reads_right(self, chunk):
        task = self.do(lambda: self.session.read(self.lun, chunk * BLOCKS, BLOCKS))
        found, was = bytes(task.data), self.written.get(chunk, bytes(CHUNK))
        if task.status or found == was:
            return task.status == 0
        # A write that was refused may have been done in part, block by block.
        tried = self.refused.get(chunk, was)
        return all(found[at:at + 512] in (was[at:at + 512], tried[at:at + 512]) for at in range(0, CHUNK, 512))

    def write_same(self, chunk):
        """With UNMAP, ANCHOR and NDOB."""
        task = self.session.command(self.lun, struct.pack(">BBQIBB", 0x93, 0x19, chunk * BLOCKS, BLOCKS, 0, 0))
        if task.status == 0:
            self.written.pop(chunk, None)
        return task

    def unmap(self, chunk, chunks, anchor=False):
        descriptor = (chunk * BLOCKS).to_bytes(8, "big") + (chunks * BLOCKS).to_bytes(4, "big") + bytes(4)
        data = bytes([0, 22, 0, 16, 0, 0, 0, 0]) + descriptor
        cdb = bytes([0x42, 1 if anchor else 0, 0, 0, 0, 0, 0, 0, len(data), 0])
        task = self.do(lambda: self.session.command(self.lun, cdb, data_out=data))
        for at in range(chunk, chunk + chunks) if task.status == 0 else ():
            self.written.pop(at, None)
        return task


def fill(hosts):
    """Until both are refused; answers where each was."""
    refused = {}
    for chunk in range(CHUNKS):
        for host in hosts:
            if host.lun in refused:
                continue
            task = host.write(chunk, 0x11)
            if task.status:
                equal(f"LUN {host.lun} is full", FULL, task.sense_code)
                refused[host.lun] = chunk
        if len(refused) == len(hosts):
            break
    return refused


def anchored(host, chunk, refused):
    """UNMAP and WRITE SAME with ANCHOR need space where there is none, and keep what there is."""
    name = f"ANCHOR, {'no' if refused else 'with'} space"
    for what, task in (("UNMAP", lambda: host.unmap(chunk, 1, anchor=True)), ("WRITE SAME", lambda: host.write_same(chunk))):
        equal(f"{name}: {what}", FULL if refused else "", host.do(task).sense_code or "")
    check(f"{name}: it reads as it should", host.reads_right(chunk))
    if not refused:
        equal(f"{name}: what is anchored can be written", 0, host.write(chunk, 0x44).status)


def main():
    url, file_system, kind = sys.argv[1:]
    hosts = [Host(url, 1, 0), Host(url, 2, 1)]
    refused = fill(hosts)
    equal(f"{kind}: both have met the end", 2, len(refused))
    for host in hosts:
        name = f"{kind}, LUN {host.lun}"
        first = min(host.written)
        equal(f"{name}: overwrites go on", 0, host.write(first, 0x22).status)
        check(f"{name}: reads go on", host.reads_right(first) and host.reads_right(CHUNKS - 1))
        flush = host.do(lambda host=host: host.session.command(host.lun, bytes([0x35]) + bytes(9)))
        equal(f"{name}: a flush", 0, flush.status)
        equal(f"{name}: warned of the pool once", 1, host.warned)
        cdb = bytes([0x4D, 0, 0x4C, 0, 0, 0, 0, 0, 255, 0])
        page = bytes(host.session.command(host.lun, cdb, data_in=255).data)
        check(f"{name}: log page 0Ch tells of what is used", len(page) == 28 and page[20:24] != bytes(4), page.hex())
    if file_system != "tmpfs" and "qcow2" not in kind:
        for host in hosts:
            anchored(host, CHUNKS - 1, refused=True)
            anchored(host, min(host.written), refused=False)
    equal(f"{kind}: UNMAP of a quarter", 0, hosts[0].unmap(0, len(hosts[0].written) // 2).status)
    deadline = time.monotonic() + PATIENCE_S
    until_then = set()
    while (task := hosts[1].write(CHUNKS - 2, 0x33)).status and time.monotonic() < deadline:
        until_then.add(task.sense_code)
        time.sleep(0.2)
    check(f"{kind}: until then", until_then <= {FULL}, until_then)
    equal(f"{kind}: writes of the other LUN go on", 0, task.status)
    wrong = [(host.lun, chunk) for host in hosts for chunk in range(CHUNKS) if not host.reads_right(chunk)]
    check(f"{kind}: all that was acknowledged is there, and nothing else", not wrong, wrong[:8])
    end()


main()
