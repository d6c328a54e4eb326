"""Runs the cases of this folder against a daemon: one module each, in the order of their names, those
that end the daemon last. See README.md.

usage: run.py URL DAEMON-PID [CASE...]
"""
import importlib
import os
import sys
import time

from scene import Scene
import cases
import initiator

NO_CASES = ("run", "scene")


def modules(wanted):
    folder = os.path.dirname(os.path.abspath(__file__))
    names = sorted(entry[:-3] for entry in os.listdir(folder) if entry.endswith(".py"))
    loaded = [importlib.import_module(name) for name in names
              if name not in NO_CASES and (not wanted or name in wanted)]
    return sorted(loaded, key=lambda module: getattr(module, "LAST", False))


def meet(scene, module):
    scene.name = module.__name__.replace("_", " ")
    began = time.monotonic()
    try:
        module.case(scene)
        if not getattr(module, "LAST", False):
            scene.beat()
    except (AssertionError, OSError, initiator.ProtocolError, initiator.Closed,
            initiator.Refused) as error:
        scene.check("runs to its end, and nobody else notices", False, repr(error))
    if os.environ.get("RAWPDU_TIMES"):
        print(f"{time.monotonic() - began:6.2f} s {scene.name}")


def main():
    url, pid, *wanted = sys.argv[1:]
    scene = Scene(url, int(pid))
    for module in modules(wanted):
        meet(scene, module)
    cases.end()


main()
