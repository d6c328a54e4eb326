"""What is measured: workloads, who does them, on which store, and in how many rounds. Tables only.

A row is a workload on a store; its cells are the contenders: the target, its peer (tgt), and its limits (the
bare echo, fio on the file). A cell that two rows share is measured once in a round.

Pure: nothing here runs anything. Read next: criteria.py (what is judged), measure.py (how a cell is
measured).
"""
import re
from dataclasses import dataclass, replace

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# What is allocated when the workload begins, of the region that it uses.
WRITTEN, UNWRITTEN, HOLE = "written", "unwritten", "hole"

# Row.every: in all rounds, where something is judged; in two of eight; in one.
JUDGED, SEEN, ONCE = 1, 4, 8

ECHOES = ("echo-epoll", "echo-ring")
# The target on qcow2 images: all of it mapped, and for first writes a clone of a golden image.
QCOW2 = "ringsand-qcow2"
# Stores of the target: nothing, a file in memory, files with direct I/O.
NULL, TMPFS, EXT4, XFS = "null", "tmpfs", "ext4", "xfs"


@dataclass(frozen=True)
class Workload:
    """One load, whoever bears it."""

    operation: str  # read, write, mix (70 % reads)
    block: int
    depth: int
    sessions: int = 1
    pattern: str = "random"
    digests: bool = False
    keep: bool = False  # Reads: the client copies the data, as it must to check a digest.
    state: str = WRITTEN

    @property
    def name(self):
        words = [self.operation, size_text(self.block), f"qd{self.depth}", f"x{self.sessions}"]
        words += ["seq"] if self.pattern == "sequential" else []
        words += ["digests"] if self.digests else []
        words += ["kept"] if self.keep else []
        words += [self.state] if self.state != WRITTEN else []
        return "-".join(words)


@dataclass(frozen=True)
class Cell:
    """One figure to measure. The echo has no store, so every row shares it."""

    workload: Workload
    who: str
    store: str

    @property
    def name(self):
        return f"{self.store}/{self.workload.name} {self.who}"


@dataclass(frozen=True)
class Row:
    store: str
    workload: Workload
    who: tuple
    every: int

    @property
    def name(self):
        return f"{self.store}/{self.workload.name}"

    def without(self, who):
        return replace(self, who=tuple(other for other in self.who if other != who))

    def cells(self):
        return [Cell(self.workload, who, "-" if who in ECHOES else self.store) for who in self.who]


def size_text(size):
    for unit, letter in ((MIB, "m"), (KIB, "k")):
        if size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def stream(operation, block, **more):
    """A sequential load as backups and migrations make it."""
    return Workload(operation, block, 8, pattern="sequential", **more)


QD1 = Workload("read", 4 * KIB, 1)
READ, WRITE = Workload("read", 4 * KIB, 32), Workload("write", 4 * KIB, 32)
READ_X4, WRITE_X4 = Workload("read", 4 * KIB, 32, 4), Workload("write", 4 * KIB, 32, 4)
QD32 = (READ, WRITE, READ_X4, WRITE_X4)
MIX = Workload("mix", 4 * KIB, 32)
MIB_STREAMS = (stream("read", MIB), stream("write", MIB))
MIB_DIGESTS = tuple(stream(load.operation, MIB, digests=True) for load in MIB_STREAMS)
# The same by a client that does as much for the data, its checksum apart.
MIB_KEPT = (stream("read", MIB, keep=True), MIB_STREAMS[1])
STREAMS = tuple(stream(op, size) for size in (64 * KIB, 256 * KIB) for op in ("read", "write"))
# With the streams of 64 KiB to 1 MiB this is the sweep of sizes, 512 B to 16 MiB.
SWEEP_ENDS = tuple(stream(op, size) for size in (512, 4 * KIB, 16 * KIB, 4 * MIB, 16 * MIB)
                   for op in ("read", "write"))
FRESH = Workload("write", 4 * KIB, 32, state=HOLE)
ALLOCATED = Workload("write", 4 * KIB, 32, state=UNWRITTEN)
FRESH_STREAM, STREAM_AGAIN = stream("write", 64 * KIB, state=HOLE), stream("write", 64 * KIB)
OTHER_STREAMS = tuple(load for load in STREAMS if load != STREAM_AGAIN)

