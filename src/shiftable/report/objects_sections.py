"""The sections of the page of a detector, a segmenter or a key-point model: estimates as words, numbers and charts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shiftable.auditing import Audit, Estimate
from shiftable.report import charts
from shiftable.report import objects_charts as drawn
from shiftable.report import objects_terms as terms
from shiftable.report import objects_words as words
from shiftable.report.objects_charts import Reading

NBSP = "\u00a0"
MOST_CLASSES = 15

EDGES_PX = (0.0, 0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Where the columns of the histogram of errors begin; the last has no end."""


@dataclass(frozen=True)
class Tallies:
    """What the tables say beyond the metrics.

    Args:
        pairs: Of views, one step apart.
        border: How many of how many objects or points reach the border, so that they don't count; see `left_out`.
        thresholds: The share of objects that vanish by score threshold; empty for all but detectors.
        phases: Modulus → metric → (remainder, estimate); without those of which nothing is known.
        errors: How many errors lie from each of ``EDGES_PX`` on; empty for a segmenter.
        parts: Of every class or point, two estimates; see `objects_parts`.
    """

    pairs: int
    border: tuple[int, int]
    thresholds: Sequence[Reading]
    phases: Mapping[int, Mapping[str, Sequence[Reading]]]
    errors: Sequence[int]
    parts: Mapping[int, tuple[Estimate | None, Estimate | None]]


def metric_cell(name: str, found: Estimate, end: float | None = None) -> dict[str, Any]:
    end = end or (
        1.0 if name in ("miou",) else charts.nice_end(found.value if found.high != found.high else found.high)
    )
    value, interval = terms.figure_of(name, found.value), terms.interval_of(name, found)
    return {
        "name": name,
        "title": terms.titled(name),
        "says": terms.says(name),
        "value": value,
        "interval": interval,
        "images": found.images,
        "bar": charts.interval_bar(found, end, f"{value}, 95 % interval {interval}, on an axis from 0 to {end:g}"),
        "end": terms.end_of(name, end),
    }


def thresholds_section(audit: Audit, readings: Sequence[Reading]) -> dict[str, Any] | None:
    if len(readings) < 2:
        return None
    at, match = (audit.model["thresholds"][f"{name}_threshold"] for name in ("score", "match"))
    low, high = readings[0], readings[-1]
    title = "Does the threshold matter?"
    axis = "score from which an object counts as seen"
    text = (
        "The share of objects that vanish from one view to the next, by the score from which an object counts as seen; "
        f"the next view is searched for its match down to {100 * match / at:.0f}{NBSP}% of that score. The band holds "
        f"the truth with 95{NBSP}% confidence; the dashed line is the "
        f"threshold of the rest of this page, {at:g}. A higher one leaves fewer, surer objects: from {low[0]:g} on, "
        f"{_pair('vanished', low[1])} of {low[1].pairs:,} vanish; from {high[0]:g} on, {_pair('vanished', high[1])} of "
        f"{high[1].pairs:,}."
    )
    rows = [(f"{x:g}", *_cells("vanished", found), f"{found.pairs:,}") for x, found in readings]
    told = "; ".join(f"{x}: {value}" for x, value, _, _ in rows)
    return {
        "title": title, "text": text, "axis": axis, "marked": at,
        "svg": drawn.line_chart(readings, at, axis, f"Share vanished by score threshold. {told}"),
        "columns": ("Threshold", "Vanished", "95 % interval", "Objects"), "rows": rows,
    }  # fmt: skip


def phases_section(audit: Audit, phases: Mapping[int, Mapping[str, Sequence[Reading]]]) -> dict[str, Any] | None:
    names = [
        name for name in words.PHASED[words.task(audit)] if any(len(by.get(name, ())) > 1 for by in phases.values())
    ]
    if not names:
        return None
    groups, rows = [], []
    for name in names:
        unit = "%" if terms.unit(name) == "%" else "px"
        by_modulus = {modulus: by[name] for modulus, by in phases.items() if len(by[name]) > 1}
        end = _end(name, [found for readings in by_modulus.values() for _, found in readings])
        title = f"{terms.titled(name)}, by where the step begins"
        svgs = [
            drawn.phase_chart(
                readings, modulus, end, unit, f"{title}, modulo {modulus} px of the view. {_told(name, readings)}"
            )
            for modulus, readings in by_modulus.items()
        ]
        groups.append({"title": title, "charts": svgs, "readings": by_modulus, "unit": unit, "end": end})
        rows += [
            (f"{terms.titled(name)}, {x:g} modulo {modulus}", *_cells(name, found))
            for modulus, readings in by_modulus.items()
            for x, found in readings
        ]
    columns = ("What, and where", "Value", "95 % interval")
    return {"text": words.grid(audit), "groups": groups, "columns": columns, "rows": rows}


