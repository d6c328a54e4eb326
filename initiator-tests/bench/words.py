"""The words and number formats that the table in the terminal and the page share. Pure."""
from plan import EXT4, NULL, QCOW2, TMPFS, XFS

NAMES = {"echo-epoll": "echo, epoll", "echo-ring": "echo, ring", "ringsand": "ringsand",
         "ringsand-aio": "ringsand, aio", "ringsand-2loops": "two loops", QCOW2: "qcow2", "tgt": "tgt",
         "fio": "fio on the file"}
STORES = {NULL: "Nothing stored", TMPFS: "File in memory, page cache", EXT4: "File on ext4, direct",
          XFS: "File on XFS (loop device), direct"}

# Of a cell: heading, member, format.
COLUMNS = (
    ("IOPS", "iops", ".0f"), ("spread", "spread", ".0%"), ("MiB/s", "mib_s", ".0f"),
    ("CPU us", "cpu_us", ".2f"), ("p50 us", "p50_us", ".0f"), ("p99 us", "p99_us", ".0f"),
    ("CPU/echo", "cpu_to_echo", ".2f"), ("IOPS/echo", "rate_to_echo", ".2f"),
    ("IOPS/tgt", "rate_to_tgt", ".2f"), ("CPU/tgt", "cpu_to_tgt", ".2f"),
    ("IOPS/fio", "rate_to_fio", ".2f"),
)


def number(value, form):
    return "-" if value is None else format(value, form)


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def limit_text(row):
    return f"{'at most' if row['at_most'] else 'at least'} {row['limit']:g}"


def range_text(row):
    return "-" if row["low"] is None else f"{row['low']:.2f} to {row['high']:.2f}"
