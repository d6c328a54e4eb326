"""What is promised in milliseconds and bytes, not against anybody: clones of golden images, the first write
to one, and the tables of a large image. A table, and how each figure is found; once in every round.

Read next: criteria.py, which judges it like the ratios.
"""
import contextlib
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import initiator
import measure
import plan
import stores

LUN, BLOCK, BLOCK_BYTES = 1, 512, 4 * plan.KIB
CLUSTER_BYTES = 128 * plan.KIB
SYNCHRONIZE_CACHE = bytes([0x35, *bytes(9)])
CLONES, FIRST_WRITES = 100, 64
CACHE_MIB = 64
# A slice maps 32 MiB, and the cache holds half of the 32,768 of 1 TiB: so many reads at random places
# leave none of its room unused.
TABLE_READS = 40_000

PROMISE = "qcow2: what clones, first writes to them, and tables cost"


@dataclass(frozen=True)
class Cost:
    store: str
    name: str
    what: str  # The figure: its unit, and of what.
    limit: float  # At most.
    find: Callable  # From the Bench and the Store, the figure.

    @property
    def row(self):
        return f"{self.store}/{self.name}"


def image(bench, *words):
    stores.run(str(bench.tool), "image", *(str(word) for word in words))


def clone_seconds(bench, store, count):
    """Of commands of their own, one after the other; the image below has all its tables and no data."""
    with stores.folder_in(store.folder) as folder:
        image(bench, "create", "--preallocation", "metadata", "--size", "10G", folder / "golden.qcow2")
        began = time.monotonic()
        for number in range(count):
            image(bench, "clone", folder / "golden.qcow2", folder / f"vm{number}.qcow2")
        return time.monotonic() - began


def one_clone_ms(bench, store):
    return clone_seconds(bench, store, 1) * 1000


def all_clones_s(bench, store):
    return clone_seconds(bench, store, CLONES)


# --- first writes ---


def written_bytes(pid):
    """By the process to disks, as the kernel counts."""
    told = Path(f"/proc/{pid}/io").read_text(encoding="ascii")
    return int(re.search(r"^write_bytes: (\d+)", told, re.MULTILINE)[1])


def write_first(url):
    """Each block at another place of another cluster; then a flush."""
    with contextlib.closing(initiator.open_url(url)) as session:
        tasks = [session.write(LUN, first_write_at(number) // BLOCK, bytes([number + 1]) * BLOCK_BYTES)
                 for number in range(FIRST_WRITES)]
        tasks.append(session.command(LUN, SYNCHRONIZE_CACHE))
    bad = [task for task in tasks if task.status]
    if bad:
        raise measure.Failed(f"{len(bad)} of {len(tasks)} commands failed, the first with {bad[0]}")


def first_write_at(number):
    return number * CLUSTER_BYTES + number % 32 * BLOCK_BYTES


def first_write_bytes(bench, store):
    with store.clone(bench.tool) as (path, _), \
            bench.ringsand("first-write", bench.settings.engine,
                           {LUN: measure.image_line(path, store, "qcow2")}) as server:
        before = written_bytes(server.pid)
        try:
            write_first(server.url(LUN))
        except (initiator.ProtocolError, initiator.Closed, initiator.Refused) as error:
            raise measure.Failed(f"{path}: {error!r}") from None
        each = (written_bytes(server.pid) - before) / FIRST_WRITES
    if each < BLOCK_BYTES:
        raise measure.Failed(f"the kernel counts {each:.0f} bytes for a write of {BLOCK_BYTES} to {path}")
    return each


# --- tables ---


def memory_mib(pid):
    """Not from `status`, whose figures lag behind."""
    told = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    return int(re.search(r"^Rss: +(\d+)", told, re.MULTILINE)[1]) / 1024


def read_all_over(bench, server, lun):
    reads = 0
    while reads < TABLE_READS:
        found = measure.output_of(
            [bench.tool, "bench", "--json", "-w", "read", "-b", BLOCK_BYTES, "-q", 32, "-t", "250ms",
             "--ramp", 0, "--seed", reads + 1, "--threads", 1, "--cpu", bench.settings.client_cpu,
             "--target-pid", server.pid, server.url(lun)], 1)
        measure.from_bench(found)
        reads += found["read"]["ios"]


def table_mib(bench, store):
    """What reads all over the image add to what the same of nothing stored took."""
    nothing, full = 1, 2
    with stores.folder_in(store.folder) as folder:
        path = folder / "full.qcow2"
        image(bench, "create", "--preallocation", "metadata", "--size", "1T", path)
        luns = {nothing: "type = null size = 1T", full: measure.image_line(path, store, "qcow2")}
        with bench.ringsand("tables", bench.settings.engine, luns,
                            limits=f"qcow2-cache = {CACHE_MIB}M") as server:
            read_all_over(bench, server, nothing)
            before = memory_mib(server.pid)
            read_all_over(bench, server, full)
            return memory_mib(server.pid) - before


TABLE = (
    Cost(plan.EXT4, "clone-10g", "ms, a clone of 10 GiB", 50, one_clone_ms),
    Cost(plan.EXT4, "clones-100", "s, 100 clones of 10 GiB", 5, all_clones_s),
    # One and a half of what the host wrote: the block itself, and some for tables.
    Cost(plan.EXT4, "clone-first-write", "bytes on the disk, a first write of 4 KiB", 1.5 * BLOCK_BYTES,
         first_write_bytes),
    # Slices as they are configured, and a sixteenth for what keeps them in order.
    Cost(plan.TMPFS, "tables-1t", f"MiB, tables of 1 TiB, qcow2-cache = {CACHE_MIB}M", CACHE_MIB * 17 / 16,
         table_mib),
)


def chosen(only=""):
    """Those whose rows match the expression."""
    return [cost for cost in TABLE if re.search(only, cost.row)]
