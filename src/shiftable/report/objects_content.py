"""What the page of a detector, a segmenter or a key-point model says: the words, numbers and charts of its template."""

import re
import shlex
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

from shiftable.auditing import Audit, Estimate
from shiftable.auditing.objects.metrics import OBJECT_METRICS
from shiftable.auditing.record import read_run
from shiftable.report import charts, provenance, wording
from shiftable.report import objects_words as words
from shiftable.report.objects_drawings import LEGENDS, side_drawing
from shiftable.report.objects_pairs import Pair
from shiftable.report.objects_sections import (
    Tallies,
    histogram_section,
    metric_cell,
    parts_section,
    phases_section,
    thresholds_section,
)
from shiftable.report.objects_terms import says, titled

MOST_NOTES, LONGEST_NOTE = 20, 400

REFERENCES = (
    "Azulay & Weiss 2019. Why do deep convolutional networks generalize so poorly to small image transformations? "
    "Journal of Machine Learning Research 20(184): moving by one pixel, and counting what changes.",
    "Zhang 2019. Making convolutional networks shift-invariant again, ICML: the grid of a net that subsamples.",
    *provenance.REFERENCES[3:],
)


def objects_content(
    audit: Audit, tallies: Tallies, pairs: Sequence[Pair], named: Callable[[int], str], asked_again: bool
) -> dict[str, Any]:
    """What the template is filled with.

    Args:
        audit: The audit.
        tallies: What its tables say beyond the metrics.
        pairs: The pairs to show.
        named: Gives a class's name.
        asked_again: Whether a model was at hand to be asked for masks.
    """
    return {
        "name": audit.model_name,
        "task": words.task(audit),
        "headline": words.headline(audit),
        "basis": words.basis(audit, tallies.pairs),
        "notes": [wording.shorten(note, LONGEST_NOTE) for note in audit.warnings],
        "skipped": audit.images["skipped"][:MOST_NOTES],
        "skipped_more": max(0, len(audit.images["skipped"]) - MOST_NOTES),
        "used": audit.images["count"],
        "controls": _controls(audit),
        "counting": " ".join([words.counting(audit), *words.border(audit, *tallies.border)]),
        "metrics": [metric_cell(name, found) for name, found in audit.metrics.items()],
        "thresholds": thresholds_section(audit, tallies.thresholds),
        "phases": phases_section(audit, tallies.phases),
        "histogram": histogram_section(audit, tallies.errors),
        "parts": parts_section(audit, tallies.parts, named),
        "pairs": _pairs(audit, pairs, asked_again),
        "facts": facts(audit),
        "command": command(audit),
        "record": provenance.record(audit),
        "references": REFERENCES,
        "definitions": [(name, _formula(name)) for name in audit.metrics],
        "has_objects": words.task(audit) != "segment",
    }


def beside(audit: Audit) -> list[str]:
    """The metrics that are told of the controls too."""
    return [name for name in audit.metrics if any(name in found for found in audit.controls.values())] or [
        name for name in (words.LEADING[words.task(audit)],) if name in audit.metrics
    ]


def _controls(audit: Audit) -> dict[str, Any]:
    """Motion beside what is no motion, each metric on one axis."""
    names = beside(audit)
    found: dict[str, list[Estimate | None]] = {words.moved(audit): [audit.metrics.get(name) for name in names]}
    for control, estimates in audit.controls.items():
        found[wording.CONTROL_WORDS.get(control, control)] = [estimates.get(name) for name in names]
    highs = [
        max([0.0, *(cell.high for row in found.values() if (cell := row[at]) and not isnan(cell.high))])
        for at in range(len(names))
    ]
    rows = {
        title: [
            None if cell is None else metric_cell(name, cell, charts.nice_end(high))
            for name, cell, high in zip(names, cells, highs, strict=True)
        ]
        for title, cells in found.items()
    }
    columns = [titled(name) for name in names]
    return {"columns": columns, "names": names, "rows": rows, "estimates": found, "any": bool(audit.controls)}


def _pairs(audit: Audit, pairs: Sequence[Pair], asked_again: bool) -> dict[str, Any]:
    kind = words.task(audit)
    shown = [pair for pair in pairs if pair.pictured]
    missing = len(pairs) - len(shown)
    which = "The pictures" if missing == len(pairs) else f"{missing} of the pictures"
    return {
        "text": words.pairs_text(kind, len(pairs), asked_again and bool(shown)),
        "missing": f"{which} can’t be read any more where the audit found them, so their views are not shown."
        if missing
        else None,
        "legend": LEGENDS[kind] if shown else (),
        "drawn": [
            {
                "image": pair.image,
                "title": pair.title,
                "said": pair.said,
                "sides": [(side.title, side_drawing(side, _alt(pair, side))) for side in pair.sides]
                if pair.pictured
                else [],
            }
            for pair in pairs
        ],
    }


def _alt(pair: Pair, side: Any) -> str:
    """A view in words."""
    told = [f"{mark.name} {mark.score:.2f} ({words.STATES[mark.state]})" for mark in side.marks if mark.state != "kept"]
    kept = sum(mark.state == "kept" for mark in side.marks)
    said = [f"{kept} seen in both views"] if kept else []
    return ". ".join([side.title, *said, *told[:12]])


def facts(audit: Audit) -> list[tuple[str, str]]:
    """Terms and what they were in this audit."""
    thresholds = audit.model.get("thresholds", {})
    told = {"score_threshold": "seen from a score of {:g} on", "match_threshold": "still there from {:g} on"}
    said = "; ".join(told.get(name, f"{name} {{:g}}").format(value) for name, value in thresholds.items())
    found = []
    for term, value in provenance.facts(audit):
        if term == "Model":
            value = f"{audit.model['spec']}, {words.answers(audit)}"
        if term == "Images":
            value = re.sub(r", [\d,]+ of [\d,]+ listed with labels", "", value)
        if term != "Ties":
            found.append((term, value))
    at = next((at for at, (term, _) in enumerate(found) if term == "View"), 1)
    return [*found[:at], *([("Thresholds", said)] if said else []), *found[at:]]


def command(audit: Audit) -> str | None:
    """The command line that makes it again; None where the images were handed over in Python."""
    line = provenance.command(audit)
    if line is None:
        return None
    settings = (read_run(audit.folder) or {}).get("settings", {})
    options = {"--task": words.task(audit), "--decoder": settings.get("decoder")}
    options |= {f"--{name.replace('_', '-')}": value for name, value in audit.model.get("thresholds", {}).items()}
    given = [
        word for flag, value in options.items() if value is not None and flag not in line for word in (flag, value)
    ]
    return f"{line} {shlex.join(map(str, given))}".rstrip()


def _formula(name: str) -> str:
    """A metric's docstring as plain text."""
    text = (OBJECT_METRICS[name].of.__doc__ or "") if name in OBJECT_METRICS else says(name)
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()
