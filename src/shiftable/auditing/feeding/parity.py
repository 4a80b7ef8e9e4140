"""Parity: the same model fed otherwise, and other files of the same model, on still pictures and under shift."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.audit import audit
from shiftable.auditing.feeding.naming import Explanation, explain, findings
from shiftable.auditing.feeding.stills import Stills, answer_stills
from shiftable.auditing.feeding.variants import VARIANTS, declared, fed, variants_of
from shiftable.auditing.intervals import Estimate, difference, magnitude, rate, rate_difference
from shiftable.auditing.metrics import mac, p_top1_change
from shiftable.auditing.predictions import read_parts
from shiftable.auditing.record import AUDIT, RUN, SCHEMA
from shiftable.auditing.results import Audit
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.models import Model, open_model

REFERENCE = "reference"

DEFAULTS: Mapping[str, Any] = {"motion": "camera", "walk": "pairs", "controls": False}
"""A resize meets a shift only where the shift comes first: after the resize, an aliased one is just another picture."""


@dataclass(frozen=True)
class Compared:
    """One variant, or one other model, beside what it is compared with.

    Args:
        name: Its folder in the output: that of an audit.
        title: As in a table.
        kind: ``"variant"``: the same model fed otherwise. ``"model"``: another one.
        part: What a variant is about: resize, crop or numbers.
        beside: The name of what it is compared with, ``"reference"`` or a variant.
        changes: The fields of the preprocessing in which it differs from the reference (of another model: in which it
            says so itself).
        still: Share of the unmoved pictures whose first choices differ.
        distance: Mean absolute difference of the probability of the first choice, on unmoved pictures.
        other_views: How many of these pictures are other pixels at all; None where that can't be said.
        moved: Share of pairs of views, a step apart, whose first choices differ: P(top-1 change).
        difference: Of that share to the one compared with, paired by image.
        mac: Mean absolute change, from one view of a pair to the other, of the probability of the first one's choice.
        mac_difference: Of that to the one compared with, paired by image.
        enlarged: By what factor objects were enlarged to make room for the walk.
        explanation: Of another model: what explains its answers.
    """

    name: str
    title: str
    kind: Literal["variant", "model"]
    part: str | None
    beside: str
    changes: Mapping[str, Any]
    still: Estimate
    distance: Estimate
    other_views: int | None
    moved: Estimate
    difference: Estimate
    mac: Estimate
    mac_difference: Estimate
    enlarged: float
    explanation: Explanation | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            key: value.to_json() if isinstance(value, Estimate | Explanation) else value
            for key, value in vars(self).items()
        }


@dataclass(frozen=True)
class Parity:
    """What `parity` found. The same as ``parity.json``: a function of the arguments and the data alone.

    Args:
        model: The reference, as in its `Audit`.
        images: As there; ``compared`` is how many unmoved pictures all models were shown.
        motion: As there.
        walk: As there.
        seed: As there.
        moved: The reference's share of changed answers.
        mac: The reference's mean absolute change.
        compared: All that it was compared with: other models first, then variants in the order of ``VARIANTS``.
        findings: What was found, a sentence each, most important first.
        warnings: What a reader must know, a sentence each.
        folder: Where the audits are. Not part of ``parity.json``.
    """

    model: Mapping[str, Any]
    images: Mapping[str, Any]
    motion: Mapping[str, Any]
    walk: Mapping[str, Any]
    seed: int
    moved: Estimate
    mac: Estimate
    compared: Sequence[Compared]
    findings: Sequence[str]
    warnings: Sequence[str]
    folder: Path = field(compare=False)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without the folder."""
        plain = {
            name: value for name, value in vars(self).items() if name not in ("folder", "moved", "mac", "compared")
        }
        return {
            "schema": SCHEMA,
            **plain,
            "moved": self.moved.to_json(),
            "mac": self.mac.to_json(),
            "compared": [each.to_json() for each in self.compared],
        }


