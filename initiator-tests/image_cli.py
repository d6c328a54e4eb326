"""`ringsan image` beside qemu-img (see image_cli.sh). Arguments: ringsan, a folder for images,
README.md."""
import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

from cases import check, end, equal

RINGSAN = sys.argv[1]
MIB = 1 << 20


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)


def image(*words):
    """What a verb does: exit status, and its answer or error."""
    done = run(RINGSAN, "image", *map(str, words), "--json")
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, done.stdout + done.stderr


def good(*words):
    status, answer = image(*words)
    equal(f"ringsan image {' '.join(map(str, words))}", (0, False),
          (status, answer if not isinstance(answer, (dict, list)) else "error" in answer))
    return answer


def refused(part, *words, status=1):
    """An error in one sentence, and what mends it."""
    found, answer = image(*words)
    error = answer.get("error", {}) if isinstance(answer, dict) else {"message": str(answer)}
    check(f"refused: ringsan image {' '.join(map(str, words))}",
          found == status and part in error.get("message", "") and error.get("remedy"),
          f"{found} {error}")


def qemu(*words):
    done = run("qemu-img", *map(str, words))
    return json.loads(done.stdout) if "--output=json" in words else done


def write(name, *commands, kind="qcow2"):
    arguments = [word for command in commands for word in ("-c", command)]
    done = run("qemu-io", "-f", kind, "-d", "unmap", *arguments, name)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def same_check(name):
    ours, found = image("check", name)
    done = run("qemu-img", "check", "--output=json", name)
    equal(f"{name}: check", done.returncode, ours)
    theirs = {"leaks": 0, "corruptions": 0, "allocated-clusters": 0, "compressed-clusters": 0,
              **json.loads(done.stdout)}
    same = {key: found[key] for key in ("filename", "format", "check-errors", "total-clusters",
                                        "allocated-clusters", "compressed-clusters", "leaks",
                                        "corruptions")}
    equal(f"{name}: what it says", {key: theirs[key] for key in same}, same)
    return found


# --- verbs -------------------------------------------------------------------------------------

def create():
    rows = [("a.qcow2", ["--size", "1G"], (1 << 30, 1 << 17, True)),
            ("b.qcow2", ["--size", "100M", "--cluster-size", "64K"], (100 * MIB, 1 << 16, False)),
            ("meta.qcow2", ["--size", "64M", "--preallocation", "metadata"],
             (64 * MIB, 1 << 17, True)),
            ("small.qcow2", ["--size", "3M", "--cluster-size", "512", "--preallocation=metadata"],
             (3 * MIB, 512, False)),
            ("falloc.qcow2", ["--size", "4M", "--preallocation", "falloc", "--extended-l2=off"],
             (4 * MIB, 1 << 17, False)),
            ("top.qcow2", ["--backing", "a.qcow2"], (1 << 30, 1 << 17, True))]
    for name, options, wanted in rows:
        good("create", name, *options)
        theirs = qemu("info", "--output=json", name)
        equal(f"{name}: made as told", wanted,
              (theirs["virtual-size"], theirs["cluster-size"],
               theirs["format-specific"]["data"]["extended-l2"]))
        same_check(name)
    equal("a backing file", ("a.qcow2", "qcow2"),
          (theirs.get("backing-filename"), theirs.get("backing-filename-format")))
    check("falloc takes space", os.stat("falloc.qcow2").st_blocks * 512 >= 4 * MIB)
    check("metadata takes little", os.stat("meta.qcow2").st_blocks * 512 < 2 * MIB)
    good("create", "a.raw", "--size", "1M")
    equal("a raw image", MIB, os.stat("a.raw").st_size)
    refused("File exists", "create", "a.raw", "--size", "1M")
    refused("--size", "create", "x.qcow2", "--size", "5")
    refused("is no size", "create", "x.qcow2", "--size", "5X")
    refused("how large", "create", "x.qcow2")
    refused("raw or qcow2?", "create", "x.img", "--size", "1M")
    refused("no power of two", "create", "x.qcow2", "--size", "1M", "--cluster-size", "3K")
    refused("go with clusters", "create", "x.qcow2", "--size", "1M", "--cluster-size", "4M")
    refused("it is a path", "create", "x.qcow2", "--backing", "../a.qcow2")
    refused("No such file", "create", "x.qcow2", "--backing", "none.qcow2")
    refused("no --cluster-size", "create", "x.raw", "--size", "1M", "--cluster-size", "64K")
    refused("would hide", "create", "x.qcow2", "--backing", "a.qcow2", "--preallocation", "falloc")
    refused("No such file", "create", "none/x.qcow2", "--size", "1M")
    refused("wants FILE", "create", status=2)
    refused("no such option", "create", "x.qcow2", "--sise", "1M", status=2)
    refused("there is no", "invent", status=2)
    check("nothing is left of what was refused",
          not [name for name in os.listdir(".") if name.startswith("x")])


