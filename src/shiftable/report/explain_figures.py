"""The pictures of a diagnosis as PNG, for papers and slides: black on white, legible without colour."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftable.report.explain_plots import Axis, Drawing, Heat, Part, Plot, Rows, Strip
from shiftable.report.figures import new_figure, put_title, save
from shiftable.report.trace_figure import STYLES
from shiftable.report.wording import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKS = 12
"""About so many marks are drawn on a curve."""
WIDTH_IN = {1: 5.4, 2: 7.6, 3: 9.0}
"""By how many plots stand side by side."""
PLOT_IN, HEAT_IN, ROW_IN, LINE_IN = 2.3, 4.2, 0.3, 0.2


def explain_figure(drawing: Drawing, path: Path) -> None:
    """Draw what belongs together.

    Args:
        drawing: What it shows.
        path: Where the PNG goes.
    """
    lines = _lines(drawing)
    columns = max(len(line) for line in lines)
    keys = drawing.legend() if len(drawing.legend()) > 1 else []
    width = WIDTH_IN[columns]
    heights = [max(_height(part, width) for part in line) for line in lines]
    figure = new_figure(width, sum(heights) + LINE_IN * -(-len(keys) // 2) + 0.1)
    grid = figure.add_gridspec(len(lines), columns, height_ratios=heights)
    for row, line in enumerate(lines):
        for column, part in enumerate(line):
            axes = figure.add_subplot(
                grid[row, :] if len(line) == 1 and columns > 1 and isinstance(part, Strip) else grid[row, column]
            )
            _draw(axes, part)
            put_title(axes, part.title, size=9)
    if keys:
        handles = [_handle(style, name) for style, name in keys]
        found = figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8, frameon=False,
                              handlelength=3.5)  # fmt: skip
        for entry in found.get_texts():
            entry.set_parse_math(False)
    save(figure, path)


def _lines(drawing: Drawing) -> list[list[Part]]:
    """The parts in lines of so many; a strip has one for itself."""
    lines: list[list[Part]] = []
    for part in drawing.parts:
        new = (
            isinstance(part, Strip) or not lines or len(lines[-1]) == drawing.columns or isinstance(lines[-1][0], Strip)
        )
        if new:
            lines.append([part])
        else:
            lines[-1].append(part)
    return lines


def _height(part: Part, width: float) -> float:
    if isinstance(part, Strip):
        tall, wide = part.pictures.shape[1:]
        return float(width / len(part.pictures) * tall / wide + 0.5)
    if isinstance(part, Rows):
        return 1.0 + ROW_IN * len(part.names)
    return HEAT_IN if isinstance(part, Heat) else PLOT_IN


def _draw(axes: "Axes", part: Part) -> None:
    if isinstance(part, Plot):
        _plot(axes, part)
    elif isinstance(part, Heat):
        extent = (part.x.low, part.x.high, part.y.high, part.y.low)
        axes.imshow(
            1 - part.shades, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent, aspect="equal"
        )
        _ticks(axes, part.x, part.y)
    elif isinstance(part, Strip):
        _strip(axes, part)
    else:
        _rows(axes, part)


def _plot(axes: "Axes", plot: Plot) -> None:
    for curve in plot.curves:
        if curve.kind == "guide":
            axes.plot(curve.x, curve.y, color="0.6", linewidth=0.9, zorder=1)
            continue
        color, dash, marker = STYLES[curve.style % len(STYLES)]
        every = max(1, round(len(curve.x) / MARKS))
        if curve.kind == "points":
            every, dash = 1, "none"
        if curve.low is not None and curve.high is not None:
            axes.vlines(curve.x, curve.low, curve.high, color=color, linewidth=0.9, alpha=0.7, zorder=2)
        axes.plot(
            curve.x, np.clip(curve.y, plot.y.low, None), color=color, linestyle=dash, linewidth=1.2, marker=marker,
            markersize=3.4, markevery=(curve.style % every, every),
            markerfacecolor=color if curve.style % 8 < 4 else "white", zorder=3,
        )  # fmt: skip
    if plot.shaded is not None and plot.shaded < plot.x.high:
        axes.axvspan(plot.shaded, plot.x.high, color="0.9", linewidth=0, zorder=0)
    for place, words in plot.marks:
        axes.axvline(place, color="0.35", linewidth=0.9, linestyle=(0, (4, 2)), zorder=1)
        left = place > (plot.x.low + plot.x.high) / 2
        axes.annotate(words, (place, 1), xycoords=("data", "axes fraction"), xytext=(-3 if left else 3, -3),
                      textcoords="offset points", ha="right" if left else "left", va="top", fontsize=7)  # fmt: skip
    axes.set_xlim(plot.x.low, plot.x.high)
    axes.set_ylim(plot.y.low, plot.y.high)
    _ticks(axes, plot.x, plot.y)
    axes.grid(axis="y", color="0.9", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _ticks(axes: "Axes", x: Axis, y: Axis) -> None:
    axes.set_xticks([place for place, _ in x.ticks], [words for _, words in x.ticks])
    axes.set_yticks([place for place, _ in y.ticks], [words for _, words in y.ticks])
    axes.tick_params(labelsize=7)
    axes.set_xlabel(x.words, fontsize=8, parse_math=False)
    axes.set_ylabel(y.words, fontsize=8, parse_math=False)


def _strip(axes: "Axes", strip: Strip) -> None:
    """The pictures side by side as one, with white between them."""
    height, width = strip.pictures.shape[1:]
    scale = max(1, round(64 / width))
    gap = np.ones((height * scale, max(1, width * scale // 12)))
    large = [picture.repeat(scale, axis=0).repeat(scale, axis=1) for picture in strip.pictures]
    joined = np.concatenate([part for picture in large for part in (picture, gap)], axis=1)[:, : -gap.shape[1]]
    axes.imshow(joined, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    step = width * scale + gap.shape[1]
    axes.set_xticks([at * step + width * scale / 2 for at in range(len(strip.captions))], list(strip.captions))
    axes.set_yticks([])
    axes.tick_params(labelsize=7, length=0)
    axes.spines[:].set_visible(False)


def _rows(axes: "Axes", rows: Rows) -> None:
    for line, (found, note) in enumerate(zip(rows.values, rows.notes, strict=True)):
        axes.barh(line, found.value, height=0.55, color="0.82", edgecolor="0.4", linewidth=0.6)
        if np.isfinite(found.low) and np.isfinite(found.high):
            axes.plot([found.low, found.high], [line, line], color="black", linewidth=1.1, marker="|", markersize=6)
        axes.plot([found.value], [line], "o", color="black", markersize=4)
        axes.annotate(note, (1, line), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
                      fontsize=7, va="center")  # fmt: skip
    axes.set_yticks(range(len(rows.names)), [shorten(name, 34) for name in rows.names], parse_math=False)
    axes.set_ylim(len(rows.names) - 0.4, -0.6)
    axes.set_xlim(rows.x.low, rows.x.high)
    axes.set_xticks([place for place, _ in rows.x.ticks], [words for _, words in rows.x.ticks])
    axes.tick_params(labelsize=7)
    axes.set_xlabel(rows.x.words, fontsize=8)
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _handle(style: int, name: str):  # type: ignore[no-untyped-def]
    from matplotlib.lines import Line2D

    color, dash, marker = STYLES[style % len(STYLES)]
    fill = color if style % 8 < 4 else "white"
    return Line2D([], [], color=color, ls=dash, marker=marker, markersize=4, markerfacecolor=fill, label=f" {name}")
