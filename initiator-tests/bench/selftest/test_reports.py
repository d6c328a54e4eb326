import html.parser
import json
import re
import unittest

import criteria
import measure
import page
import plan
import plot
import report
import stats
from results import Results, Sample


def run_of(rounds, **more):
    """The data of a whole run with made-up figures."""
    results = Results()
    for number in range(rounds):
        for cell in plan.round_cells(plan.rows(), number):
            results.add(cell, number, Sample(1000.0 + number, 4.0, 10.0, 50.0, 90.0, 70.0, 120.0, 30.0))
    machine = {"date": "2026-01-01", "commit": "abc", "kernel": "6.1", "processor": "a <fast> one",
               "cpus": 2, "virtual": "none", "tgt": "1.0", "fio": ""}
    data = {"machine": machine, "engine": "uring", "rounds": rounds, "seconds": 0.4, "elapsed_s": 9,
            "priority": -20, "only": "", "noise": [], "left_out": [], "failures": [],
            "criteria": criteria.judge_all(results, plan.rows()), "rows": report.rows(results, plan.rows())}
    # As it comes back from the file.
    return json.loads(json.dumps({**data, **more}))


class Nesting(html.parser.HTMLParser):
    """Fails where tags do not nest, and keeps what a page would load."""

    VOID = {"meta", "br"}

    def __init__(self):
        super().__init__()
        self.open, self.loads = [], []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()


class Page(unittest.TestCase):
    def test_it_is_whole_and_needs_nothing_else(self):
        built = page.build(run_of(8))
        parser = Nesting()
        parser.feed(built)
        self.assertEqual((parser.open, parser.loads), ([], []))
        self.assertNotRegex(built, r"@import|url\(|<script|<link|https?://")
        for row in plan.rows():
            self.assertIn(row.name, built)

    def test_what_the_machine_says_is_escaped(self):
        self.assertIn("a &lt;fast&gt; one", page.build(run_of(1)))

    def test_noise_and_failures_are_shown(self):
        built = page.build(run_of(1, noise=["others took 9 %"], failures=["tgt: x"], left_out=["xfs: y"]))
        for words in ("not quiet", "others took 9 %", "Failed: tgt: x", "Left out: xfs: y"):
            self.assertIn(words, built)

    def test_a_run_of_nothing_still_makes_a_page(self):
        Nesting().feed(page.build(run_of(0)))


class Plots(unittest.TestCase):
    def place(self, **row):
        drawn = plot.interval({"what": "", "verdict": "met", "low": None, "high": None, **row}, width=100)
        return float(re.search(r'<circle cx="([\d.]+)"', drawn)[1])

    def test_right_of_the_line_is_better_than_asked(self):
        self.assertGreater(self.place(median=0.9, limit=1.0, at_most=True), 50)
        self.assertLess(self.place(median=1.1, limit=1.0, at_most=True), 50)
        self.assertLess(self.place(median=0.9, limit=1.0, at_most=False), 50)
        self.assertEqual(self.place(median=5.0, limit=5.0, at_most=False), 50)

    def test_far_off_stays_in_the_picture(self):
        self.assertLessEqual(self.place(median=1e6, limit=1.0, at_most=False), 100)
        self.assertGreaterEqual(self.place(median=0.0, limit=1.0, at_most=False), 0)

    def test_curves_leave_out_what_a_logarithm_cannot_show(self):
        drawn = plot.curves("t", "u", [(1, "a"), (2, "b")], [("n", "tgt", [(1, 0.0), (2, 5.0)])])
        self.assertEqual(drawn.count("<circle"), 1)
        self.assertEqual(plot.curves("t", "u", [(1, "a")], []), "")


class Text(unittest.TestCase):
    def test_costs_alone_have_no_table_of_rates(self):
        self.assertNotIn("IOPS", "\n".join(report.text(run_of(8, rows=[], criteria=[]))))

    def test_every_criterion_has_a_line_with_its_verdict(self):
        data = run_of(8)
        words = "\n".join(report.text(data))
        self.assertIn("NOT MET", words)
        self.assertIn("The machine was quiet.", words)
        self.assertEqual(len([line for line in words.split("\n") if "at least" in line or "at most" in line]),
                         len(data["criteria"]))

    def test_counts(self):
        rows = [{"verdict": stats.MET}, {"verdict": stats.NOT_MET}, {"verdict": stats.MET}]
        self.assertEqual(report.counts({"criteria": rows}), "2 met, 1 not met")


class Samples(unittest.TestCase):
    latency = {"p50": 1.0, "p90": 2.0, "p99": 3.0, "p99.9": 4.0}

    def bench(self, **more):
        part = {"ios": 10, "iops": 5.0, "bytes_per_s": 2 * plan.MIB, "latency_us": self.latency}
        return {"read": part, "errors": {"io": 0, "verify": 0}, "target_cpu": {"us_per_io": 7.0},
                "client_cpu": {"percent": 30.0}, **more}

    def test_ringsan_bench(self):
        self.assertEqual(measure.from_bench(self.bench()), Sample(5.0, 2.0, 7.0, 1.0, 3.0, 2.0, 4.0, 30.0))

    def test_errors_fail(self):
        with self.assertRaisesRegex(measure.Failed, "commands failed"):
            measure.from_bench(self.bench(errors={"io": 1, "verify": 0}))

    def test_no_command_at_all_fails(self):
        with self.assertRaisesRegex(measure.Failed, "no command ended"):
            measure.from_bench(self.bench(read={**self.bench()["read"], "ios": 0}))

    def test_fio_mix(self):
        way = {"total_ios": 7, "iops": 7.0, "bw_bytes": plan.MIB,
               "lat_ns": {"percentile": {"50.000000": 1000, "90.000000": 2000, "99.000000": 3000,
                                         "99.900000": 4000}}}
        job = {"error": 0, "usr_cpu": 1.0, "sys_cpu": 2.0, "read": way, "write": {**way, "iops": 3.0}}
        self.assertEqual(measure.from_fio({"jobs": [job]}),
                         Sample(10.0, 2.0, 3000.0, 1.0, 3.0, 2.0, 4.0))

    def test_a_stream_that_comes_round_in_a_hole_fails(self):
        found = {"write": {"bytes_per_s": plan.GIB}}
        measure.demand_no_wrap(plan.FRESH_STREAM, found, 0.5, plan.GIB)
        with self.assertRaisesRegex(measure.Failed, "came round"):
            measure.demand_no_wrap(plan.FRESH_STREAM, found, 2.0, plan.GIB)
        measure.demand_no_wrap(plan.STREAM_AGAIN, found, 2.0, plan.GIB)
