import unittest

import criteria
import plan
import report
import stats
from results import Missing, Results, Sample

ROUNDS = 8


def sample(iops=1000.0, cpu=10.0, p50=100.0, p99=200.0):
    return Sample(iops, iops / 256, cpu, p50, p99)


def filled(figures, rounds=ROUNDS):
    """Results with the same figures in all rounds: {(workload, who, store): Sample}."""
    results = Results()
    for (load, who, store), found in figures.items():
        for number in range(rounds):
            results.add(plan.Cell(load, who, store), number, found)
    return results


def judged(results, row, what):
    """The judgement of one criterion, by its row and a part of its ratio."""
    found = [one for one in criteria.table() if one.row == row and what in one.what]
    assert len(found) == 1, found
    return criteria.judge(found[0], results)


class Limits(unittest.TestCase):
    def test_the_better_echo_is_the_limit(self):
        results = filled({(plan.READ, "echo-epoll", "-"): sample(cpu=2.0),
                          (plan.READ, "echo-ring", "-"): sample(cpu=1.0),
                          (plan.READ, "ringsand", "null"): sample(cpu=1.7)})
        found = judged(results, "null/read-4k-qd32-x1", "CPU")
        self.assertAlmostEqual(found["median"], 1.7)
        self.assertEqual(found["verdict"], stats.NOT_MET)

    def test_one_echo_is_enough(self):
        results = filled({(plan.READ, "echo-epoll", "-"): sample(cpu=2.0),
                          (plan.READ, "ringsand", "null"): sample(cpu=1.7)})
        self.assertEqual(judged(results, "null/read-4k-qd32-x1", "CPU")["verdict"], stats.MET)

    def test_the_better_echo_in_throughput_is_the_faster(self):
        load = plan.MIB_STREAMS[0]
        results = filled({(load, "echo-epoll", "-"): sample(iops=1000),
                          (load, "echo-ring", "-"): sample(iops=2000),
                          (load, "ringsand", "null"): sample(iops=1700)})
        self.assertAlmostEqual(judged(results, "null/read-1m-qd8-x1-seq", "echo")["median"], 0.85)

    def test_a_disk_demands_the_lower_of_peer_and_fio(self):
        def ratio(tgt, fio):
            results = filled({(plan.READ, "ringsand", "ext4"): sample(iops=900),
                              (plan.READ, "tgt", "ext4"): sample(iops=tgt),
                              (plan.READ, "fio", "ext4"): sample(iops=fio)})
            return judged(results, "ext4/read-4k-qd32-x1", "min")["median"]

        self.assertAlmostEqual(ratio(tgt=360, fio=10000), 1.0)
        self.assertAlmostEqual(ratio(tgt=10000, fio=1000), 1.0)

    def test_latency_is_held_against_wire_and_disk(self):
        results = filled({(plan.QD1, "echo-epoll", "-"): sample(p50=60),
                          (plan.QD1, "echo-ring", "-"): sample(p50=50),
                          (plan.QD1, "fio", "ext4"): sample(p50=70),
                          (plan.QD1, "ringsand", "ext4"): sample(p50=132),
                          (plan.QD1, "ringsand", "null"): sample(p50=55)})
        self.assertAlmostEqual(judged(results, "ext4/read-4k-qd1-x1", "p50")["median"], 1.1)
        self.assertAlmostEqual(judged(results, "null/read-4k-qd1-x1", "p50")["median"], 1.1)

    def test_first_writes_are_held_against_overwriting(self):
        results = filled({(plan.FRESH_STREAM, "ringsand", "ext4"): sample(iops=950),
                          (plan.STREAM_AGAIN, "ringsand", "ext4"): sample(iops=1000)})
        found = judged(results, "ext4/write-64k-qd8-x1-seq-hole", "overwrite")
        self.assertEqual((found["verdict"], found["rounds"]), (stats.MET, ROUNDS))


class Judging(unittest.TestCase):
    figures = {(plan.READ, "ringsand", "tmpfs"): sample(iops=7000),
               (plan.READ, "tgt", "tmpfs"): sample(iops=1000)}

    def test_rounds_without_a_pair_do_not_count(self):
        results = filled(self.figures)
        del results.samples[plan.Cell(plan.READ, "tgt", "tmpfs")][3]
        self.assertEqual(judged(results, "tmpfs/read-4k-qd32-x1", "tgt")["rounds"], ROUNDS - 1)

    def test_without_the_peer_it_is_not_measured(self):
        results = filled({(plan.READ, "ringsand", "tmpfs"): sample()})
        found = judged(results, "tmpfs/read-4k-qd32-x1", "tgt")
        self.assertEqual((found["verdict"], found["median"]), (stats.NOT_MEASURED, None))

    def test_nothing_at_all_is_not_measured(self):
        self.assertEqual({row["verdict"] for row in criteria.judge_all(Results(), plan.rows())},
                         {stats.NOT_MEASURED})

    def test_a_rate_of_zero_is_no_ratio(self):
        results = filled({**self.figures, (plan.READ, "tgt", "tmpfs"): sample(iops=0)})
        self.assertEqual(judged(results, "tmpfs/read-4k-qd32-x1", "tgt")["verdict"], stats.NOT_MEASURED)

    def test_too_few_rounds_leave_it_open(self):
        found = judged(filled(self.figures, rounds=4), "tmpfs/read-4k-qd32-x1", "tgt")
        self.assertEqual((found["verdict"], found["median"]), (stats.UNDECIDED, 7.0))

    def test_only_rows_that_were_to_be_measured_are_judged(self):
        rows = plan.rows("^tmpfs/read-4k-qd32-x1$")
        self.assertEqual({row["row"] for row in criteria.judge_all(Results(), rows)},
                         {"tmpfs/read-4k-qd32-x1"})

    def test_a_missing_figure_is_named(self):
        with self.assertRaisesRegex(Missing, "tmpfs/read-4k-qd32-x1 fio"):
            filled(self.figures).views(plan.READ)[0]("fio", "tmpfs")


class Rows(unittest.TestCase):
    def test_ratios_are_paired_within_rounds(self):
        """Machine speed doubles every round; the ratio does not."""
        results = Results()
        for number in range(4):
            results.add(plan.Cell(plan.READ, "ringsand", "tmpfs"), number, sample(iops=600 * 2**number))
            results.add(plan.Cell(plan.READ, "tgt", "tmpfs"), number, sample(iops=100 * 2**number))
        rows = report.rows(results, plan.rows("^tmpfs/read-4k-qd32-x1$"))
        cell = rows[0]["cells"][0]
        self.assertEqual((cell["who"], cell["rate_to_tgt"]), ("ringsand", 6.0))
        self.assertIsNone(cell["rate_to_fio"])
