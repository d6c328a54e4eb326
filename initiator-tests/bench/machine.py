"""The machine: what it is, and whether it was quiet while it was measured.

Other work shows in three ways: processor time of processes that are not ours, time that the
hypervisor gave to others (steal), and rates that differ from round to round. Read next: suite.py.
"""
import os
import platform
import subprocess
import time
from dataclasses import dataclass

import settings

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
FOREIGN_MAX, STEAL_MAX, LOAD_MAX, SPREAD_MAX = 0.05, 0.01, 0.5, 0.25


def command_output(*command):
    """Its first line, or '' where there is no such command."""
    try:
        text = subprocess.run(command, capture_output=True, text=True, cwd=settings.ROOT,
                              timeout=10, check=False).stdout
    except OSError:
        return ""
    return text.strip().split("\n")[0]


def processor_name():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def describe():
    dirty = "+" if command_output("git", "status", "--porcelain", "-uno") else ""
    return {"kernel": platform.release(), "processor": processor_name(), "cpus": os.cpu_count(),
            "virtual": command_output("systemd-detect-virt", "--vm") or "not known",
            "commit": command_output("git", "rev-parse", "--short", "HEAD") + dirty,
            "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "tgt": command_output("dpkg-query", "-W", "-f", "${Version}", "tgt"),
            "fio": command_output("fio", "--version")}


def take_priority():
    """Before other work of the machine, where that is allowed; all that we start inherits it."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        # Where the scheduler groups by terminal session (sched(7)), nice counts inside a group only.
        with open("/proc/self/autogroup", "w", encoding="ascii") as group:
            group.write("-20")
    except OSError:
        pass
    return os.getpriority(os.PRIO_PROCESS, 0)


@dataclass(frozen=True)
class Reading:
    """Processor seconds since boot of the CPUs that are measured on, and those that are ours."""

    wall: float
    busy: float
    steal: float
    ours: float


def process_seconds(pid):
    """User and system time of a process, all threads."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK_S


def read(cpus, pids):
    """A Reading; `pids` are the servers, the clients are the children that have ended."""
    busy = steal = 0.0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *values = line.split()
            if name in {f"cpu{cpu}" for cpu in cpus}:
                ticks = [int(value) * TICK_S for value in values]
                busy += ticks[0] + ticks[1] + ticks[2]
                steal += ticks[7]
    times = os.times()
    ours = sum(times[:4]) + sum(process_seconds(pid) for pid in pids)
    return Reading(time.monotonic() * len(set(cpus)), busy, steal, ours)


class Quiet:
    """Adds up what others did while something was measured, and says so in sentences."""

    def __init__(self):
        self.wall = self.foreign = self.steal = 0.0
        self.load = os.getloadavg()[0]

    def add(self, before, after):
        self.wall += after.wall - before.wall
        self.steal += after.steal - before.steal
        self.foreign += max(0.0, (after.busy - before.busy) - (after.ours - before.ours))

    def shares(self):
        wall = self.wall or 1.0
        return {"load_before": self.load, "foreign": self.foreign / wall, "steal": self.steal / wall}

    def remarks(self, spreads):
        """What to say; nothing, if the machine was quiet. `spreads`: of the rates of all cells."""
        shares = self.shares()
        wide = sum(value > SPREAD_MAX for value in spreads)
        said = []
        if shares["load_before"] > LOAD_MAX:
            said.append(f"the load average was {shares['load_before']:.1f} before anything was measured")
        if shares["foreign"] > FOREIGN_MAX:
            said.append(f"other processes took {shares['foreign']:.0%} of the processors")
        if shares["steal"] > STEAL_MAX:
            said.append(f"the hypervisor gave {shares['steal']:.1%} of the time to others")
        if wide:
            said.append(f"{wide} of {len(spreads)} rates moved by more than {SPREAD_MAX:.0%} "
                        "between rounds")
        return said
