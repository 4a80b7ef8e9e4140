"""The figure of a repair: what every candidate costs, and how often the answer still changes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from shiftable.auditing import Estimate
from shiftable.report.charts import LEFT, RIGHT, TOP, caption, chart
from shiftable.report.compare_charts import Axis, common_end, percent
from shiftable.report.figures import new_figure, save

COST = "time from image to answer, times what it takes now"
WIDE = 2.0
"""Above which ratio the axis of time goes by orders of magnitude."""

BOTTOM, BETWEEN = 236.0, 13.0
"""Where the axis lies, and how far apart numbers are kept, in the chart's own units."""


@dataclass(frozen=True)
class Mark:
    """A point of the figure.

    Args:
        label: The number that the table has it under; empty for the model as it is.
        name: In words.
        time: Its ratio, and the share of steps at which the answer still changes.
        flips: That share.
        chosen: Whether it belongs to what was chosen.
        efficient: Whether nothing else is both cheaper and steadier.
    """

    label: str
    name: str
    time: float
    flips: Estimate
    chosen: bool = False
    efficient: bool = False


def efficient(points: Sequence[tuple[float, float]]) -> set[int]:
    """Which points no other beats in both numbers, smaller being better (Pareto); of equal ones the first.

    Example:
        >>> efficient([(1.0, 0.1), (1.1, 0.05), (1.2, 0.07), (3.0, 0.01), (3.0, 0.01)])
        {0, 1, 3}
    """
    found: list[int] = []
    for at in sorted(range(len(points)), key=lambda at: points[at]):
        if not found or points[at][1] < points[found[-1]][1]:
            found.append(at)
    return set(found)


def cost_axis(marks: Sequence[Mark], budget: float) -> tuple[Axis, list[float]]:
    """The axis of time, and its ticks."""
    values = [mark.time for mark in marks] + [budget]
    axis = Axis("time", COST, "log" if max(values) > WIDE else "number")
    ticks = axis.ticks(values)
    if axis.kind == "log":  # half of the usual decades would be empty
        ticks = [tick for tick in ticks if tick >= 0.5] or ticks
        ticks = ticks if min(values) >= ticks[0] else [min(values), *ticks[1:]]
    return axis, ticks


