#!/usr/bin/env python3
"""Images that qemu-img and qemu-io wrote, read and checked by ours; images that ours made, checked by
qemu-img; and damaged ones, of which both have to think the same.

Environment: QCOW2_ALL=1 for all variants (minutes), QCOW2_SEED=n for the writes, B and
RINGSAN_VARIANT for where tests/qcow2/tool was built.
"""
import itertools
import json
import os
import random
import struct
import subprocess
import tempfile

ALL = bool(os.environ.get("QCOW2_ALL"))
SEED = int(os.environ.get("QCOW2_SEED") or random.SystemRandom().randrange(1 << 32))
TOOL = os.path.join(os.environ.get("B", "build"), os.environ.get("RINGSAN_VARIANT", "san"),
                    "tests/qcow2/tool")
COPIED = 1 << 63
COMPRESSED = 1 << 62


def case(name, wrong):
    print(f"FAIL {name}: {wrong} (QCOW2_SEED={SEED})" if wrong else f"PASS {name}", flush=True)


class Tool:
    def __init__(self):
        self.process = subprocess.Popen([TOOL], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)

    def order(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        status, _, text = self.process.stdout.readline().rstrip("\n").partition(" ")
        return int(status or -1), text


def run(*command, may_fail=False):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode and not may_fail:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}")
    return done


def qemu_check(name):
    return run("qemu-img", "check", "-f", "qcow2", name, may_fail=True)


# --- images of qemu ----------------------------------------------------------------------------

class Variant:
    """One way to write an image."""

    def __init__(self, bits, compat="1.1", extended=False, compression=None, refcount_bits=16):
        self.bits, self.compat, self.extended = bits, compat, extended
        self.compression, self.refcount_bits = compression, refcount_bits
        self.cluster = 1 << bits
        self.name = "-".join(filter(None, [
            "v2" if compat == "0.10" else "v3", str(self.cluster), extended and "extended",
            compression, refcount_bits != 16 and f"{refcount_bits}bits"]))

    def options(self):
        options = f"compat={self.compat},cluster_size={self.cluster}"
        if self.extended:
            options += ",extended_l2=on"
        if self.compression == "zstd":
            options += ",compression_type=zstd"
        if self.refcount_bits != 16:
            options += f",refcount_bits={self.refcount_bits}"
        return options

    def size(self):
        clusters = 300 if self.bits < 14 else 40 if self.bits < 19 else 8
        return clusters * self.cluster + 1536


