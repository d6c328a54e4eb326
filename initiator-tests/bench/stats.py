"""Medians and confidence bounds of paired ratios, and the verdict on a limit.

A ratio is taken within one round, where both sides met the same machine a few seconds apart. What
the ratios of several rounds have in common is their median, and how well that is known is told by the
sign test: each round lies above the true median with a chance of one half, so the k-th smallest of n
ratios is above it with the chance of fewer than k heads in n tosses. That is exact for whatever
distribution the noise has, and one spoilt round does not move the bound when there are eight.

Pure: no files, no clock, no chance. Read next: criteria.py, which uses it.
"""
import math
import statistics
from dataclasses import dataclass

# How often a bound may lie on the wrong side of the true median; each side by itself.
CHANCE = 0.05

MET, NOT_MET, UNDECIDED, NOT_MEASURED = "met", "not met", "undecided", "not measured"


@dataclass(frozen=True)
class Interval:
    """The median of `rounds` ratios; `low` and `high` are None where the rounds are too few."""

    median: float
    low: float | None
    high: float | None
    rounds: int


def bound_rank(count):
    """The largest k for which the k-th smallest of `count` values is a lower bound; 0: there is none."""
    rank, below = 0, 0
    while rank < count:
        below += math.comb(count, rank)
        if below > CHANCE * 2**count:
            break
        rank += 1
    return rank


def interval(ratios):
    """The Interval of one or more ratios."""
    ordered = sorted(ratios)
    rank = bound_rank(len(ordered))
    low, high = (ordered[rank - 1], ordered[-rank]) if rank else (None, None)
    return Interval(statistics.median(ordered), low, high, len(ordered))


def verdict(found, limit, at_most):
    """Does the true median keep to the limit? The bound decides, not the median."""
    if found.low is None:
        return UNDECIDED
    worst, best = (found.high, found.low) if at_most else (found.low, found.high)
    if keeps(worst, limit, at_most):
        return MET
    return UNDECIDED if keeps(best, limit, at_most) else NOT_MET


def keeps(value, limit, at_most):
    return value <= limit if at_most else value >= limit


def spread(values):
    """Largest minus smallest over the median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle else 0.0
