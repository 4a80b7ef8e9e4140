"""What the pictures of a diagnosis show, before anybody draws them: the page does as SVG, ``figures/`` as PNG."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Estimate
from shiftable.report.trace_charts import nice_step

Points: TypeAlias = Float[np.ndarray, "point"]
Ticks: TypeAlias = tuple[tuple[float, str], ...]

SMALLEST = 1e-12
"""What a logarithm takes for 0."""


@dataclass(frozen=True)
class Axis:
    """An axis: what it shows, where it begins and ends, and where it has numbers."""

    words: str
    low: float
    high: float
    ticks: Ticks

    def part(self, value: float) -> float:
        """Where a value is on it, 0 its beginning and 1 its end; what lies outside is put at the nearer end."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)


@dataclass(frozen=True)
class Curve:
    """Points, joined or not.

    Args:
        name: For the legend.
        x: Where they are; on a logarithmic axis, the logarithms.
        y: The same; NaN breaks a line.
        style: The number of its dashes and marks, 0 to 7.
        low: The lower ends of the intervals, if they have any.
        high: The upper ends.
        kind: A guide is a thin line to compare with, without marks; points are marks, each of them, without a line.
    """

    name: str
    x: Points
    y: Points
    style: int = 0
    low: Points | None = None
    high: Points | None = None
    kind: Literal["line", "guide", "points"] = "line"


@dataclass(frozen=True)
class Plot:
    """Curves on two axes.

    Args:
        title: What stands above.
        curves: Those that it shows.
        x: Across.
        y: Upwards.
        marks: Places on x at which a line stands, with a word.
        shaded: From which place on x on the ground is grey.
        says: What it shows, for who can't see it.
    """

    title: str
    curves: tuple[Curve, ...]
    x: Axis
    y: Axis
    marks: Ticks = ()
    shaded: float | None = None
    says: str = ""


@dataclass(frozen=True)
class Heat:
    """A field of cells, 0 white to 1 black, the first row on top."""

    title: str
    shades: Float[np.ndarray, "y x"]
    x: Axis
    y: Axis
    says: str = ""


@dataclass(frozen=True)
class Strip:
    """Pictures in a row, 0 black to 1 white, each with a line of words."""

    title: str
    pictures: Float[np.ndarray, "place y x"]
    captions: tuple[str, ...]
    says: str = ""


@dataclass(frozen=True)
class Rows:
    """A line for each of some things: a value and its interval, on one axis."""

    title: str
    names: tuple[str, ...]
    values: tuple[Estimate, ...]
    notes: tuple[str, ...]
    x: Axis
    says: str = ""


Part: TypeAlias = Plot | Heat | Strip | Rows


@dataclass(frozen=True)
class Drawing:
    """What belongs together: a figure of its own in print, a group on the page.

    Args:
        name: Of the file, and of the place on the page.
        title: What it shows.
        parts: In their order.
        columns: How many stand side by side where there is room.
    """

    name: str
    title: str
    parts: tuple[Part, ...]
    columns: int = 2

    def legend(self) -> list[tuple[int, str]]:
        """The styles and names of its curves, each once."""
        plots = [part for part in self.parts if isinstance(part, Plot)]
        curves = [curve for plot in plots for curve in plot.curves if curve.kind != "guide" and curve.name]
        return list(dict.fromkeys((curve.style, curve.name) for curve in curves))


def linear(words: str, values: Iterable[float], *, least: float = 0.0, most: int = 5, percent: bool = False) -> Axis:
    """An axis that begins at 0, or below where there is something, and ends at a round number.

    Args:
        words: What it shows.
        values: What must fit on it; what is not finite is left out.
        least: It reaches as far as this.
        most: About so many numbers at most.
        percent: Whether its numbers are shares, to be written in percent.

    Example:
        >>> linear("flips", [0.03, 0.17], percent=True).ticks[-1]
        (0.2, '20 %')
    """
    known = _finite(values)
    return _rounded(words, min(0.0, *known, 0.0), max(*known, least, 0.0) or 1.0, most, percent)


def spanning(words: str, values: Iterable[float], *, most: int = 5) -> Axis:
    """An axis around values that 0 has no part in."""
    known = _finite(values) or [0.0]
    low, high = min(known), max(known)
    reach = (high - low) or abs(high) or 1.0
    return _rounded(words, low - 0.04 * reach, high + 0.04 * reach, most, False)


def exact(words: str, low: float, high: float, *, most: int = 6, signed: bool = False) -> Axis:
    """An axis that ends where it is told to, with round numbers between."""
    unit = nice_step(high - low, most)
    places = np.arange(ceil(low / unit - 1e-9), floor(high / unit + 1e-9) + 1) * unit + 0.0
    return Axis(words, low, high, tuple((float(at), _number(at, signed)) for at in np.round(places, 9) + 0.0))


def logarithmic(words: str, values: Iterable[float], *, decades: int = 6) -> Axis:
    """An axis of powers of ten; places on it are `logarithms` of values.

    Args:
        words: What it shows.
        values: What must fit on it.
        decades: It covers no more of them; what is less is put at its beginning.
    """
    known = [value for value in _finite(values) if value > SMALLEST] or [1.0]
    high = ceil(log10(max(known)) - 1e-9)
    low = max(floor(log10(min(known)) + 1e-9), high - decades)
    low = low if low < high else high - 1
    step = 1 if high - low <= 4 else 2
    ticks = tuple((float(power), _power(power)) for power in range(low, high + 1) if (high - power) % step == 0)
    return Axis(words, float(low), float(high), ticks)


def logarithms(values: Iterable[float]) -> Points:
    """To the base of ten, of 0 that of next to nothing."""
    return np.asarray(np.log10(np.maximum(np.asarray(list(values), float), SMALLEST)))


def ends(estimates: Iterable[Estimate]) -> tuple[Points, Points, Points]:
    """Values, lower and upper ends; where there is no interval, they are the value."""
    found = np.array([(each.value, each.low, each.high) for each in estimates], float).reshape(-1, 3)
    filled = np.where(np.isnan(found), found[:, :1], found)
    return filled[:, 0], filled[:, 1], filled[:, 2]


def _rounded(words: str, low: float, high: float, most: int, percent: bool) -> Axis:
    unit = nice_step(high - low, most)
    first, last = floor(low / unit + 1e-9), ceil(high / unit - 1e-9)
    places = [round(unit * at, 12) + 0.0 for at in range(first, last + 1)]
    ticks = tuple((at, f"{_number(100 * at)} %" if percent else _number(at)) for at in places)
    return Axis(words, places[0], places[-1], ticks)


def _number(value: float, signed: bool = False) -> str:
    return f"{value:+g}".replace("-", "−") if signed and value else f"{value:g}".replace("-", "−")


def _power(power: int) -> str:
    return (
        f"{10.0**power:g}"
        if -4 <= power <= 4
        else "10" + str(power).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )


def _finite(values: Iterable[float]) -> list[float]:
    return [float(value) for value in values if np.isfinite(value)]
