import os
import subprocess
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import costs
import criteria
import measure
import plan
import settings
import stats
import stores
import suite
from results import Results
from test_suite import silence, suite_of


def judged(figures, limit=50):
    results = Results()
    for number, figure in enumerate(figures):
        results.add_cost("ext4/x", number, figure)
    return criteria.judge_cost("p", costs.Cost("ext4", "x", "ms", limit, None), results)


class Table(unittest.TestCase):
    def test_each_has_a_name_of_its_own_and_a_store(self):
        names = [cost.row for cost in costs.TABLE]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(set(names) & {row.name for row in plan.rows()}, set())
        self.assertLessEqual({cost.store for cost in costs.TABLE}, set(stores.MAKERS))

    def test_an_expression_chooses(self):
        self.assertEqual([cost.row for cost in costs.chosen("tables")], ["tmpfs/tables-1t"])
        self.assertEqual(costs.chosen("qd32"), [])

    def test_every_first_write_meets_a_cluster_of_its_own(self):
        places = [costs.first_write_at(number) for number in range(costs.FIRST_WRITES)]
        self.assertEqual(len({at // costs.CLUSTER_BYTES for at in places}), costs.FIRST_WRITES)
        self.assertEqual({at % costs.BLOCK_BYTES for at in places}, {0})
        self.assertLess(max(places), min(stores.LUN_BYTES.values()))


class Verdicts(unittest.TestCase):
    def test_the_bound_decides(self):
        self.assertEqual(judged([40] * 8)["verdict"], stats.MET)
        self.assertEqual(judged([40] * 7 + [60])["verdict"], stats.MET)
        self.assertEqual(judged([40] * 5 + [60] * 3)["verdict"], stats.UNDECIDED)
        self.assertEqual(judged([60] * 8)["verdict"], stats.NOT_MET)
        self.assertEqual(judged([40] * 4)["verdict"], stats.UNDECIDED)

    def test_without_figures_it_is_not_measured(self):
        found = judged([])
        self.assertEqual((found["verdict"], found["median"], found["at_most"]),
                         (stats.NOT_MEASURED, None, True))


class Rounds(unittest.TestCase):
    def run_of(self, find, rounds=8):
        run = suite_of("clone-10g")
        run.costs = [costs.Cost(plan.EXT4, "x", "ms", 50, find)]
        bench = measure.Bench(run.settings, Path("/nonexistent"))
        bench.stores[plan.EXT4] = "the store"
        with silence():
            for number in range(rounds):
                run.measure_cost(bench, run.costs[0], number)
        return run

    def test_each_round_finds_a_figure(self):
        run = self.run_of(lambda bench, store: len(store))
        found = run.data(0, "uring")["criteria"]
        self.assertEqual([(one["row"], one["median"], one["rounds"], one["verdict"]) for one in found],
                         [("ext4/x", 9, 8, stats.MET)])

    def test_what_fails_is_told_and_left_alone(self):
        def find(_bench, _store):
            raise stores.Unavailable("clone: no")

        run = self.run_of(find)
        self.assertEqual(run.results.failures, ["ext4/x: clone: no"] * suite.FAILURES_MAX)
        self.assertEqual(suite.status_of(run.data(0, "uring"), False), 1)

    def test_a_command_without_an_end_is_a_failure(self):
        def find(bench, _store):
            costs.image(bench, "clone", "golden", "vm")

        with mock.patch("subprocess.run", side_effect=subprocess.TimeoutExpired("ringsan", 60)):
            run = self.run_of(find, rounds=1)
        self.assertRegex(run.results.failures[0],
                         r"^ext4/x: no end after 60 s: .*ringsan image clone golden vm$")

    def test_without_its_store_it_is_not_measured(self):
        run = suite_of("clone-10g")
        run.measure_cost(measure.Bench(run.settings, Path("/nonexistent")), run.costs[0], 0)
        self.assertEqual([one["verdict"] for one in run.data(0, "uring")["criteria"]], [stats.NOT_MEASURED])


class Finding(unittest.TestCase):
    """By the programs themselves, on a disk that is none."""

    def setUp(self):
        made = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.addCleanup(made.cleanup)
        build = settings.ROOT / os.environ.get("B", "build") / os.environ.get("RINGSAN_VARIANT", "plain")
        cpu = min(os.sched_getaffinity(0))
        folder = Path(made.name)
        self.bench = measure.Bench(settings.Settings(0.4, 0.1, 1, 10.0, "", False, folder, folder, cpu, cpu,
                                                     "auto", build), folder)
        self.store = stores.Store(plan.TMPFS, folder)

    def test_a_clone(self):
        self.assertGreater(costs.one_clone_ms(self.bench, self.store), 0)
        self.assertEqual(list(self.store.folder.iterdir()), [])

    def test_first_writes_that_no_disk_sees(self):
        with mock.patch.dict(stores.LUN_BYTES, {plan.TMPFS: 16 * plan.MIB}), \
                self.assertRaisesRegex(measure.Failed, "the kernel counts 0 bytes"):
            costs.first_write_bytes(self.bench, self.store)
