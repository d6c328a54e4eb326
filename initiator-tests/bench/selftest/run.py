#!/usr/bin/env python3
"""Run the unit tests of the benchmark suite, one case each, in the lines that tests/run counts."""
import sys
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import cases


class Cases(unittest.TestResult):
    """Each test as a case: `test_bounds.Rank.test_eight` becomes `bounds: eight`."""

    @staticmethod
    def name_of(test):
        words = test.id().split(".")
        return f"{words[0].removeprefix('test_')}: {words[-1].removeprefix('test_').replace('_', ' ')}"

    def addSuccess(self, test):
        cases.check(self.name_of(test), True)

    def addFailure(self, test, err):
        cases.check(self.name_of(test), False, self._exc_info_to_string(err, test))

    addError = addFailure


unittest.defaultTestLoader.discover(str(HERE)).run(Cases())
cases.end()
