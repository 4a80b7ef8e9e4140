"""What the page of a video audit says: estimates, films and moments as words, numbers and charts."""

import shlex
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any

import numpy as np

from shiftable.auditing import METRICS, Audit, Estimate
from shiftable.auditing.metrics import CONTROL_METRICS
from shiftable.auditing.record import read_run
from shiftable.auditing.videos.results import UNMOVED, UNMOVED_PX
from shiftable.report import charts, provenance, trace_charts, video_charts, wording
from shiftable.report.video_costs import movement, smoothing
from shiftable.report.video_films import FARTHEST_FRAME, Film, Moment
from shiftable.report.video_words import CONTROL_WORDS, FIRST, REFERENCES, VIDEO_WORDS, duration, first_name, value_of

MOST_NOTES, LONGEST_NOTE, MOST_ROWS = 20, 400, 500


def video_content(
    audit: Audit, films: Sequence[Film], drawn: Sequence[Film], moments: Sequence[Moment], named: Callable[[int], str]
) -> dict[str, Any]:
    """What the template is filled with.

    Args:
        audit: Of videos.
        films: All its videos.
        drawn: Those whose timelines are shown.
        moments: The changes of answer whose frames are shown.
        named: Gives a class's name.
    """
    return {
        "name": audit.model_name,
        "headline": headline(audit, films),
        "basis": _basis(audit, films),
        "notes": [wording.shorten(note, LONGEST_NOTE) for note in audit.warnings],
        "skipped": audit.images["skipped"][:MOST_NOTES],
        "skipped_more": max(0, len(audit.images["skipped"]) - MOST_NOTES),
        "controls": _controls(audit),
        "metrics": [_metric(name, audit.metrics[name]) for name in _ordered(audit)],
        "films": [_film(film, named) for film in drawn],
        "left_out": len(films) - len(drawn),
        "table": _table(films),
        "movement": movement(audit),
        "smoothing": smoothing(audit),
        "moments": [_moment(moment, named) for moment in moments],
        "unpictured": _unpictured(moments),
        "facts": _facts(audit, films),
        "command": _command(audit),
        "record": provenance.record(audit),
        "references": REFERENCES,
        "unmoved_px": UNMOVED_PX,
        "definitions": [(name, METRICS[name].of.__doc__ or "") for name in audit.metrics],
    }


def headline(audit: Audit, films: Sequence[Film]) -> str:
    """What was found, in one sentence.

    Args:
        audit: Of videos.
        films: All its videos.
    """
    seconds = sum(film.seconds for film in films)
    flips = audit.metrics.get("flips_per_minute")
    often = flips.value if flips else float(np.mean([film.flips_per_minute for film in films]))
    does = f"changes its answer {_times(often)} a minute" if often else "never changes its answer"
    start = f"On {duration(seconds)} of video, {audit.model_name} {does}"
    unmoved = audit.controls.get(UNMOVED, {}).get("p_top1_change")
    if unmoved is not None and unmoved.pairs:
        return f"{start}; between frames that did not move, {wording.times(unmoved.value)}."
    still = audit.controls.get("still", {}).get("p_top1_change")
    return f"{start}." if still is None else f"{start}; shown the same frame again, {wording.times(still.value)}."


def _times(often: float) -> str:
    if often >= 1.5:
        return f"{often:.0f} times" if often >= 10 else f"{often:.2g} times"
    return "once" if often >= 0.95 else f"{often:.2g} times"


def _basis(audit: Audit, films: Sequence[Film]) -> str:
    frames = sum(len(film.top1) for film in films)
    said = f"This rests on {wording.count(frames, 'frame')} of {wording.count(len(films), 'video')}"
    change = audit.metrics.get("p_top1_change")
    if change is not None:
        said += f": of two successive frames, it answers differently {wording.times(change.value)}"
        if not isnan(change.low):
            said += f" ({wording.interval_of('p_top1_change', change)} with 95 % confidence)"
    return (
        f"{said}. A change of answer may be right, where what is seen changes; the tables below tell how far the "
        "picture moved, and what the model makes of noise."
    )


def _ordered(audit: Audit) -> list[str]:
    return [name for name in FIRST if name in audit.metrics] + sorted(set(audit.metrics) - set(FIRST))


def _metric(name: str, found: Estimate, end: float | None = None) -> dict[str, Any]:
    title, says = VIDEO_WORDS.get(name) or wording.metric_words(name)
    rate = name in METRICS and METRICS[name].unit == "rate"
    high = found.value if isnan(found.high) else found.high
    end = end or (1.0 if rate else charts.nice_end(high))
    value = value_of(name, found.value)
    known = not isnan(found.low)
    low, top = (value_of(name, side).removesuffix(" %") for side in (found.low, found.high))
    interval = f"{low} to {top}{' %' if rate else ''}" if known else "interval unknown"
    return {
        "name": name,
        "title": title,
        "says": says,
        "value": value,
        "interval": interval,
        "bar": charts.interval_bar(found, end, f"{value}, 95 % interval {interval}, on an axis from 0 to {end:g}"),
        "end": "100 %" if rate and end == 1 else f"{end:g}",
        "pairs": found.pairs,
    }


