"""The files behind the LUNs: in memory, on ext4, and on XFS where root may mount a loop device.

All are written through before anything is measured, so that only what asks for a fresh file meets one.
Every contender uses the same file; only the aio daemon, which runs beside the other, has a twin. What is
made here is removed here, whatever happens. Read next: servers.py.
"""
import mmap
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from plan import EXT4, GIB, HOLE, MIB, TMPFS, UNWRITTEN, XFS

LUN_BYTES = {TMPFS: 512 * MIB, EXT4: 512 * MIB, XFS: 256 * MIB}
# A fresh file: a hole is long enough for a stream not to come round, the rest is what a short run needs.
FRESH_BYTES = {HOLE: 8 * GIB, UNWRITTEN: 512 * MIB}
XFS_BYTES = 1536 * MIB
DISK_BYTES, MEMORY_BYTES = 5 * GIB, 4 * GIB


class Unavailable(Exception):
    """The machine lacks what a store needs."""


@dataclass(frozen=True)
class Store:
    name: str
    folder: Path

    @property
    def direct(self):
        return self.name != TMPFS

    @property
    def lun(self):
        return self.folder / "lun.img"

    @property
    def twin(self):
        return self.folder / "twin.img"

    @property
    def bytes(self):
        return LUN_BYTES[self.name]

    def golden(self):
        """A raw image that nobody writes; made when it is first asked for."""
        path = self.folder / "golden.img"
        if not path.exists():
            write_through(path, self.bytes, self.direct)
        return path

    def mapped(self, tool):
        """The same content as a qcow2 image."""
        path = self.folder / "mapped.qcow2"
        run(str(tool), "image", "convert", str(self.golden()), str(path))
        return path

    @contextmanager
    def clone(self, tool):
        """A qcow2 image over the golden one, with nothing of its own."""
        path = self.folder / "clone.qcow2"
        try:
            run(str(tool), "image", "create", "--backing", self.golden().name, "--backing-format", "raw",
                str(path))
            yield path, self.bytes
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def fresh(self, state):
        """A file that has not been written, its blocks allocated or not."""
        path, size = self.folder / "fresh.img", FRESH_BYTES[state]
        try:
            with open(path, "wb") as file:
                if state == UNWRITTEN:
                    os.posix_fallocate(file.fileno(), 0, size)
                os.ftruncate(file.fileno(), size)
                os.fsync(file.fileno())
            yield path, size
        finally:
            path.unlink(missing_ok=True)


def write_through(path, size, direct):
    """Bytes that no layer below can take for zeroes or for each other's."""
    block = mmap.mmap(-1, 4 * MIB)
    block.write(os.urandom(4 * MIB))
    flags = os.O_WRONLY | os.O_CREAT | (os.O_DIRECT if direct else 0)
    try:
        fd = os.open(path, flags, 0o600)
    except OSError as error:
        raise Unavailable(f"{path.parent}: no direct I/O ({error.strerror})") from None
    try:
        for _ in range(size // (4 * MIB)):
            if os.write(fd, block) != 4 * MIB:
                raise Unavailable(f"{path.parent} is full")
        os.fsync(fd)
    finally:
        os.close(fd)


def run(*command):
    """The output of a command of the system; Unavailable if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]}: {error.stderr.strip() or error.returncode}") from None
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"no end after {error.timeout:.0f} s: {' '.join(command)}") from None
    return done.stdout.strip()


def filesystem_of(folder):
    # Of mounts on top of each other the last is the one that is seen.
    return run("findmnt", "-n", "-o", "FSTYPE", "-T", str(folder)).split("\n")[-1]


def demand_space(folder, needed):
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(f"{folder} has {free / GIB:.1f} GiB free, {needed / GIB:.0f} are needed")


@contextmanager
def folder_in(parent):
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ringsan-bench.", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def filled(name, folder, twin):
    """The store in a folder that exists, its files written."""
    store = Store(name, folder)
    for path in (store.lun, store.twin) if twin else (store.lun,):
        write_through(path, store.bytes, store.direct)
    return store


@contextmanager
def on_tmpfs(_settings):
    if not os.path.isdir("/dev/shm") or filesystem_of("/dev/shm") != "tmpfs":
        raise Unavailable("there is no tmpfs at /dev/shm")
    demand_space("/dev/shm", MEMORY_BYTES)
    with folder_in(Path("/dev/shm")) as folder:
        yield filled(TMPFS, folder, True)


@contextmanager
def on_ext4(settings):
    with folder_in(settings.directory) as folder:
        kind = filesystem_of(folder)
        if kind != "ext4":
            raise Unavailable(f"{settings.directory} lies on {kind}; BENCH_DIR names another folder")
        demand_space(folder, DISK_BYTES)
        # The disk below may be thin itself: blocks that it has never seen would cost what no target can
        # help.
        write_through(folder / "touched", GIB, True)
        (folder / "touched").unlink()
        yield filled(EXT4, folder, True)


@contextmanager
def loop_device(image):
    device = run("losetup", "--direct-io=on", "--show", "-f", str(image))
    try:
        yield device
    finally:
        subprocess.run(["losetup", "-d", device], check=False)


@contextmanager
def mounted(device, folder):
    folder.mkdir()
    run("mount", device, str(folder))
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=False)


@contextmanager
def on_xfs(settings):
    if os.geteuid() != 0:
        raise Unavailable("only root mounts a loop device")
    with folder_in(settings.directory) as folder:
        demand_space(folder, XFS_BYTES)
        write_through(folder / "xfs.img", XFS_BYTES, True)
        run("mkfs.xfs", "-q", "-f", str(folder / "xfs.img"))
        with loop_device(folder / "xfs.img") as device, mounted(device, folder / "xfs"):
            yield filled(XFS, folder / "xfs", False)


# How to make each store; null needs nothing.
MAKERS = {TMPFS: on_tmpfs, EXT4: on_ext4, XFS: on_xfs}
