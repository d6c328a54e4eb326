"""What is promised, as a table, and whether the measurements keep it.

A criterion is a ratio of figures of one round, a limit, and a sense; or a cost (costs.py). The ratios of
all rounds give an interval (stats.py), and its bound decides.

Pure: reads results, measures nothing. Read next: plan.py for the names, results.py for what a view is.
"""
from collections.abc import Callable
from dataclasses import asdict, dataclass

import plan
import stats
from results import Missing


@dataclass(frozen=True)
class Criterion:
    promise: str  # The sentence that it is part of; criteria of one promise stand together.
    store: str
    workload: plan.Workload
    what: str  # The ratio, in words.
    ratio: Callable  # From a results.View of one round.
    limit: float
    at_most: bool = False

    @property
    def row(self):
        return f"{self.store}/{self.workload.name}"


def cpu_to_echo(at):
    return at("ringsand", plan.NULL).cpu_us / at.echo("cpu_us")


def cpu_to_tgt(store):
    return lambda at: at("ringsand", store).cpu_us / at("tgt", store).cpu_us


def rate_to(who, store):
    return lambda at: at("ringsand", store).iops / at(who, store).iops


def rate_of_aio(store):
    return lambda at: at("ringsand-aio", store).iops / at("ringsand", store).iops


def rate_to_disk_target(at):
    """Against the lower of two demands, so 1 is enough."""
    asked = min(2.5 * at("tgt", plan.EXT4).iops, 0.9 * at("fio", plan.EXT4).iops)
    return at("ringsand", plan.EXT4).iops / asked


def latency_to_parts(store):
    """p50 against the wire's and the disk's own together."""
    def ratio(at):
        disk = 0.0 if store == plan.NULL else at("fio", store).p50_us
        return at("ringsand", store).p50_us / (at.echo("p50_us") + disk)
    return ratio


def tail_to_tgt(store):
    return lambda at: at("ringsand", store).p99_us / at("tgt", store).p99_us


def rate_to_echo(at):
    return at("ringsand", plan.NULL).iops / at.echo("iops")


def rate_with_digests(plain):
    return lambda at: at("ringsand", plan.NULL).iops / at.of(plain)("ringsand", plan.NULL).iops


def rate_fresh_to_again(store):
    return lambda at: (at("ringsand", store).iops
                       / at.of(plan.STREAM_AGAIN)("ringsand", store).iops)


def rate_of_qcow2(store):
    return lambda at: at(plan.QCOW2, store).iops / at("ringsand", store).iops


def cpu_of_two_loops(at):
    return at("ringsand-2loops", plan.NULL).cpu_us / at("ringsand", plan.NULL).cpu_us


def table():
    """All criteria, in the order of the report."""
    rows = []

    def add(promise, store, workloads, what, ratio, limit, at_most=False):
        rows.extend(Criterion(promise, store, load, what, ratio, limit, at_most)
                    for load in workloads)

    null, tmpfs, ext4, xfs = plan.NULL, plan.TMPFS, plan.EXT4, plan.XFS
    wire = "Nothing stored: near the bare echo, far from tgt"
    add(wire, null, plan.QD32, "CPU per I/O / echo", cpu_to_echo, 1.6, True)
    add(wire, null, plan.QD32, "IOPS / tgt null", rate_to("tgt", null), 5)
    add("File in memory, page cache", tmpfs, plan.QD32, "IOPS / tgt rdwr", rate_to("tgt", tmpfs), 6)
    disk = "File on ext4, direct: 2.5 times tgt aio at half its CPU, or 90 % of fio if that is lower"
    add(disk, ext4, plan.QD32, "IOPS / min(2.5 tgt, 0.9 fio)", rate_to_disk_target, 1)
    add(disk, ext4, plan.QD32, "CPU per I/O / tgt aio", cpu_to_tgt(ext4), 0.5, True)
    for store in (tmpfs, ext4):
        add("qcow2, all of it mapped, against raw", store, (plan.READ, plan.WRITE), "IOPS qcow2 / raw",
            rate_of_qcow2(store), 0.95)
    fresh = "Fresh thin LUN: first writes"
    for store in (ext4, xfs):
        add(fresh, store, (plan.FRESH_STREAM,), "throughput / overwrite", rate_fresh_to_again(store), 0.9)
        add(fresh, store, (plan.FRESH,), "IOPS / fio into a hole", rate_to("fio", store), 0.9)
    latency = "Latency at QD1: the echo's and the disk's own, and little more"
    for store in (null, tmpfs, ext4):
        parts = "echo" if store == null else "(echo + fio)"
        add(latency, store, (plan.QD1,), f"p50 / {parts}", latency_to_parts(store), 1.15, True)
        add(latency, store, (plan.QD1,), "p99 / tgt", tail_to_tgt(store), 1, True)
    large = "1 MiB, sequential"
    add(large, null, plan.MIB_STREAMS, "throughput / echo", rate_to_echo, 0.8)
    for plain, digests in zip(plan.MIB_KEPT, plan.MIB_DIGESTS):
        add(large, null, (digests,), "throughput / without digests", rate_with_digests(plain), 0.9)
    loops = "Two loops on two cores, one LUN, against one loop"
    add(loops, null, (plan.READ_X4, plan.WRITE_X4), "CPU per I/O / one loop", cpu_of_two_loops, 1.15,
        True)
    for store in (null, tmpfs, ext4):
        add("The aio engine against uring", store, (plan.READ, plan.WRITE), "IOPS aio / uring",
            rate_of_aio(store), 0.7)
    return rows


def judge(criterion, results):
    """One criterion as a dict for the reports. Rounds in which a figure is missing do not count."""
    ratios = []
    for view in results.views(criterion.workload):
        try:
            ratios.append(criterion.ratio(view))
        except (Missing, ZeroDivisionError):
            continue
    return judgement(criterion.promise, criterion, criterion.at_most, ratios)


def judge_cost(promise, cost, results):
    """One row of costs.py, of which less is better."""
    return judgement(promise, cost, True, list(results.costs.get(cost.row, {}).values()))


def judgement(promise, row, at_most, figures):
    found = stats.interval(figures) if figures else stats.Interval(None, None, None, 0)
    word = stats.verdict(found, row.limit, at_most) if figures else stats.NOT_MEASURED
    return {"promise": promise, "row": row.row, "what": row.what, "limit": row.limit, "at_most": at_most,
            "verdict": word, **asdict(found)}


def judge_all(results, rows):
    """Those criteria whose rows were to be measured."""
    planned = {row.name for row in rows}
    return [judge(row, results) for row in table() if row.row in planned]
