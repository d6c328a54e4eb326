"""The settings of a run: the environment first, the command line over it. Read next: suite.py."""
import argparse
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

EPILOG = """Each option has a variable, for `make bench`: BENCH_ROUNDS=2 BENCH_ONLY=qd1- make bench.
Also RINGSAN_ENGINE (auto) and B, the build folder (build)."""


@dataclass(frozen=True)
class Settings:
    seconds: float
    ramp: float
    rounds: int
    minutes: float
    only: str
    strict: bool
    directory: Path  # Where the files on a disk go.
    out: Path  # Where the reports go.
    target_cpu: int
    client_cpu: int
    engine: str
    build: Path  # Of the variant to measure.


# Name, kind, default, help.
OPTIONS = (
    ("seconds", float, 0.4, "measured time of each cell"),
    ("ramp", float, 0.15, "time before it that is not counted"),
    ("rounds", int, 8, "eight give bounds that bear one spoilt round; under five give none"),
    ("minutes", float, 11.0, "no round is begun that would end later"),
    ("only", str, "", "rows whose names match this expression, see --list"),
    ("dir", Path, None, "folder for files on a disk: ext4, 5 GiB free [the build folder]"),
    ("out", Path, None, "folder for bench.json and bench.html [BUILD/bench]"),
    ("target-cpu", int, 0, "where the target runs"),
    ("client-cpu", int, 1, "where the client runs, and the second of two loops"),
)


def variable(name):
    return "BENCH_" + name.upper().replace("-", "_")


def build_parser():
    parser = argparse.ArgumentParser(prog="make bench", epilog=EPILOG)
    for name, kind, default, text in OPTIONS:
        known = os.environ.get(variable(name)) or None
        shown = "" if default in (None, "") else f" [{default}]"
        # A string default goes through `kind` as if it had been given.
        parser.add_argument(f"--{name}", type=kind, default=known or default,
                            help=f"{text}{shown}; {variable(name)}")
    parser.add_argument("--strict", action="store_true",
                        default=os.environ.get("BENCH_STRICT", "") not in ("", "0"),
                        help="an unmet criterion is a failure; BENCH_STRICT=1")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    return parser


def from_command_line():
    """The Settings, and whether only the list was asked for."""
    parser = build_parser()
    given = parser.parse_args()
    try:
        re.compile(given.only)
    except re.error as error:
        parser.error(f"--only: {error}")
    times = (given.seconds, given.ramp, given.minutes)
    if not all(map(math.isfinite, times)) or given.seconds <= 0 or given.ramp < 0 or given.rounds < 1:
        parser.error("times and rounds are positive numbers")
    for cpu in (given.target_cpu, given.client_cpu):
        if cpu not in os.sched_getaffinity(0):
            parser.error(f"there is no CPU {cpu} to run on; --target-cpu and --client-cpu name others")
    build = ROOT / os.environ.get("B", "build")
    variant = build / os.environ.get("RINGSAN_VARIANT", "plain")
    settings = Settings(given.seconds, given.ramp, given.rounds, given.minutes, given.only, given.strict,
                        (given.dir or build).resolve(), (given.out or build / "bench").resolve(),
                        given.target_cpu, given.client_cpu,
                        os.environ.get("RINGSAN_ENGINE", "auto"), variant)
    return settings, given.list
