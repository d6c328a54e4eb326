#!/usr/bin/env python3
"""Judge a report of the lines runtime: judge.py REPORT [OPTIONS]; --help lists them.

Prints what it found: how often lines moved between threads and how often the program asked for
memory, took locks and formatted text, for each I/O; then the lines that moved most, whose memory they
are, and the two places in the code between which they moved. Exit status 1 if there is more than the
limits allow; 2 if too little was measured to judge.
"""
import argparse
import collections
import subprocess
import sys

# Timers, logins and what happens first in a window are no I/O, and may come along: a few times in each window and
# second, however few I/Os a slow disk does in it. One for each I/O is far more than that: --ios.
SPARE_PER_IO = 0.001
SPARE = 8
SPARE_PER_SECOND = 2
# Helper threads are started once, when they are first needed.
THREADS = 64
LINES_SHOWN = 6


class Report:
    def __init__(self, path):
        self.names, self.ios, self.calls = {}, {}, {}
        self.moves = collections.Counter()
        self.callers, self.lines = [], []
        self.dropped = 0
        self.complete = False
        with open(path, encoding="utf-8") as file:
            for row in file:
                self.take(row.split())

    def take(self, f):
        if f[0] == "thread":
            self.names[int(f[1])], self.ios[int(f[1])] = f[2], int(f[3])
        elif f[0] == "moves":
            self.moves[int(f[1]), int(f[2])] = int(f[3])
        elif f[0] == "calls":
            self.calls[f[1]] = int(f[2])
        elif f[0] == "caller":
            self.callers.append((f[1], int(f[2]), int(f[3]), f[4]))
        elif f[0] == "line":
            self.lines.append({"moves": int(f[2]), "object": f[3:], "pairs": []})
        elif f[0] == "pair":
            self.lines[-1]["pairs"].append(
                (int(f[1]), (int(f[2]), f[3], f[4], f[5]), (int(f[6]), f[7], f[8], f[9])))
        elif f[0] == "dropped":
            self.dropped = int(f[1])
        elif f[0] == "end":
            self.complete = True


class Names:
    """FILE+OFFSET to words."""

    def __init__(self):
        self.known = {}

    def code(self, place):
        if place not in self.known:
            file, offset = place.rsplit("+", 1)
            found = subprocess.run(["addr2line", "-f", "-i", "-s", "-e", file, offset],
                                   capture_output=True, text=True, check=False).stdout.split("\n")
            # Innermost first: function and place in turn.
            steps = [f"{found[i]} {found[i + 1].split(' ')[0]}" for i in range(0, len(found) - 1, 2)]
            self.known[place] = " < ".join(steps[:3]) or place
        return self.known[place]

    def data(self, place):
        file, offset = place.rsplit("+", 1)
        at, best = int(offset, 16), None
        listing = subprocess.run(["nm", "-n", "--defined-only", file], capture_output=True, text=True,
                                 check=False).stdout
        for row in listing.split("\n"):
            f = row.split()
            if len(f) == 3 and f[1] in "bBdDrR" and int(f[0], 16) <= at:
                best = f"{f[2]}{at - int(f[0], 16):+d}"
        return best or place


def describe(thing, names, report):
    kind, offset, size, place = thing
    if kind == "block":
        return f"byte {offset} of {size} bytes asked for by {names.code(place)}"
    if kind == "stack":
        return f"the stack of {report.names[int(offset)]}"
    return f"static {names.data(place)}"


def access(what, names, report):
    thread, verb, offset, place = what
    return f"{report.names[thread]} {verb} +{offset} at {names.code(place)}"


def print_lines(report, ios, names):
    report.lines.sort(key=lambda line: -line["moves"])
    for line in report.lines[:LINES_SHOWN]:
        print(f"  {line['moves'] / ios:.4f} {describe(line['object'], names, report)}")
        for moves, first, second in sorted(line["pairs"], reverse=True)[:3]:
            print(f"      {moves}: {access(first, names, report)}")
            print(f"          -> {access(second, names, report)}")


def judge(report, options):
    ios = sum(report.ios.values())
    # The loops: what they hand to threads of their own (helpers of the aio engine) is not between loops.
    loops = {thread for thread, count in report.ios.items() if count > 0}
    busy = sum(report.ios[thread] >= options.ios for thread in loops)
    between = sum(n for pair, n in report.moves.items() if loops.issuperset(pair))
    print(", ".join(f"{report.names[t]} {report.ios[t]}" for t in sorted(loops)), "I/Os;",
          f"dropped {report.dropped}")
    if not report.complete or busy < 2 or report.dropped:
        print("too little was measured: two loops must serve", options.ios, "I/Os each")
        return 2
    names = Names()
    print(f"lines moved between the loops: {between / ios:.5f} per I/O,",
          f"between all: {sum(report.moves.values()) / ios:.5f}")
    print_lines(report, ios, names)
    for kind, count in report.calls.items():
        print(f"{kind}: {count / ios:.5f} per I/O")
    for kind, thread, count, place in sorted(report.callers, key=lambda c: -c[2])[:LINES_SHOWN]:
        print(f"  {kind} {count / ios:.4f} by {report.names[thread]} at {names.code(place)}")
    spare = SPARE + SPARE_PER_SECOND * options.seconds
    limits = {"allocate": 0, "format": 0, "lock": options.locks * ios, "thread": THREADS}
    bad = [kind for kind, count in report.calls.items() if count > limits[kind] + SPARE_PER_IO * ios + spare]
    return 1 if bad or between > options.moves * ios + spare else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report")
    parser.add_argument("--moves", type=float, default=0.01, help="for each I/O")
    parser.add_argument("--locks", type=float, default=0, help="for each I/O")
    parser.add_argument("--ios", type=int, default=200, help="that two loops must serve each")
    parser.add_argument("--seconds", type=float, default=1, help="that the window was open, rounded up")
    options = parser.parse_args()
    sys.exit(judge(Report(options.report), options))


if __name__ == "__main__":
    main()
