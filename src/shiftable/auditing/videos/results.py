"""What an audit of videos found, from its tables alone: intervals over videos, or over the seconds of a single one."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shiftable.auditing.intervals import Estimate, block_interval
from shiftable.auditing.metrics import CONTROL_METRICS, CONTROLS, METRICS, PerImage, estimate, pm_k
from shiftable.auditing.predictions import Predictions, changed, part_paths, read_parts, read_skipped, unheld_remarks
from shiftable.auditing.results import TIES_WORTH_A_WARNING, Audit
from shiftable.auditing.videos.smoothing import Smoothing, answers, setting_words
from shiftable.errors import InputError

UNMOVED_PX = 0.1
"""Frames that moved by less, in px of the view, count as unmoved: what changes there is not motion."""

UNMOVED = "unmoved"
"""The name of that control."""

MOVEMENT_PX = (0.0, UNMOVED_PX, 0.5, 1.0, 2.0, 4.0, np.inf)
"""The borders of the bins of `movement_table`."""

SMOOTHED_METRICS = ("flips_per_minute", "accuracy", "pm_k")
NEEDED = ["image", "control", "step", "time_s", "top1", "label", "label_rank"]

NOTES = b"smoothing"
"""Under what key a video's file notes what smoothing did."""

ONE_VIDEO = (
    "one video: its intervals say what more of the same might bring, by moving blocks of 1 s; those of mac, margin and "
    "other means are too short where few seconds hold what is rare and lasts (docs/coverage.md)"
)


def sum_up_videos(
    folder: Path, asked: Mapping[str, Any], names: Sequence[str], remarks: Sequence[str], controls: bool
) -> Audit:
    """What an audit found.

    Args:
        folder: The audit's.
        asked: What it is a function of: the fields of `Audit` that are known beforehand.
        names: The metrics to estimate.
        remarks: Warnings known beforehand.
        controls: Whether there were controls.

    Raises:
        InputError: If none of the videos could be used.
    """
    skipped, listed, source = read_skipped(folder), asked["images"]["listed"], asked["images"]["source"]
    if listed == len(skipped):
        first = f"{skipped[0]['image']}: {skipped[0]['reason']}"
        raise InputError(first if listed == 1 else f"none of the {listed} videos can be used ({first})", where=source)
    measured = partial(measure_videos, k=asked["motion"]["pm_k"], seed=asked["seed"])
    found: dict[str, Mapping[str, Estimate]] = {}
    for control in CONTROLS if controls else ():
        found[control] = measured(lambda control=control: _parts(folder, control), CONTROL_METRICS)  # type: ignore[misc]
    still = measured(lambda: _parts(folder), CONTROL_METRICS, only=_unmoved) if controls else {}
    if still:
        found[UNMOVED] = still
    ties, span = _ties(_parts(folder)), _span(_parts(folder))
    warnings = list(remarks)
    if skipped:
        warnings.append(f"{len(skipped)} of {listed} videos were skipped: {skipped[0]['image']} "
                        f"({skipped[0]['reason']})" + (", …" if len(skipped) > 1 else ""))  # fmt: skip
    warnings += unheld_remarks(folder, int(span["frames"]), "frames")
    if listed - len(skipped) == 1:
        warnings.append(ONE_VIDEO)
    for what, share in ties.items():
        if share and share > TIES_WORTH_A_WARNING:
            warnings.append(f"equal scores decided {share:.1%} of the {what.replace('_', ' ')}")
    if controls and found["still"]["p_top1_change"].value > 0:
        warnings.append("the model changes its answer to the very same view: what follows is not only motion")
    return Audit(
        model=asked["model"],
        images={**asked["images"], "count": listed - len(skipped), "skipped": skipped, **span},
        motion=asked["motion"],
        walk=asked["walk"],
        seed=asked["seed"],
        metrics=measured(lambda: _parts(folder), names),
        controls=found,
        ties=ties,
        warnings=warnings,
        folder=folder,
    )


