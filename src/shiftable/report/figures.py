"""The page's figures as PNG, for papers and slides: black on white, legible without colour."""

import warnings
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Estimate
from shiftable.report.charts import Bars
from shiftable.report.heat_map import HeatMap
from shiftable.report.wording import shorten
from shiftable.report.worst_cases import Case, View

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LIGHT, DARK = 0.9, 0.12
"""Grey of the heat map's cells, 0 to 1; the gaps between its tiles are white."""

STYLES = (("black", "-", "o"), ("0.35", "--", "s"), ("0.5", ":", "^"), ("0.2", "-.", "D"))
DPI = 150


def heat_map_figure(heat: HeatMap, words: Mapping[str, Any], axis: tuple[float, float, str] | None, path: Path) -> None:
    """Draw the heat map.

    Args:
        heat: The map.
        words: As `heat_words` gives them.
        axis: Of a sweep, the first and the last place, and what they are.
        path: Where the PNG goes.
    """
    mosaic = _mosaic(heat)
    height = float(np.clip(7 * mosaic.shape[0] / mosaic.shape[1], 1.2, 7)) if axis is None else 5.5
    figure = new_figure(7, height + 1.1)
    axes = figure.add_subplot()
    extent = None
    if axis is not None:  # a sweep's columns are places: the axis says which
        half = (axis[1] - axis[0]) / (heat.tile[1] - 1) / 2 if heat.tile[1] > 1 else 0.5
        extent = axis[0] - half, axis[1] + half, len(heat.ids) + 0.5, 0.5
    axes.imshow(
        mosaic, cmap="gray", vmin=0, vmax=1, aspect="auto" if axis else "equal", interpolation="nearest", extent=extent
    )
    if axis is None:
        axes.set_axis_off()
    else:
        axes.set_xlabel(axis[2])
        axes.set_ylabel("image, most stable and right first")
    put_title(axes, f"{words['title']}: light is {words['good']}, dark {words['bad']}")
    save(figure, path)


