import unittest

import criteria
import measure
import plan
import suite
from words import NAMES, STORES


class Table(unittest.TestCase):
    def test_a_row_and_a_contender_occur_once(self):
        cells = [(row.name, who) for row in plan.rows() for who in row.who]
        self.assertEqual(len(cells), len(set(cells)))

    def test_every_contender_can_be_measured_and_has_a_name(self):
        wanted = {who for row in plan.rows() for who in row.who}
        self.assertEqual(wanted, set(measure.CONTENDERS))
        self.assertEqual(wanted, set(NAMES))
        self.assertEqual(wanted - set(suite.SERVERS), {*plan.ECHOES, "fio"})

    def test_every_store_has_a_lun_and_a_title(self):
        wanted = {row.store for row in plan.rows()}
        self.assertEqual(wanted, set(measure.LUN))
        self.assertEqual(wanted, set(STORES))

    def test_names_tell_workloads_apart(self):
        loads = {row.workload for row in plan.rows()}
        self.assertEqual(len(loads), len({load.name for load in loads}))
        self.assertEqual(plan.READ_X4.name, "read-4k-qd32-x4")
        self.assertEqual(plan.MIB_DIGESTS[1].name, "write-1m-qd8-x1-seq-digests")
        self.assertEqual(plan.FRESH.name, "write-4k-qd32-x1-hole")
        self.assertEqual(plan.size_text(512), "512")

    def test_an_expression_chooses_rows(self):
        self.assertEqual({row.name for row in plan.rows("^null/.*qd1-")}, {"null/read-4k-qd1-x1"})


class Rounds(unittest.TestCase):
    def test_a_shared_cell_is_measured_once(self):
        cells = plan.round_cells(plan.rows("qd1-"), 0)
        self.assertEqual(len(cells), len(set(cells)))
        self.assertEqual(sum(cell.who == "echo-ring" for cell in cells), 1)

    def test_every_second_round_goes_backwards(self):
        rows = plan.rows("null/read-4k-qd32")
        self.assertEqual(plan.round_cells(rows, 1), plan.round_cells(rows, 3))
        self.assertEqual(plan.round_cells(rows, 2), plan.round_cells(rows, 1)[::-1])

    def test_what_is_not_judged_is_measured_in_fewer_rounds(self):
        counts = [len(plan.round_cells(plan.rows(), number)) for number in range(8)]
        self.assertGreater(counts[0], counts[4])
        self.assertGreater(counts[4], counts[1])
        self.assertEqual(len(set(counts[1:4] + counts[5:])), 1)

    def test_contenders_of_a_workload_stand_together(self):
        loads = [cell.workload for cell in plan.round_cells(plan.rows(), 0)]
        changes = sum(one != other for one, other in zip(loads, loads[1:]))
        self.assertEqual(changes + 1, len(set(loads)))


class Criteria(unittest.TestCase):
    def test_what_is_judged_is_measured_in_every_round(self):
        """Each criterion finds its figures among the cells of a round in which only judged rows are due."""
        cells = plan.round_cells(plan.rows(), 1)
        results = suite.Results()
        for cell in cells:
            results.add(cell, 1, suite.measure.Sample(1, 1, 1, 1, 1))
        for row in criteria.judge_all(results, plan.rows()):
            self.assertEqual(row["rounds"], 1, f"{row['row']}: {row['what']}")
