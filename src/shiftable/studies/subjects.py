"""Who is asked, and what they are shown: the shared models and photographs, and audits of them that are kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Audit, audit, read_parts
from shiftable.models import Model, open_model
from shiftable.studies.study import Row, Setting

PHOTOGRAPHS = ("data", "imagenet_samples")


@dataclass(frozen=True)
class Subject:
    """A shared model.

    Args:
        file: In ``models/``.
        spec: What it is opened as; None: the file itself.
        options: Others of `open_model`.
        layers: How many layers multiply by weights.
        width: Of its family's full width, where it is one of several widths.
    """

    file: str
    spec: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    layers: int = 0
    width: float | None = None


BACKGROUND = {"class_offset": 1}
SUBJECTS: Mapping[str, Subject] = {
    "squeezenet1_1": Subject("squeezenet1_1.safetensors", "torchvision/squeezenet1_1", layers=26),
    "mobilenetv2": Subject(
        "mobilenetv2_100.safetensors",
        "timm/mobilenetv2_100",
        {"model_args": {"pad_type": "same"}, "preprocessing": {"resampler": "bilinear"}},
        layers=53,
    ),
    "mobilenet_v1_0.25_128": Subject("mobilenet_v1_0.25_128_quant.tflite", None, BACKGROUND, 28, 0.25),
    "mobilenet_v1_0.5_160": Subject("mobilenet_v1_0.5_160_quant.tflite", None, BACKGROUND, 28, 0.5),
    "mobilenet_v1_0.75_192": Subject("mobilenet_v1_0.75_192_quant.tflite", None, BACKGROUND, 28, 0.75),
    "mobilenet_v2_1.0_224": Subject("mobilenet_v2_1.0_224_quant.tflite", None, BACKGROUND, 53, 1.0),
    "tf2_mobilenet_v2_1.0_224": Subject("tf2_mobilenet_v2_1.0_224_ptq.tflite", None, BACKGROUND, 53, 1.0),
}
"""Name → model. Of layers, those with weights on the longest way."""

METRICS = ("p_top1_change", "mac", "accuracy", "change_if_right", "margin", "jaggedness", "worst_case_accuracy")


def open_subject(name: str, setting: Setting, view_px: int | None = None) -> Model:
    """One of ``SUBJECTS``, or the embedded ``"demo"``.

    Args:
        name: Which.
        setting: The study's.
        view_px: The side of what it is shown, other than its own; not of a TFLite file.

    Raises:
        InputError: If its file, or what opens it, is not there.
    """
    if name == "demo":
        return open_model("demo")
    subject = SUBJECTS[name]
    file = setting.find("models", subject.file)
    options = dict(subject.options)
    if view_px is not None:
        options["preprocessing"] = {**options.get("preprocessing", {}), "view_size": [view_px, view_px]}
    if subject.spec is None:
        return open_model(str(file), **options)
    return open_model(subject.spec, weights=file, **options)


def audited(model: Model, name: str, setting: Setting, *, count: int, **options: Any) -> Audit:
    """The audit of a model on the shared photographs, kept in the study's folder.

    Args:
        model: Who is asked.
        name: What the audit is kept as.
        setting: The study's.
        count: How many photographs.
        options: Others of `shiftable.audit`.
    """
    images = setting.find(*PHOTOGRAPHS)
    options = {"labels": images / "labels.csv", "controls": False, "seed": setting.seed, **options}
    return audit(model, images, count=count, out=setting.folder / "kept" / name, **options)


def label_probabilities(found: Audit) -> Float[np.ndarray, "image step"]:
    """The probability of the right class at every step of a sweep, the surest images first.

    Args:
        found: An audit of labelled images along sweeps; those whose walk is shorter than the longest are left out.
    """
    walks: list[np.ndarray] = []
    for part in read_parts(found.folder):
        moved = part.of(None)
        walks += np.split(moved["label_p"], np.flatnonzero(moved["step"] == 0)[1:])
    longest = max(map(len, walks))
    rows = np.array([walk for walk in walks if len(walk) == longest])
    return np.asarray(rows[np.argsort(-rows.mean(1), kind="stable")])


def measured(found: Audit, *names: str) -> Row:
    """An audit's metrics as columns, each with the ends of its interval.

    Args:
        found: The audit.
        names: Which; none takes those of ``METRICS`` that it has.
    """
    row: dict[str, float] = {}
    for name in names or METRICS:
        if name in found.metrics:
            each = found.metrics[name]
            row |= {name: each.value, f"{name}_low": each.low, f"{name}_high": each.high}
    return row
