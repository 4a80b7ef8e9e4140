"""The charts of a video audit as SVG: a timeline per video, movement beside answers, smoothing beside delay."""

from collections.abc import Mapping, Sequence
from math import isnan

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from shiftable.report.charts import caption
from shiftable.report.trace_charts import MARKS, mark, nice_step
from shiftable.report.video_films import Film, decimated

WIDTH = 900
LEFT, RIGHT = 58.0, 892.0
TOP, PLOT_PX, FLIPS_PX, MOVED_PX, GAP_PX = 10.0, 170.0, 16.0, 64.0, 14.0
MOST_FLIPS = 2000
"""So many flips are drawn one by one."""


def timeline(film: Film, text: str) -> Markup:
    """The probability of the leading classes against time; below, every changed answer; below that, the movement.

    Args:
        film: The video.
        text: What it says, for who can't see it.
    """
    times = film.time_s
    span = float(times[-1] - times[0]) or 1.0
    x = LEFT + (RIGHT - LEFT) * (times - times[0]) / span
    bottom = TOP + PLOT_PX
    parts = [Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(LEFT, TOP, bottom, RIGHT)]
    curves = [film.p(number) for number in film.lines()]
    end = min(1.0, _end(max(0.01, *(float(np.nanmax(p)) for p in curves)), 4))
    for tick in np.arange(0, end + 1e-9, nice_step(end, 4)):
        y = bottom - PLOT_PX * tick / end
        parts.append(caption(LEFT - 6, y + 4, f"{100 * tick:g} %", anchor="end"))
        if tick:
            parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, y, RIGHT))
    for number, p in enumerate(curves):
        parts.append(_curve(x, p / end, bottom, number))
    parts += _flips(film, x, bottom)
    parts += _movement(film, x, bottom + GAP_PX + FLIPS_PX)
    floor = bottom + GAP_PX + FLIPS_PX + GAP_PX + MOVED_PX
    unit = nice_step(span, 10)
    for tick in np.arange(0, span + 1e-9, unit):
        parts.append(caption(LEFT + (RIGHT - LEFT) * tick / span, floor + 17, f"{times[0] + tick:g}"))
    parts.append(caption((LEFT + RIGHT) / 2, floor + 35, "time, s"))
    picture = '<svg class="timeline" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    return Markup(picture).format(WIDTH, floor + 42, text, Markup("").join(parts))


def _curve(x: Float[np.ndarray, "frame"], share: Float[np.ndarray, "frame"], bottom: float, number: int) -> Markup:
    """A line that breaks where the table does not hold the class."""
    kept = decimated(share)
    path, pen, drawn = [], "M", []
    for at in kept.tolist():
        if isnan(share[at]):
            pen = "M"
            continue
        y = bottom - PLOT_PX * share[at]
        path.append(f"{pen}{x[at]:.1f} {y:.1f}")
        drawn.append((float(x[at]), float(y)))
        # a frame alone between two gaps would not be seen
        if pen == "M" and (at + 1 >= len(share) or isnan(share[at + 1])):
            path.append("h.8")
        pen = "L"
    every = max(1, round(len(drawn) / MARKS))
    marks = Markup("").join(mark(at, y, number) for at, y in drawn[number % every :: every])
    return Markup('<g class="line line-{}"><path d="{}"/>{}</g>').format(number, "".join(path) or "M0 0", marks)


def _flips(film: Film, x: Float[np.ndarray, "frame"], bottom: float) -> list[Markup]:
    top = bottom + GAP_PX / 2
    rows = film.flips
    if len(rows) > MOST_FLIPS:  # a line per half unit of the chart is all that can be told apart
        rows = rows[np.unique(np.round(2 * x[rows]), return_index=True)[1]]
    path = "".join(f"M{x[row]:.1f} {top:.1f}v{FLIPS_PX:.0f}" for row in rows.tolist())
    label = caption(LEFT - 6, top + 12, "changes", anchor="end")
    return [label, Markup('<path class="flip" d="{}"/>').format(path)] if path else [label]


