import contextlib
import io
import unittest
from pathlib import Path

import machine
import plan
import servers
import settings
import stats
import suite


def suite_of(only=""):
    nowhere = Path("/nonexistent")
    return suite.Suite(settings.Settings(0.4, 0.1, 8, 10.0, only, False, nowhere, nowhere, 0, 1, "auto",
                                         nowhere))


@contextlib.contextmanager
def silence():
    with contextlib.redirect_stderr(io.StringIO()):
        yield


class LeftOut(unittest.TestCase):
    def test_a_store_that_is_not_there_leaves_its_promises_unmeasured(self):
        run = suite_of("qd32-x1$")
        with silence():
            run.leave_out([row for row in run.rows if row.store != plan.EXT4], "ext4: not here")
        self.assertNotIn(plan.EXT4, {row.store for row in run.rows})
        verdicts = {row["verdict"] for row in run.data(0, "uring")["criteria"]
                    if row["row"].startswith("ext4/")}
        self.assertEqual(verdicts, {stats.NOT_MEASURED})

    def test_without_tgt_the_rest_goes_on(self):
        run = suite_of()
        with silence():
            run.without_server("tgt", servers.Failed("not installed"))
        self.assertEqual(run.results.failures, [])
        self.assertFalse(any("tgt" in row.who for row in run.rows))

    def test_a_daemon_of_ours_that_does_not_start_is_a_failure(self):
        run = suite_of()
        with silence():
            run.without_server("ringsand-aio", servers.Failed("aio: refused"))
        self.assertEqual(run.results.failures, ["aio: refused"])
        with self.assertRaises(servers.Failed):
            run.without_server("ringsand", servers.Failed("it ended"))


class Rounds(unittest.TestCase):
    def test_no_round_begins_that_would_end_too_late(self):
        run = suite_of()
        self.assertTrue(run.round_fits(0, 1e9))
        self.assertTrue(run.round_fits(1, 60))
        self.assertFalse(run.round_fits(1, 601))
        self.assertIn("rounds from number 2 on", run.left_out[0])


class Status(unittest.TestCase):
    def status(self, verdict, failures=(), strict=False):
        return suite.status_of({"failures": list(failures), "criteria": [{"verdict": verdict}]}, strict)

    def test_an_unmet_promise_fails_only_when_strict(self):
        self.assertEqual(self.status(stats.NOT_MET), 0)
        self.assertEqual(self.status(stats.NOT_MET, strict=True), 1)
        self.assertEqual(self.status(stats.UNDECIDED, strict=True), 0)

    def test_a_failed_measurement_always_fails(self):
        self.assertEqual(self.status(stats.MET, failures=["x"]), 1)


class Quiet(unittest.TestCase):
    def quiet(self, foreign=0.0, steal=0.0, load=0.0):
        watch = machine.Quiet()
        watch.load = load
        watch.add(machine.Reading(0.0, 0.0, 0.0, 0.0),
                  machine.Reading(100.0, 80.0 + foreign, steal, 80.0))
        return watch

    def test_a_quiet_machine_has_no_remarks(self):
        self.assertEqual(self.quiet().remarks([0.1, 0.2]), [])

    def test_each_kind_of_noise_is_said(self):
        for watch, spreads, words in ((self.quiet(foreign=9.0), [], "other processes took 9%"),
                                      (self.quiet(steal=2.0), [], "hypervisor gave 2.0%"),
                                      (self.quiet(load=3.0), [], "load average was 3.0"),
                                      (self.quiet(), [0.1, 0.3], "1 of 2 rates moved")):
            said = watch.remarks(spreads)
            self.assertEqual(len(said), 1, said)
            self.assertIn(words, said[0])

    def test_our_own_time_is_not_foreign(self):
        self.assertEqual(self.quiet().shares()["foreign"], 0.0)