def info():
    theirs = qemu("info", "--output=json", "--backing-chain", "top.qcow2")
    ours = good("info", "--backing-chain", "top.qcow2")
    for mine, other in zip(ours, theirs):
        # What is said in one sentence more or less by versions of qemu-img.
        same = {key: value for key, value in mine.items() if key in other}
        equal(f"info of {other['filename']}", {key: other[key] for key in same}, same)
        check("has what matters", {"filename", "format", "virtual-size", "actual-size",
                                   "cluster-size", "format-specific"} <= set(same), same)
    equal("a chain", len(theirs), len(ours))
    equal("raw", ("raw", MIB), tuple(good("info", "a.raw")[key]
                                     for key in ("format", "virtual-size")))
    os.link("a.qcow2", "unclear.img")
    refused("its name does not say so", "info", "unclear.img")
    equal("told", "qcow2", good("info", "unclear.img", "--format", "qcow2")["format"])
    refused("it is no qcow2", "info", "a.raw", "--format", "qcow2")
    refused("No such file", "info", "none.qcow2")
    refused("is a folder", "info", ".")


def same_map(name, kind="qcow2"):
    theirs = qemu("map", "--output=json", "-f", kind, name)
    ours = [{key: value for key, value in row.items() if key not in ("filename", "compressed")}
            for row in good("map", name, "--format", kind)]
    for row in theirs:
        row.pop("compressed", None)
    equal(f"{name}: map", theirs, ours)


def maps():
    write("a.qcow2", "write -q 1M 300k", "write -q -z 600M 1M", "write -q 500M 4k")
    write("top.qcow2", "write -q 1100k 4k", "write -q -z 1200k 8k", "discard -q 500M 128k",
          "write -q 900M 1M")
    same_map("top.qcow2")
    with open("holes.raw", "wb") as file:
        file.truncate(8 * MIB + 512)
        file.seek(MIB)
        file.write(bytes([7]) * MIB)
    same_map("holes.raw", "raw")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "holes.raw", "-F", "raw", "on.qcow2",
        "12M")
    write("on.qcow2", "write -q 2M 64k", "write -q -z 4M 64k")
    same_map("on.qcow2")
    run("qemu-img", "convert", "-c", "-O", "qcow2", "holes.raw", "small.c.qcow2")
    same_map("small.c.qcow2")


def checks():
    os.truncate("b.qcow2", 16 << 16)
    with open("b.qcow2", "r+b") as file:
        header = file.read(64)
        table, = struct.unpack(">Q", header[48:56])
        file.seek(table)
        block, = struct.unpack(">Q", file.read(8))
        file.seek(block + 2 * 9)
        file.write(b"\0\1")
    equal("a leak", 3, image("check", "b.qcow2")[0])
    same_check("b.qcow2")
    fixed = good("check", "--repair", "b.qcow2")
    equal("which came back", (0, 1), (fixed["leaks"], fixed["leaks-fixed"]))
    same_check("b.qcow2")
    with open("b.qcow2", "r+b") as file:
        file.seek(block)
        file.write(b"\0\0")
    equal("a corruption", 2, image("check", "b.qcow2")[0])
    equal("and its repair", 0, image("check", "--repair", "b.qcow2")[0])
    same_check("b.qcow2")
    equal("without --json", 0, run(RINGSAN, "image", "check", "b.qcow2").returncode)
    refused("nothing to check", "check", "a.raw")


