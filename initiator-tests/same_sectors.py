"""Four sessions write the eight blocks of the same 4 KiB sectors at once, each its own two. A
read-modify-write without a lock on the sector loses some of them."""
import random
import sys

import initiator

BLOCK = 512
SECTOR_BLOCKS = 8
SECTORS = 16
ROUNDS = 60

url = sys.argv[1]
_, _, _, lun = initiator.split_url(url)
sessions = [initiator.open_url(url, name=f"iqn.2026-11.io.ringsan:host-{i}") for i in range(4)]
order = random.Random(4)
written = {}
for _ in range(ROUNDS):
    tasks = []
    for index, session in enumerate(sessions):
        for sector in order.sample(range(SECTORS), 6):
            block = sector * SECTOR_BLOCKS + 2 * index + order.randrange(2)
            data = order.randbytes(BLOCK)
            cdb = b"\x8a\0" + block.to_bytes(8, "big") + (1).to_bytes(4, "big") + b"\0\0"
            tasks.append((session, session.submit(lun, cdb, data_out=data, immediate_bytes=BLOCK)))
            written[block] = data
    for session, task in tasks:
        assert session.wait(task).status == 0, str(task)
for block, data in sorted(written.items()):
    found = sessions[block % 4].read(lun, block, 1).data
    assert found == data, f"block {block} is not what was written last"
for session in sessions:
    session.logout()
