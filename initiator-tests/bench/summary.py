#!/usr/bin/env python3
"""The table of run.sh: medians over the rounds, and ratios within this run.

    summary.py FOLDER STORES

FOLDER holds WHO.WORKLOAD.ROUND.json (ringsan bench --json) and echo.WORKLOAD.ROUND.txt.
A spread (largest minus smallest over median) above NOISY says that the machine was not quiet.
"""

import glob
import json
import os
import statistics
import sys

NOISY = 0.25
WORKLOADS = ("read-qd1-x1", "read-qd32-x1", "read-qd32-x4", "write-qd32-x1", "write-qd32-x4")
COLUMNS = ("workload", "target", "IOPS", "spread", "CPU us/IO", "p50 us", "p99 us",
           "CPU / echo", "IOPS / tgt", "CPU / tgt")


class Figures:
    """The median of each figure over the rounds of one target and workload."""

    def __init__(self, rounds):
        iops = [r[0] for r in rounds]
        self.iops, self.cpu, self.p50, self.p99 = (
            statistics.median(column) for column in zip(*rounds))
        self.spread = (max(iops) - min(iops)) / self.iops


def read_json(path):
    with open(path, encoding="ascii") as file:
        result = json.load(file)
    row = result.get("read") or result["write"]
    latency = row["latency_us"]
    if result["errors"]["io"] or result["errors"]["verify"]:
        raise SystemExit(f"{path}: the run had errors")
    return row["iops"], result["target_cpu"]["us_per_io"], latency["p50"], latency["p99"]


def read_echo(path):
    with open(path, encoding="ascii") as file:
        return tuple(float(word) for word in file.read().split())


def figures(folder, who, workload):
    reader, suffix = (read_echo, "txt") if who == "echo" else (read_json, "json")
    paths = glob.glob(os.path.join(folder, f"{who}.{workload}.*.{suffix}"))
    return Figures([reader(path) for path in paths]) if paths else None


def ratio(value, base):
    return f"{value / base:.2f}" if base else "-"


def line(workload, who, mine, echo, peer):
    return (workload, who, f"{mine.iops:.0f}", f"{mine.spread:.0%}", f"{mine.cpu:.2f}",
            f"{mine.p50:.0f}", f"{mine.p99:.0f}", ratio(mine.cpu, echo.cpu if echo else 0),
            ratio(mine.iops, peer.iops if peer else 0), ratio(mine.cpu, peer.cpu if peer else 0))


def table(folder, stores):
    for workload in WORKLOADS:
        echo = figures(folder, "echo", workload)
        if echo:
            yield line(workload, "bare TCP echo", echo, None, None)
        for store in stores:
            peer = figures(folder, f"tgt-{store}", workload)
            for name in ("ringsand", "tgt"):
                mine = figures(folder, f"{name}-{store}", workload)
                if mine:
                    yield line(workload, f"{name} {store}", mine, echo,
                               peer if name == "ringsand" else None)


def print_stock_client(folder):
    """iscsi-perf and ringsan bench on the same LUN in the same rounds."""
    paths = glob.glob(os.path.join(folder, "iscsi-perf.*.txt"))
    rates = [rate[0] for rate in map(read_echo, paths) if rate]
    ours = figures(folder, "ringsand-null", "read-qd32-x1")
    if rates and ours:
        stock = statistics.median(rates)
        print(f"\nringsand null, read-qd32-x1: ringsan bench {ours.iops:.0f} IOPS, iscsi-perf "
              f"{stock:.0f} ({ours.iops / stock:.2f} times).")


def main():
    folder, stores = sys.argv[1], sys.argv[2].split()
    rows = list(table(folder, stores))
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print_stock_client(folder)
    noisy = [f"{row[1]} {row[0]}" for row in rows if int(row[3].rstrip("%")) > NOISY * 100]
    if noisy:
        print(f"\nThe machine was not quiet: a spread above {NOISY:.0%} in {', '.join(noisy)}.")


main()
