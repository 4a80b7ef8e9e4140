"""Small charts as SVG, drawn with the page's own colours. No two lines differ by hue alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isnan, log10

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from shiftable.auditing import Estimate
from shiftable.report.worst_cases import Case

MOST_BARS = 30
WIDTH, HEIGHT = 420, 210
LEFT, RIGHT, TOP, BOTTOM = 52.0, 410.0, 14.0, 166.0
"""Where a chart's axes are, in its own units."""


@dataclass(frozen=True)
class Bars:
    """A histogram of counts.

    Args:
        width: How many values a bar covers.
        images: Images per bar.
        mean: Of all values.
    """

    width: int
    images: Sequence[int]
    mean: float

    def label(self, bar: int) -> str:
        """The values that a bar covers."""
        low = bar * self.width
        return str(low) if self.width == 1 else f"{low}–{low + self.width - 1}"


def make_bars(values: Float[np.ndarray, "image"]) -> Bars | None:
    """The histogram of how often something happened per image. NaN is not counted; None if nothing is left."""
    known = values[~np.isnan(values)].astype(int)
    if not len(known):
        return None
    width = -(-(int(known.max()) + 1) // MOST_BARS)
    counts = np.bincount(known // width, minlength=min(4, MOST_BARS))
    return Bars(width, counts.tolist(), float(known.mean()))


def nice_end(high: float) -> float:
    """The round number at which an axis may end.

    Example:
        >>> nice_end(0.157), nice_end(2.5), nice_end(0.0)
        (0.2, 5.0, 1.0)
    """
    if not high > 0:
        return 1.0
    unit = 10.0 ** floor(log10(high))
    return next(round(step * unit, 12) for step in (1, 2, 5, 10) if step * unit >= high)


def interval_bar(estimate: Estimate, end: float, text: str) -> Markup:
    """An estimate and its interval on an axis from 0.

    Args:
        estimate: What to draw.
        end: Where the axis ends.
        text: What it says, for who can't see it.
    """

    def x(value: float) -> str:
        return f"{2 + 116 * min(max(value, 0), end) / end:.1f}"

    low, high = (estimate.value if isnan(side) else side for side in (estimate.low, estimate.high))
    return Markup(
        '<svg class="bar" viewBox="0 0 120 14" width="120" height="14" role="img" aria-label="{}">'
        '<path class="axis" d="M2 7H118M2 3V11M118 3V11"/><path class="reach" d="M{} 7H{}"/>'
        '<circle class="dot" cx="{}" cy="7" r="3.5"/></svg>'
    ).format(text, x(low), x(high), x(estimate.value))


def histogram(bars: Bars, text: str) -> Markup:
    """A histogram with the number of images on every bar."""
    count, most = len(bars.images), max(bars.images)
    step = (RIGHT - LEFT) / count
    stride = -(-count * (1 if bars.width == 1 else 2) // 16)
    roomy = 7 * len(f"{most:,}") <= step  # for a number on every bar
    parts = [_frame()]
    for bar, images in enumerate(bars.images):
        x, height = LEFT + bar * step, (BOTTOM - TOP - 12) * images / most
        if images:
            parts.append(Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                x + 0.08 * step, BOTTOM - height, 0.84 * step, height))  # fmt: skip
        if images and roomy:
            parts.append(caption(x + step / 2, BOTTOM - height - 4, f"{images:,}", "small"))
        if bar % stride == 0:
            parts.append(caption(x + step / 2, BOTTOM + 16, bars.label(bar)))
    if not roomy:
        parts += [caption(LEFT - 5, TOP + 16, f"{most:,}", anchor="end"), caption(LEFT - 5, BOTTOM, "0", anchor="end")]
    return chart(parts, text, HEIGHT - 20)


def traces(case: Case, text: str) -> Markup:
    """The probability of the leading classes along a walk. A line breaks where the table does not hold the class."""
    x, span = case.offsets, max(float(np.ptp(case.offsets)), 1.0)
    end = nice_end(max(float(np.nanmax(line.p, initial=0.0)) for line in case.lines))

    def across(offset: float) -> float:
        return LEFT + 8 + (RIGHT - LEFT - 16) * (offset - float(x[0])) / span

    parts = [_frame()]
    for share in (0.0, 0.5, 1.0):
        parts.append(caption(LEFT - 5, _up(share) + 4, f"{100 * share * end:g} %", anchor="end"))
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, _up(share), RIGHT))
    if len(x) > 2:
        low, high = across(float(x[case.at - 1])), across(float(x[case.at]))
        band = Markup('<rect class="change" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>')
        parts.append(band.format(low, TOP, high - low, BOTTOM - TOP))
    for number, line in enumerate(case.lines):
        points = [(across(float(at)), _up(float(p) / end)) for at, p in zip(x, line.p, strict=True)]
        parts.append(_line(points, number))
    for offset in _ticks(x):
        label = f"{offset:+g}" if offset and len(x) > 2 else f"{offset:g}"
        inside = min(across(offset), WIDTH - 3.6 * len(label))  # half as wide as it is long, so that no end is cut off
        parts.append(caption(inside, BOTTOM + 16, label.replace("-", "−")))
    parts.append(caption((LEFT + RIGHT) / 2, BOTTOM + 36, case.axis))
    return chart(parts, text)