def pareto(marks: Sequence[Mark], budget: float) -> Markup:
    """Every candidate as a point: to the left is cheaper, lower is steadier.

    Args:
        marks: The model as it is first.
        budget: The largest time ratio, a dashed line.
    """
    axis, ticks = cost_axis(marks, budget)
    end = common_end([mark.flips for mark in marks]) or 1.0  # next to nothing ends at 0

    def across(time: float) -> float:
        return LEFT + 14 + (RIGHT - LEFT - 28) * axis.place(time, ticks)

    def up(share: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * min(share, end) / end

    parts = [Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(LEFT, TOP, BOTTOM, RIGHT)]
    for share in (0.0, end / 2, end):
        parts.append(caption(LEFT - 5, up(share) + 4, percent(share), anchor="end"))
        parts.append(Markup('<path class="rule" d="M{} {:.1f}H{}"/>').format(LEFT, up(share), RIGHT))
    parts += [caption(across(tick), BOTTOM + 16, f"{tick:.3g}") for tick in ticks]
    parts.append(caption((LEFT + RIGHT) / 2, BOTTOM + 36, axis.words))
    parts.append(Markup('<path class="limit" d="M{0:.1f} {1}V{2}"/>').format(across(budget), TOP, BOTTOM))
    left = across(budget) > (LEFT + RIGHT) / 2
    parts.append(
        caption(across(budget) + (-4 if left else 4), TOP + 4, f"budget {budget:g}", anchor="end" if left else "start")
    )
    frontier = sorted((mark for mark in marks if mark.efficient), key=lambda mark: mark.time)
    steps = "".join(
        f"{'V' if at else 'M'}{'' if at else f'{across(mark.time):.1f} '}{up(mark.flips.value):.1f}"
        + (f"H{across(frontier[at + 1].time):.1f}" if at + 1 < len(frontier) else "")
        for at, mark in enumerate(frontier)
    )
    if len(frontier) > 1:
        parts.append(Markup('<path class="guide" d="{}"/>').format(steps))
    for mark in marks:
        if mark.chosen or not mark.label:
            x = across(mark.time)
            parts.append(
                Markup('<path class="reach" d="M{0:.1f} {1:.1f}V{2:.1f}"/>').format(
                    x, up(mark.flips.high), up(mark.flips.low)
                )
            )
    places = [(across(mark.time), up(mark.flips.value)) for mark in marks]
    for mark, (x, y), beside in zip(marks, places, numbers_beside(places), strict=True):
        parts.append(_drawn(mark, x, y))
        parts.append(caption(x + beside[0], y + beside[1], mark.label or "now", "name", "middle"))
    told = "; ".join(f"{mark.name}: {100 * mark.flips.value:.1f} % at {mark.time:.2f}" for mark in marks)
    return chart(parts, f"Changed answers against time. {told}", round(BOTTOM) + 44)


def numbers_beside(places: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where each point's number stands, off its middle: above it, else on whatever side is free."""
    taken: list[tuple[float, float]] = list(places)
    found = []
    for x, y in places:
        sides = [(0.0, -9.0), (12.0, 4.0), (-12.0, 4.0), (0.0, 18.0), (14.0, -9.0), (-14.0, -9.0), (24.0, 4.0)]
        free = [
            side
            for side in sides
            if all(
                max(abs(x + side[0] - a), abs(y + side[1] - 4 - b)) >= BETWEEN - 2 for a, b in taken if (a, b) != (x, y)
            )
        ]
        side = free[0] if free else sides[0]
        taken.append((x + side[0], y + side[1] - 4))
        found.append(side)
    return found


def _drawn(mark: Mark, x: float, y: float) -> Markup:
    """A square is the model as it is, a full circle what was chosen, a hollow one what was not."""
    if not mark.label:
        return Markup('<rect class="now" x="{:.1f}" y="{:.1f}" width="9" height="9"/>').format(x - 4.5, y - 4.5)
    kind = "dot" if mark.chosen else "other"
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{}"/>').format(kind, x, y, 5 if mark.chosen else 3.8)


def pareto_figure(marks: Sequence[Mark], budget: float, path: Path) -> None:
    """The same as PNG, black on white."""
    axis, ticks = cost_axis(marks, budget)
    end = common_end([mark.flips for mark in marks]) or 1.0  # next to nothing ends at 0
    figure = new_figure(6, 4.0)
    axes = figure.add_subplot()
    axes.axvline(axis.place(budget, ticks), color="black", linestyle="--", linewidth=0.8)
    frontier = sorted((mark for mark in marks if mark.efficient), key=lambda mark: mark.time)
    if len(frontier) > 1:
        axes.step([axis.place(mark.time, ticks) for mark in frontier], [mark.flips.value for mark in frontier],
                  where="post", color="0.6", linewidth=1)  # fmt: skip
    for mark in marks:
        x = axis.place(mark.time, ticks)
        if mark.chosen or not mark.label:
            axes.plot([x, x], [mark.flips.low, mark.flips.high], color="0.6", linewidth=3)
        face = "black" if mark.chosen or not mark.label else "white"
        axes.plot(
            [x], [mark.flips.value], "o" if mark.label else "s", color="black", markerfacecolor=face, markersize=5
        )
        axes.annotate(mark.label or "now", (x, mark.flips.value), (0, 5), textcoords="offset points", ha="center",
                      fontsize=8, annotation_clip=False)  # fmt: skip
    axes.set_xlim(-0.03, 1.03)
    axes.set_ylim(0, end)
    axes.set_xticks([axis.place(tick, ticks) for tick in ticks], [f"{tick:.3g}" for tick in ticks])
    axes.set_yticks([0, end / 2, end], [percent(share) for share in (0.0, end / 2, end)])
    axes.set_xlabel(f"{axis.words} (dashed: budget {budget:g})")
    axes.set_ylabel("changed answers")
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)
