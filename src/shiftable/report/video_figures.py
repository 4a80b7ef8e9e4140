"""The figures of a video audit as PNG: black on white, legible without colour."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from shiftable.report.figures import new_figure, put_title, save
from shiftable.report.trace_figure import MARK, STYLES
from shiftable.report.video_films import Film, Moment, decimated
from shiftable.report.wording import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def timeline_figure(film: Film, named: Callable[[int], str], path: Path) -> None:
    """Draw a video's timeline: probabilities, changes of answer, movement.

    Args:
        film: The video.
        named: Gives a class's name.
        path: Where the PNG goes.
    """
    figure = new_figure(7.5, 4.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    times = film.time_s
    for number, (color, dash, marker) in zip(film.lines(), STYLES, strict=False):
        p = film.p(number)
        kept = decimated(p)
        above.plot(
            times[kept], 100 * p[kept], color=color, linestyle=dash, linewidth=1.1, marker=marker, markersize=3,
            markevery=max(1, len(kept) // 12), label=f" {shorten(named(number), 34)}",
        )  # fmt: skip
    above.set_ylim(0, 100)
    above.set_ylabel("probability, %")
    above.vlines(times[film.flips], -7, -2, color=MARK, linewidth=0.8, clip_on=False)
    put_title(above, f"{shorten(film.id, 60)}: {len(film.flips)} changes; ticks below the axis", 9)
    _legend(above)
    moved = film.moved_px
    kept = decimated(moved)
    below.fill_between(times[kept], np.nan_to_num(moved[kept]), color="0.6", linewidth=0)
    below.set_ylim(bottom=0)
    below.set_ylabel("moved, px")
    below.set_xlabel("time, s")
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    above.tick_params(axis="x", pad=10, length=0)
    save(figure, path)


def movement_figure(
    shares: Sequence[float | None], counts: Sequence[str], labels: Sequence[str], axis: str, path: Path
) -> None:
    """Draw how often the answer changes, by how far the picture moved.

    Args:
        shares: 0 to 1; None where there is none.
        counts: Of what each share is.
        labels: Of the shares.
        axis: What the labels are.
        path: Where the PNG goes.
    """
    figure = new_figure(6, 3.4)
    axes = figure.add_subplot()
    drawn = axes.bar(range(len(shares)), [100 * (share or 0.0) for share in shares], width=0.64, color="0.6")
    said = ["no pairs" if share is None else f"of {count}" for share, count in zip(shares, counts, strict=True)]
    axes.bar_label(drawn, labels=said, fontsize=8)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlabel(axis)
    axes.set_ylabel("changed answers, %")
    axes.margins(y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path)


def smoothing_figure(
    series: Mapping[str, Sequence[tuple[float, float, str]]], words: Mapping[str, str], path: Path
) -> None:
    """Draw changes per minute against delay.

    Args:
        series: Name → (delay in frames, changes per minute, setting).
        words: Name → what it is called.
        path: Where the PNG goes.
    """
    from matplotlib.patheffects import withStroke

    figure = new_figure(6.5, 4.0)
    axes = figure.add_subplot()
    for (name, points), (color, dash, marker) in zip(series.items(), STYLES, strict=False):
        axes.plot(
            [delay for delay, _, _ in points], [flips for _, flips, _ in points], color=color, linestyle=dash,
            marker=marker, markersize=4, linewidth=1.1, label=f" {words.get(name, name)}",
        )  # fmt: skip
        for delay, flips, setting in points:
            axes.annotate(setting, (delay, flips), (4, 4), textcoords="offset points", fontsize=6, parse_math=False,
                          path_effects=[withStroke(linewidth=2, foreground="white")])  # fmt: skip
    axes.set_xlim(left=-0.2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("frames until a lasting change is answered")
    axes.set_ylabel("changed answers per minute")
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(fontsize=7, frameon=False)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
    save(figure, path)


def moment_figure(moment: Moment, title: str, named: Callable[[int], str], path: Path) -> None:
    """Draw the frames around a change of answer; nothing where there are none.

    Args:
        moment: The change.
        title: What it is.
        named: Gives a class's name.
        path: Where the PNG goes.
    """
    pictures = [picture for picture in moment.pictures if picture is not None]
    if len(pictures) < len(moment.shown):
        return
    figure = new_figure(7.5, 2.2)
    film = moment.film
    for at, (row, picture, axes) in enumerate(
        zip(moment.shown, pictures, figure.subplots(1, len(pictures), squeeze=False)[0], strict=True)
    ):
        axes.imshow(picture)
        axes.set_xticks([])
        axes.set_yticks([])
        flipped = at > 0 and row in film.flips
        axes.spines[:].set(color=MARK if flipped else "0.75", linewidth=2 if flipped else 0.5)
        answer = f"{shorten(named(int(film.top1[row])), 20)}, {100 * film.rows['top1_p'][row]:.0f} %"
        said = f"{answer}\n{film.time_s[row]:.2f} s"
        axes.set_xlabel(said, fontsize=7, parse_math=False)
    figure.suptitle(title, fontsize=9, x=0.01, ha="left", parse_math=False)
    save(figure, path)


def _legend(axes: "Axes") -> None:
    legend = axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    for entry in legend.get_texts():
        entry.set_parse_math(False)
