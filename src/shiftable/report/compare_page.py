"""The page of a comparison: who is steadiest, and whether that is more than being right, or sure, more often."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from shiftable.auditing.comparing.comparison import FIGURES, SHOWN, Compared, Comparison
from shiftable.auditing.intervals import Estimate
from shiftable.auditing.record import AUDIT, write_json
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.report import compare_charts as charts
from shiftable.report import compare_figures, compare_words, provenance, wording
from shiftable.report.audit_page import FIGURES as FOLDER
from shiftable.report.audit_page import PAGE
from shiftable.report.compare_charts import Axis, Point
from shiftable.report.pages import render

FILE = "comparison.json"

AGAINST = ("accuracy", "margin", "layers", "parameters", "bytes")
"""What stability may be drawn against."""

REFERENCES = (
    "Azulay & Weiss 2019. Why do deep convolutional networks generalize so poorly to small image transformations? "
    "Journal of Machine Learning Research 20(184): P(top-1 change), mean absolute change.",
    "Korn & Graubard 1998. Confidence intervals for proportions with small expected number of positive counts "
    "estimated from survey data, Survey Methodology 24: the intervals of rates.",
    "Fay & Feuer 1997. Confidence intervals for directly standardized rates, Statistics in Medicine 16: what is known "
    "where a bin shows no change.",
)


def write_comparison(comparison: Comparison, out: Path) -> Path:
    """Write ``comparison.json``, the page and its figures as PNG.

    The page is one file, needs no network, and has no pictures.

    Args:
        comparison: What `compare` gave.
        out: The folder. It may hold a comparison, which is replaced, but not an audit.

    Returns:
        The page, ``report.html``.

    Raises:
        InputError: If the folder can't be written, or is an audit's.
    """
    folder = out / FOLDER
    if (out / AUDIT).exists():
        raise InputError("holds an audit, whose page would be lost", where=out, todo="give another --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(out / FILE, comparison.to_json())
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=out, todo="give another --out") from None
    for stale in (*(f"against-{key}.png" for key in AGAINST), "intervals.png"):
        (folder / stale).unlink(missing_ok=True)
    scatters = _scatters(comparison)
    panels = _panels(comparison)
    _draw_figures(scatters, panels, folder)
    text = render("compare.html", _content(comparison, scatters, panels, out))
    write_atomically(out / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return out / PAGE


def _draw_figures(
    scatters: Sequence[tuple[Axis, Sequence[Point]]],
    panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]],
    folder: Path,
) -> None:
    for axis, points in scatters:
        compare_figures.scatter_figure(axis, points, folder / f"against-{axis.key}.png")
    compare_figures.intervals_figure(panels, folder / "intervals.png")


def _content(
    comparison: Comparison,
    scatters: Sequence[tuple[Axis, Sequence[Point]]],
    panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]],
    out: Path,
) -> dict[str, Any]:
    """What the template is filled with."""
    figures = [figure for figure in FIGURES if figure not in comparison.absent]
    metrics = [name for name in SHOWN if any(name in compared.metrics for compared in comparison.audits)]
    metrics = [name for name in metrics if name != "p_top1_change"]  # the raw figure says the same
    return {
        "names": [compared.name for compared in comparison.audits],
        "headline": compare_words.headline(comparison),
        "verdicts": [compare_words.verdict(comparison, figure) for figure in FIGURES[1:]],
        "notes": comparison.notes,
        "figures": [compare_words.SIDE_BY_SIDE[figure] for figure in figures],
        "metrics": [wording.metric_words(name)[0] for name in metrics],
        "rows": [_row(compared, figures, metrics, out) for compared in comparison.audits],
        "differences": [
            (compared.name, [_difference(compared.against_first[figure]) for figure in figures])
            for compared in comparison.audits[1:]
        ],
        "first": comparison.audits[0].name,
        "scatters": [(axis, charts.scatter(axis, points)) for axis, points in scatters],
        "intervals": charts.intervals(panels, _told(panels)),
        "covered": None if "matched_margin" in comparison.absent else compare_words.covered(comparison),
        "right": comparison.images["right"],
        "definitions": [(name, *wording.metric_words(name, comparison.audits[0].audit)) for name in metrics],
        "facts": _facts(comparison),
        "references": REFERENCES,
    }


def _row(compared: Compared, figures: Sequence[str], metrics: Sequence[str], out: Path) -> dict[str, Any]:
    return {
        "name": compared.name,
        "about": _about(compared),
        "page": _link(compared, out),
        "stability": [_cell("p_top1_change", compared.stability[figure]) for figure in figures],
        "metrics": [_cell(name, compared.metrics[name]) if name in compared.metrics else None for name in metrics],
    }


def _cell(name: str, found: Estimate) -> tuple[str, str]:
    return wording.figure_of(name, found.value), wording.interval_of(name, found)


def _difference(found: Estimate) -> tuple[str, str, bool]:
    """A difference, its interval, and whether it is one."""
    ends = f"{compare_words.points(found.low)} to {compare_words.points(found.high)}"
    return compare_words.points(found.value), ends, found.low > 0 or found.high < 0


def _about(compared: Compared) -> list[str]:
    """How large a model is, as far as that is known, and what it looks at."""
    size = compared.audit.model.get("size") or {}
    said = []
    if size.get("layers"):
        said.append(wording.count(size["layers"], "layer"))
    if size.get("parameters"):
        said.append(f"{charts.large(size['parameters'])} parameters")
    elif size.get("bytes"):
        said.append(f"{charts.large(size['bytes'])}B")
    return [*said, "{} × {} px".format(*compared.audit.model["view_size"])]


def _link(compared: Compared, out: Path) -> str | None:
    """The way to the audit's own page, where it has one."""
    page = compared.audit.folder / PAGE
    if not page.is_file():
        return None
    return "./" + quote(os.path.relpath(page.resolve(), out.resolve()).replace(os.sep, "/"))


