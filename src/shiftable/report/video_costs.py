"""Of a video audit: what movement does to the answers, and what smoothing would do, and cost."""

import json
from collections.abc import Mapping
from typing import Any

from shiftable.auditing import Audit
from shiftable.auditing.videos.audit import SMOOTHING
from shiftable.auditing.videos.results import movement_table
from shiftable.report import trace_charts, video_charts, wording
from shiftable.report.video_words import SMOOTHING_WORDS, setting_words, value_of

MOVEMENT_AXIS = "how far the picture moved since the frame before, px of the view"


def movement(audit: Audit) -> dict[str, Any]:
    """How much the answer changes by how far the picture moved.

    Args:
        audit: Of videos.
    """
    rows = movement_table(audit.folder)
    labels = [_bin(row["from_px"], row["to_px"]) for row in rows]
    shares = [None if row["p_top1_change"] is None else float(row["p_top1_change"]) for row in rows]
    pairs = [f"{row['pairs']:,}" for row in rows]
    table = [
        (
            f"{label} px",
            count,
            "–" if share is None else wording.figure_of("p_top1_change", share),
            "–" if row["mac"] is None else wording.figure_of("mac", float(row["mac"])),
        )
        for label, count, share, row in zip(labels, pairs, shares, rows, strict=True)
    ]
    text = "; ".join(f"{label}: {share} of {count}" for label, count, share, _ in table)
    return {
        "shares": shares,
        "pairs": pairs,
        "labels": labels,
        "axis": MOVEMENT_AXIS,
        "svg": video_charts.bars(shares, pairs, labels, MOVEMENT_AXIS, f"Changed answers by movement. {text}"),
        "table": table,
    }


def smoothing(audit: Audit) -> dict[str, Any] | None:
    """What averaging and waiting would do to these videos, and how late they make an answer; None without a record.

    Args:
        audit: Of videos.
    """
    try:
        rows = json.loads((audit.folder / SMOOTHING).read_text("utf-8"))["rows"]
    except (OSError, ValueError):
        return None
    series: dict[str, list[tuple[float, float, str]]] = {}
    for row in rows:
        if row["delay_frames"] is not None:
            never = f" ({100 * row['never'] / row['steps']:.0f} % never)" if row["never"] else ""
            label = setting_words(row["setting"]).replace(" frames", "").replace("by ", "") + never
            point = float(row["delay_frames"]), _value(row["flips_per_minute"]), label
            series.setdefault(row["name"], []).append(point)
    often = [value_of("", _value(row["flips_per_minute"])) for row in rows]
    text = "; ".join(
        f"{row['name']} {setting_words(row['setting'])}: {changes} changes a minute"
        for row, changes in zip(rows, often, strict=True)
    )
    return {
        "series": series,
        "svg": video_charts.smoothing_chart(series, f"Changes per minute against delay. {text}"),
        "keys": [(trace_charts.key(at), SMOOTHING_WORDS.get(name, name)) for at, name in enumerate(series)],
        "labelled": any(row.get("accuracy") is not None for row in rows),
        "frozen": any(_value(row["flips_per_minute"]) == 0 for row in rows[1:]),
        "rows": [
            (
                SMOOTHING_WORDS.get(row["name"], row["name"]),
                setting_words(row["setting"]),
                changes,
                _delay(row),
                "" if row.get("accuracy") is None else f"{100 * _value(row['accuracy']):.1f} %",
            )
            for row, changes in zip(rows, often, strict=True)
        ],
    }


def _bin(low: float | int | None, high: float | int | None) -> str:
    """A range of movement.

    Example:
        >>> _bin(0.0, 0.1), _bin(0.5, 1.0), _bin(4.0, None)
        ('under 0.1', '0.5 to 1', '4 or more')
    """
    if high is None:
        return f"{low:g} or more"
    return f"{low:g} to {high:g}" if low else f"under {high:g}"


def _delay(row: Mapping[str, Any]) -> str:
    """How late a smoothing is, and how often it never arrives."""
    if row["delay_frames"] is None:
        return "never" if row["steps"] else "unknown"
    frames = f"{row['delay_frames']:.2g}"
    late = f"{frames} {'frame' if frames == '1' else 'frames'}, {row['delay_s']:.2g} s" if float(frames) else "none"
    return late + (f"; never in {row['never']} of {row['steps']}" if row["never"] else "")


def _value(estimate: Mapping[str, Any]) -> float:
    return float(estimate["value"])
