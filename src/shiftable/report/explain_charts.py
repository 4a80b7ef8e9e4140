"""The pictures of a diagnosis as SVG, in the page's own colours; no two lines differ by hue alone."""

import base64
from collections.abc import Callable
from io import BytesIO
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image

from shiftable.report.charts import caption
from shiftable.report.explain_plots import Curve, Drawing, Heat, Part, Plot, Rows, Strip
from shiftable.report.trace_charts import key, mark
from shiftable.report.wording import shorten

Place: TypeAlias = Callable[[float], float]
MARKS = 12
"""About so many marks are drawn on a curve."""
WIDE, SMALL = (420, 236), (300, 206)
"""(width, height) of a plot; of one among many."""
LONGEST_NAME = 46
LEFT, RIGHT_GAP, TOP, BELOW = 52.0, 12.0, 28.0, 46.0
ROW_PX = 62.0


def drawn(part: Part, small: bool = False) -> Markup:
    """A part of a drawing as SVG.

    Args:
        part: What to draw.
        small: Whether it stands among many.
    """
    if isinstance(part, Plot):
        return _plot(part, *(SMALL if small else WIDE))
    if isinstance(part, Heat):
        return _heat(part)
    return _rows(part) if isinstance(part, Rows) else _strip(part)


def legend(drawing: Drawing) -> list[tuple[Markup, str]]:
    """Pieces of its lines and their names; none where there is one line only."""
    found = drawing.legend()
    return [(key(style), name) for style, name in found] if len(found) > 1 else []


def _plot(plot: Plot, width: int, height: int) -> Markup:
    right, bottom = width - RIGHT_GAP, height - BELOW

    def across(value: float) -> float:
        return LEFT + (right - LEFT) * plot.x.part(value)

    def up(value: float) -> float:
        return bottom - (bottom - TOP) * plot.y.part(value)

    parts = []
    if plot.shaded is not None and plot.shaded < plot.x.high:
        start = across(plot.shaded)
        parts.append(_box("beyond", start, TOP, right - start, bottom - TOP))
    for place, words in plot.y.ticks:
        y = up(place)
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, y, right))
        parts.append(caption(LEFT - 6, y + 4, words, anchor="end"))
    parts.append(Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(LEFT, TOP, bottom, right))
    for place, words in plot.x.ticks:
        x = across(place)
        parts.append(Markup('<path class="axis" d="M{:.1f} {}v4"/>').format(x, bottom))
        parts.append(_tick(x, bottom + 18, words, width))
    for place, words in plot.marks:
        x = across(place)
        parts.append(Markup('<path class="limit" d="M{:.1f} {}V{}"/>').format(x, TOP, bottom))
        parts.append(caption(x - 4, TOP + 10, words, anchor="end") if x > width / 2 else
                     caption(x + 4, TOP + 10, words, anchor="start"))  # fmt: skip
    parts += [_curve(curve, across, up) for curve in plot.curves]
    parts.append(caption(4.0, 14.0, plot.y.words, anchor="start"))
    parts.append(caption((LEFT + right) / 2, height - 8.0, plot.x.words))
    return _svg("plot", width, height, plot.says or plot.title, parts)


def _curve(curve: Curve, across: Place, up: Place) -> Markup:
    x = [across(float(value)) for value in curve.x]
    y = [up(float(value)) for value in curve.y]
    known = np.isfinite(curve.y)
    path, pen = [], "M"
    for right, down, there in zip(x, y, known, strict=True):
        path += [f"{pen}{right:.1f} {down:.1f}"] if there else []
        pen = "L" if there else "M"
    if curve.kind == "guide":
        return Markup('<path class="guide" d="{}"/>').format("".join(path))
    stride = 1 if curve.kind == "points" else max(1, round(len(x) / MARKS))
    path = [] if curve.kind == "points" else path
    marks = [mark(x[at], y[at], curve.style) for at in range(curve.style % stride, len(x), stride) if known[at]]
    whiskers = []
    if curve.low is not None and curve.high is not None:
        for right, low, high in zip(x, curve.low, curve.high, strict=True):
            whiskers.append(f"M{right:.1f} {up(float(low)):.1f}V{up(float(high)):.1f}")
    return Markup('<g class="line line-{}"><path class="whisker" d="{}"/><path d="{}"/>{}</g>').format(
        curve.style % 8, "".join(whiskers) or "M0 0", "".join(path) or "M0 0", Markup("").join(marks)
    )


