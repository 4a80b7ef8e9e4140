"""A trace as PNG in print quality: views tied to curves, as in figure 1 of Azulay & Weiss 2019."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftable.auditing.tracing.trace import Panel
from shiftable.report.figures import new_figure, save
from shiftable.report.trace_charts import MARKS, MOST_VIEWS, axis_end, axis_ticks
from shiftable.report.trace_words import (
    axis_words,
    chosen_steps,
    headline,
    line_styles,
    name_lines,
    percent,
    place_words,
    short_name,
)
from shiftable.report.wording import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 300
WIDTH_IN, LEFT_IN, RIGHT_IN = 7.2, 0.62, 0.08
TITLE_IN, LINE_IN, TIES_IN, PLOT_IN, AXIS_IN, LEGEND_IN, GAP_IN = 0.3, 0.12, 0.24, 1.5, 0.42, 0.17, 0.2
BETWEEN_IN = 0.06
"""Between views."""
COLUMNS = 3
"""Of a legend."""

MARK = "#a8440f"
STYLES = (
    ("#16395c", "-", "o"), ("#b3490f", "--", "s"), ("#2f7d53", ":", "^"), ("#7a4a8c", "-.", "D"),
    ("#5d626b", (0, (8, 2)), "o"), ("#a03060", (0, (3, 1)), "s"), ("#8a7500", (0, (1, 1)), "^"),
    ("#2a7f92", (0, (6, 1, 1, 1, 1, 1)), "D"),
)  # fmt: skip
"""Colour, dashes and mark of each line; marks of the last four are hollow."""


def trace_figure(panels: Sequence[Panel], named: bool, path: Path) -> None:
    """Draw panels below each other.

    Args:
        panels: One per motion.
        named: Whether the classes have names.
        path: Where the PNG goes.
    """
    heights = [_height(panel) for panel in panels]
    figure = new_figure(WIDTH_IN, sum(heights))
    figure.set_layout_engine("none")
    figure.set_dpi(DPI)
    top, end, styles = sum(heights), axis_end(panels), line_styles(panels)
    for panel, height in zip(panels, heights, strict=True):
        _draw(figure, panel, named, end, styles, top)
        top -= height
    save(figure, path)


def _sizes(panel: Panel) -> tuple[int, float, float]:
    """(how many views, how wide, how tall), in inches."""
    shown = min(MOST_VIEWS, len(panel.views))
    height, width = panel.views[0].shape[:2]
    side = min((WIDTH_IN - LEFT_IN - RIGHT_IN + BETWEEN_IN) / shown - BETWEEN_IN, 1.3)
    return shown, side, side * height / width


def _names(panel: Panel, step: int, side: float) -> list[str]:
    return name_lines(panel, step, max(8, int(side / 0.068)))


def _caption(panel: Panel) -> float:
    """How high the words below the views are."""
    side = _sizes(panel)[1]
    lines = max(len(_names(panel, step, side)) for step in chosen_steps(panel, MOST_VIEWS))
    return 0.08 + LINE_IN * (2 + lines)


def _height(panel: Panel) -> float:
    lines = -(-len(panel.classes) // COLUMNS)
    return TITLE_IN + _sizes(panel)[2] + _caption(panel) + TIES_IN + PLOT_IN + AXIS_IN + LEGEND_IN * lines + GAP_IN


def _draw(figure: "Figure", panel: Panel, named: bool, end: float, styles: Mapping[int, int], top: float) -> None:
    """One panel, its upper edge ``top`` inches above the figure's lower one."""
    tall = _sizes(panel)[2]
    views_at = top - TITLE_IN - tall
    plot_at = views_at - _caption(panel) - TIES_IN - PLOT_IN
    _write(figure, LEFT_IN, top - 0.2, headline(panel, named), size=9, ha="left", weight="bold")
    axes = _axes(figure, LEFT_IN, plot_at, WIDTH_IN - LEFT_IN - RIGHT_IN, PLOT_IN)
    _draw_curves(axes, panel, end, styles)
    _draw_views(figure, axes, panel, views_at, plot_at + PLOT_IN)
    legend = axes.legend(
        loc="upper left", bbox_to_anchor=(0.0, -(AXIS_IN - 0.02) / PLOT_IN), ncols=COLUMNS, fontsize=7, frameon=False,
        borderpad=0, handlelength=3, columnspacing=1.5, borderaxespad=0,
    )  # fmt: skip
    for entry in legend.get_texts():
        entry.set_parse_math(False)


