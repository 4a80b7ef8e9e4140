"""The page of an audited detector, segmenter or key-point model: how much of its answer a pixel of motion undoes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.dataset as ds

from shiftable.auditing import Audit, show_again
from shiftable.auditing.objects.tallies import (
    centre_errors,
    error_by_phase,
    left_out,
    vanished_by_threshold,
    worst_pairs,
)
from shiftable.auditing.predictions import part_paths
from shiftable.data import Sample
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.report import figures
from shiftable.report import objects_figures as drawn
from shiftable.report import objects_terms as terms
from shiftable.report import objects_words as words
from shiftable.report.objects_compared import detected_pair, placed_pair
from shiftable.report.objects_content import objects_content
from shiftable.report.objects_masks import sorted_pair
from shiftable.report.objects_pairs import MOST_PAIRS, Pair, read_pairs, views_of
from shiftable.report.objects_parts import class_estimates, point_estimates
from shiftable.report.objects_sections import EDGES_PX, Tallies
from shiftable.report.pages import render
from shiftable.report.worst_cases import sources

if TYPE_CHECKING:
    from rich.console import Console

PAGE, FIGURES = "report.html", "figures"
OWN_FIGURES = ("changes.png", "thresholds.png", "phases.png", "errors.png", "parts.png", "pair-*.png")
MODULI = (8, 16, 32)
PAIRS_PER_IMAGE = 2


def write_objects_report(
    audit: Audit,
    class_names: Sequence[str] | None = None,
    samples: Sequence[Sample] | None = None,
    model: Model | None = None,
) -> Path:
    """Write the page of a detector's, a segmenter's or a key-point model's audit, and its figures as PNG.

    The page is one file of at most 5 MB that needs no network.

    Args:
        audit: A finished audit of such a model.
        class_names: A name per class of the model; None says "class 7".
        samples: The images; None looks for them where the audit found them. Without them the page has no pictures, and
            says so.
        model: A segmenter, to be asked again for the masks of the worst pairs: the tables have none.

    Returns:
        The page, ``report.html``, in the audit's folder. The figures are beside it in ``figures/``.

    Raises:
        InputError: If there are fewer or more names than classes, or the audit's tables are gone.
    """
    classes = audit.model.get("classes")
    if class_names is not None and classes and len(class_names) != classes:
        raise InputError(f"{len(class_names)} class names for {classes} classes", todo="give one per class, in order")

    def named(number: int) -> str:
        known = class_names is not None and 0 <= number < len(class_names)
        return class_names[number] if known and class_names is not None else f"class {number}"

    tallies = _tally(audit)
    pairs = _worst(audit, named, samples, model)
    folder = audit.folder / FIGURES
    folder.mkdir(exist_ok=True)
    for stale in (path for pattern in OWN_FIGURES for path in folder.glob(pattern)):
        stale.unlink()
    content = objects_content(audit, tallies, pairs, named, asked_again=model is not None)
    _draw_figures(content, tallies, pairs, folder)
    text = render("objects.html", content)
    # names of files that are no text on this system must not stop the page
    write_atomically(audit.folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return audit.folder / PAGE


def show_objects(console: "Console", found: Audit, page: Path) -> None:
    """Print the metrics and controls of such an audit for a terminal, a row each, and where its page is."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("metric", "value", "95 % interval", "images", "counted"):
        table.add_column(column, overflow="fold")
    rows = [(Text(name), name, each) for name, each in found.metrics.items()]
    for control, metrics in found.controls.items():
        rows += [(Text(f"{control}: {name}", "dim"), name, each) for name, each in metrics.items()]
    for title, name, each in rows:
        value, interval = terms.figure_of(name, each.value), terms.interval_of(name, each)
        table.add_row(title, value, interval, str(each.images), str(each.pairs))
    console.print(table)
    console.print(words.headline(found), markup=False)
    for note in found.warnings:
        console.print(Text("note:", "bold"), Text(note))
    console.print(f"report: {page}", markup=False)


def _tally(audit: Audit) -> Tallies:
    kind, folder, seen = words.task(audit), audit.folder, words.LEADING[words.task(audit)] in audit.metrics
    table = ds.dataset([str(path) for path in part_paths(folder)], format="parquet")
    pairs = table.count_rows(filter=ds.field("control").is_null() & (ds.field("step") > 0))
    parts: Mapping[int, Any] = {}
    if kind != "segment":
        parts = class_estimates(audit) if kind == "detect" else point_estimates(audit)
    return Tallies(
        pairs,
        left_out(folder) if kind != "segment" else (0, 0),
        [*vanished_by_threshold(folder).items()] if kind == "detect" else [],
        {modulus: _phases(folder, modulus) for modulus in MODULI} if seen else {},
        centre_errors(folder, EDGES_PX).tolist() if kind != "segment" and seen else [],
        parts if seen else {},
    )


def _phases(folder: Path, modulus: int) -> dict[str, list[tuple[float, Any]]]:
    return {
        name: [(float(at), found) for at, found in enumerate(estimates) if found is not None]
        for name, estimates in error_by_phase(folder, modulus).items()
    }


def _worst(
    audit: Audit, named: Callable[[int], str], samples: Sequence[Sample] | None, model: Model | None
) -> list[Pair]:
    """The pairs to show, drawn as far as their images are there."""
    kind, size = words.task(audit), (int(audit.model["view_size"][0]), int(audit.model["view_size"][1]))
    wanted = worst_pairs(audit.folder, MOST_PAIRS, PAIRS_PER_IMAGE)
    show, pictures = show_again(audit), sources(audit, samples) if wanted else {}
    found = []
    for rows in read_pairs(audit.folder, wanted):
        views = views_of(show, pictures.get(rows.views[0]["image"]), rows)
        if kind == "segment":
            found.append(sorted_pair(rows, views, model, named, size))
        elif kind == "keypoints":
            found.append(placed_pair(rows, views, audit.model["thresholds"]["score_threshold"], size))
        else:
            found.append(detected_pair(rows, views, named, audit.model["thresholds"], size))
    return found


def _draw_figures(content: Mapping[str, Any], tallies: Tallies, pairs: Sequence[Pair], folder: Path) -> None:
    controls = content["controls"]
    if controls["names"]:
        units = {"px": ", px", "%": ", share"}
        titles = [f"{terms.titled(name)}{units.get(terms.unit(name), '')}" for name in controls["names"]]
        titles = ["\nof ".join(title.split(" of ", 1)) for title in titles]  # there is room for short lines only
        figures.changes_figure(controls["estimates"], titles, folder / "changes.png")
    if found := content["thresholds"]:
        words_up = "objects that vanish, %"
        drawn.thresholds_figure(tallies.thresholds, found["marked"], found["axis"], words_up, folder / "thresholds.png")
    if found := content["phases"]:
        groups = [(group["title"], group["unit"], group["end"], group["readings"]) for group in found["groups"]]
        drawn.phases_figure(groups, folder / "phases.png")
    if found := content["histogram"]:
        drawn.columns_figure(found["edges"], found["shares"], found["axis"], "% of the pairs", folder / "errors.png")
    if found := content["parts"]:
        names = [name for name, _ in found["rows"]]
        columns = {
            title: [each[at] for each in found["chosen"].values()] for at, title in enumerate(found["columns"][1:])
        }
        drawn.parts_figure(names, columns, found["units"], folder / "parts.png")
    for number, pair in enumerate((pair for pair in pairs if pair.pictured), start=1):
        drawn.pair_figure(pair, folder / f"pair-{number}.png")