def _movement(film: Film, x: Float[np.ndarray, "frame"], top: float) -> list[Markup]:
    top += GAP_PX / 2
    floor = top + MOVED_PX + GAP_PX / 2
    moved = film.moved_px
    if np.isnan(moved).all():
        return [caption(LEFT + 6, floor - 20, "movement not known", anchor="start")]
    high = float(np.nanmax(moved)) or 1.0
    unit = nice_step(high, 2)
    end = max(unit, float(np.ceil(high / unit - 1e-9) * unit))
    kept = [at for at in decimated(moved).tolist() if not isnan(moved[at])]
    path = "L".join(f"{x[at]:.1f} {floor - MOVED_PX * moved[at] / end:.1f}" for at in kept)
    area = f"M{x[kept[0]]:.1f} {floor:.1f}L{path}L{x[kept[-1]]:.1f} {floor:.1f}Z"
    parts = [Markup('<path class="axis" d="M{} {:.1f}V{:.1f}H{}"/>').format(LEFT, top, floor, RIGHT)]
    parts.append(Markup('<path class="moved" d="{}"/>').format(area))
    for tick in np.arange(0, end + 1e-9, unit):
        y = floor - MOVED_PX * tick / end
        parts.append(caption(LEFT - 6, y + 4, f"{tick:g}" + (" px" if tick else ""), anchor="end"))
    return parts


def bars(shares: Sequence[float | None], counts: Sequence[str], labels: Sequence[str], axis: str, text: str) -> Markup:
    """A column per share, with what it rests on above it.

    Args:
        shares: 0 to 1; None where there is none.
        counts: Of what each share is.
        labels: Of the columns.
        axis: What the labels are.
        text: What it says, for who can't see it.
    """
    width, top, bottom, left, right = 640, 22.0, 190.0, 52.0, 632.0
    end = min(1.0, _end(max([0.01, *(share for share in shares if share is not None)]), 5))
    parts = [Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(left, top, bottom, right)]
    for tick in np.arange(0, end + 1e-9, nice_step(end, 5)):
        y = bottom - (bottom - top) * tick / end
        parts.append(caption(left - 5, y + 4, f"{100 * tick:g} %", anchor="end"))
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(left, y, right))
    step = (right - left) / max(1, len(shares))
    for at, (share, count, label) in enumerate(zip(shares, counts, labels, strict=True)):
        middle = left + step * (at + 0.5)
        high = (bottom - top) * (share or 0.0) / end
        column = '<rect class="column" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
        parts.append(Markup(column).format(middle - 0.32 * step, bottom - high, 0.64 * step, high))
        parts.append(caption(middle, bottom - high - 5, "no pairs" if share is None else f"of {count}", "small"))
        parts.append(caption(middle, bottom + 17, label))
    parts.append(caption((left + right) / 2, bottom + 38, axis))
    picture = '<svg class="bars" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    return Markup(picture).format(width, bottom + 46, text, Markup("").join(parts))


def smoothing_chart(series: Mapping[str, Sequence[tuple[float, float, str]]], text: str) -> Markup:
    """Changes per minute against delay: the lower left is what one wants.

    Args:
        series: Name → (delay in frames, flips per minute, setting), in order.
        text: What it says, for who can't see it.
    """
    width, top, bottom, left, right = 640, 14.0, 300.0, 52.0, 600.0
    points = [point for each in series.values() for point in each]
    far = _end(max((delay for delay, _, _ in points), default=1.0), 6)
    high = _end(max((flips for _, flips, _ in points), default=1.0), 5)

    def place(delay: float, flips: float) -> tuple[float, float]:
        return left + 8 + (right - left - 8) * delay / far, bottom - (bottom - top) * flips / high

    parts = [Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(left, top, bottom, right)]
    for tick in np.arange(0, high + 1e-9, nice_step(high, 5)):
        y = place(0.0, float(tick))[1]
        parts.append(caption(left - 5, y + 4, f"{tick:g}", anchor="end"))
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(left, y, right))
    for tick in np.arange(0, far + 1e-9, nice_step(far, 6)):
        parts.append(caption(place(float(tick), 0.0)[0], bottom + 17, f"{tick:g}"))
    for number, each in enumerate(series.values()):
        drawn = [place(delay, flips) for delay, flips, _ in each]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in drawn)
        marks = Markup("").join(mark(x, y, number) for x, y in drawn)
        parts.append(Markup('<g class="line line-{}"><path d="M{}"/>{}</g>').format(number, path, marks))
    for delay, flips, words in points:
        x, y = place(delay, flips)
        parts.append(caption(x + 7, y - 6, words, "small", anchor="start"))
    parts.append(caption((left + right) / 2, bottom + 38, "frames until a lasting change is answered"))
    picture = '<svg class="smoothing" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    return Markup(picture).format(width, bottom + 46, text, Markup("").join(parts))


def _end(high: float, ticks: int) -> float:
    unit = nice_step(high or 1.0, ticks)
    return max(unit, float(np.ceil((high or 1.0) / unit - 1e-9) * unit))