def resizes():
    good("resize", "top.qcow2", "5G")
    same_check("top.qcow2")
    good("resize", "b.qcow2", "2G")
    equal("larger", 2 << 30, qemu("info", "--output=json", "b.qcow2")["virtual-size"])
    good("resize", "b.qcow2", "+1M")
    same_check("b.qcow2")
    good("resize", "a.raw", "+1M")
    equal("raw larger", 2 * MIB, os.stat("a.raw").st_size)
    refused("based on it: top.qcow2", "resize", "a.qcow2", "2G")
    refused("does not become smaller", "resize", "b.qcow2", "1G")
    refused("is no size", "resize", "b.qcow2", "1Q")
    refused("above 64 TiB", "resize", "b.qcow2", "65T")
    os.link("a.qcow2", "again.qcow2")
    good("rebase", "--unsafe", "--backing", "again.qcow2", "top.qcow2")
    equal("another name", "again.qcow2",
          qemu("info", "--output=json", "top.qcow2")["backing-filename"])
    same_map("top.qcow2")
    good("rebase", "--unsafe", "--backing", "", "meta.qcow2")
    refused("on what", "rebase", "--unsafe", "top.qcow2")
    refused("it is a path", "rebase", "--unsafe", "--backing", "/x.raw", "top.qcow2")
    refused("raw or qcow2?", "rebase", "--unsafe", "--backing", "x.img", "top.qcow2")
    refused("has no backing file", "rebase", "--unsafe", "--backing", "x.raw", "a.raw")


def backing_of(name):
    return qemu("info", "--output=json", name).get("backing-filename")


def rebases():
    """Another backing file, of other content and size: the disk shows the same."""
    os.mkdir("rebase")
    os.chdir("rebase")
    rng = random.Random(3)
    for name, size in (("old.raw", 5 * MIB), ("new.raw", 7 * MIB)):
        with open(name, "wb") as file:
            file.write(rng.randbytes(size))
    with open("old.raw", "rb") as old, open("new.raw", "r+b") as new:
        new.seek(MIB)
        new.write(old.read()[MIB:2 * MIB])
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "old.raw", "-F", "raw", "mid.qcow2")
    write("mid.qcow2", "write -q -P 3 3M 100k", "write -q -z 4M 50k")
    run("qemu-img", "create", "-q", "-f", "qcow2", "long.qcow2", "16M")
    write("long.qcow2", "write -q -P 8 0 16M")
    for options, targets in (("cluster_size=64k", (("", 8 * MIB), ("long.qcow2", 0))),
                             ("cluster_size=128k,extended_l2=on",
                              (("old.raw", MIB), ("new.raw", 6 * MIB), ("long.qcow2", 4 * MIB)))):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "-b", "mid.qcow2", "-F",
            "qcow2", "top.qcow2", "8M")
        write("top.qcow2", "write -q -P 4 3020k 8k", "discard -q 4100k 64k")
        run("qemu-img", "convert", "-O", "raw", "top.qcow2", "before.raw")
        # What both chains have from the same place of a file is not even read.
        for new, most in targets:
            moved = good("rebase", "--backing", new, "top.qcow2")["moved_bytes"]
            check(f"{options}: moved for '{new}'", moved <= most, moved)
            equal("the new name", new or None, backing_of("top.qcow2"))
            equal(f"{options}: the same on '{new}'", 0, run(
                "qemu-img", "compare", "-f", "raw", "-F", "qcow2", "before.raw",
                "top.qcow2").returncode)
            same_check("top.qcow2")
        os.unlink("top.qcow2")
    rebases_that_are_refused()
    rebases_cut_short()
    os.chdir("..")


def rebases_that_are_refused():
    good("create", "top.qcow2", "--backing", "mid.qcow2")
    refused("No such file", "rebase", "--backing", "none.raw", "top.qcow2")
    refused("its own backing file", "rebase", "--backing", "top.qcow2", "top.qcow2")
    refused("its own backing file", "rebase", "--backing", "top.qcow2", "mid.qcow2")
    refused("based on it", "rebase", "--backing", "new.raw", "mid.qcow2")
    refused("is raw", "rebase", "--backing", "old.raw", "new.raw")
    os.rename("old.raw", "away.raw")
    refused("old.raw", "rebase", "--backing", "new.raw", "top.qcow2")
    os.rename("away.raw", "old.raw")
    equal("and it is what it was", "mid.qcow2", backing_of("top.qcow2"))


