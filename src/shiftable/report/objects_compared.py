"""Pairs of views of a detector or a key-point model: what became of each object, and of each point."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from shiftable.auditing.objects.detections import greedily, overlaps
from shiftable.report.objects_pairs import Mark, Pair, Rows, State, View, around, few, in_view, sides_of
from shiftable.report.wording import count

Row = Mapping[str, Any]


def detected_pair(
    rows: Rows,
    views: Sequence[View] | None,
    named: Callable[[int], str],
    thresholds: Mapping[str, float],
    size: tuple[int, int],
) -> Pair:
    """A detector's pair: what is in both views, what is in one only, and what has another name in the other.

    What vanishes or appears at the border is drawn and said, but not counted.

    Args:
        rows: Of the pair.
        views: The pictures and what they show of the scene, if they are still there.
        named: Gives a class's name.
        thresholds: From which score on an object counts, and from which on it still has a match.
        size: (height, width) of the view in px.
    """
    seen, kept_from = thresholds["score_threshold"], thresholds["match_threshold"]
    before, after = rows.objects
    windows = [view.window for view in views] if views else [None, None]

    def marks(found: Sequence[Row], side: int, state: State) -> list[Mark]:
        return [Mark(in_view(row, windows[side], size), named(row["class"]), row["score"], state) for row in found]

    firm = {row["object"]: row for row in before if row["score"] >= kept_from}
    both = [
        (firm[row["match"]], row)
        for row in after
        if row["match"] in firm and row["score"] >= kept_from and max(row["score"], firm[row["match"]]["score"]) >= seen
    ]
    kept = {earlier["object"] for earlier, _ in both}
    lost = [row for row in before if row["score"] >= seen and row["object"] not in kept]
    new = [row for row in after if row["score"] >= seen and row["match"] not in firm]
    renamed = _renamed(lost, new)
    gone = [row for at, row in enumerate(lost) if at not in renamed]
    first = marks([earlier for earlier, _ in both], 0, "kept") + marks(lost, 0, "lost")
    second = marks([later for _, later in both], 1, "kept") + marks(new, 1, "new") + marks(gone, 1, "gone")

    counted = sum(row["score"] >= seen and row["inside"] for row in before)
    vanished, appeared = (sum(row["inside"] for row in rows_of) for rows_of in (lost, new))
    parts = [f"{vanished} of {count(counted, 'object')} vanished"] if vanished or not appeared else []
    parts += [f"{count(appeared, 'object')} appeared"] if appeared else []
    weak = {row["match"]: row["score"] for row in after if row["match"] is not None}
    said = [
        f"{_scored(row, named)}: {_instead(row, new[renamed[at]], named)}"
        if at in renamed
        else f"{_scored(row, named)}: {_now(weak.get(row['object']))}{_border(row)}"
        for at, row in enumerate(lost)
    ]
    others = [row for at, row in enumerate(new) if at not in renamed.values()]
    said += [f"{_scored(row, named)}: new in the second view{_border(row)}" for row in others]
    return Pair(rows.views[0]["image"], ", ".join(parts), few(said), sides_of(rows, views, size, (first, second)))


def _renamed(lost: Sequence[Row], new: Sequence[Row]) -> dict[int, int]:
    """Of what is lost, by number, what is in its place in the second view: the same thing taken for another."""
    boxes = [
        np.array([[row[side] for side in ("x0", "y0", "x1", "y1")] for row in found], float).reshape(-1, 4)
        for found in (lost, new)
    ]
    matched = greedily(overlaps(*boxes))
    return {at: int(other) for at, other in enumerate(matched) if other >= 0}


def _instead(was: Row, now: Row, named: Callable[[int], str]) -> str:
    """What is in the place of a lost object; one of its own class is matched to another object of the first view."""
    return f"{'another' if was['class'] == now['class'] else 'becomes'} {_scored(now, named)}"


def _scored(row: Row, named: Callable[[int], str]) -> str:
    return f"{named(row['class'])}, score {row['score']:.2f}"


def placed_pair(
    rows: Rows,
    views: Sequence[View] | None,
    seen: float,
    size: tuple[int, int],
) -> Pair:
    """A key-point model's pair: the points of both views, with lines from where they were to where they are.

    Args:
        rows: Of the pair.
        views: The pictures and what they show of the scene, if they are still there.
        seen: From which score on a point is seen.
        size: (height, width) of the view in px.
    """
    before = {row["object"]: row for row in rows.objects[0]}
    matched = {row["match"]: row for row in rows.objects[1] if row["match"] is not None}
    windows = [view.window for view in views] if views else [None, None]
    first, second, moves, said = [], [], [], []
    lost = appeared = 0
    for number, row in before.items():
        if row["score"] < seen:
            continue
        now, name = matched.get(number), f"point {row['class']}"
        if now is None or now["score"] < seen:
            first.append(Mark(in_view(row, windows[0], size), name, row["score"], "lost"))
            second.append(Mark(in_view(row, windows[1], size), name, row["score"], "gone"))
            said.append(f"{name}, score {row['score']:.2f}: {_now(now['score'] if now else None)}{_border(row)}")
            lost += bool(row["inside"])
            continue
        first.append(Mark(in_view(row, windows[0], size), name, row["score"], "kept"))
        start = in_view(row, windows[1], size)[:2]
        second.append(Mark(in_view(now, windows[1], size), name, now["score"], "kept", start))
        if row["inside"]:
            moves.append((float(np.hypot(now["x0"] - row["x0"], now["y0"] - row["y0"])), name))
    at_first = {number for number, row in before.items() if row["score"] >= seen}
    for row in rows.objects[1]:
        if row["score"] >= seen and row["match"] not in at_first:
            second.append(Mark(in_view(row, windows[1], size), f"point {row['class']}", row["score"], "new"))
            said.append(f"point {row['class']}, score {row['score']:.2f}: new in the second view{_border(row)}")
            appeared += bool(row["inside"])
    moves.sort(reverse=True)
    parts = [f"{count(lost, 'point')} lost"] if lost else []
    parts += [f"{count(appeared, 'point')} new"] if appeared else []
    if moves:
        parts.append(
            f"{'the others' if parts else 'points'} move by {np.mean([far for far, _ in moves]):.1f} px on average"
        )
    said += [f"{name} moves by {far:.1f} px" for far, name in moves]
    frame = around([mark.box for mark in (*first, *second)], size)
    return Pair(
        rows.views[0]["image"], ", ".join(parts), few(said), sides_of(rows, views, size, (first, second), frame)
    )


def _now(score: float | None) -> str:
    return "no match in the second view" if score is None else f"only {score:.2f} in the second view"


def _border(row: Mapping[str, Any]) -> str:
    return "" if row["inside"] else ", at the border, so it does not count"
