"""Pieces of SVG: bars, curves, and the interval of a criterion. Strings in, strings out; colours are
classes that the page's style sheet defines for light and dark. Read next: page.py, which places them.
"""
import math
from html import escape

BAR, GAP, HEADING, GROUP_GAP = 14, 3, 17, 13
LABEL, VALUE = 118, 78  # Room beside a bar for its name and its figure.


def text(x, y, words, anchor="start", kind="label"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def drawing(width, height, parts, title):
    return (f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{escape(title)}">'
            + "".join(parts) + "</svg>")


# --- bars ---


def bars(title, groups, width=520):
    """Horizontal bars in groups, each group to its own scale: groups are (heading, [(name, class, value,
    text of the value)]), because what differs thirtyfold between workloads is compared within one."""
    parts, y = [], 2.0
    for heading, rows in groups:
        parts.append(text(0, y + 11, heading, kind="heading"))
        y += HEADING
        top = max(row[2] for row in rows) or 1.0
        for name, kind, value, words in rows:
            length = max(1.0, value / top * (width - LABEL - VALUE))
            parts += [text(LABEL - 6, y + 11, name, "end"),
                      f'<rect x="{LABEL}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="2" '
                      f'class="fill {kind}"/>',
                      text(LABEL + length + 5, y + 11, words, kind="value")]
            y += BAR + GAP
        y += GROUP_GAP
    return drawing(width, y - GROUP_GAP, parts, title)


# --- curves ---


class Axis:
    """A logarithmic scale from value to position."""

    def __init__(self, low, high, begin, end):
        self.low, self.begin = math.log(low), begin
        self.factor = (end - begin) / ((math.log(high) - self.low) or 1.0)

    def __call__(self, value):
        return self.begin + (math.log(value) - self.low) * self.factor


def decades(low, high):
    """Powers of ten around [low, high]."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0 ** at for at in range(first, max(last, first + 1) + 1)]


def short(value):
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{letter}"
    return f"{value:.3g}"


def curves(title, unit, ticks, series, width=520, height=300):
    """Both scales logarithmic. `ticks`: [(x, name)]; `series`: [(name, class, [(x, y)])]. Names stand at
    the ends of the curves, so that no legend has to be matched by colour."""
    values = [y for _, _, points in series for _, y in points if y > 0]
    if not values:
        return ""
    levels = decades(min(values), max(values))
    left, right, bottom = 46, width - LABEL, height - 24
    across = Axis(ticks[0][0], ticks[-1][0], left, right)
    up = Axis(levels[0], levels[-1], bottom, 24)
    parts = [text(left, 12, f"{title}, {unit}", kind="heading")]
    for level in levels:
        parts += [line(left, up(level), right, up(level), "grid"),
                  text(left - 6, up(level) + 4, short(level), "end")]
    parts += [text(across(x), height - 8, name, "middle") for x, name in ticks]
    ends = []
    for name, kind, points in series:
        dots = [(across(x), up(y)) for x, y in points if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{path}" class="curve {kind}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" class="fill {kind}"/>' for x, y in dots]
        ends.append((dots[-1][1], name, kind))
    parts += end_names(ends, right + 8)
    return drawing(width, height, parts, title)


def end_names(ends, x):
    """Names at the ends of curves, pushed apart where they would overlap."""
    below = -math.inf
    for y, name, kind in sorted(ends):
        y = max(y, below + 13)
        below = y
        yield text(x, y + 4, name, kind=f"label name {kind}")


# --- the interval of a criterion ---

RANGE = 2.0  # Twice as good as asked is the right edge, half as good the left one.


def interval(row, width=190, height=18):
    """Median and bounds against the limit, which is the line in the middle; right of it is good."""
    def place(value):
        good = row["limit"] / value if row["at_most"] else value / row["limit"]
        share = math.log(max(good, 1e-9)) / math.log(RANGE)
        return (max(-1.0, min(1.0, share)) * 0.46 + 0.5) * width

    middle, kind = height / 2, row["verdict"].replace(" ", "-")
    parts = [line(0, middle, width, middle, "grid"), line(width / 2, 1, width / 2, height - 1, "limit")]
    if row["low"] is not None:
        parts.append(line(place(row["low"]), middle, place(row["high"]), middle, f"bound {kind}"))
    if row["median"] is not None:
        parts.append(f'<circle cx="{place(row["median"]):.1f}" cy="{middle}" r="4" class="dot {kind}"/>')
    return drawing(width, height, parts, f"{row['what']}: {row['verdict']}")