def measure_videos(
    parts: Callable[[], Iterable[Predictions]],
    names: Sequence[str],
    *,
    k: int,
    seed: int = 0,
    only: Callable[[Predictions], np.ndarray] | None = None,
) -> dict[str, Estimate]:
    """Several metrics of videos: intervals over videos, and of a single one by moving blocks of 1 s.

    Args:
        parts: Gives the videos, one table each, as often as it is called.
        names: The metrics.
        k: How many frames before and after one `pm_k` looks at.
        seed: Of the resampling.
        only: Which of a table's rows count; None counts all.
    """
    sums: dict[str, list[PerImage]] = {name: [] for name in names}
    pairs, alone = 0, None
    paces: list[float] = []
    for video in parts():
        alone = video if not paces else None
        paces.append(_pace(video))
        pairs += len(video.moved)
        for name in names:
            top, bottom = _series(name, video, k, only)
            sums[name].append((top.sum(keepdims=True), bottom.sum(keepdims=True)))
    if alone is not None:
        found = {name: _alone(name, alone, paces[0], k, seed, only) for name in names}
        return {name: value for name, value in found.items() if value is not None}
    per = {"flips_per_second": 1.0, "flips_per_minute": 60.0}
    most = {name: seconds * max(paces, default=0.0) for name, seconds in per.items()}
    joined = {name: estimate(name, sums[name], seed, most.get(name)) for name in names if sums[name]}
    return {
        name: replace(value, pairs=pairs) if name in per else value
        for name, value in joined.items()
        if value is not None
    }


def movement_table(folder: str | Path) -> list[dict[str, float | int | None]]:
    """How often the answer changes, by how far the picture moved between two frames.

    Args:
        folder: An audit's, of videos.

    Returns:
        A row for each bin: ``from_px`` and ``to_px`` (px of the view, None for no end), ``pairs`` of frames, and of
        these ``p_top1_change`` and ``mac``, None where there are none.

    Raises:
        InputError: If there is no such audit.
    """
    bins = len(MOVEMENT_PX) - 1
    table = np.zeros((3, bins))
    for video in _parts(folder, columns=[*NEEDED, "top1_p", "first_p", "moved_px"]):
        moved = video.moved
        place = np.searchsorted(MOVEMENT_PX, video["moved_px"][moved], side="right") - 1
        change = np.abs(video["top1_p"][moved - 1] - video["first_p"][moved])
        for row, values in enumerate((np.ones(len(moved)), changed(video), change)):
            table[row] += np.bincount(place, values, bins)
    return [
        {
            "from_px": low,
            "to_px": None if high == np.inf else high,
            "pairs": int(pairs),
            "p_top1_change": float(flips / pairs) if pairs else None,
            "mac": float(change / pairs) if pairs else None,
        }
        for low, high, pairs, flips, change in zip(MOVEMENT_PX[:-1], MOVEMENT_PX[1:], *table, strict=True)
    ]


def smoothing_table(folder: str | Path, smoothings: Sequence[Smoothing], k: int, seed: int = 0) -> list[dict[str, Any]]:
    """What each smoothing does to an audit's answers, beside the raw ones.

    Args:
        folder: The audit's.
        smoothings: As the videos were watched with.
        k: How many frames before and after one `pm_k` looks at.
        seed: Of the resampling.

    Returns:
        A row for each: ``name``, ``setting``, ``flips_per_minute`` (estimate); where labels are known ``accuracy`` and
        ``pm_k``; ``delay_frames`` and ``delay_s``, the means over ``steps`` from one frame's answer to another's, of
        those that arrived, and how many never did (``never``).
    """
    notes = [json.loads(pq.read_metadata(path).metadata.get(NOTES, b"null")) for path in part_paths(folder)]
    notes = [note for note in notes if note]
    paces = [_pace(video) for video in _parts(folder, columns=NEEDED)]
    rows = []
    for number, smoothing in enumerate(smoothings):
        parts = partial(_smoothed, folder, notes, number)
        found = measure_videos(parts, SMOOTHED_METRICS, k=k, seed=seed)
        late = [(frames, pace) for note, pace in zip(notes, paces, strict=True) for frames in note["delays"][number]]
        arrived = [(frames, frames / pace) for frames, pace in late if frames is not None]
        frames, seconds = np.mean(arrived, axis=0).tolist() if arrived else (None, None)
        rows.append(
            {
                "name": smoothing.name,
                "setting": dict(setting_words(smoothing)),
                **{name: value.to_json() for name, value in found.items()},
                "delay_frames": frames,
                "delay_s": seconds,
                "steps": len(late),
                "never": len(late) - len(arrived),
            }
        )
    return rows


