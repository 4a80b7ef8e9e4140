"""What an audit found, and its file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shiftable.auditing.intervals import Estimate
from shiftable.auditing.record import AUDIT, SCHEMA
from shiftable.errors import InputError


@dataclass(frozen=True)
class Audit:
    """What an audit found. The same as ``audit.json``: a function of the arguments and the data alone.

    Args:
        model: The model's spec, the sha256 of its weights, its preprocessing, scores and number of classes.
        images: Source, count, sha256 of the ids, how many are labelled, and which were skipped and why.
        motion: Name, where in the pipeline it happens, and by what factor objects were enlarged to make room.
        walk: The walks' shape, steps, direction, number and radius.
        seed: Of everything drawn at random.
        metrics: Name → estimate with its 95 % interval.
        controls: Name of what is no motion → metric → estimate.
        ties: The share of flips, and of changes of the top-5, that equal scores decided.
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
