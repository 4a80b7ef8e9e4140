"""The page of one audit: what was found, whether it is motion or noise, which images change, and how that looks."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shiftable.auditing import Audit, show_again
from shiftable.auditing.metrics import CONTROL_METRICS
from shiftable.auditing.retrieval import read_ids
from shiftable.data import Sample
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.report import figures, wording
from shiftable.report.audit_content import audit_content
from shiftable.report.heat_map import HeatMap, heat_map, most_rows
from shiftable.report.motion_words import step_size
from shiftable.report.pages import render
from shiftable.report.tallies import Tallies, choose_rows, choose_worst, rows_of, tally
from shiftable.report.worst_cases import MOST_CASES, Case, sources, worst_case

PAGE, FIGURES = "report.html", "figures"
OWN_FIGURES = (
    *("heatmap.png", "changes.png", "jaggedness.png", "flips.png", "places.png"),
    *(f"worst-{number}.png" for number in range(1, MOST_CASES + 1)),
)
"""All that a page may have beside it; whatever else is there is the user's."""


def write_classes_report(
    audit: Audit, *, class_names: Sequence[str] | None = None, samples: Sequence[Sample] | None = None
) -> Path:
    """Write an audit's page, and its figures as PNG, into the audit's folder.

    The page is one file of at most 5 MB that needs no network. The table is read twice, a shard at a time; all that is
    kept of every image is a few numbers.

    Args:
        audit: A finished audit.
        class_names: A name per class of the model; None says "class 7". An embedder's answers are images, which have
            names of their own.
        samples: The images; None looks for them where the audit found them. Without them the page has no pictures, and
            says so.

    Returns:
        The page, ``report.html``. The figures are beside it in ``figures/``.

    Raises:
        InputError: If there are fewer or more names than classes, or the audit's table is gone.
    """
    classes = int(audit.model["classes"])
    named: Callable[[int], str] = "class {}".format
    if wording.embeds(audit):
        named = read_ids(audit.folder).__getitem__
    elif class_names is not None:
        if len(class_names) != classes:
            raise InputError(
                f"{len(class_names)} class names for {classes} classes", todo="give one per class, in order"
            )
        named = class_names.__getitem__

    tallies = tally(audit)
    heat, cases = _drawn(audit, tallies, named, samples)
    folder = audit.folder / FIGURES
    folder.mkdir(exist_ok=True)
    for stale in OWN_FIGURES:
        (folder / stale).unlink(missing_ok=True)
    content = audit_content(audit, tallies, heat, cases, named)
    _draw_figures(audit, tallies, heat, cases, content, folder)
    text = render("audit.html", content)
    # names of files that are no text on this system must not stop the page
    write_atomically(audit.folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return audit.folder / PAGE


def _drawn(
    audit: Audit, tallies: Tallies, named: Callable[[int], str], samples: Sequence[Sample] | None
) -> tuple[HeatMap, list[Case]]:
    """What needs the rows of single images: the second pass over the table."""
    rows = choose_rows(tallies, most_rows(audit))
    worst = choose_worst(tallies, MOST_CASES, by_steepness=audit.walk["shape"] in ("pairs", "random"))
    images = rows_of(audit, {*rows.tolist(), *worst.tolist()})
    heat = heat_map(audit, [images[number] for number in rows.tolist()])
    show, pictures = show_again(audit), sources(audit, samples) if len(worst) else {}
    cases = [images[number] for number in worst.tolist()]
    return heat, [worst_case(case, named, show, pictures.get(case.images[0])) for case in cases]


def _draw_figures(
    audit: Audit, tallies: Tallies, heat: HeatMap, cases: Sequence[Case], content: Mapping[str, Any], folder: Path
) -> None:
    figures.heat_map_figure(heat, content["heat"], content["heat_axis"], folder / "heatmap.png")
    titles = [f"{wording.metric_words(name)[0]} ({name})" for name in CONTROL_METRICS]
    figures.changes_figure(content["controls"]["estimates"], titles, folder / "changes.png")
    if histogram := content["histogram"]:
        figures.histogram_figure(histogram["bars"], histogram["axis"], folder / histogram["file"])
    if tallies.agreement is not None:
        figures.place_map_figure(tallies.agreement, folder / "places.png", step_size(audit.motion))
    for number, case in enumerate(cases, start=1):
        figures.worst_figure(case, wording.measure(audit), folder / f"worst-{number}.png")