def histogram_section(audit: Audit, errors: Sequence[int]) -> dict[str, Any] | None:
    total = sum(errors)
    if not total:
        return None
    points = words.task(audit) == "keypoints"
    shares = [count / total for count in errors]
    last = max((at for at, count in enumerate(errors) if count), default=0) + 1
    shares, edges = shares[: max(last, 4)], EDGES_PX[: max(last, 4)]
    within = sum(errors[: EDGES_PX.index(0.5)]) / total
    far = sum(errors[EDGES_PX.index(2.0) :]) / total
    what, whose = ("point", "points") if points else ("box", "centres of the boxes")
    title = f"How far do the {whose} move?"
    axis = "error, px (columns differ in width)"
    text = (
        f"All of them lie on the same thing in both views, so none should move. Of {total:,}, "
        f"{100 * within:.0f}{NBSP}% move by less than half a pixel, {100 * far:.0f}{NBSP}% by 2{NBSP}px or more."
    )
    open_ended = last >= len(EDGES_PX)
    ends = [*(f"{edge:g}" for edge in EDGES_PX[1:]), ""]
    rows = [
        (f"{low:g} to {end} px" if end else f"{low:g} px or more", f"{count:,}", f"{100 * share:.1f} %")
        for low, end, count, share in zip(edges, ends, errors, shares, strict=False)
    ]
    told = "; ".join(f"{row[0]}: {row[2]}" for row in rows)
    bounds = edges if open_ended else (*edges, EDGES_PX[len(edges)])
    return {
        "title": title, "text": text, "axis": axis, "edges": bounds, "shares": shares, "what": what,
        "svg": drawn.columns_chart(bounds, shares, axis, f"{title} {told}"),
        "columns": ("Error", "Pairs", "Share"), "rows": rows,
    }  # fmt: skip


def parts_section(
    audit: Audit, parts: Mapping[int, tuple[Estimate | None, Estimate | None]], named: Callable[[int], str]
) -> dict[str, Any] | None:
    if not parts:
        return None
    if points := words.task(audit) == "keypoints":
        names, title, text = (
            ("point_error_px", "points_dropped"),
            "Point by point",
            (
                "The error of each point between two views, and the share of all views that score it below "
                f"{audit.model['thresholds']['score_threshold']:g}, where it does not count."
            ),
        )
        columns = ("Point", "Error", "Scored too low")
    else:
        names, title, text = (
            ("vanished", "centre_error_px"),
            "Class by class",
            ("Those with most objects first. Few objects make wide intervals."),
        )
        columns = ("Class", "Vanished", "Error of the centre")
    chosen = dict(list(parts.items())[: None if points else MOST_CLASSES])
    ends = [_end(name, [each[at] for each in chosen.values()]) for at, name in enumerate(names)]
    rows = [
        (
            f"point {number}" if points else named(number),
            [
                None if found is None else metric_cell(name, found, end)
                for name, found, end in zip(names, each, ends, strict=True)
            ],
        )
        for number, each in chosen.items()
    ]
    more = len(parts) - len(chosen)
    return {
        "title": title, "text": text, "columns": columns, "rows": rows, "chosen": chosen,
        "units": [terms.unit(name) for name in names],
        "more": f"{more:,} more {'class was' if more == 1 else 'classes were'} seen." if more else None,
    }  # fmt: skip


def _end(name: str, found: Sequence[Estimate | None]) -> float:
    """Where an axis ends that all of these share."""
    most = 1.0 if terms.unit(name) == "%" else float("inf")
    return drawn.highest([(0.0, each) for each in found if each is not None], most)


def _cells(name: str, found: Estimate) -> tuple[str, str]:
    return terms.figure_of(name, found.value), terms.interval_of(name, found)


def _pair(name: str, found: Estimate) -> str:
    return "{} ({})".format(*_cells(name, found)).replace(" %", f"{NBSP}%")


def _told(name: str, readings: Sequence[Reading]) -> str:
    return "; ".join(f"{x:g}: {terms.figure_of(name, found.value)}" for x, found in readings)
