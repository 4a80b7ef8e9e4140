"""The charts of a comparison: stability against what goes with it, and the three ways to compare it."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isnan, log10

from markupsafe import Markup

from shiftable.auditing import Estimate
from shiftable.report.charts import LEFT, RIGHT, TOP, caption, chart, nice_end
from shiftable.report.labels import Box, place_labels
from shiftable.report.wording import shorten

LETTER, LINE = 7.7, 16.0
"""Width of a letter and height of a line, in a chart's units, where a narrow screen makes them largest."""

LONGEST = 24


@dataclass(frozen=True)
class Point:
    """A model in a chart.

    Args:
        name: Its.
        x: What it is drawn against, in the axis's unit.
        change: Its share of changed pairs.
    """

    name: str
    x: float
    change: Estimate


@dataclass(frozen=True)
class Axis:
    """What stability is drawn against.

    Args:
        key: What the figure's file is called after.
        words: What it is, with its unit.
        kind: ``"rate"``: 0 to 1, written in percent. ``"log"``: a positive number over orders of magnitude.
            ``"number"``: any other.
    """

    key: str
    words: str
    kind: str

    def ticks(self, values: Sequence[float]) -> list[float]:
        """Round numbers below, between and above the values; two at least.

        Example:
            >>> Axis("accuracy", "", "rate").ticks([0.64, 0.83]), Axis("parameters", "", "log").ticks([1.2e6, 3.5e6])
            ([0.6, 0.7, 0.8, 0.9], [1000000.0, 2000000.0, 5000000.0])
        """
        low, high = min(values), max(values)
        if self.kind == "log":
            decades = range(floor(log10(low)) - 1, floor(log10(high)) + 2)
            steps = [round(lead * 10.0**decade, 12) for decade in decades for lead in (1, 2, 5)]
            first = max(at for at, step in enumerate(steps) if step <= low)
            last = min(at for at, step in enumerate(steps) if step >= high)
            found = steps[first : max(last, first + 1) + 1]
            return found if len(found) <= 5 else [found[0], found[len(found) // 2], found[-1]]
        span = high - low if high - low > 1e-6 * max(abs(low), abs(high), 1e-3) else 0.0
        step = nice_end(span / 3 or (abs(high) / 10 if abs(high) > 1e-6 else 1.0))
        first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
        if self.kind == "rate":
            first, last = max(first, 0), min(last, floor(1 / step + 1e-9) if high <= 1 else last)
            last = last if last * step >= high else last + 1
        if last <= first:  # all in one place: to its right, or to its left at the end of the scale
            first, last = (
                (first - 1, first) if self.kind == "rate" and (first + 1) * step > 1 + 1e-9 else (first, first + 1)
            )
        return [round(at * step, 12) for at in range(first, last + 1)]

    def place(self, value: float, ticks: Sequence[float]) -> float:
        """Where a value is, 0 at the first tick and 1 at the last."""
        if self.kind == "log":
            return (log10(value) - log10(ticks[0])) / (log10(ticks[-1]) - log10(ticks[0]))
        return (value - ticks[0]) / (ticks[-1] - ticks[0])

    def say(self, value: float | int) -> str:
        """A value as it is written.

        Example:
            >>> Axis("a", "", "rate").say(0.64), Axis("s", "", "log").say(1235496), Axis("m", "", "number").say(2.5)
            ('64 %', '1.24 M', '2.5')
        """
        if self.kind == "rate":
            return f"{100 * value:.3g} %"
        return large(value) if self.kind == "log" else f"{value:.3g}"


def large(number: float | int) -> str:
    """A large number in three digits.

    Example:
        >>> large(1235496), large(25_600), large(900), large(3.1e9)
        ('1.24 M', '25.6 k', '900', '3.1 G')
    """
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 0.9995 * unit:
            return f"{number / unit:.3g} {letter}"
    return f"{number:.3g}"


def percent(share: float) -> str:
    """A share on an axis."""
    return f"{100 * share:g} %"


def scatter(axis: Axis, points: Sequence[Point]) -> Markup:
    """Stability against something, a labelled point per model, with the interval of its stability."""
    bottom = scatter_bottom(len(points))
    ticks, end = axis.ticks([point.x for point in points]), common_end([point.change for point in points])

    def across(value: float) -> float:
        return LEFT + 14 + (RIGHT - LEFT - 28) * axis.place(value, ticks)

    def up(share: float) -> float:
        return bottom - (bottom - TOP) * share / end

    parts = [Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(LEFT, TOP, bottom, RIGHT)]
    for share in (0.0, end / 2, end):
        parts.append(caption(LEFT - 5, up(share) + 4, percent(share), anchor="end"))
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, up(share), RIGHT))
    parts += [caption(across(tick), bottom + 16, axis.say(tick)) for tick in ticks]
    parts.append(caption((LEFT + RIGHT) / 2, bottom + 36, axis.words))
    middles = [(across(point.x), up(point.change.value)) for point in points]
    reaches = [(up(min(point.change.high, end)), up(point.change.low)) for point in points]
    bars = [Box(x - 3, high, x + 3, low) for (x, _), (high, low) in zip(middles, reaches, strict=True)]
    names = [shorten(point.name, LONGEST) for point in points]
    sizes = [(LETTER * len(name), LINE) for name in names]
    places = place_labels(middles, sizes, Box(LEFT + 3, TOP - 10, RIGHT, bottom - 2), bars)
    for (x, _), (high, low) in zip(middles, reaches, strict=True):
        parts.append(Markup('<path class="reach" d="M{:.1f} {:.1f}V{:.1f}"/>').format(x, high, low))
    for name, box, bar in zip(names, places, bars, strict=True):
        if box:
            parts += _leader(box, bar)
            # towards its point, for the letters may be narrower than their box
            x, anchor = min(
                ((box.left, "start"), (box.right, "end"), ((box.left + box.right) / 2, "middle")),
                key=lambda side: abs(side[0] - (bar.left + bar.right) / 2),
            )
            parts.append(caption(x, (box.top + box.bottom) / 2 + 4, name, "name", anchor))
    parts += [Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(*middle) for middle in middles]
    told = "; ".join(f"{point.name}: {100 * point.change.value:.1f} % at {axis.say(point.x)}" for point in points)
    return chart(parts, f"Changed answers against {axis.words}. {told}", round(bottom) + 44)


