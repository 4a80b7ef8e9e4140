"""A repaired model's exports, each audited again: what is deployed must hold as still as what was proved."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shiftable.auditing import Audit, audit, read_parts
from shiftable.data import Sample
from shiftable.errors import InputError, unknown
from shiftable.models import Model

FILES: Mapping[str, str] = {"onnx": "model.onnx", "pt2": "exported.pt2"}
"""Format → the file in the repair's folder."""


def check_formats(formats: Sequence[str], model: Model) -> None:
    """Refuse before the work what can't be exported after it.

    Raises:
        InputError: For an unknown format, or a model that PyTorch does not answer for.
    """
    for name in formats:
        if name not in FILES:
            raise unknown("format", name, FILES)
    if formats and not callable(getattr(getattr(model, "net", None), "named_modules", None)):
        raise InputError("PyTorch does not answer for it, so its own file is what is deployed", where="--export",
                         todo="leave it out")  # fmt: skip


def audit_exports(
    model: Model,
    formats: Sequence[str],
    samples: Sequence[Sample],
    walks: Mapping[str, Any],
    proved: Audit,
    folder: Path,
) -> list[str]:
    """Export a repaired model, and ask each file what the model was asked in the proof.

    Args:
        model: The repaired model.
        formats: Of ``FILES``.
        samples: The images of the proof.
        walks: Options of `audit`, as in the proof.
        proved: The audit of the repaired model.
        folder: Where the files go; the audits go to ``exported-FORMAT/`` there.

    Returns:
        What came of it, a sentence each.
    """
    from shiftable.repairing.graphs import to_onnx, to_pt2

    export: Mapping[str, Callable[..., Model]] = {"onnx": to_onnx, "pt2": to_pt2}
    told = []
    for name in formats:
        file = FILES[name]
        try:
            opened = export[name](model, folder / file, overwrite=True)
        except InputError as error:
            told.append(f"{file} was not written: {error.what}")
            continue
        again = audit(opened, samples, **walks, controls=False, out=folder / f"exported-{name}", overwrite=True)
        others, views = _others(proved, again)
        before, after = (each.metrics["p_top1_change"].value for each in (proved, again))
        flips = "changes its answer as often" if before == after else f"changes its answer {after:.2%} of the time"
        told.append(f"{file}, audited again, {flips}; of {views:,} views {others:,} have another answer")
    return told


def _others(one: Audit, other: Audit) -> tuple[int, int]:
    """(views with another leading class, all views of the walks)."""
    answers = [
        np.concatenate([part.of(None)["top1"] for part in read_parts(each.folder, ["image", "control", "top1"])])
        for each in (one, other)
    ]
    return int((answers[0] != answers[1]).sum()), len(answers[0])
