"""bench.html: one page that needs nothing but itself. The promises first, then what the figures look
like, then all of them. Built from the data of bench.json alone, so an old run can be drawn again:

    python3 initiator-tests/bench/page.py bench.json >bench.html

Read next: plot.py for the pictures, style.css for the looks, report.py for the words that the table has, too.
"""
import json
import sys
from html import escape
from pathlib import Path

sys.dont_write_bytecode = True

import plot
from words import COLUMNS, NAMES, STORES, limit_text, number, range_text, size_text

STYLE = Path(__file__).with_name("style.css")
# Percentiles at places that a logarithmic axis shows evenly: each is rarer than the one before.
POINTS = ((1, "p50_us", "p50"), (2, "p90_us", "p90"), (4, "p99_us", "p99"), (8, "p999_us", "p99.9"))


def mark(name, words, kind=""):
    return f'<{name} class="{kind}">{words}</{name}>' if kind else f"<{name}>{words}</{name}>"


def paragraph(words, kind=""):
    return mark("p", escape(words), kind)


def figure(picture, caption=""):
    return mark("figure", (mark("figcaption", escape(caption)) if caption else "") + picture)


# --- head ---


def head(data):
    about = data["machine"]
    yield mark("h1", "ringsan benchmark")
    yield paragraph(
        f"{about['date']} · commit {about['commit'] or 'not known'} · Linux {about['kernel']} · "
        f"{about['processor']}, {about['cpus']} CPUs ({about['virtual']}) · engine {data['engine']} · "
        f"tgt {about['tgt'] or 'none'} · {about['fio'] or 'no fio'} · nice {data['priority']} · "
        f"cells of {data['seconds']:g} s, rounds: {data['rounds']} · {data['elapsed_s']} s in all"
        + (f" · only {data['only']}" if data["only"] else ""), "meta")
    if data["noise"]:
        yield mark("div", "<b>The machine was not quiet:</b> " + escape("; ".join(data["noise"]))
                   + ". CPU per I/O suffers less from that than rates do.", "remark loud")
    else:
        yield mark("div", "The machine was quiet.", "remark")
    yield from (mark("div", escape(f"Left out: {why}"), "remark loud") for why in data["left_out"])
    yield from (mark("div", escape(f"Failed: {why}"), "remark failed") for why in data["failures"])


# --- promises ---


def tiles(rows):
    words = [row["verdict"] for row in rows]
    return mark("div", "".join(
        mark("div", f'<b class="verdict {kind}">{words.count(word)}</b>{word}', "tile")
        for word, kind in ((w, w.replace(" ", "-"))
                           for w in ("met", "not met", "undecided", "not measured"))
        if word in words), "tiles")


def promise_row(row):
    word = row["verdict"]
    return mark("tr", mark("td", escape(row["row"])) + mark("td", escape(row["what"]))
                + mark("td", limit_text(row)) + mark("td", number(row["median"], ".2f"), "number")
                + mark("td", range_text(row), "number") + mark("td", plot.interval(row))
                + mark("td", word, "verdict " + word.replace(" ", "-")))


PROMISE_HEADS = mark("tr", "".join(
    mark("th", word, kind) for word, kind in (
        ("row", ""), ("what", ""), ("demand", ""), ("median", "number"), ("bounds", "number"),
        ("", "interval"), ("verdict", ""))))


def promises(data):
    rows = data["criteria"]
    yield mark("h2", "What is promised")
    yield paragraph(
        "Each row is a ratio of two figures of the same round, or a cost, which is a figure by itself. The "
        "median and its bounds (sign test, 95 % to either side) are drawn against the limit, the line in "
        "the middle: right of it is better than promised, the edges are half and twice. Only bounds on one "
        "side of the line decide.", "faint")
    yield tiles(rows)
    for promise in dict.fromkeys(row["promise"] for row in rows):
        yield mark("h3", escape(promise))
        body = "".join(promise_row(row) for row in rows if row["promise"] == promise)
        yield mark("div", mark("table", PROMISE_HEADS + body, "promises"), "scroll")


# --- bars ---


def is_small(row):
    load = row["workload"]
    return load["block"] == 4096 and load["pattern"] == "random" and load["state"] == "written" \
        and not load["digests"]


STATES = {"written": "", "hole": ", into a hole", "unwritten": ", into unwritten blocks"}


def heading(load):
    """A workload in words."""
    names = {"read": "reads", "write": "writes", "mix": "reads (70 %) and writes"}
    words = f"{size_text(load['block'])} {names[load['operation']]}, QD{load['depth']}"
    words += f", {load['sessions']} sessions" if load["sessions"] > 1 else ""
    words += f", {load['pattern']}" if load["pattern"] == "sequential" else ""
    words += ", digests" if load["digests"] else ""
    words += ", data kept" if load.get("keep") else ""
    return words + STATES[load["state"]]


def bar_groups(rows, quantity):
    return [(heading(row["workload"]),
             [(NAMES[cell["who"]], cell["who"], cell[quantity], plot.short(cell[quantity]))
              for cell in row["cells"]]) for row in rows]