# Every workload with its stores, in the order in which they are measured: what is compared lies close
# together in time.
TABLE = (
    # store, workloads, contenders, every
    (NULL, (QD1,), (*ECHOES, "ringsand", "tgt"), JUDGED),
    (TMPFS, (QD1,), (*ECHOES, "ringsand", "tgt", "fio"), JUDGED),
    (EXT4, (QD1,), (*ECHOES, "ringsand", "tgt", "fio"), JUDGED),
    (NULL, (READ, WRITE), (*ECHOES, "ringsand", "ringsand-aio", "tgt"), JUDGED),
    (NULL, (READ_X4, WRITE_X4), (*ECHOES, "ringsand", "ringsand-2loops", "tgt"), JUDGED),
    (TMPFS, (READ, WRITE), ("ringsand", "ringsand-aio", "tgt"), JUDGED),
    (TMPFS, (READ_X4, WRITE_X4), ("ringsand", "tgt"), JUDGED),
    (TMPFS, (READ, WRITE), (QCOW2,), JUDGED),
    (TMPFS, (READ_X4, WRITE_X4), (QCOW2,), SEEN),
    (TMPFS, QD32, ("fio",), SEEN),
    (EXT4, (READ, WRITE), ("ringsand", "ringsand-aio", "fio", "tgt"), JUDGED),
    (EXT4, (READ_X4, WRITE_X4), ("ringsand", "fio", "tgt"), JUDGED),
    (EXT4, (READ, WRITE), (QCOW2,), JUDGED),
    (EXT4, (READ_X4, WRITE_X4), (QCOW2,), SEEN),
    (XFS, (READ, WRITE), ("ringsand", "fio", "tgt"), SEEN),
    (NULL, (MIX,), ("ringsand", "tgt"), SEEN),
    (TMPFS, (MIX,), ("ringsand", "fio", "tgt"), SEEN),
    (EXT4, (MIX,), ("ringsand", "fio", "tgt"), SEEN),
    (NULL, MIB_STREAMS, (*ECHOES, "ringsand"), JUDGED),
    (NULL, (MIB_KEPT[0], *MIB_DIGESTS), ("ringsand",), JUDGED),
    (NULL, MIB_STREAMS, ("tgt",), SEEN),
    (EXT4, (FRESH_STREAM, STREAM_AGAIN), ("ringsand",), JUDGED),
    (EXT4, (FRESH,), ("ringsand", "fio"), JUDGED),
    (EXT4, (FRESH,), (QCOW2,), SEEN),
    (XFS, (FRESH_STREAM, STREAM_AGAIN), ("ringsand",), JUDGED),
    (XFS, (FRESH,), ("ringsand", "fio"), JUDGED),
    (NULL, STREAMS, (*ECHOES, "ringsand", "tgt"), SEEN),
    (NULL, SWEEP_ENDS, (*ECHOES, "ringsand", "tgt"), ONCE),
    (TMPFS, STREAMS + MIB_STREAMS, ("ringsand", "fio", "tgt"), ONCE),
    (EXT4, OTHER_STREAMS + MIB_STREAMS, ("ringsand", "fio", "tgt"), ONCE),
    (EXT4, (STREAM_AGAIN,), ("fio", "tgt"), ONCE),
    (NULL, (Workload("read", 4 * KIB, 32, digests=True),), ("ringsand",), SEEN),
    (TMPFS, (FRESH, ALLOCATED), ("ringsand", "fio"), SEEN),
    (EXT4, (ALLOCATED,), ("ringsand", "fio"), SEEN),
    (XFS, (ALLOCATED,), ("ringsand", "fio"), SEEN),
)


def rows(only=""):
    """The rows whose names match the expression."""
    every = (Row(store, load, who, how) for store, loads, who, how in TABLE for load in loads)
    return [row for row in every if re.search(only, row.name)]


def by_workload(chosen):
    """The same rows with those of one workload side by side, in the order of their first mention."""
    places = {}
    for row in chosen:
        places.setdefault(row.workload, len(places))
    return sorted(chosen, key=lambda row: places[row.workload])


def round_cells(chosen, number):
    """The cells of round `number`, each once; every second round goes backwards, so that a drift of
    the machine meets each side of a pair first as often as last."""
    due = (row for row in by_workload(chosen) if number % row.every == 0)
    cells = list(dict.fromkeys(cell for row in due for cell in row.cells()))
    return cells[::-1] if number % 2 else cells