def _controls(audit: Audit) -> dict[str, Any]:
    """Successive frames beside what is no motion, each metric on one axis."""
    found: dict[str, list[Estimate | None]] = {
        "two successive frames": [audit.metrics.get(name) for name in CONTROL_METRICS]
    }
    for control, estimates in audit.controls.items():
        found[CONTROL_WORDS.get(control, control)] = [estimates.get(name) for name in CONTROL_METRICS]
    columns = [[row[at] for row in found.values()] for at in range(len(CONTROL_METRICS))]
    ends = [charts.nice_end(max([0.0, *map(_high, column)])) for column in columns]
    rows = {
        words: [
            None if cell is None else _metric(name, cell, end)
            for name, cell, end in zip(CONTROL_METRICS, cells, ends, strict=True)
        ]
        for words, cells in found.items()
    }
    return {"rows": rows, "estimates": found, "any": bool(audit.controls)}


def _high(found: Estimate | None) -> float:
    return 0.0 if found is None else found.value if isnan(found.high) else found.high


def _film(film: Film, named: Callable[[int], str]) -> dict[str, Any]:
    flips, frames = len(film.flips), len(film.top1)
    said = (
        f"{wording.count(flips, 'change')} in {duration(film.seconds)}, {value_of('', film.flips_per_minute)} a minute"
    )
    if film.right is not None:
        said += f"; right in {100 * film.right:.0f} % of the frames"
    lines = film.lines()
    leads = [int((film.top1 == number).sum()) for number in lines]
    return {
        "name": film.id,
        "said": said,
        "chart": video_charts.timeline(film, f"The leading classes' probabilities over time. {said}"),
        "keys": [
            (
                trace_charts.key(at),
                first_name(named(number)),
                f"leads {lead:,} of {frames:,}" + ("; right" if number == film.label else ""),
            )
            for at, (number, lead) in enumerate(zip(lines, leads, strict=True))
        ],
    }


def _table(films: Sequence[Film]) -> dict[str, Any]:
    """All videos, those whose answers change most often first."""
    ordered = sorted(films, key=lambda film: -film.flips_per_minute)[:MOST_ROWS]
    rows = [
        (
            wording.shorten(film.id, 160),
            duration(film.seconds),
            f"{len(film.flips):,}",
            value_of("", film.flips_per_minute),
            "" if film.right is None else f"{100 * film.right:.0f} %",
        )
        for film in ordered
    ]
    return {"rows": rows, "more": len(films) - len(rows), "labelled": any(film.right is not None for film in films)}


def _moment(moment: Moment, named: Callable[[int], str]) -> dict[str, Any]:
    film, at = moment.film, moment.at
    rows = film.rows
    before = int(film.top1[at - 1])
    fall = f"{100 * rows['top1_p'][at - 1]:.0f} % → {100 * rows['first_p'][at]:.0f} %"
    moved = film.moved_px[at]
    known = None if isnan(moved) else f"the picture moved by {moved:.1f} px"
    return {
        "title": f"“{first_name(named(before))}” becomes “{first_name(named(int(film.top1[at])))}”: {fall}",
        "where": f"{film.id}, {film.time_s[at]:.2f} s" + (f"; {known}" if known else ""),
        "pictured": any(picture is not None for picture in moment.pictures),
        "strip": [
            {
                "picture": picture,
                "name": first_name(named(int(film.top1[row]))),
                "p": float(rows["top1_p"][row]),
                "right": None if rows.table["label"][row].as_py() is None else bool(rows["label_rank"][row] == 1),
                "after": row in film.flips,
                "place": f"{film.time_s[row]:.2f} s",
            }
            for row, picture in zip(moment.shown, moment.pictures, strict=True)
        ],
    }


def _unpictured(moments: Sequence[Moment]) -> str | None:
    missing = sum(any(picture is None for picture in moment.pictures) for moment in moments)
    if not missing:
        return None
    which = "The frames" if missing == len(moments) else f"The frames of {missing} moments"
    return (
        f"{which} can’t be decoded any more where the audit found the video, or lie beyond frame {FARTHEST_FRAME:,}, "
        "so they are not shown."
    )


def _facts(audit: Audit, films: Sequence[Film]) -> list[tuple[str, str]]:
    model, images = audit.model, audit.images
    sha256 = model["weights_sha256"]
    source = wording.shorten(str(images["source"] or "videos handed over in Python"), 200)
    rates = sorted({f"{(len(film.top1) - 1) / max(1e-9, float(np.ptp(film.time_s))):.3g}" for film in films})
    shown = f"{rates[0]} frames a second" if len(rates) == 1 else f"{rates[0]} to {rates[-1]} frames a second"
    return [
        ("Model", f"{model['spec']}, {wording.answers_words(audit)}"),
        ("Weights", f"sha256 {sha256[:12]}…" if sha256 else "not visible to the audit"),
        ("View", "{} × {} px (height × width)".format(*model["view_size"])),
        ("Videos", f"{wording.count(len(films), 'video')} of {source}, {shown}"),
        ("Motion", "video: successive frames, each as the deployed model is shown it"),
        ("Around", f"pm_k looks at {wording.count(audit.motion['pm_k'], 'frame')} before and after one"),
        ("Seed", str(audit.seed)),
    ]


def _command(audit: Audit) -> str | None:
    """The command line that makes it again; None where the videos were handed over in Python."""
    source = audit.images["source"]
    if source is None:
        return None
    words = ["shiftable", "audit", audit.model["spec"], source, "--motion", "video"]
    count = (read_run(audit.folder) or {}).get("asked", {}).get("options", {}).get("count")
    words += ["--images", count] if count is not None else []
    words += ["--threshold", audit.model["threshold"]] if "threshold" in audit.model else []
    return shlex.join(str(word) for word in [*words, "--seed", audit.seed, *provenance.chosen_flags(audit)])