def _draw_curves(axes: "Axes", panel: Panel, end: float, styles: Mapping[int, int]) -> None:
    every = max(1, round(len(panel.offsets) / MARKS))
    for number, p in zip(panel.classes, panel.probabilities.T, strict=True):
        at = styles[number] % len(STYLES)
        color, dash, marker = STYLES[at]
        axes.plot(
            panel.offsets, 100 * p, color=color, linestyle=dash, linewidth=1.2,
            marker=marker, markersize=3.2, markevery=(at % every, every), markerfacecolor=color if at < 4 else "white",
            label=f" {shorten(short_name(panel, number), 34)}", clip_on=False, zorder=3,
        )  # fmt: skip
    axes.axvspan(panel.offsets[panel.at - 1], panel.offsets[panel.at], color=MARK, alpha=0.16, linewidth=0, zorder=0)
    middles = [(panel.offsets[step - 1] + panel.offsets[step]) / 2 for step in panel.flips]
    axes.plot(middles, [-3.0 * end] * len(middles), "|", color=MARK, markersize=4, markeredgewidth=1.1, clip_on=False)
    span = float(panel.offsets[-1] - panel.offsets[0])
    axes.set_xlim(panel.offsets[0] - 0.015 * span, panel.offsets[-1] + 0.015 * span)
    axes.set_ylim(0, 100 * end)
    axes.set_yticks([100 * p for p in axis_ticks(end)])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=7, pad=3)
    axes.tick_params(axis="x", pad=5, length=0)
    axes.set_xlabel(axis_words(panel), fontsize=7.5, labelpad=2)
    axes.set_ylabel("probability, %", fontsize=7.5, labelpad=2)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_views(figure: "Figure", axes: "Axes", panel: Panel, views_at: float, plot_top: float) -> None:
    """The strip, its lower edge at ``views_at``, and the lines from it to the curves' upper edge; in inches."""
    from matplotlib.lines import Line2D

    _, side, tall = _sizes(panel)
    steps = chosen_steps(panel, MOST_VIEWS)
    slot = (WIDTH_IN - LEFT_IN - RIGHT_IN + BETWEEN_IN) / len(steps)
    low, high = axes.get_xlim()
    for at, step in enumerate(steps):
        jump = step in (panel.at - 1, panel.at)
        middle = LEFT_IN + slot * at + (slot - BETWEEN_IN) / 2
        view = _axes(figure, middle - side / 2, views_at, side, tall)
        view.imshow(np.asarray(panel.views[step]), interpolation="lanczos", aspect="auto")
        view.set_xticks([])
        view.set_yticks([])
        view.spines[:].set(color=MARK if jump else "0.75", linewidth=1.6 if jump else 0.5)
        lines = [(line, "bold", "black") for line in _names(panel, step, side)]
        lines += [(percent(panel.top1_p[step]), "normal", "black"), (place_words(panel, step), "normal", "0.4")]
        for row, (words, weight, shade) in enumerate(lines):
            _write(figure, middle, views_at - 0.13 - LINE_IN * row, words, size=6.5, weight=weight, color=shade)
        x = LEFT_IN + (WIDTH_IN - LEFT_IN - RIGHT_IN) * (panel.offsets[step] - low) / (high - low)
        across, down = (
            np.array([middle, x, x]),
            np.array([views_at - _caption(panel) + 0.02, plot_top, plot_top - PLOT_IN]),
        )
        color, width = (MARK, 0.7) if jump else ("0.82", 0.5)
        figure.add_artist(
            Line2D(across / WIDTH_IN, down / figure.get_figheight(), color=color, linewidth=width, zorder=0.5)
        )


def _axes(figure: "Figure", left: float, bottom: float, width: float, height: float) -> "Axes":
    total = figure.get_figheight()
    axes = figure.add_axes((left / WIDTH_IN, bottom / total, width / WIDTH_IN, height / total))
    axes.patch.set_alpha(0)
    return axes


def _write(
    figure: "Figure", x: float, y: float, text: str, size: float | int, *, ha: str = "center", weight: str = "normal",
    color: str = "black",
) -> None:  # fmt: skip
    figure.text(x / WIDTH_IN, y / figure.get_figheight(), text, fontsize=size, ha=ha, va="baseline", weight=weight,
                color=color, parse_math=False)  # fmt: skip
