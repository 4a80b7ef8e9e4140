"""A panel of a trace as SVG: the views on top, each tied to its place on the curves below."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup
from PIL import Image

from shiftable.auditing.tracing.trace import Panel
from shiftable.report.pages import data_url
from shiftable.report.trace_words import (
    axis_words,
    chosen_steps,
    name_lines,
    percent,
    place_words,
    short_name,
    signed,
)

MOST_VIEWS = 7
WIDTH = 900
LEFT, RIGHT = 58.0, 892.0
PLOT_PX = 210.0
"""How high the curves are."""
GAP, LINE_PX, TIES_PX = 12.0, 15.0, 30.0
"""Between views; a line of the words below a view; the lines from there to the curves."""
LETTER_PX = 7.4
"""How wide a letter of a name is, about."""
VIEW_PX = 224
LINES = 8
"""So many styles of lines are there."""
MARKS = 12
"""About so many marks are drawn on a line."""


def panel_chart(panel: Panel, end: float, styles: Mapping[int, int], text: str) -> Markup:
    """The views around the largest jump and along the way, above the probability of the leading classes.

    Args:
        panel: What to draw.
        end: The probability at which the axis ends.
        styles: Class → the number of its line.
        text: What it says, for who can't see it.
    """
    steps = chosen_steps(panel, MOST_VIEWS)
    slot = (RIGHT - LEFT + GAP) / len(steps)
    height, width = panel.views[0].shape[:2]
    side = min(slot - GAP, 150.0)
    tall = side * height / width
    names = {step: name_lines(panel, step, max(8, int(side / LETTER_PX))) for step in steps}
    words = tall + LINE_PX * (2 + max(map(len, names.values()))) + 6
    top = words + TIES_PX
    bottom = top + PLOT_PX
    x = across(panel)
    parts = [*_frame(top, bottom, end), _band(x, panel.at, top, bottom)]
    for number, step in enumerate(steps):
        middle = LEFT + slot * number + (slot - GAP) / 2
        parts += _view(panel, step, middle, side, tall, names[step])
        parts.append(Markup('<path class="tie{}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}V{:.1f}"/>').format(
            _kind(panel, step), middle, words, x[step], top, bottom))  # fmt: skip
    for number, p in zip(panel.classes, panel.probabilities.T, strict=True):
        parts.append(line(list(zip(x, bottom - PLOT_PX * p / end, strict=True)), styles[number]))
    parts += [_flip(x[step - 1], x[step], bottom) for step in panel.flips]
    for offset, label in _ticks(panel):
        parts.append(_caption(np.interp(offset, panel.offsets, x), bottom + 20, label))
    parts.append(_caption((LEFT + RIGHT) / 2, bottom + 40, axis_words(panel)))
    picture = '<svg class="trace" viewBox="0 0 {} {:.0f}" role="img" aria-label="{}">{}</svg>'
    return Markup(picture).format(WIDTH, bottom + 48, text, Markup("").join(parts))


def axis_end(panels: Sequence[Panel]) -> float:
    """The probability at which the axes of these panels end, so that they can be compared.

    Args:
        panels: Of one trace.
    """
    high = max(float(panel.probabilities.max()) for panel in panels)
    unit = nice_step(high, 5)
    return min(1.0, float(np.ceil(high / unit - 1e-9) * unit))


def axis_ticks(end: float) -> list[float]:
    """The probabilities at which an axis that ends there has numbers.

    Example:
        >>> axis_ticks(0.25)
        [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    unit = nice_step(end, 5)
    return [round(unit * at, 9) for at in range(round(end / unit) + 1)]


def across(panel: Panel) -> Float[np.ndarray, "step"]:
    """Where the steps are on the chart: by their offsets."""
    offsets = panel.offsets - panel.offsets[0]
    span = float(offsets[-1]) or 1.0
    return np.asarray(LEFT + 12 + (RIGHT - LEFT - 24) * offsets / span)


def line(points: Sequence[tuple[float, float]], number: int, every: int | None = None) -> Markup:
    """A curve with its own dashes and marks.

    Args:
        points: (x, y).
        number: Which style.
        every: A mark at every so many points; None takes about a dozen in all, those of different lines apart.
    """
    number %= LINES
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    every = every or max(1, round(len(points) / MARKS))
    marks = Markup("").join(mark(x, y, number) for x, y in points[number % every :: every])
    return Markup('<g class="line line-{}"><path d="M{}"/>{}</g>').format(number, path, marks)


def key(number: int) -> Markup:
    """A piece of the line with this number, for a legend."""
    number %= LINES
    drawn = Markup('<g class="line line-{}"><path d="M1 6H39"/>{}</g>').format(number, mark(20.0, 6.0, number))
    return Markup('<svg class="key" viewBox="0 0 40 12" width="40" height="12" aria-hidden="true">{}</svg>').format(
        drawn
    )


def mark(x: float, y: float, number: int) -> Markup:
    """A circle, square, triangle or diamond; filled for the first four lines, hollow for the others.

    Args:
        x: Its middle.
        y: Its middle.
        number: The line's.
    """
    r = 3.4
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}"/>',
        f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}"/>',
        f'<polygon points="{x:.1f},{y - 4.4:.1f} {x + 4.2:.1f},{y + 3.2:.1f} {x - 4.2:.1f},{y + 3.2:.1f}"/>',
        f'<polygon points="{x:.1f},{y - 4.6:.1f} {x + 4.6:.1f},{y:.1f} {x:.1f},{y + 4.6:.1f} {x - 4.6:.1f},{y:.1f}"/>',
    )
    return Markup(shapes[number % len(shapes)])  # numbers only: nothing to escape