def scatter_bottom(points: int) -> float:
    """Where the axis lies: more names need more room."""
    return 210.0 + 20 * max(0, points - 5)


def common_end(estimates: Sequence[Estimate]) -> float:
    """Where an axis ends that shows these intervals."""
    return nice_end(max([0.0, *(found.value if isnan(found.high) else found.high for found in estimates)]))


def intervals(panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]], text: str) -> Markup:
    """Every model's interval, panel by panel, on one axis.

    Args:
        panels: A heading, and a name and an estimate per model.
        text: What it says, for who can't see it.
    """
    end = common_end([found for _, rows in panels for _, found in rows])
    left, right, down = 6.0, 404.0, 4.0

    def across(share: float) -> float:
        return left + (right - left) * min(share, end) / end

    parts = []
    for heading, rows in panels:
        down += 18
        parts.append(caption(left, down, heading, "heading", "start"))
        for name, found in rows:
            down += 25
            value = f"{100 * found.value:.1f} %"
            parts.append(caption(left, down, shorten(name, 42), "name", "start"))
            parts.append(caption(right, down, value, "name", "end"))
            down += 11
            low, high = (found.value if isnan(side) else side for side in (found.low, found.high))
            parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(left, down, right))
            parts.append(
                Markup('<path class="reach" d="M{:.1f} {:.1f}H{:.1f}"/>').format(across(low), down, across(high))
            )
            parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(
                across(found.value), down))  # fmt: skip
        down += 14
    parts.append(Markup('<path class="axis" d="M{0} {1:.1f}H{2}"/>').format(left, down, right))
    for share, anchor in ((0.0, "start"), (end / 2, "middle"), (end, "end")):
        parts.append(caption(across(share), down + 16, percent(share), anchor=anchor))
    parts.append(caption((left + right) / 2, down + 36, "pairs of views whose answers differ"))
    return chart(parts, text, round(down) + 44)


def _leader(box: Box, bar: Box) -> list[Markup]:
    line = box.leader(bar)
    return [Markup('<path class="leader" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(*line)] if line else []
