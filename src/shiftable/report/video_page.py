"""The page of a video audit: how often the answer flickers, when, how much is movement, what smoothing costs."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftable.auditing import Audit
from shiftable.auditing.metrics import CONTROL_METRICS
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.report import figures, video_content, video_costs, video_figures, video_words
from shiftable.report.pages import render
from shiftable.report.video_films import (
    MOST_FILMS,
    MOST_MOMENTS,
    Film,
    Moment,
    choose_moments,
    chosen_films,
    moments,
    read_films,
)

if TYPE_CHECKING:
    from rich.console import Console

PAGE, FIGURES = "report.html", "figures"
OWN_FIGURES = (
    *("changes.png", "movement.png", "smoothing.png"),
    *(f"timeline-{number}.png" for number in range(1, MOST_FILMS + 1)),
    *(f"moment-{number}.png" for number in range(1, MOST_MOMENTS + 1)),
)
"""All that a page may have beside it; whatever else is there is the user's."""


def write_video_report(audit: Audit, class_names: Sequence[str] | None = None) -> Path:
    """Write the page of an audit of videos, and its figures as PNG, into the audit's folder.

    The page is one file of at most 5 MB that needs no network: at most eight timelines, drawn through at most about
    1,200 points a line. Frames around changes of answer are decoded again, where the videos are still there.

    Args:
        audit: A finished audit of videos.
        class_names: A name per class of the model; None says "class 7".

    Returns:
        The page, ``report.html``. The figures are beside it in ``figures/``.

    Raises:
        InputError: If there are fewer or more names than classes, or the audit's table is gone.
    """
    named: Callable[[int], str] = "class {}".format
    if class_names is not None:
        classes = int(audit.model["classes"])
        if len(class_names) != classes:
            raise InputError(
                f"{len(class_names)} class names for {classes} classes", todo="give one per class, in order"
            )
        named = class_names.__getitem__
    films = read_films(audit)
    drawn = chosen_films(films)
    shown = moments(audit, choose_moments(films))
    folder = audit.folder / FIGURES
    folder.mkdir(exist_ok=True)
    for stale in OWN_FIGURES:
        (folder / stale).unlink(missing_ok=True)
    content = video_content.video_content(audit, films, drawn, shown, named)
    _draw_figures(content, drawn, shown, lambda number: video_words.first_name(named(number)), folder)
    text = render("video.html", content)
    write_atomically(audit.folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return audit.folder / PAGE


def show_video(console: "Console", audit: Audit, page: Path) -> None:
    """What was found in a sentence, then metrics and controls, a row each, then what smoothing would do.

    Args:
        console: Where to print.
        audit: What was found.
        page: Where its page is.
    """
    from rich.table import Table

    from shiftable.report.terminal import show_classes

    console.print(video_content.headline(audit, read_films(audit)), markup=False)
    if found := video_costs.smoothing(audit):
        table = Table("smoothing", "setting", "changes a minute", "delay", "accuracy", box=None, pad_edge=False)
        for row in found["rows"]:
            table.add_row(*row)
        console.print(table)
    show_classes(console, audit, page)


def _draw_figures(
    content: dict[str, Any],
    drawn: Sequence[Film],
    shown: Sequence[Moment],
    named: Callable[[int], str],
    folder: Path,
) -> None:
    titles = [f"{video_words.VIDEO_WORDS[name][0]} ({name})" for name in CONTROL_METRICS]
    figures.changes_figure(content["controls"]["estimates"], titles, folder / "changes.png")
    for number, film in enumerate(drawn, start=1):
        video_figures.timeline_figure(film, named, folder / f"timeline-{number}.png")
    moved = content["movement"]
    video_figures.movement_figure(
        moved["shares"], moved["pairs"], moved["labels"], moved["axis"], folder / "movement.png"
    )
    if (found := content["smoothing"]) and found["series"]:
        video_figures.smoothing_figure(found["series"], video_words.SMOOTHING_WORDS, folder / "smoothing.png")
    for number, (moment, words) in enumerate(zip(shown, content["moments"], strict=True), start=1):
        video_figures.moment_figure(moment, words["title"], named, folder / f"moment-{number}.png")