def smaller(view: UInt8[np.ndarray, "height width 3"], most_px: int = VIEW_PX) -> UInt8[np.ndarray, "h w 3"]:
    """A view that a page can carry."""
    picture = Image.fromarray(np.ascontiguousarray(view))
    picture.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    return np.array(picture)


def _view(panel: Panel, step: int, middle: float, side: float, tall: float, name: Sequence[str]) -> list[Markup]:
    picture = data_url(smaller(panel.views[step]))
    left, kind = middle - side / 2, _kind(panel, step)
    p, where = percent(panel.top1_p[step]), place_words(panel, step)
    words = [*((line, "name") for line in name), (p, "value"), (where, "tick")]
    parts = [
        Markup("<title>{}, {}; {}</title>").format(short_name(panel, int(panel.top1[step])), p, where),
        Markup('<image href="{}" x="{:.1f}" y="1" width="{:.1f}" height="{:.1f}"/>').format(picture, left, side, tall),
        Markup('<rect class="view{}" x="{:.1f}" y="1" width="{:.1f}" height="{:.1f}"/>').format(kind, left, side, tall),
    ]
    parts += [_caption(middle, tall + LINE_PX * row, said, kind) for row, (said, kind) in enumerate(words, start=1)]
    return [Markup("<g>{}</g>").format(Markup("").join(parts))]


def _kind(panel: Panel, step: int) -> str:
    return " jump" if step in (panel.at - 1, panel.at) else ""


def _band(x: Float[np.ndarray, "step"], at: int, top: float, bottom: float) -> Markup:
    band = '<rect class="change" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
    return Markup(band).format(x[at - 1], top, max(1.5, x[at] - x[at - 1]), bottom - top)


def _flip(before: float, after: float, bottom: float) -> Markup:
    x = (before + after) / 2
    return Markup('<path class="flip" d="M{:.1f} {:.1f}v7"/>').format(x, bottom)


def _frame(top: float, bottom: float, end: float) -> list[Markup]:
    parts = [Markup('<path class="axis" d="M{} {:.1f}V{:.1f}H{}"/>').format(LEFT, top, bottom, RIGHT)]
    for p in axis_ticks(end):
        y = bottom - PLOT_PX * p / end
        parts.append(_caption(LEFT - 6, y + 4, f"{100 * p:g} %", anchor="end"))
        if p:
            parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, y, RIGHT))
    return parts


def _ticks(panel: Panel) -> list[tuple[float, str]]:
    """Where the axis has numbers, and which."""
    low, high = float(panel.offsets[0]), float(panel.offsets[-1])
    unit = nice_step(high - low, 8)
    values = np.arange(np.ceil(low / unit - 1e-9), np.floor(high / unit + 1e-9) + 1) * unit
    plain = panel.frames is not None or panel.axis == "times as large"
    return [
        (float(value), f"{value:g}" if plain else signed(float(f"{value:g}"))) for value in np.round(values, 9) + 0.0
    ]


def nice_step(span: float | int, most: int) -> float:
    """A round distance that fits into a span so many times at most.

    Example:
        >>> nice_step(32, 8), nice_step(3.0, 8)
        (5.0, 0.5)
    """
    least = (span or 1.0) / most
    unit = 10.0 ** np.floor(np.log10(least))
    return float(next(step * unit for step in (1, 2, 5, 10) if step * unit >= least - 1e-12))


def _caption(x: float, y: float, text: str, kind: str = "tick", anchor: str = "middle") -> Markup:
    return Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(kind, x, y, anchor, text)
