"""The figures of a detector's, a segmenter's or a key-point model's page as PNG: legible without colour."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftable.auditing import Estimate
from shiftable.report.figures import new_figure, put_title, save
from shiftable.report.objects_charts import Reading, interval_ends
from shiftable.report.objects_pairs import Mark, Pair, Side, label_of
from shiftable.report.wording import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PENS = {
    "kept": ("black", "-", 1.2), "lost": ("#b02a00", "--", 2.0), "new": ("#b02a00", "--", 2.0),
    "gone": ("0.15", ":", 1.4),
}  # fmt: skip
"""State of an object → colour, dashes and width of its line."""


def thresholds_figure(readings: Sequence[Reading], marked: float, axis: str, words: str, path: Path) -> None:
    """Draw a share against the score threshold, with the band that the truth is in."""
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    x = [place for place, _ in readings]
    ends = 100 * np.array([interval_ends(found) for _, found in readings])
    axes.fill_between(x, ends[:, 0], ends[:, 1], color="0.85")
    axes.plot(x, [100 * found.value for _, found in readings], "k-o", markersize=4)
    axes.axvline(marked, color="0.3", linestyle="--", linewidth=1)
    axes.set(xlabel=axis, ylabel=words, xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def phases_figure(groups: Sequence[tuple[str, str, float, Mapping[int, Sequence[Reading]]]], path: Path) -> None:
    """Draw what was measured by the remainder of the offset.

    Args:
        groups: (title, unit, where the axis ends, modulus → readings), a row each.
        path: Where the PNG goes.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8.5, 2.5 * len(groups))
    rows = figure.subplots(len(groups), max(len(group[3]) for group in groups), squeeze=False, sharey="row")
    for (title, unit, end, by_modulus), line in zip(groups, rows, strict=True):
        times = 100 if unit == "%" else 1
        for (modulus, readings), axes in zip(by_modulus.items(), line, strict=True):
            x, values = zip(*[(place, times * found.value) for place, found in readings], strict=True)
            low, high = times * np.array([interval_ends(found) for _, found in readings]).T
            axes.vlines(x, low, high, color="0.7", linewidth=3 if modulus <= 16 else 2)
            axes.plot(x, values, "k-o", markersize=3, linewidth=1)
            axes.set_xlabel(f"offset modulo {modulus}, px of the view", fontsize=8)
            axes.tick_params(labelsize=8)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylim(0, times * end)
        line[0].set_ylabel(unit, fontsize=8)
        put_title(line[0], title, 9)
    save(figure, path)


def columns_figure(edges: Sequence[float], shares: Sequence[float], axis: str, words: str, path: Path) -> None:
    """Draw a histogram whose last column holds all that is beyond."""
    figure = new_figure(6, 3.4)
    axes = figure.add_subplot()
    axes.bar(np.arange(len(shares)) + 0.5, 100 * np.asarray(shares), width=0.88, color="0.3")
    step = -(-len(edges) // 8)
    axes.set_xticks(range(len(edges))[::step], [f"{edge:g}" for edge in edges[::step]])
    axes.set(xlabel=axis, ylabel=words)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def parts_figure(
    names: Sequence[str], columns: Mapping[str, Sequence[Estimate | None]], units: Sequence[str], path: Path
) -> None:
    """Draw one line per point or class, a panel per column.

    Args:
        names: Of the lines.
        columns: Title → an estimate per line; None leaves it empty.
        units: Of the columns: ``"%"`` or ``"px"``.
        path: Where the PNG goes.
    """
    figure = new_figure(3.8 * len(columns) + 0.5, 1.2 + 0.2 * len(names))
    panels = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
    for (title, found), unit, axes in zip(columns.items(), units, panels, strict=True):
        times = 100 if unit == "%" else 1
        for line, each in enumerate(found):
            if each is not None:
                axes.plot([times * end for end in interval_ends(each)], [line] * 2, color="0.6", linewidth=4)
                axes.plot(times * each.value, line, "ko", markersize=4)
        axes.set_xlabel(unit)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        put_title(axes, title, 9)
    panels[0].set_yticks(range(len(names)), [shorten(name, 24) for name in names], fontsize=8, parse_math=False)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    save(figure, path)


def pair_figure(pair: Pair, path: Path) -> None:
    """Draw the views of a pair side by side, with what the model saw in them."""
    sides = [side for side in pair.sides if side.picture is not None]
    figure = new_figure(4.2 * len(sides), 4.6 * sides[0].shown[3] / sides[0].shown[2] + 0.5)
    for at, side in enumerate(sides, start=1):
        axes = figure.add_subplot(1, len(sides), at)
        _draw_side(axes, side)
    figure.suptitle(f"{shorten(pair.image, 60)}: {pair.title}", fontsize=10, parse_math=False)
    save(figure, path)


def _draw_side(axes: "Axes", side: Side) -> None:
    x, y, width, height = side.shown
    extent = (0, side.size[1], side.size[0], 0)
    axes.imshow(side.picture, extent=extent, interpolation="nearest")  # type: ignore[arg-type]
    for mark in sorted(side.marks, key=lambda mark: list(PENS).index(mark.state)):
        (_draw_point if mark.box[:2] == mark.box[2:] else _draw_box)(axes, mark)
    axes.set(xlim=(x, x + width), ylim=(y + height, y))
    axes.set_axis_off()
    put_title(axes, side.title, 8)


def _draw_box(axes: "Axes", mark: Mark) -> None:
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = mark.box
    color, dash, width = PENS[mark.state]
    for pen, style, thick in (("white", "-", width + 1.6), (color, dash, width)):
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, color=pen, linestyle=style, linewidth=thick))
    if mark.state != "kept":
        _write(axes, mark)


def _draw_point(axes: "Axes", mark: Mark) -> None:
    x, y = mark.box[:2]
    if mark.start is not None:
        axes.plot([mark.start[0], x], [mark.start[1], y], color="white", linewidth=3)
        axes.plot([mark.start[0], x], [mark.start[1], y], color="black", linewidth=1.2)
        axes.plot(*mark.start, "o", color="white", markeredgecolor="black", markersize=3)
    hollow = mark.state != "kept"
    fill, edge, size = ("white", PENS[mark.state][0], 6) if hollow else ("black", "white", 4)
    axes.plot(x, y, "o", color=fill, markeredgecolor=edge, markersize=size)
    if hollow:
        _write(axes, mark)


def _write(axes: "Axes", mark: Mark) -> None:
    axes.annotate(label_of(mark), mark.box[:2], fontsize=6.5, color="white", va="bottom", parse_math=False,
                  annotation_clip=True, bbox={"facecolor": "black", "edgecolor": "none", "pad": 1.2})  # fmt: skip