def _mosaic(heat: HeatMap) -> Float[np.ndarray, "row column"]:
    """Tiles side by side, or, of a sweep, one below the other."""
    shades = np.where(heat.missing, 1.0, np.where(heat.light, LIGHT, DARK)).reshape(-1, *heat.tile)
    if heat.tile[0] > 1 or heat.tile[1] == 1:
        shades = shades.repeat(4, axis=1).repeat(4, axis=2)  # so that a gap can be a quarter of a cell
    height, width = shades.shape[1:]
    gap = 0 if height == 1 else 1 if heat.tile[1] == 1 else 4
    columns = 1 if height == 1 else max(1, min(100, ceil((2 * len(shades) * height / width) ** 0.5)))
    lines = -(-len(shades) // columns)
    padded = np.ones((lines * columns, height + gap, width + gap))
    padded[: len(shades), :height, :width] = shades
    grid = padded.reshape(lines, columns, height + gap, width + gap)
    return grid.transpose(0, 2, 1, 3).reshape(lines * (height + gap), columns * (width + gap))


def place_map_figure(agreement: Float[np.ndarray, "dy dx"], path: Path, step_px: float = 1.0) -> None:
    """Draw how many images are answered at a place as they are unmoved, the places being so many px apart."""
    end = len(agreement) * step_px / 2
    figure = new_figure(5.2, 4.4)
    axes = figure.add_subplot()
    extent = (-end, end, end, -end)
    image = axes.imshow(100 * agreement, cmap="gray", extent=extent, interpolation="nearest")
    axes.set_xlabel("px to the right")
    axes.set_ylabel("px down")
    put_title(axes, "Same answer as unmoved, % of images")
    figure.colorbar(image, ax=axes)
    save(figure, path)


def histogram_figure(bars: Bars, axis: str, path: Path) -> None:
    """Draw how often something happened per image."""
    figure = new_figure(6, 3.4)
    axes = figure.add_subplot()
    places = np.arange(len(bars.images))
    drawn = axes.bar(places, bars.images, width=0.84, color="0.3")
    if len(places) <= 20:
        axes.bar_label(drawn, labels=[str(count) if count else "" for count in bars.images], fontsize=8)
    ticks = places[:: -(-len(places) // 10)]
    axes.set_xticks(ticks, [bars.label(int(bar)) for bar in ticks])
    axes.set_xlabel(axis)
    axes.set_ylabel("images")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def changes_figure(rows: Mapping[str, Sequence[Estimate | None]], titles: Sequence[str], path: Path) -> None:
    """Draw motion and controls side by side.

    Args:
        rows: What was done to the picture → an estimate per panel; None leaves a line empty.
        titles: Of the panels.
        path: Where the PNG goes.
    """
    figure = new_figure(7.5, 1.2 + 0.38 * len(rows))
    for panel, title in enumerate(titles):
        axes = figure.add_subplot(1, len(titles), panel + 1)
        for line, estimates in enumerate(rows.values()):
            found = estimates[panel]
            if found is not None:
                axes.plot([found.low, found.high], [line, line], color="0.55", linewidth=4, solid_capstyle="butt")
                axes.plot([found.value], [line], "o", color="black", markersize=5)
        axes.set_yticks(range(len(rows)), list(rows) if panel == 0 else [""] * len(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.spines[["top", "right"]].set_visible(False)
        put_title(axes, title)
    save(figure, path)


def worst_figure(case: Case, measure: str, path: Path) -> None:
    """Draw one of the worst cases: the leading classes along the walk, and the views around the change.

    Args:
        case: The image.
        measure: What the numbers beside answers are.
        path: Where the PNG goes.
    """
    pictured = case.strip[0].picture is not None
    figure = new_figure(7.5, 5.4 if pictured else 3.6)
    above, *below = figure.subplots(1 + pictured, 1, squeeze=False, height_ratios=[1.5, 1][: 1 + pictured])[:, 0]
    _draw_lines(above, case, measure)
    put_title(above, f"{shorten(case.image, 60)}: {case.said}")
    for axes in below:
        _draw_strip(axes, case.strip)
    save(figure, path)


def _draw_lines(axes: "Axes", case: Case, measure: str) -> None:
    for line, (color, dash, marker) in zip(case.lines, STYLES, strict=False):
        label = f" {shorten(line.name, 40)}"  # matplotlib hides labels that begin with an underscore
        axes.plot(case.offsets, line.p, color=color, linestyle=dash, marker=marker, markersize=4, label=label)
    if len(case.offsets) > 2:
        axes.axvspan(case.offsets[case.at - 1], case.offsets[case.at], color="0.88", zorder=0)
    else:
        axes.set_xticks(case.offsets, ["first", "second"])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(case.axis)
    axes.set_ylabel(measure)
    legend = axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    for entry in legend.get_texts():
        entry.set_parse_math(False)


def _draw_strip(axes: "Axes", strip: Sequence[View]) -> None:
    """The views side by side as one picture, with white between them."""
    pictures = [np.asarray(view.picture) for view in strip]
    height, width = pictures[0].shape[:2]
    gap = np.full((height, max(1, width // 12), 3), 255, np.uint8)
    axes.imshow(np.concatenate([part for picture in pictures for part in (picture, gap)], axis=1)[:, : -gap.shape[1]])
    axes.set_axis_off()
    for at, view in enumerate(strip):
        text = f"{'changed' if view.after else ''}\n{view.place}\n{shorten(view.name, 18)}\n{100 * view.p:.0f} %"
        place = (at * (width + gap.shape[1]) + width / 2, -0.04 * height)
        axes.annotate(text, place, ha="center", va="bottom", fontsize=7, parse_math=False, annotation_clip=False)


def new_figure(width: float | int, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=DPI, layout="constrained")


def put_title(axes: "Axes", text: str, size: int = 10) -> None:
    axes.set_title(text, fontsize=size, loc="left" if size > 8 else "center", parse_math=False)


def save(figure: "Figure", path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in a script that the font lacks is drawn as boxes
        # not savefig, which draws everything twice
        FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})  # type: ignore[no-untyped-call]
