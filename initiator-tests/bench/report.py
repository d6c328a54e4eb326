"""The reports: a table for the terminal, bench.json, and (page.py) bench.html. All show the same data,
which suite.py has put together; this file adds the ratios and the words. Read next: page.py.
"""
import json
import statistics

import page
import plan
from results import Missing, summary
from words import COLUMNS, NAMES, limit_text, number, range_text

# Ratios in the table: name, the quantity, and what stands below the line, as a function of a View.
RATIOS = (
    ("cpu_to_echo", "cpu_us", lambda at, store: at.echo("cpu_us")),
    ("rate_to_echo", "iops", lambda at, store: at.echo("iops")),
    ("rate_to_tgt", "iops", lambda at, store: at("tgt", store).iops),
    ("cpu_to_tgt", "cpu_us", lambda at, store: at("tgt", store).cpu_us),
    ("rate_to_fio", "iops", lambda at, store: at("fio", store).iops),
)
LIMITS = (*plan.ECHOES, "fio")
ORDER = list(NAMES)


def paired(results, cell, row, quantity, base):
    """The median over the rounds of the cell's figure to another of its round; None: no such pair."""
    ratios = []
    for view in results.views(row.workload):
        try:
            below = base(view, row.store)
            ratios.append(getattr(view(cell.who, cell.store), quantity) / below)
        except (Missing, ZeroDivisionError, TypeError):
            continue
    return statistics.median(ratios) if ratios else None


def cell_data(results, cell, row):
    """The cell as JSON will have it. Ratios are those of targets: limits are below the line."""
    samples = list(results.samples[cell].values())
    ratios = {} if cell.who in LIMITS else {
        name: paired(results, cell, row, quantity, base) for name, quantity, base in RATIOS
        if not name.endswith(cell.who)}
    return {"who": cell.who, **summary(samples), **ratios, "each": [vars(one) for one in samples]}


def shown(row, results):
    """The row's measured cells; the echo, which all stores share, only where nothing is stored."""
    return [cell for cell in row.cells() if cell in results.samples
            and (cell.who not in plan.ECHOES or row.store == plan.NULL)]


def rows(results, chosen):
    """The rows with their figures, those of one name together, as JSON will have them."""
    found = {}
    for row in plan.by_workload(chosen):
        entry = found.setdefault(row.name, {"row": row.name, "store": row.store,
                                            "workload": vars(row.workload), "cells": []})
        entry["cells"] += [cell_data(results, cell, row) for cell in shown(row, results)]
    for entry in found.values():
        entry["cells"].sort(key=lambda cell: ORDER.index(cell["who"]))
    return [entry for entry in found.values() if entry["cells"]]


# --- text ---


def table_lines(lines):
    """Columns as wide as their widest word, the first two to the left."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(word.ljust(width) if at < 2 else word.rjust(width)
                        for at, (word, width) in enumerate(zip(line, widths))).rstrip()


def figures(data):
    lines = [("workload", "", *(heading for heading, _, _ in COLUMNS))]
    for row in data["rows"]:
        lines += [(row["row"], NAMES[cell["who"]],
                   *(number(cell.get(member), form) for _, member, form in COLUMNS))
                  for cell in row["cells"]]
    return table_lines(lines)


def verdict_lines(data):
    lines = [("row", "what", "demand", "median", "bounds", "verdict")]
    lines += [(row["row"], row["what"], limit_text(row), number(row["median"], ".2f"),
               range_text(row), row["verdict"].upper() if row["verdict"] == "not met" else row["verdict"])
              for row in data["criteria"]]
    return table_lines(lines)


def counts(data):
    """How many criteria came to which verdict, in words."""
    words = [row["verdict"] for row in data["criteria"]]
    return ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words)) or "none judged"


def remarks(data):
    if data["noise"]:
        yield "The machine was NOT QUIET: " + "; ".join(data["noise"]) + "."
    else:
        yield "The machine was quiet."
    yield from (f"Left out: {why}" for why in data["left_out"])
    yield from (f"FAILED: {why}" for why in data["failures"])


def text(data):
    if data["rows"]:
        yield from figures(data)
        yield ""
    yield from verdict_lines(data)
    yield f"Criteria: {counts(data)}."
    yield from remarks(data)


def write(data, folder):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / "bench.html").write_text(page.build(data), encoding="utf-8")
    print("\n".join(text(data)))
    print(f"Reports: {folder}/bench.html, {folder}/bench.json")
