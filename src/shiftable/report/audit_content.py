"""What the page of an audit says: estimates and tallies as the words, numbers and charts of its template."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shiftable.auditing import METRICS, Audit, Estimate
from shiftable.auditing.metrics import CONTROL_METRICS, estimate
from shiftable.report import charts, provenance, wording
from shiftable.report.heat_map import HeatMap, heat_json, heat_words
from shiftable.report.motion_words import floor_words, step_size, sweep_axis, words_of
from shiftable.report.tallies import Tallies, histogram_metric
from shiftable.report.worst_cases import Case

MOST_NOTES, LONGEST_NOTE = 20, 400


def audit_content(
    audit: Audit, tallies: Tallies, heat: HeatMap, cases: Sequence[Case], named: Callable[[int], str]
) -> dict[str, Any]:
    """What the template is filled with."""
    change = audit.metrics.get("p_top1_change") or estimate(
        "p_top1_change", [(tallies.flips, tallies.pairs)], audit.seed
    )
    assert change is not None, "every walk has pairs"
    histogram = _histogram(audit, tallies)
    return {
        "name": audit.model_name,
        "headline": wording.headline(audit, change),
        "basis": wording.basis(audit, change),
        "notes": [wording.shorten(note, LONGEST_NOTE) for note in audit.warnings],
        "skipped": audit.images["skipped"][:MOST_NOTES],
        "skipped_more": max(0, len(audit.images["skipped"]) - MOST_NOTES),
        "used": audit.images["count"],
        "controls": _controls(audit, change),
        "floor": floor_words(audit.motion),
        "metrics": _metrics(audit),
        "heat": heat_words(audit, heat, len(tallies.flips)),
        "heat_json": heat_json(heat, named),
        "heat_axis": _heat_axis(heat, audit),
        "heat_ends": _heat_ends(_heat_axis(heat, audit)),
        "heat_rows": _heat_rows(heat),
        "places": _places(tallies, step_size(audit.motion)),
        "histogram": histogram,
        "cases": [_case(audit, case) for case in cases],
        "pictures": _pictures(cases),
        "facts": provenance.facts(audit),
        "command": provenance.command(audit),
        "record": provenance.record(audit),
        "references": provenance.REFERENCES,
        "definitions": [(name, METRICS[name].of.__doc__ or "") for name in audit.metrics],
        "measure": wording.measure(audit),
    }


def _metrics(audit: Audit) -> list[dict[str, Any]]:
    """The table's rows; first what has to be read together."""
    names = sorted(audit.metrics, key=lambda name: name not in wording.TOGETHER)
    ordered = [name for name in wording.TOGETHER if name in names] + [
        name for name in names if name not in wording.TOGETHER
    ]
    return [_metric(audit, name, audit.metrics[name]) for name in ordered]


def _metric(audit: Audit, name: str, found: Estimate, end: float | None = None) -> dict[str, Any]:
    title, says = wording.metric_words(name, audit)
    high = found.value if np.isnan(found.high) else found.high
    end = end or (1.0 if METRICS[name].unit == "rate" else charts.nice_end(high))
    value, interval = wording.figure_of(name, found.value), wording.interval_of(name, found)
    return {
        "name": name,
        "title": title,
        "says": says,
        "value": value,
        "interval": interval,
        "images": found.images,
        "bar": charts.interval_bar(found, end, f"{value}, 95 % interval {interval}, on an axis from 0 to {end:g}"),
        "end": "100 %" if METRICS[name].unit == "rate" and end == 1 else f"{end:g}",
    }


def _controls(audit: Audit, change: Estimate) -> dict[str, Any]:
    """Motion beside what is no motion, each metric on one axis."""
    words = words_of(audit)
    moved = f"seen twice, {words.at_most}" if audit.walk["shape"] == "random" else _in_a_sentence(words.did)
    found: dict[str, list[Estimate | None]] = {moved: [change, audit.metrics.get("mac")]}
    for control, estimates in audit.controls.items():
        found[wording.CONTROL_WORDS.get(control, control)] = [estimates.get(name) for name in CONTROL_METRICS]
    highs = [[row[at].high for row in found.values() if row[at] is not None] for at in range(2)]  # type: ignore[union-attr]
    ends = [charts.nice_end(max([0.0, *(high for high in column if not np.isnan(high))])) for column in highs]
    rows = {
        words: [
            None if cell is None else _metric(audit, name, cell, end)
            for name, cell, end in zip(CONTROL_METRICS, cells, ends, strict=True)
        ]
        for words, cells in found.items()
    }
    return {"rows": rows, "estimates": found, "any": bool(audit.controls)}


