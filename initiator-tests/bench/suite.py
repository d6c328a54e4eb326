#!/usr/bin/env python3
"""`make bench`: measure ringsand, its peer and its limits in alternating rounds, judge, report.

Exit status: 0; 1 if a measurement failed, or with --strict if a criterion is not met; 2 if nothing could
be measured. This file is the order of things; what is measured stands in plan.py and costs.py, what
is promised in criteria.py. Read next: README.md.
"""
import signal
import sys
import time
from contextlib import ExitStack

sys.dont_write_bytecode = True  # The tree is for sources.

import costs
import criteria
import machine
import measure
import plan
import report
import servers
import settings as options
import stats
import stores
from results import Results

# What a terminal, a user or a system sends to end a run.
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# After so many failures of one contender it is left alone.
FAILURES_MAX = 3
FAILURES = (measure.Failed, servers.Failed, stores.Unavailable, OSError)


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


class Suite:
    def __init__(self, settings):
        self.settings = settings
        self.asked = plan.rows(settings.only)
        self.rows = self.asked  # Less what turns out to be impossible.
        self.costs = costs.chosen(settings.only)
        self.results = Results()
        self.quiet = machine.Quiet()
        self.left_out = []  # What this machine cannot do: sentences.
        self.failed = {}  # Contender to the number of its failures.
        self.began = time.monotonic()

    # --- what has to be up ---

    def open_stores(self, stack, bench):
        wanted = {row.store for row in (*self.rows, *self.costs)}
        for name, make in stores.MAKERS.items():
            if name not in wanted:
                continue
            say(f"preparing {name}")
            try:
                bench.stores[name] = stack.enter_context(make(self.settings))
            except (stores.Unavailable, OSError) as error:
                self.leave_out([row for row in self.rows if row.store != name], f"{name}: {error}")

    def leave_out(self, rows, why):
        """Go on with these rows alone, and say why."""
        self.rows = rows
        self.left_out.append(why)
        say(f"left out: {why}")

    def leave_out_contender(self, who, why):
        self.leave_out([row.without(who) for row in self.rows], why)

    def open_servers(self, stack, bench):
        wanted = {who for row in self.rows for who in row.who}
        for who in sorted(wanted & SERVERS.keys()):
            try:
                bench.servers[who] = stack.enter_context(SERVERS[who](bench))
            except servers.Failed as error:
                self.without_server(who, error)
        # Without io_uring there is one engine, and nothing to compare it with.
        if "ringsand-aio" in bench.servers and bench.servers["ringsand"].engine != "uring":
            self.leave_out_contender("ringsand-aio", "engine uring: not allowed or not wanted here")

    def without_server(self, who, error):
        """tgt may be missing. A daemon of ours that does not start is a failure, and without the first
        of them there is nothing to say."""
        if who == "ringsand":
            raise error
        if who != "tgt":
            self.results.failures.append(str(error))
        self.leave_out_contender(who, str(error))

    # --- rounds ---

    def note_failure(self, who, name, error):
        self.failed[who] = self.failed.get(who, 0) + 1
        self.results.failures.append(f"{name}: {error}")
        say(f"FAILED {name}: {error}")

    def measure_cell(self, bench, cell, number):
        if self.failed.get(cell.who, 0) >= FAILURES_MAX:
            return
        cpus = (self.settings.target_cpu, self.settings.client_cpu)
        pids = [server.pid for server in bench.servers.values()]
        before = machine.read(cpus, pids)
        try:
            self.results.add(cell, number, bench.measure(cell))
        except FAILURES as error:
            self.note_failure(cell.who, cell.name, error)
        else:
            # A daemon that came and went counts as neither ours nor others'.
            if cell.workload.state == plan.WRITTEN:
                self.quiet.add(before, machine.read(cpus, pids))

    def measure_cost(self, bench, cost, number):
        if cost.store not in bench.stores or self.failed.get(cost.row, 0) >= FAILURES_MAX:
            return
        try:
            self.results.add_cost(cost.row, number, cost.find(bench, bench.stores[cost.store]))
        except FAILURES as error:
            self.note_failure(cost.row, cost.row, error)

    def round_fits(self, number, longest):
        elapsed = time.monotonic() - self.began
        if number == 0 or elapsed + longest <= self.settings.minutes * 60:
            return True
        self.left_out.append(f"rounds from number {number + 1} on: they would have ended after "
                             f"{self.settings.minutes:g} minutes")
        return False

    def measure_all(self, bench):
        longest = 0.0
        for number in range(self.settings.rounds):
            if not self.round_fits(number, longest):
                break
            began = time.monotonic()
            cells = plan.round_cells(self.rows, number)
            for place, cell in enumerate(cells):
                say(f"round {number + 1}/{self.settings.rounds} {place + 1}/{len(cells)} {cell.name}")
                self.measure_cell(bench, cell, number)
            for cost in self.costs:
                say(f"round {number + 1}/{self.settings.rounds} {cost.row}")
                self.measure_cost(bench, cost, number)
            # The first round has rows that are measured once, so it tells nothing of the others.
            longest = max(longest, time.monotonic() - began) if number else 0.0

    # --- the whole ---

    def run(self):
        """Measure; then the data of all reports."""
        priority = machine.take_priority()
        with ExitStack() as stack:
            folder = stack.enter_context(stores.folder_in(self.settings.out))
            bench = measure.Bench(self.settings, folder)
            self.open_stores(stack, bench)
            self.open_servers(stack, bench)
            engine = bench.servers["ringsand"].engine if "ringsand" in bench.servers else "none"
            self.measure_all(bench)
        return self.data(priority, engine)

    def judged_costs(self):
        return [criteria.judge_cost(costs.PROMISE, cost, self.results) for cost in self.costs]

    def data(self, priority, engine):
        cells = list(dict.fromkeys(cell for row in plan.by_workload(self.rows) for cell in row.cells()))
        sums = [self.results.summary(cell) for cell in cells if cell in self.results.samples]
        spreads = [found["spread"] for found in sums if found["rounds"] > 1]
        return {"format": 1, "machine": machine.describe(), "engine": engine, "priority": priority,
                "seconds": self.settings.seconds, "rounds": self.settings.rounds,
                "elapsed_s": round(time.monotonic() - self.began), "only": self.settings.only,
                "quiet": self.quiet.shares(), "noise": self.quiet.remarks(spreads),
                "left_out": self.left_out, "failures": self.results.failures,
                "criteria": criteria.judge_all(self.results, self.asked) + self.judged_costs(),
                "rows": report.rows(self.results, self.rows)}