def parity(
    model: Model | str,
    images: str | Path | Sequence[Sample],
    *,
    against: Sequence[Model] = (),
    out: str | Path,
    count: int | None = None,
    strict: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **audit_options: Any,
) -> Parity:
    """Feed a model in other ways, and ask other files of it: which answers change, and how often they flip under shift.

    Every way and every file is audited into a folder of its own; a run that was stopped goes on.

    Args:
        model: The reference: an open model, or a name for `open_model`.
        images: As `find_samples` takes them, or samples.
        against: Other models that should answer alike: exports of the reference, say.
        out: The folder to write to.
        count: Only the first so many images.
        strict: Stop at an image that can't be used, instead of leaving it out.
        progress: Told (images done, images in all), over all audits.
        audit_options: As for `audit`. Unless they say otherwise, the camera moves (``DEFAULTS``).

    Raises:
        InputError: If anything of this can't be used, the folder is that of an audit, or the models don't tell the same
            classes apart.
    """
    _check_motion(audit_options.get("motion"), audit_options.get("on"))
    model = open_model(model) if isinstance(model, str) else model
    refuse_audits(out)
    _check(model, against)
    samples = find_samples(images, count) if isinstance(images, str | Path) else list(images)[:count]
    ways, remarks = variants_of(model.preprocessing, model.view_size, as_pixels=getattr(model, "as_pixels", False))
    variants = {name: fed(model, way) for name, way in ways.items()}
    others = {_slug(number, other.spec): other for number, other in enumerate(against, start=1)}
    models = {REFERENCE: model, **others, **variants}
    beside = {name: VARIANTS[name].beside or REFERENCE for name in variants}
    beside = {name: other if other in variants else REFERENCE for name, other in beside.items()}
    stills, broken = answer_stills(models, beside, samples, strict)

    options = {**DEFAULTS, **{name: value for name, value in audit_options.items() if value is not None}}
    audits = {}
    for number, (name, each) in enumerate(models.items()):
        told = _part_of(progress, number, len(models))
        audits[name] = audit(
            each, images, out=Path(out, name), count=count, strict=strict, progress=told, **options
        )  # fmt: skip
    moves = {name: _moves(found) for name, found in audits.items()}

    titles = dict(zip(others, _titles([other.spec for other in against]), strict=True))

    def compare(name: str) -> Compared:
        variant, other = VARIANTS.get(name) if name in variants else None, beside.get(name, REFERENCE)
        return Compared(
            name=name,
            title=variant.title if variant else titles[name],
            kind="variant" if variant else "model",
            part=variant.part if variant else None,
            beside=other,
            changes=declared(model.preprocessing, models[name].preprocessing),
            **_compare_stills(stills, name, other),
            other_views=int(stills[name].other_view.sum()) if models[name].view_size == model.view_size else None,
            **_estimates(moves[name]),
            **_differences(moves[other], moves[name]),
            enlarged=float(audits[name].motion["enlarged"]),
            explanation=None if variant else explain(stills, name, REFERENCE, list(variants)),
        )

    reference = audits[REFERENCE]
    compared = [compare(name) for name in (*others, *variants)]
    own = _estimates(moves[REFERENCE])
    warnings = [*reference.warnings, *remarks, *_warnings(reference, compared, broken, against)]
    return Parity(
        model=reference.model,
        images={**reference.images, "compared": len(stills[REFERENCE].top1)},
        motion=reference.motion,
        walk=reference.walk,
        seed=reference.seed,
        **own,
        compared=compared,
        findings=findings(model.spec, own["moved"], compared),
        warnings=list(dict.fromkeys(warnings)),
        folder=Path(out),
    )


def refuse_audits(folder: str | Path) -> None:
    """Raises InputError if a folder holds an audit itself, not in folders of its own as that of a parity does."""
    if any(Path(folder, name).exists() for name in (AUDIT, RUN)):
        raise InputError("holds an audit, whose page would be lost", where=folder, todo="give another --out")


def _check_motion(motion: str | None, on: str | None) -> None:
    """Raises InputError for a motion that can't move what every way of feeding shows."""
    why = {
        "scale": "its windows end between pixels, which not every library that resizes can do",
        "keep-box": "where it may go depends on how large images are resized",
        "video": "the frames of videos are not fed otherwise",
    }
    if motion in why and not (motion == "scale" and on == "canvas"):
        raise InputError(
            f"parity has no motion {motion}: {why[motion]}",
            where="--motion",
            todo="take camera, crop, canvas, roll, subpixel or rotate",
        )


