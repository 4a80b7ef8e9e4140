"""The figures of a comparison as PNG, for papers and slides: black on white."""

from collections.abc import Sequence
from math import isnan
from pathlib import Path

from shiftable.auditing import Estimate
from shiftable.report.compare_charts import LONGEST, Axis, Point, common_end, percent
from shiftable.report.figures import new_figure, put_title, save
from shiftable.report.labels import Box, place_labels
from shiftable.report.wording import shorten

LETTER, LINE = 4.9, 10.0
"""Width of a letter and height of a line of 8 point, in points."""


def scatter_figure(axis: Axis, points: Sequence[Point], path: Path) -> None:
    """Draw stability against something, a labelled point per model."""
    inches = 3.4 + 0.2 * max(0, len(points) - 5)
    figure = new_figure(6, inches)
    figure.set_layout_engine("none")  # names are placed in points: the axes' size must be known
    axes = figure.add_axes((0.11, 0.6 / inches, 0.86, 1 - 0.75 / inches))
    wide, high = 0.86 * 6 * 72, (inches - 0.75) * 72
    ticks, end = axis.ticks([point.x for point in points]), common_end([point.change for point in points])
    places = [0.03 + 0.94 * axis.place(point.x, ticks) for point in points]
    for place, point in zip(places, points, strict=True):
        axes.plot([place, place], [point.change.low, point.change.high], color="0.6", linewidth=3)
        axes.plot([place], [point.change.value], "o", color="black", markersize=5)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, end)
    axes.set_xticks([0.03 + 0.94 * axis.place(tick, ticks) for tick in ticks], [axis.say(tick) for tick in ticks])
    axes.set_yticks([0, end / 2, end], [percent(share) for share in (0.0, end / 2, end)])
    axes.set_xlabel(axis.words)
    axes.set_ylabel("changed answers")
    axes.spines[["top", "right"]].set_visible(False)

    middles = [
        (place * wide, high * (1 - point.change.value / end)) for place, point in zip(places, points, strict=True)
    ]
    bars = [
        Box(x - 3, high * (1 - point.change.high / end), x + 3, high * (1 - point.change.low / end))
        for (x, _), point in zip(middles, points, strict=True)
    ]
    names = [shorten(point.name, LONGEST) for point in points]
    boxes = place_labels(middles, [(LETTER * len(name), LINE) for name in names], Box(2, 0, wide, high - 2), bars)
    for name, box, bar in zip(names, boxes, bars, strict=True):
        if box is None:
            continue
        if line := box.leader(bar):
            x, y, end_x, end_y = line
            ends = [(x / wide, end_x / wide), (1 - y / high, 1 - end_y / high)]
            axes.plot(*ends, transform=axes.transAxes, color="0.5", linewidth=0.6, zorder=0)
        center = ((box.left + box.right) / 2 / wide, 1 - (box.top + box.bottom) / 2 / high)
        axes.text(*center, name, transform=axes.transAxes, ha="center", va="center", fontsize=8, parse_math=False)
    save(figure, path)


def intervals_figure(panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]], path: Path) -> None:
    """Draw every model's interval, panel by panel, on one axis."""
    figure = new_figure(6.5, 0.8 + sum(0.5 + 0.24 * len(rows) for _, rows in panels))
    end = common_end([found for _, rows in panels for _, found in rows])
    ratios = [0.5 + 0.24 * len(rows) for _, rows in panels]
    for axes, (heading, rows) in zip(
        figure.subplots(len(panels), 1, squeeze=False, height_ratios=ratios)[:, 0], panels, strict=True
    ):
        for line, (_, found) in enumerate(rows):
            if not isnan(found.low):
                axes.plot([found.low, found.high], [line, line], color="0.6", linewidth=4, solid_capstyle="butt")
            axes.plot([found.value], [line], "o", color="black", markersize=5)
        axes.set_yticks(range(len(rows)), [shorten(name, 30) for name, _ in rows])
        for label in axes.get_yticklabels():
            label.set_parse_math(False)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(0, end)
        axes.set_xticks([0, end / 2, end], [percent(share) for share in (0.0, end / 2, end)])
        axes.spines[["top", "right"]].set_visible(False)
        put_title(axes, heading)
    save(figure, path)