def luns_of(bench, path_of):
    """The LUN lines of a daemon: null, and a file for each store that has one for it."""
    files = {measure.LUN[name]: measure.image_line(path_of(store), store)
             for name, store in bench.stores.items() if path_of(store).exists()}
    return {measure.LUN[plan.NULL]: "type = null size = 1G", **files}


def start_main(bench):
    return bench.ringsand("ringsand", bench.settings.engine, luns_of(bench, lambda store: store.lun))


def start_aio(bench):
    return bench.ringsand("ringsand-aio", "aio", luns_of(bench, lambda store: store.twin))


def start_two_loops(bench):
    null = {measure.LUN[plan.NULL]: "type = null size = 1G"}
    return bench.ringsand("ringsand-2loops", bench.settings.engine, null, loops=2)


def start_qcow2(bench):
    luns = {measure.LUN[name]: measure.image_line(store.mapped(bench.tool), store, "qcow2")
            for name, store in bench.stores.items() if name in (plan.TMPFS, plan.EXT4)}
    return bench.ringsand(plan.QCOW2, bench.settings.engine, luns)


def start_tgt(bench):
    sized = bench.folder / "tgt-null.img"
    with open(sized, "wb") as file:
        file.truncate(measure.NULL_BYTES)
    luns = {measure.LUN[plan.NULL]: ("null", sized)}
    for name, store in bench.stores.items():
        # Its aio opens files for direct I/O by itself.
        luns[measure.LUN[name]] = ("aio" if store.direct else "rdwr", store.lun)
    return servers.Tgt(bench.folder, [bench.settings.target_cpu], luns)


SERVERS = {"ringsand": start_main, "ringsand-aio": start_aio, "ringsand-2loops": start_two_loops,
           plan.QCOW2: start_qcow2, "tgt": start_tgt}


def status_of(data, strict):
    if data["failures"]:
        return 1
    unmet = any(row["verdict"] == stats.NOT_MET for row in data["criteria"])
    return 1 if strict and unmet else 0


def end(number, _frame):
    """As any other end: what was started is stopped, what was made is removed, and that undisturbed."""
    for other in ENDS:
        signal.signal(other, signal.SIG_IGN)
    sys.exit(128 + number)


def heed_ends():
    for number in ENDS:
        if signal.getsignal(number) != signal.SIG_IGN:  # As nohup has it.
            signal.signal(number, end)


def main():
    settings, list_only = options.from_command_line()
    suite = Suite(settings)
    if list_only:
        names = [row.name for row in plan.by_workload(suite.rows)] + [cost.row for cost in suite.costs]
        print("\n".join(names))
        return 0
    if not suite.rows and not suite.costs:
        say(f"no row matches '{settings.only}'; --list shows them")
        return 2
    heed_ends()
    try:
        data = suite.run()
        report.write(data, settings.out)
    except (servers.Failed, OSError) as error:
        say(str(error))
        return 2
    return status_of(data, settings.strict)


if __name__ == "__main__":
    sys.exit(main())
