"""One measurement: a cell of the plan becomes a Sample, by the program that fits the contender.

Read next: servers.py and stores.py for what it runs against, suite.py for who calls it.
"""
import json
import subprocess

import plan
import servers
import stores
from results import Sample

# LUNs by store, the same in every daemon. tgt keeps LUN 0 for its controller.
LUN = {plan.NULL: 1, plan.TMPFS: 2, plan.EXT4: 3, plan.XFS: 4}
NULL_BYTES = plan.GIB
FRESH_LUN = 1
# A stream into a fresh file must not fill the disk, however long the other measurements are.
FRESH_STREAM_S_MAX = 0.5
# Blocks of 16 MiB are measured for a second: eight of them may take half of it.
LARGE_BLOCK_PER_S = 16 * plan.MIB
DEADLINE_S = 60


class Failed(Exception):
    """A measurement that came to nothing, with the reason."""


def output_of(command, seconds):
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=DEADLINE_S + 3 * seconds, check=False)
    except FileNotFoundError:
        raise Failed(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"no end: {' '.join(command)}") from None
    if done.returncode:
        raise Failed(f"status {done.returncode} of {' '.join(command)}: {done.stderr[-300:].strip()}")
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Failed(f"no JSON from {' '.join(command)}: {done.stdout[-300:].strip()}") from None


class Bench:
    """All that is up while cells are measured: daemons by contender, stores by name."""

    def __init__(self, settings, folder):
        self.settings, self.folder = settings, folder
        self.servers, self.stores = {}, {}

    def measure(self, cell):
        return CONTENDERS[cell.who](self, cell)

    # --- through iSCSI ---

    def through_server(self, cell):
        if cell.workload.state != plan.WRITTEN:
            return self.through_fresh(cell)
        size = NULL_BYTES if cell.store == plan.NULL else self.stores[cell.store].bytes
        return self.drive(cell, self.servers[cell.who], LUN[cell.store], size)

    def through_fresh(self, cell):
        """A daemon of its own: the file is new to it as to the disk."""
        store = self.stores[cell.store]
        is_clone = cell.who == plan.QCOW2
        with store.clone(self.tool) if is_clone else store.fresh(cell.workload.state) as (path, size):
            luns = {FRESH_LUN: image_line(path, store, "qcow2" if is_clone else "raw")}
            with self.ringsand("fresh", self.settings.engine, luns) as server:
                return self.drive(cell, server, FRESH_LUN, size)

    @property
    def tool(self):
        return self.settings.build / "ringsan"

    def ringsand(self, name, engine, luns, loops=1, limits=""):
        cpus = [self.settings.target_cpu, self.settings.client_cpu][:loops]
        return servers.Ringsand(self.folder, name, cpus, self.settings.build / "ringsand", engine, luns,
                                limits)

    def drive(self, cell, server, lun, region):
        load, settings = cell.workload, self.settings
        # Where the target has both CPUs, the client has them, too.
        cpus = ",".join(str(cpu) for cpu in {*server.cpus, settings.client_cpu}) \
            if len(server.cpus) > 1 else settings.client_cpu
        seconds = self.seconds(load)
        found = output_of(
            [self.tool, "bench", "--json", "-w", load.operation, "-p", load.pattern,
             "-b", load.block, "-q", load.depth, "-s", load.sessions, "--size", region,
             "-t", f"{seconds * 1000:.0f}ms", "--ramp", f"{settings.ramp * 1000:.0f}ms",
             "--digests", "both" if load.digests else "none", "--cpu", cpus,
             "--threads", min(len(server.cpus), load.sessions), "--target-pid", server.pid,
             *(["--keep-data"] if load.keep else []), server.url(lun)], seconds)
        demand_no_wrap(load, found, seconds + settings.ramp, region)
        return from_bench(found)

    def seconds(self, load):
        measured = max(self.settings.seconds, load.block / LARGE_BLOCK_PER_S)
        stream = load.state == plan.HOLE and load.pattern == "sequential"
        return min(measured, FRESH_STREAM_S_MAX) if stream else measured

    # --- limits ---

    def echo(self, cell):
        """The shapes of iSCSI: a header, and a header with data, one way or the other."""
        load, settings = cell.workload, self.settings
        shape = (48, 48 + load.block) if load.operation == "read" else (48 + load.block, 48)
        program = settings.build.parent / "plain/initiator-tests/bench/echo"
        found = output_of([program, cell.who.removeprefix("echo-"), *shape, load.sessions, load.depth,
                           round(settings.ramp * 1000), round(self.seconds(load) * 1000),
                           settings.target_cpu, settings.client_cpu],
                          settings.seconds)
        client = found["client_cpu_us"] * found["iops"] / 1e4
        return Sample(found["iops"], found["iops"] * load.block / plan.MIB, found["cpu_us"],
                      found["p50_us"], found["p99_us"], client_percent=client)

    def fio(self, cell):
        store, load = self.stores[cell.store], cell.workload
        if load.state == plan.WRITTEN:
            return self.fio_on(store, load, store.lun, store.bytes)
        with store.fresh(load.state) as (path, size):
            return self.fio_on(store, load, path, size)

    def fio_on(self, store, load, path, size):
        """In the target's place: on its CPU, with all sessions' commands in one queue. In memory plain
        calls are the cheapest; there the ring hands everything to kernel threads."""
        engine = ["--ioengine=io_uring", "--direct=1", f"--iodepth={load.depth * load.sessions}"] \
            if store.direct else ["--ioengine=psync", "--direct=0"]
        # fio knows no more of a region's end than we do: the block has to fit into the file.
        found = output_of(
            ["fio", "--name=limit", f"--filename={path}", f"--size={size}", f"--bs={load.block}",
             f"--rw={fio_pattern(load)}", "--rwmixread=70", *engine, "--norandommap",
             "--randrepeat=0", "--fallocate=none", "--invalidate=0", "--thread", "--time_based",
             f"--runtime={self.seconds(load) * 1000:.0f}ms",
             f"--ramp_time={self.settings.ramp * 1000:.0f}ms", "--lat_percentiles=1",
             "--clat_percentiles=0", "--percentile_list=50:90:99:99.9",
             f"--cpus_allowed={self.settings.target_cpu}", "--output-format=json"],
            self.settings.seconds)
        return from_fio(found)