def _scatters(comparison: Comparison) -> list[tuple[Axis, list[Point]]]:
    """What stability is drawn against: whatever is known of two models or more."""
    size = [compared.audit.model.get("size") or {} for compared in comparison.audits]
    metrics = [{name: found.value for name, found in compared.metrics.items()} for compared in comparison.audits]
    by_parameters = sum(bool(known.get("parameters")) for known in size) >= 2
    menu = [
        (Axis("accuracy", "accuracy", "rate"), [known.get("accuracy") for known in metrics]),
        (Axis("margin", "margin (logits)", "number"), [known.get("margin") for known in metrics]),
        (Axis("layers", "layers", "number"), [known.get("layers") or None for known in size]),
        (Axis("parameters", "parameters", "log"), [known.get("parameters") or None for known in size]),
        (Axis("bytes", "size of the file (bytes)", "log"), [known.get("bytes") or None for known in size]),
    ]
    found = []
    for axis, values in menu:
        points = [
            Point(compared.name, float(value), compared.stability["raw"])
            for compared, value in zip(comparison.audits, values, strict=True)
            if value is not None and not np.isnan(value)
        ]
        if len(points) >= 2 and not (axis.key == "bytes" and by_parameters):
            found.append((axis, points))
    return found


def _panels(comparison: Comparison) -> list[tuple[str, list[tuple[str, Estimate]]]]:
    headings = {
        "raw": "Raw",
        "matched_accuracy": f"At matched accuracy: {comparison.images['right']} images all get right",
        "matched_margin": "At matched margin: all equally sure",
    }
    return [
        (headings[figure], [(compared.name, compared.stability[figure]) for compared in comparison.audits])
        for figure in FIGURES
        if figure not in comparison.absent
    ]


def _told(panels: Sequence[tuple[str, Sequence[tuple[str, Estimate]]]]) -> str:
    """The chart of intervals in words."""
    return " ".join(
        f"{heading}. " + "; ".join(f"{name}: {' ('.join(_cell('p_top1_change', found))})" for name, found in rows) + "."
        for heading, rows in panels
    )


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    first, images = comparison.audits[0].audit, comparison.images
    motion, source = first.motion, first.images["source"]
    listed = f"{images['common']:,} of {images['listed']:,} listed"
    return [
        ("Images", f"{listed}, of {wording.shorten(str(source or 'a list of samples'), 200)}"),
        ("Motion", provenance.motion_said(motion)),
        ("Walk", wording.walk_words(first)),
        ("Seed", str(first.seed)),
        *[(f"Audit {at}", f"{compared.audit.model['spec']}, in {compared.audit.folder}")
          for at, compared in enumerate(comparison.audits, start=1)],
    ]  # fmt: skip
