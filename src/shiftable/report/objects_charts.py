"""The charts of a detector's, a segmenter's or a key-point model's page, as SVG in the page's own colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan

from markupsafe import Markup

from shiftable.auditing import Estimate
from shiftable.report.charts import caption, nice_end

Reading = tuple[float, Estimate]
"""Where on the axis, and what was measured there."""


@dataclass(frozen=True)
class Frame:
    """Where a chart's axes are, in its own units, and what they measure.

    Args:
        x: The first and the last value of the axis across.
        end: The last value of the axis upwards; the first is 0.
        unit: What is written behind the values upwards: ``"%"`` takes shares, or ``"px"``.
        width: Of the whole chart.
        height: Of the whole chart.
    """

    x: tuple[float, float]
    end: float
    unit: str
    width: int = 420
    height: int = 210

    @property
    def left(self) -> float:
        return 52.0

    @property
    def right(self) -> float:
        return self.width - 10.0

    @property
    def bottom(self) -> float:
        return self.height - 44.0

    def across(self, value: float | int) -> float:
        """Where a value lies from left to right."""
        first, last = self.x
        return self.left + 8 + (self.right - self.left - 16) * (value - first) / max(last - first, 1e-9)

    def up(self, value: float | int) -> float:
        """Where a value lies from top to bottom."""
        return self.bottom - (self.bottom - 14) * min(max(value, 0.0), self.end) / self.end

    def axes(self, ticks: Sequence[float], title: str) -> list[Markup]:
        """Both axes with their numbers."""
        parts = [Markup('<path class="axis" d="M{0} 14V{1}H{2}"/>').format(self.left, self.bottom, self.right)]
        for share in (0.0, 0.5, 1.0):
            value = share * self.end * (100 if self.unit == "%" else 1)
            level = self.up(share * self.end)
            parts.append(caption(self.left - 5, level + 4, f"{value:g} {self.unit}", anchor="end"))
            if share:
                parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(self.left, level, self.right))
        parts += [caption(self.across(tick), self.bottom + 16, f"{tick:g}") for tick in ticks]
        return [*parts, caption((self.left + self.right) / 2, self.bottom + 36, title)]

    def whole(self, parts: Sequence[Markup], text: str) -> Markup:
        """Parts as one picture, with its text for who can't see it."""
        return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            self.width, self.height, text, Markup("").join(parts)
        )


def highest(readings: Sequence[Reading], most: float) -> float:
    """Where an axis ends that holds the readings with their intervals, as far as these are worth the room.

    Intervals that would press the values flat are cut: those of few observations, or many times as long as the values.

    Args:
        readings: What is drawn.
        most: The largest value there can be.
    """
    value = max((found.value for _, found in readings), default=0.0)
    highs = sorted(found.high for _, found in readings if not isnan(found.high))
    reach = highs[3 * len(highs) // 4] if highs else 0.0
    return min(nice_end(max(value, min(reach, 2.5 * value) if value else reach)), most)


def line_chart(readings: Sequence[Reading], marked: float, title: str, text: str) -> Markup:
    """Shares along an axis, with the band that the truth is in.

    Args:
        readings: In order.
        marked: The place on the axis that the rest of the page is about.
        title: Of the axis.
        text: What it says, for who can't see it.
    """
    frame = Frame((0.0, 1.0), highest(readings, 1.0), "%")
    ends = [(frame.across(x), *interval_ends(found)) for x, found in readings]
    up = [f"{x:.1f} {frame.up(high):.1f}" for x, _, high in ends]
    down = [f"{x:.1f} {frame.up(low):.1f}" for x, low, _ in reversed(ends)]
    parts = [
        Markup('<path class="band" d="M{}Z"/>').format("L".join(up + down)),
        *frame.axes((0.0, 0.25, 0.5, 0.75, 1.0), title),
        Markup('<path class="marked" d="M{:.1f} 14V{:.1f}"/>').format(frame.across(marked), frame.bottom),
        _line(frame, readings, 2.6),
    ]
    return frame.whole(parts, text)


def phase_chart(readings: Sequence[Reading], modulus: int, end: float, unit: str, text: str) -> Markup:
    """What was measured at every remainder of the offset, with intervals; small, for there are several.

    Args:
        readings: (remainder, estimate), in order.
        modulus: What the offset was divided by.
        end: Where the axis upwards ends, the same in all charts that stand side by side.
        unit: Of that axis.
        text: What it says, for who can't see it.
    """
    frame = Frame((0.0, modulus - 1.0), end, unit, width=260, height=176)
    thin = "" if modulus <= 16 else " thin"
    bars = [
        Markup('<path class="reach{}" d="M{:.1f} {:.1f}V{:.1f}"/>').format(
            thin, frame.across(x), *(frame.up(side) for side in interval_ends(found))
        )
        for x, found in readings
    ]
    ticks = [modulus * quarter / 4 for quarter in range(4)]
    ticks = [tick for tick in ticks if modulus - 1 - tick > 1] + [modulus - 1.0]
    parts = [
        *bars,
        *frame.axes(ticks, f"offset modulo {modulus}, px of the view"),
        _line(frame, readings, 1.8),
    ]
    return frame.whole(parts, text)


def columns_chart(edges: Sequence[float], shares: Sequence[float], title: str, text: str) -> Markup:
    """A histogram: the share of all that lies between each two edges. The last column holds all that is beyond."""
    frame = Frame((0.0, float(len(shares))), nice_end(max(shares)), "%")
    parts = []
    for at, share in enumerate(shares):
        left, right, top = frame.across(at + 0.06), frame.across(at + 0.94), frame.up(share)
        rect = Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>')
        parts.append(rect.format(left, top, right - left, frame.bottom - top))
    parts += frame.axes((), title)
    step = -(-len(edges) // 8)
    for at, edge in list(enumerate(edges))[::step]:
        parts.append(caption(frame.across(at), frame.bottom + 16, f"{edge:g}"))
    return frame.whole(parts, text)


def interval_ends(found: Estimate) -> tuple[float, float]:
    """An interval's, or the value where there is none."""
    return (found.value, found.value) if isnan(found.low) else (found.low, found.high)


def _line(frame: Frame, readings: Sequence[Reading], radius: float) -> Markup:
    """Readings joined by a line; it breaks where neighbours are more than 1 apart."""
    places = [(frame.across(x), frame.up(found.value)) for x, found in readings]
    gaps = [True, *(after - before > 1 + 1e-9 for (before, _), (after, _) in pairwise(readings))]
    path = "".join(f"{'M' if gap else 'L'}{x:.1f} {y:.1f}" for gap, (x, y) in zip(gaps, places, strict=True))
    dots = [Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(*place, radius) for place in places]
    return Markup('<g class="line line-0"><path d="{}"/>{}</g>').format(path, Markup("").join(dots))
