"""The figures of a study as drawings: what its rows say, put on axes."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from shiftable.auditing.intervals import Estimate
from shiftable.report.explain_plots import (
    Axis,
    Curve,
    Drawing,
    Part,
    Plot,
    Rows,
    Strip,
    ends,
    linear,
    logarithmic,
    logarithms,
    spanning,
)
from shiftable.studies.rows import estimate, grouped, said, those, within_shares
from shiftable.studies.study import Bars, Cell, Figure, Lines, Pictures, Row

STRIP_PX = 240
"""Pictures are drawn no larger."""


def drawing(figure: Figure, rows: Sequence[Row], pictures: Path) -> Drawing:
    """A figure of a study, of what its rows say.

    Args:
        figure: What it shows.
        rows: The study's.
        pictures: The folder of the pictures that it wrote.
    """
    parts: list[Part] = []
    names: dict[str, int] = {}
    for panel in figure.panels:
        if isinstance(panel, Lines):
            parts.append(_plot(panel, rows, names))
        elif isinstance(panel, Bars):
            parts.append(_bars(panel, rows))
        else:
            parts.append(_strip(panel, pictures))
    return Drawing(figure.name, figure.title, tuple(parts), figure.columns)


def _plot(panel: Lines, rows: Sequence[Row], names: dict[str, int]) -> Plot:
    """Curves of one name have one style in all panels: ``names`` remembers them."""
    chosen = [row for row in those(rows, panel.where) if row.get(panel.x) is not None]
    by = () if panel.by is None else (panel.by,)
    curves = []
    for key, group in grouped(chosen, *by).items():
        name = words(key[0]) if key else ""
        style = names.setdefault(name, len(names))
        points = sorted(grouped(group, panel.x).items(), key=lambda point: float(point[0][0]))  # type: ignore[arg-type]
        x = np.array([float(place[0]) for place, _ in points])  # type: ignore[arg-type]
        found = [_shown(estimate(same, panel.y), panel.percent) for _, same in points]
        y, low, high = ends(found)
        if panel.log_y:
            y, low, high = (np.where(each > 0, logarithms(each), np.nan) for each in (y, low, high))
        known = any(np.isfinite(each.low) for each in found)
        curves.append(
            Curve(
                name,
                logarithms(x) if panel.log_x else x,
                y,
                style,
                low if known else None,
                high if known else None,
                "line" if panel.joined else "points",
            )
        )
    across = [float(row[panel.x]) for row in chosen]  # type: ignore[arg-type]
    reach = [
        end for curve in curves for ends_ in (curve.y, curve.low, curve.high) if ends_ is not None for end in ends_
    ]
    x_axis = logarithmic(panel.x_words, across) if panel.log_x else _around(panel.x_words, across)
    y_axis = (
        logarithmic(panel.y_words, (10.0**each for each in reach))
        if panel.log_y
        else linear(panel.y_words, reach, percent=panel.percent)
        if panel.from_zero
        else spanning(panel.y_words, reach)
    )
    return Plot(panel.title, tuple(curves), x_axis, y_axis, says=_told(panel, curves))


def _around(axis_words: str, values: Sequence[float]) -> Axis:
    """From 0 where 0 is near, else around the values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    return linear(axis_words, values) if low <= 0.25 * high else spanning(axis_words, values)


def _told(panel: Lines, curves: Iterable[Curve]) -> str:
    """A plot in words: where each of its lines begins and ends."""
    parts = []
    for curve in curves:
        known = curve.y[np.isfinite(curve.y)]
        if len(known):
            parts.append(f"{curve.name or panel.y_words}: from {known[0]:.3g} to {known[-1]:.3g}")
    return f"{panel.title}. {panel.y_words} against {panel.x_words}. " + "; ".join(parts)


def _bars(panel: Bars, rows: Sequence[Row]) -> Rows:
    groups = grouped(those(rows, panel.where), panel.by)
    names = tuple(words(key[0]) for key in groups)
    values = tuple(_shown(estimate(group, panel.value), panel.percent) for group in groups.values())
    notes = tuple(said(found, panel.percent) for found in values)
    reach = [end for found in values for end in (found.value, found.low, found.high)]
    axis = linear(panel.words, reach, percent=panel.percent)
    says = "; ".join(f"{name}: {note}" for name, note in zip(names, notes, strict=True))
    return Rows(panel.title, names, tuple(map(_drawable, values)), notes, axis, says)


def _shown(found: Estimate, share: bool) -> Estimate:
    return within_shares(found) if share else found


def _drawable(found: Estimate) -> Estimate:
    """What could not be measured is drawn as nothing."""
    return found if np.isfinite(found.value) else Estimate(0.0, float("nan"), float("nan"), 0, 0)


def _strip(panel: Pictures, pictures: Path) -> Strip:
    found = []
    for name in panel.files:
        with Image.open(pictures / name) as picture:
            grey = picture.convert("L")
            if max(grey.size) > STRIP_PX:
                grey.thumbnail((STRIP_PX, STRIP_PX))
            found.append(np.asarray(grey, np.float64) / 255)
    return Strip(panel.title, np.stack(found), panel.captions, f"{panel.title}: {', '.join(panel.captions)}")


def words(value: Cell) -> str:
    """A cell for a reader.

    Example:
        >>> words("vgg_like"), words(None), words(0.25)
        ('vgg like', 'none', '0.25')
    """
    if isinstance(value, float):
        return f"{value:.3g}"
    return "none" if value is None else str(value).replace("_", " ")