def _histogram(audit: Audit, tallies: Tallies) -> dict[str, Any] | None:
    """The picture of how often something happened per image."""
    bars = charts.make_bars(tallies.jagged)
    if bars is None:
        return None
    metric = histogram_metric(audit)
    title = wording.metric_words(metric)[0] if metric else "Changes per image"
    top = "first choice" if audit.model["classes"] <= 10 else "five first choices"
    whose = "the right class" if metric == "jaggedness" else "the unmoved picture's answer"
    axis = f"how often {whose} enters or leaves the {top}" if metric else "how many of their pairs change"
    zero, images = bars.images[0] if bars.width == 1 else None, sum(bars.images)
    text = f"On average {bars.mean:.2f} times per image." + (
        f" {zero:,} of {images:,} images: never." if zero is not None else ""
    )
    return {
        "bars": bars, "file": "jaggedness.png" if metric else "flips.png", "title": title, "axis": axis, "text": text,
        "svg": charts.histogram(bars, f"{title}. {text}"),
        "table": [(bars.label(at), count) for at, count in enumerate(bars.images)],
    }  # fmt: skip


def _in_a_sentence(words: str) -> str:
    return words[0].lower() + words[1:]


def _heat_axis(heat: HeatMap, audit: Audit) -> tuple[float, float, str] | None:
    """Of a sweep, the first and the last place and what they are."""
    return sweep_axis(audit, heat.tile[1]) if audit.walk["shape"] == "sweep" else None


def _heat_ends(axis: tuple[float, float, str] | None) -> tuple[str, str, str] | None:
    """What stands below the heat map of a sweep: on the left, in the middle and on the right."""
    if axis is None:
        return None
    first, last, words = axis
    if first > 0:
        return f"{first:g}", words, f"{last:g}"
    return f"{first:+g}".replace("-", "−"), f"{words}; 0 is unmoved", f"{last:+g}"


def _heat_rows(heat: HeatMap) -> list[tuple[str, int, int]]:
    """The heat map in words: image, light cells, cells."""
    counts = (~heat.missing).sum(axis=1)
    light = (heat.light & ~heat.missing).sum(axis=1)
    return [
        (wording.shorten(name, 160), int(good), int(count))
        for name, good, count in zip(heat.ids, light, counts, strict=True)
    ]


def _places(tallies: Tallies, step: float) -> dict[str, Any] | None:
    """Of a grid, the map of places, and the same by distance for who can't see it."""
    if tallies.agreement is None:
        return None
    reach = len(tallies.agreement) // 2
    line = np.abs(np.arange(-reach, reach + 1))
    distance = np.maximum(line[:, None], line[None, :])
    away = [(ring * step, float(tallies.agreement[distance == ring].mean())) for ring in range(1, reach + 1)]
    text = "; ".join(f"{px:g} px away {100 * share:.0f} %" for px, share in away)
    svg = charts.place_map(tallies.agreement, f"Same answer as unmoved: {text}")
    return {"svg": svg, "text": text, "reach": f"{reach * step:g}"}


def _case(audit: Audit, case: Case) -> dict[str, Any]:
    leading = ", ".join(line.name for line in case.lines)
    text = f"{case.said}; leading {'images' if wording.embeds(audit) else 'classes'}: {leading}"
    return {
        "case": case,
        "chart": charts.traces(case, f"{wording.measure(audit).capitalize()} along the walk. {text}"),
        "keys": [(charts.key(number), line.name) for number, line in enumerate(case.lines)],
        "pictured": case.strip[0].picture is not None,
    }


def _pictures(cases: Sequence[Case]) -> str | None:
    """What is said where pictures are missing."""
    missing = sum(case.strip[0].picture is None for case in cases)
    if not missing:
        return None
    which = "The pictures" if missing == len(cases) else f"{missing} of the pictures"
    return f"{which} can't be read any more where the audit found them, so their views are not shown."