def _check(model: Model, against: Sequence[Model]) -> None:
    """Raises InputError if the models' answers can't be compared class by class."""
    counts = []
    for each in (model, *against):
        if each.task != "classify":
            raise InputError(
                f"parity compares classes, and its task is {each.task!r}", where=each.spec, todo="give a classifier"
            )
        counts.append(count_outputs(each))
    for each, classes in zip(against, counts[1:], strict=True):
        if classes != counts[0]:
            more = abs(classes - counts[0])
            raise InputError(
                f"it tells {classes} classes apart, {model.spec} {counts[0]}, so class numbers do not mean the same",
                where=each.spec,
                todo=f"if {model.spec}'s first outputs are no classes, add --class-offset {more}"
                if classes < counts[0]
                else f"if its first outputs are no classes, ask from Python: open_model(…, class_offset={more})",
            )


def _slug(number: int, spec: str) -> str:
    """A folder for a model: numbered, for specs may have the same last part."""
    name = re.sub(r"[^\w.-]+", "-", spec.rstrip("/").rpartition("/")[2]).strip("-.")
    return f"against-{number}-{name[:60]}"


def _titles(specs: Sequence[str]) -> list[str]:
    """The models' names: without the folder where that says which is meant."""
    names = [Path(spec).name if Path(spec).suffix and "://" not in spec else spec for spec in specs]
    return [name if names.count(name) == 1 else spec for name, spec in zip(names, specs, strict=True)]


def _part_of(progress: Callable[[int, int], None] | None, number: int, parts: int) -> Callable[[int, int], None] | None:
    if progress is None:
        return None
    return lambda done, total: progress(number * total + done, parts * total)


Moves = dict[str, tuple[float, float, float]]
"""Image → (changed pairs, sum of absolute changes, pairs)."""


def _moves(found: Audit) -> Moves:
    moves: Moves = {}
    for part in read_parts(found.folder, ["image", "control", "step", "top1", "top1_p", "first_p"]):
        motion = part.of(None)
        (changed, pairs), (change, _) = p_top1_change(motion), mac(motion)
        rows = zip(changed.tolist(), change.tolist(), pairs.tolist(), strict=True)
        moves |= dict(zip(motion.images, rows, strict=True))
    return moves


def _estimates(moves: Moves) -> dict[str, Estimate]:
    changed, change, pairs = np.array(list(moves.values()), float).T
    return {"moved": rate(changed, pairs), "mac": magnitude(change, pairs)}


def _differences(before: Moves, after: Moves) -> dict[str, Estimate]:
    both = [image for image in before if image in after]
    if not both:
        raise InputError("no image could be shown in both ways", todo="give larger images")
    first, last = (np.array([moves[image] for image in both], float).T for moves in (before, after))
    return {
        "difference": rate_difference(first[0], first[2], last[0], last[2]),
        "mac_difference": difference(first[1], first[2], last[1], last[2]),
    }


def _compare_stills(stills: Mapping[str, Stills], name: str, other: str) -> dict[str, Estimate]:
    ours, theirs = stills[name], stills[other]
    once = np.ones(len(ours.top1))
    return {
        "still": rate((ours.top1 != theirs.top1).astype(float), once),
        "distance": magnitude(ours.distance, once),
    }


def _warnings(
    reference: Audit, compared: Sequence[Compared], broken: Sequence[InputError], against: Sequence[Model]
) -> list[str]:
    said = [remark for other in against for remark in getattr(other, "remarks", ())]
    if broken:
        more = ", …" if len(broken) > 1 else ""
        said.append(f"{len(broken)} images were left out of the still pictures: {broken[0]}{more}")
    if reference.motion["where"] != "camera":
        said.append(
            "the shift happens after the resize: what a resize makes of motion in front of the camera is not seen "
            "(--motion camera)"
        )
    enlarged = [each.title for each in compared if each.enlarged != reference.motion["enlarged"]]
    if enlarged:
        said.append(f"shown enlarged under shift, to make room, and so not as deployed: {', '.join(enlarged)}")
    return said