def wait_for_locks(name):
    """The last I/O of a killed program keeps its locks until it has ended."""
    until = time.monotonic() + 20
    while run("qemu-img", "info", name).returncode and time.monotonic() < until:
        time.sleep(0.02)


def rebases_cut_short():
    """At any time: the old backing file or the new one, and the same disk."""
    run("qemu-img", "convert", "-O", "raw", "top.qcow2", "before.raw")
    for number, wanted in ((signal.SIGINT, (130, 0)), (signal.SIGKILL, (-9, 0))):
        process = subprocess.Popen([RINGSAN, "image", "rebase", "--backing", "new.raw",
                                    "top.qcow2"], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        while process.poll() is None and os.stat("top.qcow2").st_blocks < 4000:
            pass
        process.send_signal(number)
        process.communicate()
        wait_for_locks("top.qcow2")
        check("it ends as told, or was faster", process.returncode in wanted, process.returncode)
        check("one of both", backing_of("top.qcow2") in ("mid.qcow2", "new.raw"))
        equal("the same disk", 0, run("qemu-img", "compare", "-f", "raw", "-F", "qcow2",
                                      "before.raw", "top.qcow2").returncode)
        check("leaks at most", qemu("check", "top.qcow2").returncode in (0, 3))
    # The file may not become large enough.
    good("create", "full.qcow2", "--backing", "mid.qcow2")
    full = run("prlimit", "--fsize=2000000", RINGSAN, "image", "rebase", "--backing", "new.raw",
               "full.qcow2")
    equal("what does not fit is refused", (1, "mid.qcow2", 0),
          (full.returncode, backing_of("full.qcow2"), run(
              "qemu-img", "compare", "mid.qcow2", "full.qcow2").returncode))
    good("rebase", "--backing", "new.raw", "top.qcow2")
    equal("the next one ends it", "new.raw", backing_of("top.qcow2"))


def conversions():
    """Both ways, from every kind of source, compared by qemu-img; and nothing is left half done."""
    rng = random.Random(2)
    with open("data.raw", "wb") as file:
        file.truncate(40 * MIB + 1536)
        for _ in range(20):
            file.seek(rng.randrange(0, 40 * MIB, 512))
            file.write(rng.randbytes(rng.randrange(1, 200000)))
    run("qemu-img", "convert", "-c", "-O", "qcow2", "data.raw", "packed.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "packed.qcow2", "-F", "qcow2",
        "over.qcow2", "48M")
    write("over.qcow2", "write -q -P 9 3M 70k", "write -q -z 10M 5M", "write -q -P 1 47M 512")
    for source, options, name in (
            ("data.raw", [], "c1.qcow2"), ("c1.qcow2", [], "c1.raw"),
            ("packed.qcow2", ["--cluster-size", "64K"], "c2.qcow2"),
            ("over.qcow2", ["--cluster-size", "2M"], "c3.qcow2"),
            ("over.qcow2", ["--cluster-size", "512"], "c4.qcow2"), ("over.qcow2", [], "c4.raw")):
        good("convert", *options, source, name)
        theirs = run("qemu-img", "compare", "-f", source.split(".")[-1], "-F", name.split(".")[-1],
                     source, name)
        equal(f"{name}: the same", 0, theirs.returncode)
        if name.endswith("qcow2"):
            same_check(name)
    check("zeroes take no space", os.stat("c1.raw").st_blocks < os.stat("data.raw").st_blocks + 600)
    found = good("du", "over.qcow2")[0]
    equal("shared", os.stat("packed.qcow2").st_blocks * 512, found["shared-size"])
    equal("own", os.stat("over.qcow2").st_blocks * 512, found["own-size"])
    refused("File exists", "convert", "data.raw", "c1.raw")
    refused("is it to be", "convert", "data.raw", "c5.img")
    refused("no --cluster-size", "convert", "data.raw", "c5.raw", "--cluster-size", "64K")
    interrupted()


def interrupted():
    """A signal in the middle, and a full disk: nothing is left."""
    run("truncate", "-s", "64G", "huge.raw")
    with open("huge.raw", "r+b") as file:
        for i in range(600):
            file.seek(i * 100 * MIB)
            file.write(b"x" * 4096)
    before = sorted(os.listdir("."))
    process = subprocess.Popen([RINGSAN, "image", "convert", "huge.raw", "c6.qcow2"],
                               stderr=subprocess.PIPE, text=True)
    while os.readlink(f"/proc/{process.pid}/exe").endswith("ringsan") and process.poll() is None:
        if len(os.listdir(f"/proc/{process.pid}/task")) > 1:
            break
    process.send_signal(signal.SIGINT)
    text = process.communicate()[1]
    check("SIGINT ends it, or it was faster", process.returncode in (130, 0),
          f"{process.returncode} {text}")
    if process.returncode == 130:
        check("and it says so", "interrupted" in text, text)
        equal("and nothing is left", before, sorted(os.listdir(".")))
    full = run("prlimit", "--fsize=2000000", RINGSAN, "image", "convert", "data.raw", "c7.qcow2")
    check("what does not fit is refused", full.returncode == 1 and "too large" in full.stderr,
          f"{full.returncode} {full.stderr}")
    check("and is not there", not os.path.exists("c7.qcow2"))


def families():
    """Snapshots and clones: names, contents, who may change what."""
    os.mkdir("family")
    os.chdir("family")
    os.link("../data.raw", "golden.raw")
    good("clone", "golden.raw", "vm1.qcow2", "--size", "64M")
    good("clone", "golden.raw", "vm2.qcow2")
    equal("a clone", ("golden.raw", 64 * MIB), tuple(
        qemu("info", "--output=json", "vm1.qcow2")[key]
        for key in ("backing-filename", "virtual-size")))
    write("vm1.qcow2", "write -q -P 5 0 1M")
    good("snapshot", "--name", "monday", "vm1.qcow2", "vm2.qcow2")
    write("vm1.qcow2", "write -q -P 6 0 2M")
    listed = {row["filename"]: row for row in good("list", ".")}
    equal("all of them", {"golden.raw", "vm1.qcow2", "vm1@monday.qcow2", "vm2.qcow2",
                          "vm2@monday.qcow2"}, set(listed))
    row = listed["vm1@monday.qcow2"]
    equal("a snapshot", ("vm1.qcow2", "monday", 1, 1),
          (row["snapshot-of"], row["snapshot"], row["children"], row["level"]))
    equal("active", (True, 2), (listed["vm1.qcow2"]["active"], listed["vm1.qcow2"]["level"]))
    equal("those of a family", 5, len(good("list", "vm2.qcow2")))
    check("a tree for people", "\n    vm1.qcow2 " in run(RINGSAN, "image", "list", ".").stdout)
    refused("based on", "resize", "golden.raw", "1G", "--format", "raw")
    equal("a base may be repaired", 0, image("check", "--repair", "vm1@monday.qcow2")[0])
    refused("based on", "remove", "golden.raw")
    good("rollback", "vm1.qcow2", "monday", "--keep", "tuesday")
    equal("content came back", 0, run("qemu-io", "-f", "qcow2", "-c", "read -q -P 5 0 1M",
                                      "vm1.qcow2").returncode)
    for name in ("vm1.qcow2", "vm1@tuesday.qcow2", "vm1@monday.qcow2"):
        same_check(name)
    good("remove", "vm1@tuesday.qcow2")
    good("remove", "vm1.qcow2")
    good("remove", "vm1@monday.qcow2")
    equal("what is left", ["golden.raw", "vm2.qcow2", "vm2@monday.qcow2"],
          sorted(os.listdir(".")))
    refused("", "snapshot", "--name", "a/b", "vm2.qcow2")
    refused("", "rollback", "vm2.qcow2", "never")
    refused("", "clone", "golden.raw", "vm2.qcow2")
    refused("there is no", "list", "never.qcow2")
    made = good("snapshot", "vm2.qcow2")[0]["snapshot"]
    check("a name by time", os.path.exists(f"vm2@{made}.qcow2"))
    os.chdir("..")


def formats():
    """What a guest wrote into its raw disk makes no qcow2 image of it."""
    os.mkdir("formats")
    os.chdir("formats")
    for name in ("disk.raw", "disk", "disk@a", "disk@a.raw"):
        good("create", "x.qcow2", "--size", "1M")
        os.rename("x.qcow2", name)
    before = sorted(os.listdir("."))
    for name, why in (("disk.raw", "is raw"), ("disk", "raw or qcow2?")):
        refused(why, "snapshot", name)
        refused(why, "rollback", name, "a")
        refused(why, "stream", name)
        refused(why, "commit", name)
    refused("is raw", "snapshot", "disk", "--format", "raw")
    refused("no format", "snapshot", "disk", "--format", "vmdk")
    equal("nothing has changed", before, sorted(os.listdir(".")))
    good("snapshot", "disk", "--format", "qcow2", "--name", "b")
    good("rollback", "disk", "b", "--format", "qcow2")
    good("stream", "disk", "--format", "qcow2")
    os.chdir("..")


def jobs():
    """Long work on closed images."""
    os.mkdir("jobs")
    os.chdir("jobs")
    os.link("../data.raw", "golden.raw")
    good("clone", "golden.raw", "vm.qcow2")
    write("vm.qcow2", "write -q -P 5 0 1M")
    good("snapshot", "--name", "a", "vm.qcow2")
    write("vm.qcow2", "write -q -P 6 512k 1M", "write -q -z 20M 1M")
    run("qemu-img", "convert", "-O", "raw", "vm.qcow2", "before.raw")
    good("commit", "vm.qcow2")
    equal("its snapshot is gone", ["before.raw", "golden.raw", "vm.qcow2"], sorted(os.listdir(".")))
    equal("it stands on the golden image", "golden.raw",
          qemu("info", "--output=json", "vm.qcow2").get("backing-filename"))
    refused("no snapshot of its own", "commit", "vm.qcow2")
    good("stream", "vm.qcow2")
    equal("and then on nothing", None,
          qemu("info", "--output=json", "vm.qcow2").get("backing-filename"))
    same_check("vm.qcow2")
    equal("the disk is the same", 0, run("qemu-img", "compare", "-f", "raw", "-F", "qcow2",
                                         "before.raw", "vm.qcow2").returncode)
    refused("", "stream", "none.qcow2")
    refused("", "stream", "golden.raw")
    merges()
    for words in (["jobs"], ["cancel", "vm.qcow2"]):
        refused("no ringsand serves it", *words, "--socket", os.getcwd() + "/none.sock")
    refused("No such file", "cancel", "none.qcow2", "--socket", os.getcwd() + "/none.sock")
    os.chdir("..")


def merges():
    """A snapshot in the middle, one below the active file, and a base go without a daemon."""
    good("clone", "golden.raw", "chain.qcow2")
    for i, snapshot in enumerate("abc"):
        write("chain.qcow2", f"write -q -P {i + 1} {i}M 1500k", f"write -q -z {20 + i}M 1M")
        good("snapshot", "--name", snapshot, "chain.qcow2")
    write("chain.qcow2", "write -q -P 9 3M 1M")
    run("qemu-img", "convert", "-O", "raw", "chain@b.qcow2", "b.raw")
    run("qemu-img", "convert", "-O", "raw", "chain.qcow2", "before.raw")
    refused("based on it", "remove", "chain@a.qcow2")
    good("clone", "chain@c.qcow2", "other.qcow2")
    refused("based on it: chain.qcow2, other.qcow2", "remove", "--merge", "chain@c.qcow2")
    good("remove", "--merge", "other.qcow2")
    for gone, above, below in (("chain@a.qcow2", "chain@b.qcow2", "golden.raw"),
                               ("chain@c.qcow2", "chain.qcow2", "chain@b.qcow2"),
                               ("golden.raw", "chain@b.qcow2", None)):
        good("remove", "--merge", gone)
        check(f"{gone} has gone", not os.path.exists(gone))
        equal(f"{above} is based on", below, backing_of(above))
        same_check(above)
        for name, same in (("chain@b.qcow2", "b.raw"), ("chain.qcow2", "before.raw")):
            equal(f"{name} without {gone}", 0, run("qemu-img", "compare", "-f", "qcow2", "-F", "raw",
                                                   name, same).returncode)
    refused("there is no", "remove", "--merge", "never.qcow2")
    check("what is not meant stays", os.path.exists("chain@b.qcow2"))


def walk_through(readme):
    """What README.md tells people to type."""
    os.mkdir("walk")
    os.chdir("walk")
    os.link("../over.qcow2", "debian-12.qcow2")
    os.link("../packed.qcow2", "packed.qcow2")
    with open(readme, encoding="utf-8") as file:
        lines = [line.strip() for line in file if line.startswith("    ringsan image ")]
    check("there is something to type", len(lines) >= 5, lines)
    for line in lines:
        done = run("bash", "-c", line.replace("ringsan", f"'{RINGSAN}'", 1))
        equal(f"README: {line}", 0, done.returncode) or print(done.stdout, done.stderr)
    check("and it ends in a tree", "\n    vm1.qcow2 " in done.stdout, done.stdout)
    os.chdir("..")


def examples(manual):
    """What the manual's examples of images tell people to type."""
    os.mkdir("examples")
    os.chdir("examples")
    run("qemu-img", "convert", "-O", "qcow2", "../over.qcow2", "golden.qcow2")
    run("qemu-img", "convert", "-O", "qcow2", "../data.raw", "golden-2.qcow2")
    with open(manual, encoding="utf-8") as file:
        lines = [line for line in file.read().split("\n.Sh EXAMPLES\n")[1].splitlines()
                 if "ringsan image " in line]
    check("there is something to type", len(lines) >= 9, lines)
    for line in lines:
        # A tenth of them will do.
        line = line.replace("seq 100", "seq 10")
        done = run("bash", "-ec", line.replace("ringsan image", f"'{RINGSAN}' image"))
        equal(f"ringsan.1: {line}", (0, ""), (done.returncode, done.stderr))
    for name in ("d1.qcow2", "d2.qcow2"):
        equal(f"{name} is as golden.qcow2", 0,
              run("qemu-img", "compare", "golden.qcow2", name).returncode)
    equal("the next version", "golden-2.qcow2", backing_of("d2.qcow2"))
    check("no snapshot stays", not [name for name in os.listdir(".") if "@" in name])
    os.chdir("..")


def hostile():
    """Headers that lead astray."""
    os.mkdir("other")
    good("create", "other/secret.raw", "--size", "1M")
    os.symlink("other/secret.raw", "link.raw")
    for name, kind, part in (("other/secret.raw", "raw", "it is a path"),
                             ("link.raw", "raw", "Too many levels"),
                             ("nbd:x", "raw", "colon"), ("bad.qcow2", "qcow2", "its own backing"),
                             ("a.qcow2", "", "does not say whether")):
        run("qemu-img", "create", "-q", "-f", "qcow2", "bad.qcow2", "1M")
        run("qemu-img", "rebase", "-u", "-b", name, "-F", kind or "raw", "bad.qcow2")
        if not kind:
            with open("bad.qcow2", "r+b") as file:
                data = file.read(4096)
                file.seek(data.index(struct.pack(">II", 0xE2792ACA, 3)) + 8)
                file.write(b"vmd")
        refused(part, "map", "bad.qcow2")
        good("info", "bad.qcow2")
    rng = random.Random(1)
    with open("top.qcow2", "rb") as file:
        whole = file.read()
    for i in range(4):
        damaged = bytearray(whole)
        for _ in range(4):
            at = rng.randrange(200) if i % 2 else rng.randrange(len(whole) // 8) * 8
            damaged[at] ^= 1 << rng.randrange(8)
        with open("bad.qcow2", "wb") as file:
            file.write(damaged)
        for verb in ("info", "check", "map"):
            status, answer = image(verb, "bad.qcow2")
            check(f"{verb} of damage {i} ends well", status in (0, 1, 2, 3), f"{status} {answer}")


def main():
    os.chdir(sys.argv[2])
    create()
    info()
    maps()
    checks()
    resizes()
    rebases()
    conversions()
    families()
    formats()
    jobs()
    walk_through(sys.argv[3])
    examples(os.path.dirname(sys.argv[3]) + "/target/ringsan.1")
    hostile()
    os.chdir("/")
    end()


main()
