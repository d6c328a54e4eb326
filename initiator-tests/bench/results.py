"""The measurements of a run: a sample for each cell and round, a figure for each cost, and views of them for
judging.

Pure: holds figures, measures nothing. Read next: criteria.py.
"""
import statistics
from dataclasses import dataclass

import plan
import stats


class Missing(Exception):
    """A figure that was not measured."""


@dataclass(frozen=True)
class Sample:
    """What one measurement found. CPU is the contender's, per I/O; None: not known here."""

    iops: float
    mib_s: float
    cpu_us: float
    p50_us: float
    p99_us: float
    p90_us: float | None = None
    p999_us: float | None = None
    client_percent: float | None = None


def summary(samples):
    """Medians over the rounds, and how far the rate moved between them."""
    def middle(name):
        known = [value for value in (getattr(sample, name) for sample in samples) if value is not None]
        return statistics.median(known) if known else None

    found = {name: middle(name) for name in Sample.__dataclass_fields__}
    # Of one round it is not known.
    spread = stats.spread([sample.iops for sample in samples]) if len(samples) > 1 else None
    return {**found, "spread": spread,
            "rounds": len(samples)}


class Results:
    def __init__(self):
        self.samples = {}  # Cell to {round: Sample}.
        self.costs = {}  # Of costs.py: row to {round: figure}.
        self.failures = []  # Of measurements: sentences.

    def add(self, cell, number, sample):
        self.samples.setdefault(cell, {})[number] = sample

    def add_cost(self, row, number, figure):
        self.costs.setdefault(row, {})[number] = figure

    def views(self, workload):
        """One View for each round that measured the workload."""
        numbers = {number for cell, rounds in self.samples.items() if cell.workload == workload
                   for number in rounds}
        return [View(self, number, workload) for number in sorted(numbers)]

    def summary(self, cell):
        return summary(list(self.samples[cell].values())) if cell in self.samples else None

    def best_echo(self, workload, quantity):
        """The better echo server for a quantity: for most of it in IOPS, for least of all else."""
        known = {who: self.summary(plan.Cell(workload, who, "-")) for who in plan.ECHOES}
        known = {who: found[quantity] for who, found in known.items() if found}
        if not known:
            raise Missing(f"no echo of {workload.name}")
        choose = max if quantity == "iops" else min
        return choose(known, key=known.get)


class View:
    """One round of one workload."""

    def __init__(self, results, number, workload):
        self.results, self.number, self.workload = results, number, workload

    def __call__(self, who, store):
        cell = plan.Cell(self.workload, who, store)
        try:
            return self.results.samples[cell][self.number]
        except KeyError:
            raise Missing(cell.name) from None

    def of(self, workload):
        return View(self.results, self.number, workload)

    def echo(self, quantity):
        """Which server is the better one is decided over all rounds, not in each: the lower of two
        noisy figures would flatter the limit."""
        return getattr(self(self.results.best_echo(self.workload, quantity), "-"), quantity)
