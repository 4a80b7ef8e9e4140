"""What an audit found, and its file."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from shiftable.auditing.intervals import Estimate
from shiftable.auditing.metrics import CONTROL_METRICS, CONTROLS, measure
from shiftable.auditing.motions.keeping import nowhere_remarks
from shiftable.auditing.objects.metrics import OBJECT_CONTROL_METRICS, measure_objects, read_found
from shiftable.auditing.predictions import Predictions, changed, read_parts, read_skipped, unheld_remarks
from shiftable.auditing.record import AUDIT, SCHEMA
from shiftable.auditing.walks import NOWHERE
from shiftable.errors import InputError

TIES_WORTH_A_WARNING = 0.01


@dataclass(frozen=True)
class Audit:
    """What an audit found. The same as ``audit.json``: a function of the arguments and the data alone.

    Args:
        model: The model's spec, the sha256 of its weights, its preprocessing, scores and number of classes; of
            detectors and key-point models the thresholds.
        images: Source, count, sha256 of the ids, how many are labelled, and which were skipped and why.
        motion: Name, where in the pipeline it happens, and by what factor objects were enlarged to make room.
        walk: The walks' shape, steps, direction, number and radius.
        seed: Of everything drawn at random.
        metrics: Name → estimate with its 95 % interval.
        controls: Name of what is no motion → metric → estimate.
        ties: The share of flips, and of changes of the top-5, that equal scores decided; empty for other answers.
        warnings: What a reader must know, a sentence each.
        folder: Where the table of predictions is. Not part of ``audit.json``.
    """

    model: Mapping[str, Any]
    images: Mapping[str, Any]
    motion: Mapping[str, Any]
    walk: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Estimate]
    controls: Mapping[str, Mapping[str, Estimate]]
    ties: Mapping[str, float | None]
    warnings: Sequence[str]
    folder: Path = field(compare=False)

    @property
    def model_name(self) -> str:
        """The model's name without the way there: ``squeezenet1_1`` of ``torchvision/squeezenet1_1``.

        An address stays whole.
        """
        spec = str(self.model["spec"])
        return spec if "://" in spec else spec.rstrip("/").rpartition("/")[2] or spec

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without the folder."""
        plain = {name: value for name, value in vars(self).items() if name not in ("folder", "metrics", "controls")}
        return {
            "schema": SCHEMA,
            **plain,
            "metrics": {name: found.to_json() for name, found in self.metrics.items()},
            "controls": {
                control: {name: found.to_json() for name, found in metrics.items()}
                for control, metrics in self.controls.items()
            },
        }


def read_audit(folder: str | Path) -> Audit:
    """The audit that a folder holds.

    Raises:
        InputError: If there is none, or it was not finished.
    """
    try:
        content = json.loads(Path(folder, AUDIT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"no finished audit ({error})", where=folder, todo="run shiftable audit --out there") from None
    if content.pop("schema", None) != SCHEMA:
        raise InputError("written by another version of shiftable", where=folder, todo="run the audit again")
    content["metrics"] = {name: Estimate.from_json(found) for name, found in content["metrics"].items()}
    content["controls"] = {
        control: {name: Estimate.from_json(found) for name, found in metrics.items()}
        for control, metrics in content["controls"].items()
    }
    return Audit(**content, folder=Path(folder))


def sum_up(
    folder: Path,
    asked: Mapping[str, Any],
    names: Sequence[str],
    remarks: Sequence[str],
    controls: bool,
    enlarged: float,
) -> Audit:
    """What an audit found, from its table alone.

    Args:
        folder: The audit's.
        asked: What it is a function of: the fields of `Audit` that are known beforehand.
        names: The metrics to estimate.
        remarks: Warnings known beforehand.
        controls: Whether there were controls.
        enlarged: By what factor objects were enlarged.

    Raises:
        InputError: If none of the images could be used.
    """
    skipped = read_skipped(folder)
    used = asked["images"]["listed"] - len(skipped)
    if not used:
        first = f"{skipped[0]['image']}: {skipped[0]['reason']}"
        raise InputError(f"none of the {len(skipped)} images can be used ({first})", where=asked["images"]["source"])
    measured = partial(_measured, folder, asked)
    metrics = measured(names)
    still = {control: measured(None, control) for control in (CONTROLS if controls else ())}
    ties = {} if asked["model"]["task"] in OBJECT_CONTROL_METRICS else _ties(read_parts(folder))
    warnings = list(remarks)
    if skipped:
        warnings.append(f"{len(skipped)} of {asked['images']['listed']} images were skipped: {skipped[0]['image']} "
                        f"({skipped[0]['reason']})" + (", …" if len(skipped) > 1 else ""))  # fmt: skip
    if not all(entry["reason"].startswith(NOWHERE) for entry in skipped):  # else that was just said
        warnings += nowhere_remarks(skipped, asked["images"]["listed"])
    warnings += unheld_remarks(folder, used)
    if enlarged > 1:
        warnings.append(f"objects are {enlarged:.2f} times as large as the model is used to, to make room for the walk")
    for what, share in ties.items():
        if share and share > TIES_WORTH_A_WARNING:
            warnings.append(f"equal scores decided {share:.1%} of the {what.replace('_', ' ')}")
    per_view = metrics.get("objects_per_view")
    if asked["model"].get("thresholds") and set(metrics) <= {"objects_per_view"} and not (per_view and per_view.value):
        warnings.append(f"nothing reaches the score threshold of {asked['model']['thresholds']['score_threshold']:g}")
    if controls and any(found.value > 0 for found in still["still"].values()):
        warnings.append("the model changes its answer to the very same view: what follows is not only motion")
    return Audit(
        model=asked["model"],
        images={**asked["images"], "count": used, "skipped": skipped},
        motion=asked["motion"],
        walk=asked["walk"],
        seed=asked["seed"],
        metrics=metrics,
        controls=still,
        ties=ties,
        warnings=warnings,
        folder=folder,
    )


def _measured(
    folder: Path, asked: Mapping[str, Any], names: Sequence[str] | None, control: str | None = None
) -> dict[str, Estimate]:
    """Metrics of the motion or of a control, where None takes those that controls have."""
    task, seed = asked["model"]["task"], asked["seed"]
    if task in OBJECT_CONTROL_METRICS:
        shards = (found.of(control) for found in read_found(folder, asked["model"].get("thresholds", {})))
        return measure_objects(shards, OBJECT_CONTROL_METRICS[task] if names is None else names, seed)
    parts = (part.of(control) for part in read_parts(folder))
    return measure(parts, CONTROL_METRICS if names is None else names, seed)


def _ties(parts: Iterable[Predictions]) -> dict[str, float | None]:
    """The share of flips, and of changes of the top-5, between steps at one of which equal scores decided."""
    counts = {"flips": [0, 0], "top5_changes": [0, 0]}
    for part in parts:
        motion = part.of(None)
        moved, top5 = motion.moved, np.sort(motion["top5"], axis=1)
        different = (top5[moved] != top5[moved - 1]).any(axis=1)
        for name, change, tie in (
            ("flips", changed(motion), motion["tie"]),
            ("top5_changes", different, motion["tie_top5"]),
        ):
            counts[name][0] += int((change & (tie[moved] | tie[moved - 1])).sum())
            counts[name][1] += int(change.sum())
    return {name: tied / all_ if all_ else None for name, (tied, all_) in counts.items()}
