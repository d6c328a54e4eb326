"""How a test program reports cases: the lines of tests/cases.sh, for tests/run to count."""
import sys

failed = 0


def check(name, good, detail=""):
    """One case. `detail` says what was found instead."""
    global failed
    if good:
        print(f"PASS {name}", flush=True)
    else:
        failed += 1
        print(f"FAIL {name}: {detail}", flush=True)
    return good


def equal(name, expected, found):
    return check(name, expected == found, f"expected {expected!r}, found {found!r}")


def end():
    sys.exit(1 if failed else 0)