def writes(rng, variant, backed, count):
    """Commands for qemu-io."""
    size, cluster = variant.size(), variant.cluster
    grain = max(512, cluster // 32)
    commands = []
    if variant.compression:
        # qemu compresses into what is not allocated only.
        for index in rng.sample(range(size // cluster), 6):
            commands.append(f"write -q -c -P {rng.randrange(256)} {index * cluster} {cluster}")
    for _ in range(count):
        at = rng.randrange(size // grain) * grain
        length = min(rng.choice([grain, grain, cluster, 3 * cluster, 512]), size - at)
        kind = rng.choice(["write", "write", "write", "zero", "unmap", "discard"])
        # Version 2 cannot say that a cluster reads as zeroes where a backing file shows.
        if kind == "write" or (variant.compat == "0.10" and backed):
            commands.append(f"write -q -P {rng.randrange(1, 256)} {at} {length}")
        elif kind == "zero":
            commands.append(f"write -q -z {at} {length}")
        elif kind == "unmap":
            commands.append(f"write -q -z -u {at} {length}")
        else:
            commands.append(f"discard -q {at} {length}")
    return commands


def make(name, variant, rng, backing=None, size=None, count=14):
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", variant.options()]
    if backing:
        command += ["-b", backing[1], "-F", backing[0]]
    run(*command, name, str(size or variant.size()))
    if size is None:
        arguments = [word for order in writes(rng, variant, backing, count)
                     for word in ("-c", order)]
        run("qemu-io", "-f", "qcow2", "-d", "unmap", *arguments, name)


def noise(name, rng, size):
    with open(name, "wb") as file:
        file.write(rng.randbytes(size))


def variants():
    """What `make check` takes, or everything."""
    if not ALL:
        return [Variant(9), Variant(12, "0.10", compression="zlib"),
                Variant(16, compression="zstd"), Variant(17, extended=True, compression="zlib"),
                Variant(14, extended=True, refcount_bits=1), Variant(21, compression="zlib")]
    out = []
    for bits, compat, compression in itertools.product(range(9, 22), ["0.10", "1.1"],
                                                       [None, "zlib", "zstd"]):
        if compat == "1.1" or compression != "zstd":
            out.append(Variant(bits, compat, compression=compression))
        if compat == "1.1" and bits >= 14:
            out.append(Variant(bits, compat, True, compression))
    out += [Variant(12, refcount_bits=1 << order) for order in range(7)]
    return out


def compare(tool, name, chain):
    """CHAIN: the top's file, then (format, file) downwards."""
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", chain[0], "out.raw")
    words = [chain[0]] + [f"{f}:{file}" for f, file in chain[1:]]
    status, text = tool.order("compare", "out.raw", *words)
    case(name, status and text)
    status, text = tool.order("engine", "out.raw", *words)
    case(f"{name} by the engine", status and text)


def same_opinion(tool, name, file, wanted=None):
    theirs = qemu_check(file)
    ours, text = tool.order("check", file)
    if wanted is not None and ours != wanted:
        case(name, f"ours says {ours}, not {wanted}: {text}")
    else:
        case(name, ours != theirs.returncode and
             f"ours says {ours} {text}, theirs {theirs.returncode} {theirs.stdout}")


def write(tool, name, rng, chain):
    """out.raw is what the top shows."""
    words = [chain[0]] + [f"{f}:{file}" for f, file in chain[1:]]
    status, text = tool.order("write", "out.raw", rng.randrange(1 << 32), *words)
    case(name, status and text)
    same_opinion(tool, f"{name}: check", chain[0], 0)
    theirs = run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "out.raw", chain[0],
                 may_fail=True)
    case(f"{name}: content", theirs.returncode and theirs.stdout)


def read_and_check(tool, variant, rng):
    chains = [("alone", []), ("on raw", ["raw"]), ("on two", ["qcow2", "raw"])]
    for name, formats in chains if ALL else [rng.choice(chains[:1]), chains[2]]:
        chain, below = [], None
        for level, kind in reversed(list(enumerate(formats))):
            file = f"backing{level}"
            if kind == "raw":
                # Shorter than what stands on it.
                noise(file, rng, variant.size() * 2 // 3 // 512 * 512)
            else:
                make(file, variant, rng, below)
            below = (kind, file)
            chain.insert(0, below)
        make("top", variant, rng, below)
        compare(tool, f"read {variant.name} {name}", ["top"] + chain)
        same_opinion(tool, f"check {variant.name} {name}", "top", 0)
        if variant.compat != "0.10" and variant.refcount_bits == 16:
            write(tool, f"write {variant.name} {name}", rng, ["top"] + chain)


def random_compressed(tool, rng):
    """Data that does compress, and some that does not."""
    for kind in ("zlib", "zstd"):
        with open("source", "wb") as file:
            for i in range(64):
                part = rng.randbytes(rng.randrange(1, 4096))
                file.write((part * (65536 // len(part) + 1))[:65536] if i % 7
                           else rng.randbytes(65536))
        for bits in (12, 16, 21) if ALL else (16,):
            run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                f"compression_type={kind},cluster_size={1 << bits}", "source", "top")
            compare(tool, f"read {kind} {1 << bits} of convert", ["top"])
            same_opinion(tool, f"check {kind} {1 << bits} of convert", "top", 0)


# --- images of ours ----------------------------------------------------------------------------

def created(tool):
    rows = [(bits, False, None) for bits in (range(9, 22) if ALL else (9, 16))]
    rows += [(bits, True, None) for bits in (range(14, 22) if ALL else (17,))]
    rows += [(17, True, "base.raw"), (9, False, "base.raw")]
    noise("base.raw", random.Random(1), 4096)
    for bits, extended, backing in rows:
        name = f"created {1 << bits}{' extended' if extended else ''}{' backed' if backing else ''}"
        # Large enough for more than one cluster of L1 table where clusters are small.
        status, text = tool.order("create", "ours", 3 << 30, bits,
                                  "extended" if extended else "standard",
                                  *([backing, "raw"] if backing else []))
        info = json.loads(run("qemu-img", "info", "--output=json", "ours").stdout)
        data = info["format-specific"]["data"]
        shown = (info["virtual-size"], info["cluster-size"], info.get("backing-filename"),
                 info.get("backing-filename-format"), data["compat"], data["extended-l2"],
                 data["refcount-bits"], data["corrupt"])
        wanted = (3 << 30, 1 << bits, backing, backing and "raw", "1.1", extended, 16, False)
        case(name, status and text or shown != wanted and f"qemu-img info shows {shown}")
        same_opinion(tool, name + ": check", "ours", 0)
        if bits == 17:
            run("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 1M 300k", "ours")
            same_opinion(tool, name + " and written: check", "ours", 0)


# --- closed images that ours changes -----------------------------------------------------------

def shown(name):
    info = json.loads(run("qemu-img", "info", "--output=json", name).stdout)
    return (info["virtual-size"], info.get("backing-filename"),
            info.get("backing-filename-format"))


def rebased(tool):
    """Names come, change and go; extensions that only qemu knows stay."""
    noise("golden.raw", random.Random(2), 1 << 20)
    run("qemu-img", "create", "-q", "-f", "qcow2", "golden.qcow2", "1M")
    for bits, compat in ((16, "1.1"), (16, "0.10"), (12, "1.1")):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o",
            f"compat={compat},cluster_size={1 << bits}", "top", "1M")
        if compat == "1.1":
            run("qemu-img", "bitmap", "--add", "top", "b0")
        for step, words in enumerate((["golden.raw", "raw"], ["golden.qcow2", "qcow2"], [],
                                      ["golden.raw", "raw"])):
            name = f"rebase {compat} {1 << bits} step {step}"
            status, text = tool.order("rebase", "top", *words)
            wanted = (1 << 20, *(words or (None, None)))
            case(name, status and text or shown("top") != wanted and f"{shown('top')}")
            same_opinion(tool, f"{name}: check", "top", 0)
            bitmaps = run("qemu-img", "info", "top").stdout.count("name: b0")
            case(f"{name}: bitmaps", bitmaps != (compat == "1.1") and f"{bitmaps}")
        compare(tool, f"rebase {compat} {1 << bits}: read", ["top", ("raw", "golden.raw")])


def grown(tool):
    rng = random.Random(SEED + 2)
    for variant in (Variant(9), Variant(12, "0.10"), Variant(12, refcount_bits=1),
                    Variant(16, extended=True)):
        make("top", variant, rng)
        run("qemu-img", "convert", "-O", "raw", "top", "before.raw")
        for size in (variant.size() + 512, 70 << 20, 3 << 30):
            name = f"grow {variant.name} to {size}"
            status, text = tool.order("grow", "top", size)
            case(name, status and text or shown("top")[0] != size and f"{shown('top')}")
            same_opinion(tool, f"{name}: check", "top", 0)
        theirs = run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", "before.raw", "top",
                     may_fail=True)
        case(f"grow {variant.name}: content", theirs.returncode and theirs.stdout)
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 7 2G 300k", "top")
        same_opinion(tool, f"grow {variant.name}: written and checked", "top", 0)


# --- damage ------------------------------------------------------------------------------------

class Image:
    """Where things are in a file; changes are made to a copy."""

    def __init__(self, name):
        with open(name, "rb") as file:
            self.bytes = bytearray(file.read())
        self.bits = self.be32(20)
        self.cluster = 1 << self.bits
        self.l1, self.table = self.be64(40), self.be64(48)
        self.l2 = self.be64(self.l1) & 0x00FFFFFFFFFFFE00
        self.block = self.be64(self.table)
        self.end = len(self.bytes)

    def be32(self, at):
        return struct.unpack_from(">I", self.bytes, at)[0]

    def be64(self, at):
        return struct.unpack_from(">Q", self.bytes, at)[0]

    def put64(self, at, value):
        struct.pack_into(">Q", self.bytes, at, value)

    def put_refcount(self, offset, value):
        struct.pack_into(">H", self.bytes, self.block + 2 * (offset >> self.bits), value)

    def data(self, index):
        return self.be64(self.l2 + index * self.entry_bytes) & 0x00FFFFFFFFFFFE00

    entry_bytes = 8

    def entry(self, index, value):
        self.put64(self.l2 + index * self.entry_bytes, value)
        if value == 0 and self.entry_bytes == 16:
            self.put64(self.l2 + index * 16 + 8, 0)


# (name, what is changed, what ours says, what theirs says if that is something else)
DAMAGE = [
    ("nothing", lambda i: None, 0),
    ("refcount of data 0", lambda i: i.put_refcount(i.data(0), 0), 2),
    ("refcount of data 2", lambda i: i.put_refcount(i.data(0), 2), 2),
    ("refcount of the header 0", lambda i: i.put_refcount(0, 0), 2),
    ("refcount of the header 2", lambda i: i.put_refcount(0, 2), 3),
    ("refcount of the L1 table 0", lambda i: i.put_refcount(i.l1, 0), 2),
    ("refcount of the L2 table 0", lambda i: i.put_refcount(i.l2, 0), 2),
    ("refcount of the refcount table 0", lambda i: i.put_refcount(i.table, 0), 2),
    ("refcount of the refcount block 0", lambda i: i.put_refcount(i.block, 0), 2),
    ("refcount of the refcount block 3", lambda i: i.put_refcount(i.block, 3), 3),
    ("a mapping lost", lambda i: i.entry(0, 0), 3),
    ("all mappings lost", lambda i: i.put64(i.l1, 0), 3),
    ("no COPIED on data", lambda i: i.entry(0, i.data(0)), 2),
    ("no COPIED on the L2 table", lambda i: i.put64(i.l1, i.l2), 2),
    ("two entries for one cluster", lambda i: i.entry(1, i.data(0) | COPIED), 2),
    ("data at the L1 table", lambda i: i.entry(0, i.l1 | COPIED), 2),
    ("data at the L2 table", lambda i: i.entry(0, i.l2 | COPIED), 2),
    ("data at the refcount table", lambda i: i.entry(0, i.table | COPIED), 2),
    ("data at the refcount block", lambda i: i.entry(0, i.block | COPIED), 2),
    ("an L2 table at the L1 table", lambda i: i.put64(i.l1, i.l1 | COPIED), 2),
    ("an L2 table at data", lambda i: i.put64(i.l1, i.data(0) | COPIED), 2),
    ("data beyond the end", lambda i: i.entry(0, i.end + 16 * i.cluster | COPIED), 2),
    ("data at the end", lambda i: i.entry(0, -(-i.end // i.cluster) * i.cluster | COPIED), 2),
    ("data at 2^55", lambda i: i.entry(0, 1 << 55 | COPIED), 2),
    ("data not aligned", lambda i: i.entry(0, i.data(0) + 512 | COPIED), 2),
    ("a reserved bit in an L2 entry", lambda i: i.entry(0, i.data(0) | COPIED | 2), 2),
    ("a reserved bit in an L1 entry", lambda i: i.put64(i.l1, i.l2 | COPIED | 4), 2),
    ("an L2 table not aligned", lambda i: i.put64(i.l1, i.l2 + 512 | COPIED), 2),
    ("an L2 table beyond the end", lambda i: i.put64(i.l1, i.end + 16 * i.cluster | COPIED), 2),
    ("COPIED at offset 0", lambda i: i.entry(9, COPIED), 2, 0),
    ("compressed data with COPIED", lambda i: i.entry(9, COMPRESSED | COPIED | i.data(0)), 2),
    ("compressed data beyond the end",
     lambda i: i.entry(9, COMPRESSED | i.end + 16 * i.cluster), 2),
    ("compressed data in the header", lambda i: i.entry(9, COMPRESSED | 512), 2),
    ("no refcount block", lambda i: i.put64(i.table, 0), 2),
    # Theirs gives up.
    ("a refcount block not aligned", lambda i: i.put64(i.table, i.block + 512), 2, 1),
    ("a refcount block beyond the end",
     lambda i: i.put64(i.table, i.end + 16 * i.cluster), 2),
    ("a second refcount block at the first", lambda i: i.put64(i.table + 8, i.block), 2),
    ("a reserved bit in the refcount table", lambda i: i.put64(i.table, i.block | 1), 2),
    ("a refcount block at the L2 table", lambda i: i.put64(i.table, i.l2), 2),
    ("the file cut", lambda i: i.bytes.__delitem__(slice(i.end - 2 * i.cluster, None)), 2),
]

DAMAGE_EXTENDED = [
    ("both states of a subcluster", lambda i: i.put64(i.l2 + 8, 1 << 32 | 1), 2),
    ("data without a cluster", lambda i: i.put64(i.l2 + 9 * 16 + 8, 1), 2),
    ("a cluster with a bit less", lambda i: i.put64(i.l2 + 8, 1), 0),
    ("compressed data with a bitmap",
     lambda i: (i.entry(9, COMPRESSED | i.data(0)), i.put64(i.l2 + 9 * 16 + 8, 1)), 2),
    ("bit 0 of an entry", lambda i: i.entry(0, i.data(0) | COPIED | 1), 2, 0),
]


def repair(tool, name, image, asked):
    """Either it is clean afterwards, or not a byte has changed."""
    refused, text = tool.order("repair", "damaged")
    if refused:
        with open("damaged", "rb") as file:
            case(f"{name} is refused", file.read() != image.bytes and "but it was changed")
    elif asked:
        same_opinion(tool, name, "damaged", 0)
    else:
        status, found = tool.order("check", "damaged")
        case(name, status and f"{text}, but it has {found}")


def dirty(tool):
    """qemu killed while refcounts are only in its memory."""
    for bits, extended in ((16, False), (17, True)) if ALL else ((17, True),):
        variant = Variant(bits, extended=extended)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o",
            variant.options() + ",lazy_refcounts=on", "top", "64M")
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 0 3M", "-c", "write -q -P 6 40M 70k",
            "-c", "flush", "-c", "sigraise 9", "top", may_fail=True)
        run("cp", "top", "before")
        status, text = tool.order("check", "top")
        case(f"dirty {variant.name}: check", status != 2 and f"ours says {status} {text}")
        status, text = tool.order("repair", "top")
        case(f"dirty {variant.name}: repair", status and text)
        same_opinion(tool, f"dirty {variant.name}: check after repair", "top", 0)
        run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw", "top", "out.raw")
        status, text = tool.order("compare", "out.raw", "before")
        case(f"dirty {variant.name}: content", status and text)


def damage(tool):
    rng = random.Random(SEED)
    for variant, rows in ((Variant(16), DAMAGE),
                          (Variant(16, extended=True), DAMAGE if ALL else DAMAGE_EXTENDED),
                          (Variant(16, extended=True), DAMAGE_EXTENDED if ALL else [])):
        if not rows:
            continue
        make("whole", variant, rng, size=16 << 20)
        run("qemu-io", "-f", "qcow2", "-c", "write -q -P 1 0 512k", "whole")
        # What qemu-img says stands in the table; that it does say so is asked of a few each time.
        asked = set(range(len(rows)) if ALL else rng.sample(range(len(rows)), 3))
        for row, (name, change, ours, *theirs) in enumerate(rows):
            image = Image("whole")
            image.entry_bytes = 16 if variant.extended else 8
            change(image)
            with open("damaged", "wb") as file:
                file.write(image.bytes)
            name = f"{variant.name}: {name}"
            status, text = tool.order("check", "damaged")
            says = (status, qemu_check("damaged").returncode if row in asked else None)
            wanted = (ours, (theirs or [ours])[0] if row in asked else None)
            case(name, says != wanted and f"ours and theirs say {says}, not {wanted}: {text}")
            if ours:
                repair(tool, f"{name}: repair", image, row in asked)


def snapshots_and_bitmaps(tool):
    rng = random.Random(SEED + 1)
    for variant in (Variant(12), Variant(16, extended=True)):
        make("top", variant, rng)
        for step, command in enumerate((
                ("qemu-img", "snapshot", "-c", "first", "top"),
                ("qemu-io", "-f", "qcow2", "-c", "write -q -P 9 0 30k", "top"),
                ("qemu-img", "snapshot", "-c", "second", "top"),
                ("qemu-img", "bitmap", "--add", "top", "b0"),
                ("qemu-io", "-f", "qcow2", "-c", "write -q -P 8 10k 30k", "top"),
                ("qemu-img", "snapshot", "-d", "first", "top"))):
            run(*command)
            same_opinion(tool, f"{variant.name}: {' '.join(command[1:3])} {step}", "top", 0)
        compare(tool, f"{variant.name}: read beside snapshots", ["top"])


def main():
    global TOOL
    TOOL = os.path.abspath(TOOL)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        tool = Tool()
        rng = random.Random(SEED)
        for variant in variants():
            read_and_check(tool, variant, rng)
        random_compressed(tool, rng)
        created(tool)
        rebased(tool)
        grown(tool)
        damage(tool)
        dirty(tool)
        snapshots_and_bitmaps(tool)
        tool.process.stdin.close()
        case("the tool ended well", tool.process.wait())
        os.chdir("/")


main()