def place_map(agreement: Float[np.ndarray, "dy dx"], text: str) -> Markup:
    """The share of images that are answered at a place as they are unmoved, place by place; darker is less."""
    side, least = len(agreement), float(agreement.min())
    parts = []
    for (row, column), share in np.ndenumerate(agreement):
        depth = 0.85 * (1 - share) / (1 - least) if least < 1 else 0.0
        parts.append(Markup('<rect x="{}" y="{}" fill-opacity="{:.2f}"/>').format(column, row, depth))
        if side <= 9:
            shade = "on-dark" if depth > 0.45 else "on-light"
            parts.append(
                Markup('<text x="{}" y="{}" class="{}">{:.0f}</text>').format(
                    column + 0.5, row + 0.62, shade, 100 * share
                )
            )
    return Markup('<svg class="places" viewBox="0 0 {0} {0}" role="img" aria-label="{1}">{2}</svg>').format(
        side, text, Markup("").join(parts)
    )


def key(number: int) -> Markup:
    """A piece of the line with this number, for a legend."""
    return Markup('<svg class="key" viewBox="0 0 36 10" width="36" height="10" aria-hidden="true">{}</svg>').format(
        _line([(1.0, 5.0), (18.0, 5.0), (35.0, 5.0)], number, marks=((18.0, 5.0),))
    )


def _line(
    points: Sequence[tuple[float, float]], number: int, marks: Sequence[tuple[float, float]] | None = None
) -> Markup:
    path, pen = [], "M"
    for across, down in points:
        if isnan(down):
            pen = "M"
            continue
        path.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
    shown = [point for point in points if not isnan(point[1])] if marks is None else marks
    radius = 2.6 if len(points) <= 40 else 1.2
    dots = Markup("").join(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(*point, radius) for point in shown)
    return Markup('<g class="line line-{}"><path d="{}"/>{}</g>').format(number, "".join(path), dots)


def _up(share: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * share


def _ticks(x: Float[np.ndarray, "step"]) -> list[float]:
    """Both ends and what lies in the middle."""
    return sorted({float(x[0]), float(x[-1])} | ({float(x[len(x) // 2])} if len(x) > 2 else set()))


def _frame() -> Markup:
    return Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(LEFT, TOP, BOTTOM, RIGHT)


def caption(x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> Markup:
    """Words at a place of a chart."""
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)


def chart(parts: Sequence[Markup], text: str, height: int = HEIGHT) -> Markup:
    """Parts as one picture, with its text for who can't see it."""
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, height, text, Markup("").join(parts)
    )