def image_line(path, store, kind="raw"):
    return f'type = {kind} image = "{path}" cache = {"direct" if store.direct else "page"}'


def fio_pattern(load):
    words = {"read": "read", "write": "write", "mix": "rw"}
    return ("rand" if load.pattern == "random" else "") + words[load.operation]


def demand_no_wrap(load, found, seconds, region):
    """A stream into a hole that came round would have overwritten, which is not what was asked."""
    if load.state != plan.HOLE or load.pattern == "random":
        return
    written = found["write"]["bytes_per_s"] * seconds
    if written > region:
        raise Failed(f"{load.name}: the stream came round in {region} bytes")


def from_bench(found):
    """The Sample of the JSON of `ringsan bench`."""
    part = found.get("both") or found.get("read") or found["write"]
    if not part["ios"]:
        raise Failed("no command ended within the measured time")
    if found["errors"]["io"] or found["errors"]["verify"]:
        raise Failed(f"commands failed: {found['errors']}")
    latency = part["latency_us"]
    return Sample(part["iops"], part["bytes_per_s"] / plan.MIB, found["target_cpu"]["us_per_io"],
                  latency["p50"], latency["p99"], latency["p90"], latency["p99.9"],
                  found["client_cpu"]["percent"])


def from_fio(found):
    """The Sample of fio's JSON; of a mix, the latency of what there is more of."""
    job = found["jobs"][0]
    if job["error"]:
        raise Failed(f"fio: error {job['error']}")
    parts = [job[way] for way in ("read", "write") if job[way]["total_ios"]]
    if not parts:
        raise Failed("fio did nothing")
    iops = sum(part["iops"] for part in parts)
    most = max(parts, key=lambda part: part["iops"])
    points = {float(at): ns / 1000 for at, ns in most["lat_ns"]["percentile"].items()}
    return Sample(iops, sum(part["bw_bytes"] for part in parts) / plan.MIB,
                  (job["usr_cpu"] + job["sys_cpu"]) * 1e4 / iops, points[50.0], points[99.0],
                  points[90.0], points[99.9])


CONTENDERS = {
    "echo-epoll": Bench.echo,
    "echo-ring": Bench.echo,
    "ringsand": Bench.through_server,
    "ringsand-aio": Bench.through_server,
    "ringsand-2loops": Bench.through_server,
    plan.QCOW2: Bench.through_server,
    "tgt": Bench.through_server,
    "fio": Bench.fio,
}