def bar_pair(title, rows):
    """Rates beside costs."""
    panels = (("iops", "IOPS, more is better"), ("cpu_us", "CPU microseconds per I/O, less is better"))
    return mark("div", "".join(
        figure(plot.bars(f"{title}: {words}", bar_groups(rows, quantity)), f"{title}: {words}")
        for quantity, words in panels), "pair")


def small_blocks(data):
    small = [row for row in data["rows"] if is_small(row)]
    if small:
        yield mark("h2", "4 KiB, random")
        yield paragraph("Each group has a scale of its own. The echo is the limit of the sockets, fio on "
                        "the file that of the storage; CPU is that of the server, or of fio itself "
                        "without the kernel's workers.", "faint")
    for store, title in STORES.items():
        rows = [row for row in small if row["store"] == store]
        if rows:
            yield mark("h3", escape(title))
            yield bar_pair(title, rows)


def fresh_files(data):
    """Beside each, the same workload over what has been written."""
    def twin(row):
        return row["store"], *(row["workload"][key] for key in ("operation", "block", "pattern", "depth",
                                                                "sessions"))

    fresh = {twin(row) for row in data["rows"] if row["workload"]["state"] != "written"}
    rows = [row for row in data["rows"] if twin(row) in fresh and not row["workload"]["digests"]]
    if rows:
        yield mark("h2", "First writes")
        yield paragraph("Into a file without blocks (a hole), into blocks that were never written, and the "
                        "same over what had been written.", "faint")
        for store, title in STORES.items():
            mine = [row for row in rows if row["store"] == store]
            if mine:
                yield bar_pair(title, mine)


# --- curves ---


def sweep(data, operation, quantity, title, unit):
    rows = sorted((row for row in data["rows"] if row["store"] == "null" and not row["workload"]["digests"]
                   and not row["workload"].get("keep") and row["workload"]["operation"] == operation
                   and row["workload"]["pattern"] == "sequential"),
                  key=lambda row: row["workload"]["block"])
    if len(rows) < 2:
        return ""
    ticks = [(row["workload"]["block"], size_text(row["workload"]["block"])) for row in rows]
    series = [(name, who, [(row["workload"]["block"], cell[quantity]) for row in rows
                           for cell in row["cells"] if cell["who"] == who])
              for who, name in NAMES.items()]
    series = [one for one in series if one[2]]
    return figure(plot.curves(title, unit, ticks, series))


def sizes(data):
    pictures = [sweep(data, operation, quantity, title, unit)
                for quantity, unit in (("mib_s", "MiB/s"), ("cpu_us", "CPU us per I/O"))
                for operation, title in (("read", "Sequential reads"), ("write", "Sequential writes"))]
    if any(pictures):
        yield mark("h2", "Sizes, nothing stored")
        yield paragraph("One session, QD8, from 512 bytes to 16 MiB; both scales are logarithmic.", "faint")
        yield mark("div", "".join(pictures), "pair")


def percentile_series(row):
    for cell in row["cells"]:
        points = [(place, cell[member]) for place, member, _ in POINTS if cell[member]]
        if len(points) > 1:
            yield NAMES[cell["who"]], cell["who"], points


def latencies(data):
    """Of the plain 4 KiB reads, at depth 1 and 32."""
    rows = [row for row in data["rows"] if is_small(row) and row["workload"]["operation"] == "read"
            and row["workload"]["sessions"] == 1]
    if rows:
        yield mark("h2", "Latency of 4 KiB reads")
        ticks = [(place, name) for place, _, name in POINTS]
        yield mark("div", "".join(
            figure(plot.curves(f"{STORES[row['store']]}, QD{row['workload']['depth']}", "us", ticks,
                               list(percentile_series(row)))) for row in rows), "pair")


# --- all figures ---


def figure_row(row, cell, first):
    cells = mark("td", escape(row["row"] if first else "")) + mark("td", escape(NAMES[cell["who"]]))
    cells += "".join(mark("td", number(cell.get(member), form), "number") for _, member, form in COLUMNS)
    return mark("tr", cells, "first" if first else "")


def all_figures(data):
    yield mark("h2", "All figures")
    yield paragraph("Medians over the rounds; the spread is the largest rate minus the smallest, over the "
                    "median. Ratios are medians of the ratios within each round.", "faint")
    heads = "<th>workload</th><th></th>" + "".join(mark("th", name, "number") for name, _, _ in COLUMNS)
    body = "".join(figure_row(row, cell, cell is row["cells"][0])
                   for row in data["rows"] for cell in row["cells"])
    yield mark("div", mark("table", mark("tr", heads) + body), "scroll")


def build(data):
    parts = [part for section in (head, promises, small_blocks, sizes, latencies, fresh_files, all_figures)
             for part in section(data)]
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width"><title>ringsan benchmark</title>'
            f"<style>\n{STYLE.read_text(encoding='utf-8')}</style></head><body>\n"
            + "\n".join(parts) + "\n</body></html>\n")


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as results:
        sys.stdout.write(build(json.load(results)))