def _heat(heat: Heat) -> Markup:
    width, height = 360, 372
    left, top, right, bottom = 56.0, 28.0, 346.0, 318.0
    parts = [
        _image(1 - heat.shades, left, top, right - left, bottom - top),
        _box("edge", left, top, right - left, bottom - top),
    ]
    for place, words in heat.x.ticks:
        parts.append(caption(left + (right - left) * heat.x.part(place), bottom + 18, words))
    for place, words in heat.y.ticks:
        parts.append(caption(left - 6, top + (bottom - top) * heat.y.part(place) + 4, words, anchor="end"))
    parts += [
        caption(4.0, 14.0, heat.y.words, anchor="start"),
        caption((left + right) / 2, height - 10.0, heat.x.words),
    ]
    return _svg("heatmap", width, height, heat.says or heat.title, parts)


def _strip(strip: Strip) -> Markup:
    tall, wide = strip.pictures.shape[1:]
    side, gap = 120.0, 10.0
    height = side * tall / wide
    parts = []
    for at, (picture, words) in enumerate(zip(strip.pictures, strip.captions, strict=True)):
        x = at * (side + gap) + 1
        parts += [_image(picture, x, 1.0, side, height), _box("edge", x, 1.0, side, height)]
        parts.append(caption(x + side / 2, height + 18, words))
    count = len(strip.pictures)
    width = count * (side + gap) - gap + 2
    # few are drawn no larger than they have to be; many are moved sideways under a narrow window, not made tiny
    style = f"max-width:{max(15 * count, 30)}rem;min-width:{min(6 * count, 40)}rem"
    return _svg("strip-maps", int(width), int(height + 26), strip.says or strip.title, parts, style)


def _rows(rows: Rows) -> Markup:
    width, left, right = 420, 14.0, 406.0
    bottom = 10 + ROW_PX * len(rows.names)

    def x(value: float) -> float:
        return left + (right - left) * rows.x.part(value)

    parts = []
    for place, words in rows.x.ticks:
        parts.append(
            Markup('<path class="{}" d="M{:.1f} 4V{:.1f}"/>').format("axis" if place == 0 else "rule", x(place), bottom)
        )
        parts.append(_tick(x(place), bottom + 18, words, width))
    for at, (name, found, note) in enumerate(zip(rows.names, rows.values, rows.notes, strict=True)):
        top = 8 + ROW_PX * at
        low, high = (found.value if np.isnan(end) else end for end in (found.low, found.high))
        first, last = sorted((x(0.0), x(found.value)))
        parts.append(caption(left, top + 11, shorten(name, LONGEST_NAME), "small", anchor="start"))
        parts.append(caption(left, top + 27, note, anchor="start"))
        parts.append(_box("column", first, top + 33, last - first, 12.0))
        parts.append(Markup('<path class="reaching" d="M{0:.1f} {1}H{2:.1f}M{0:.1f} {3}v8M{2:.1f} {3}v8"/>').format(
            x(low), top + 39, x(high), top + 35))  # fmt: skip
        parts.append(Markup('<circle class="dot" cx="{:.1f}" cy="{}" r="3.5"/>').format(x(found.value), top + 39))
    parts.append(caption((left + right) / 2, bottom + 38, rows.x.words))
    return _svg("plot", width, int(bottom + 46), rows.says or rows.title, parts)


def _tick(x: float, y: float, words: str, width: int) -> Markup:
    """A number below an axis, inside the picture."""
    half = 4.6 * len(words)
    if x + half > width:
        return caption(width - 1.0, y, words, anchor="end")
    return caption(1.0, y, words, anchor="start") if x < half else caption(x, y, words)


def _box(kind: str, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        kind, x, y, width, height
    )


def _image(light: Float[np.ndarray, "y x"], x: float, y: float, width: float, height: float) -> Markup:
    """Cells as a picture, 0 black to 1 white, with sharp edges."""
    buffer = BytesIO()
    grey = np.round(255 * np.clip(np.nan_to_num(light), 0, 1)).astype(np.uint8)
    Image.fromarray(grey).save(buffer, "PNG", optimize=True)
    place = 'x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" preserveAspectRatio="none"'
    return Markup('<image class="cells" href="data:image/png;base64,{}" ' + place + "/>").format(
        base64.b64encode(buffer.getvalue()).decode(), x, y, width, height
    )


def _svg(kind: str, width: int, height: int, says: str, parts: list[Markup], style: str = "") -> Markup:
    return Markup('<svg class="{}"{} viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        kind, Markup(' style="{}"').format(style) if style else "", width, height, says, Markup("").join(parts)
    )
