import itertools
import unittest

import stats


def chance_below(rank, count):
    """By counting all outcomes: how often fewer than `rank` of `count` fair tosses are heads."""
    outcomes = list(itertools.product((0, 1), repeat=count))
    return sum(sum(outcome) < rank for outcome in outcomes) / len(outcomes)


class Rank(unittest.TestCase):
    def test_under_five_rounds_give_no_bound(self):
        self.assertEqual([stats.bound_rank(count) for count in range(5)], [0] * 5)

    def test_five_to_seven_bound_by_their_extremes_eight_by_the_second(self):
        self.assertEqual([stats.bound_rank(count) for count in (5, 6, 7, 8)], [1, 1, 1, 2])

    def test_the_rank_is_the_largest_whose_chance_is_small_enough(self):
        for count in range(1, 13):
            rank = stats.bound_rank(count)
            self.assertLessEqual(chance_below(rank, count), stats.CHANCE)
            self.assertGreater(chance_below(rank + 1, count), stats.CHANCE)


class Intervals(unittest.TestCase):
    def test_order_does_not_matter(self):
        self.assertEqual(stats.interval([3, 1, 2, 5, 4]), stats.Interval(3, 1, 5, 5))

    def test_one_spoilt_round_of_eight_does_not_move_the_bound(self):
        calm = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7]
        spoilt = calm[:-1] + [1000.0]
        self.assertEqual(stats.interval(calm), stats.interval(spoilt))

    def test_too_few_have_a_median_and_no_bound(self):
        self.assertEqual(stats.interval([2.0, 4.0]), stats.Interval(3.0, None, None, 2))


class Verdicts(unittest.TestCase):
    def judge(self, low, high, at_most):
        return stats.verdict(stats.Interval((low + high) / 2, low, high, 8), 1.0, at_most)

    def test_at_most(self):
        self.assertEqual(self.judge(0.8, 1.0, True), stats.MET)
        self.assertEqual(self.judge(0.8, 1.01, True), stats.UNDECIDED)
        self.assertEqual(self.judge(1.0, 1.2, True), stats.UNDECIDED)
        self.assertEqual(self.judge(1.01, 1.2, True), stats.NOT_MET)

    def test_at_least(self):
        self.assertEqual(self.judge(1.0, 1.2, False), stats.MET)
        self.assertEqual(self.judge(0.99, 1.2, False), stats.UNDECIDED)
        self.assertEqual(self.judge(0.8, 1.0, False), stats.UNDECIDED)
        self.assertEqual(self.judge(0.8, 0.99, False), stats.NOT_MET)

    def test_no_bound_decides_nothing(self):
        self.assertEqual(stats.verdict(stats.interval([0.1]), 1.0, True), stats.UNDECIDED)

    def test_the_bound_decides_and_not_the_median(self):
        found = stats.interval([0.5] * 5 + [2.0] * 3)
        self.assertLess(found.median, 1.0)
        self.assertEqual(stats.verdict(found, 1.0, True), stats.UNDECIDED)


class Spread(unittest.TestCase):
    def test_largest_minus_smallest_over_the_median(self):
        self.assertEqual(stats.spread([90, 100, 120]), 0.3)
        self.assertEqual(stats.spread([7]), 0.0)
        self.assertEqual(stats.spread([0, 0]), 0.0)