def _parts(
    folder: str | Path, control: str | None = None, columns: Sequence[str] | None = None
) -> Iterator[Predictions]:
    """The videos, one at a time: their frames, or one of their controls."""
    return (part.of(control) for part in read_parts(folder, columns))


def _smoothed(folder: str | Path, notes: Sequence[Mapping[str, Any]], number: int) -> Iterator[Predictions]:
    """The videos as one smoothing answers them: what `SMOOTHED_METRICS` look at."""
    for video, note in zip(_parts(folder, columns=NEEDED), notes, strict=True):
        answered = answers(note["changes"][number], note["frames"])
        right = answered == video["label"]  # an unknown label is NaN
        table = video.table
        for name, values in (("top1", answered), ("label_rank", np.where(right, 1, 2))):
            at = table.column_names.index(name)
            table = table.set_column(at, name, pa.array(values, pa.int32(), mask=None))
        yield Predictions(table, video.classes)


def _series(name: str, video: Predictions, k: int, only: Callable[[Predictions], np.ndarray] | None = None) -> PerImage:
    """(numerators, denominators) of a metric row by row."""
    of = partial(pm_k, k=k) if name == "pm_k" else METRICS[name].of
    top, bottom = of(video.apart())
    keep = np.ones(len(top), bool) if only is None else only(video)
    return np.where(keep, top, 0.0), np.where(keep, bottom, 0.0)


def _alone(
    name: str, video: Predictions, pace: float, k: int, seed: int, only: Callable[[Predictions], np.ndarray] | None
) -> Estimate | None:
    """A metric of a single video, by moving blocks of 1 s, or as long as `pm_k` looks."""
    unit = METRICS[name].unit
    top, bottom = _series("p_top1_change" if unit == "frequency" else name, video, k, only)
    if not bottom.any():
        return None
    series = top[bottom > 0] / bottom[bottom > 0]
    block = max(1, round(pace), 2 * k + 1 if name == "pm_k" else 1)
    found = block_interval(series, block, kind="magnitude" if unit == "magnitude" else "rate", seed=seed)
    if unit != "frequency":
        return found
    often = pace * (60.0 if name == "flips_per_minute" else 1.0)
    return replace(found, value=found.value * often, low=found.low * often, high=found.high * often)


def _pace(video: Predictions) -> float:
    """Pairs per second: the frames per second, but of a control."""
    time, moved = video["time_s"], video.moved
    seconds = float(time.max() - time.min()) if len(time) else 0.0
    return len(moved) / seconds if seconds > 0 else 1.0


def _unmoved(video: Predictions) -> np.ndarray:
    """Which rows have moved so little that it is no motion."""
    return np.asarray(video["moved_px"] < UNMOVED_PX)  # NaN, at the first, is not


def _span(parts: Iterable[Predictions]) -> dict[str, float | int]:
    """How many frames, at how many a second in the mean, for how long in all."""
    frames, seconds = 0, 0.0
    pairs = 0
    for video in parts:
        frames, pairs = frames + len(video.table), pairs + len(video.moved)
        seconds += float(video["time_s"].max())
    fps = pairs / seconds if seconds else 0.0
    return {"frames": frames, "fps": round(fps, 6), "seconds": round(frames / fps, 6) if fps else 0.0}


def _ties(parts: Iterable[Predictions]) -> dict[str, float | None]:
    """The share of flips, and of changes of the top-5, between frames at one of which equal scores decided."""
    counts = {"flips": np.zeros(2, int), "top5_changes": np.zeros(2, int)}
    for video in parts:
        moved, top5 = video.moved, np.sort(video["top5"], axis=1)
        other = (top5[moved] != top5[moved - 1]).any(axis=1)
        for name, change, tie in (("flips", changed(video), video["tie"]), ("top5_changes", other, video["tie_top5"])):
            counts[name] += (int((change & (tie[moved] | tie[moved - 1])).sum()), int(change.sum()))
    return {name: float(tied / both) if both else None for name, (tied, both) in counts.items()}
