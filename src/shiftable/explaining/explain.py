"""Why a model's answer moves with the picture: everything that can be measured, and what it amounts to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing.intervals import rate
from shiftable.auditing.motions import make_motion
from shiftable.auditing.preparing import Labels, describe, find_images, prepare
from shiftable.auditing.record import surroundings
from shiftable.auditing.scoring import Kind, probabilities_and_evidence
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Diagnosis
from shiftable.explaining.findings import findings
from shiftable.explaining.margins import Scores, measure_margins
from shiftable.explaining.outside import Outside, reveal_stride
from shiftable.explaining.risk import fit_risk, views_at_risk
from shiftable.explaining.sweeping import sweep
from shiftable.models import Model, open_model

if TYPE_CHECKING:
    from shiftable.explaining.inside import Inside

STEPS = 33
"""Views of an image, one px apart: all offsets modulo 32."""


def explain(
    model: Model | str,
    images: str | Path | Sequence[Sample],
    *,
    labels: Labels = None,
    count: int | None = 32,
    steps: int | None = None,
    direction: str = "horizontal",
    layers: Sequence[str] | None = None,
    dense: int = 2,
    interventions: bool = False,
    pairs: int = 0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Find out why a model's answer moves when the picture moves by one pixel.

    Of a PyTorch net: where it subsamples, how its maps follow the picture, what aliases at each site, what sampling
    alone predicts of the answers, and (if asked for) what blurring each site brings. Of any model: how sure and how
    steady it is, and the risk that an answer changes within a pixel. Of models that nobody can look into: the stride
    that their answers give away.

    Args:
        model: An open classifier, or a name for `open_model`.
        images: As `find_samples` takes them, or samples.
        labels: A CSV with ``file,class_index``, or a mapping of ids to classes: what a blur costs.
        count: Only the first so many images.
        steps: Views of each image, one px apart; None takes 33, or a full circle of a model that nobody can look into.
        direction: Which way they move: ``"horizontal"`` or ``"vertical"``.
        layers: Look at these layers' responses; None takes some by depth.
        dense: For how many images the answer to every shift in both directions is worked out.
        interventions: Blur each site, and measure again.
        pairs: Of how many of the best sites each two are blurred together.
        seed: Of everything drawn at random.
        progress: Told (steps done, steps in all).

    Raises:
        InputError: If anything of this can't be used.
    """
    if direction not in ("horizontal", "vertical"):
        raise InputError(f"the picture can't move {direction!r}", todo="choose horizontal or vertical")
    if steps is not None and steps < 3:
        raise InputError(f"{steps} steps are too few", where="--steps", todo="take 3 or more")
    opened = open_model(model) if isinstance(model, str) else model
    if opened.task != "classify":
        raise InputError(f"its task is {opened.task!r}, and classifiers are explained", where=opened.spec)
    source = str(images) if isinstance(images, str | Path) else None
    motion = make_motion("crop")
    pictures: Any = images
    unset = dict.fromkeys(("threshold", "score_threshold", "match_threshold"))
    prepared = prepare(
        opened, find_images(pictures, None, count, motion), source or "images", labels, "sweep", None, unset
    )
    about_model, about_images = describe(opened, prepared, motion, source)
    net = getattr(getattr(opened, "exact", None) or opened, "net", None)
    looks_inside = callable(getattr(net, "named_modules", None))
    if not looks_inside:
        _refuse_for_files(opened.spec, layers, interventions)
    inside: Inside | None = None
    outside: Outside | None = None
    skipped: list[InputError] = []
    if looks_inside:
        from shiftable.explaining.inside import look_inside

        inside = look_inside(
            opened, prepared.samples, steps=steps or STEPS, direction=direction, layers=layers, dense=dense,
            interventions=interventions, pairs=pairs, seed=seed, skipped=skipped, progress=progress,
        )  # fmt: skip
        scores = inside.scores
    else:
        told = progress or (lambda done, in_all: None)
        told(0, 2)
        circle = sweep(opened, prepared.samples, motion="roll", steps=steps, direction=direction)
        told(1, 2)
        outside = reveal_stride(_probabilities(circle.scores, prepared.kind), closed=circle.closed, seed=seed)
        real = sweep(opened, prepared.samples, motion="crop", steps=STEPS, direction=direction)
        told(2, 2)
        scores = real.scores
        skipped = list(real.skipped)
    evidence = _evidence(scores, prepared.kind, prepared.score_step)
    margins = measure_margins(evidence, seed=seed)
    at_risk, flips = views_at_risk(evidence)
    changed = evidence.argmax(2)[:, 1:] != evidence.argmax(2)[:, :-1]
    share = rate(changed.sum(1).astype(float), np.full(len(changed), float(changed.shape[1])))
    found = findings(
        structure=inside.structure if inside else None,
        flips=share,
        sampling=inside.sampling if inside else None,
        spectra=inside.spectra if inside else (),
        interventions=inside.interventions if inside else (),
        margins=margins,
        outside=outside,
        antialias=opened.preprocessing.antialias,
        shrinks=_shrinks(opened, prepared.samples[0]),
    )
    remarks = [
        *getattr(opened, "remarks", ()),
        *(inside.remarks if inside else ()),
        *prepared.remarks,
        *(f"left out {error}" for error in skipped),
    ]
    return Diagnosis(
        spec=opened.spec,
        model=about_model,
        images={**about_images, "used": len(scores)},
        settings={
            "steps": scores.shape[1], "direction": direction, "layers": list(layers or ()), "dense": dense,
            "interventions": interventions, "pairs": pairs, "seed": seed, **surroundings(),
        },
        structure=inside.structure if inside else None,
        responses=inside.responses if inside else (),
        spectra=inside.spectra if inside else (),
        sampling=inside.sampling if inside else None,
        interventions=inside.interventions if inside else (),
        interactions=inside.interactions if inside else (),
        margins=margins,
        risk=fit_risk(at_risk, flips, neighbours=f"one pixel either way, {direction}", seed=seed),
        outside=outside,
        findings=found,
        remarks=tuple(dict.fromkeys(remarks)),
    )  # fmt: skip


def _refuse_for_files(spec: str, layers: Sequence[str] | None, interventions: bool) -> None:
    asked = "--layer" if layers else "--interventions" if interventions else None
    if asked:
        raise InputError(
            f"{asked} needs a net to look into, and this is none", where=spec, todo="explain the net it was made from"
        )


def _evidence(scores: Scores, kind: Kind, score_step: float | None) -> Float[np.ndarray, "image step class"]:
    images, steps, classes = scores.shape
    found = probabilities_and_evidence(scores.reshape(images * steps, classes), kind, score_step)[1]
    return found.reshape(images, steps, classes)


def _probabilities(scores: Scores, kind: Kind) -> Float[np.ndarray, "image step class"]:
    images, steps, classes = scores.shape
    return probabilities_and_evidence(scores.reshape(images * steps, classes), kind)[0].reshape(images, steps, classes)


def _shrinks(model: Model, sample: Sample) -> bool:
    """Whether the model's resize makes the first image smaller."""
    try:
        sides = sample.read().shape[:2]
    except InputError:
        return False
    wanted = model.preprocessing.resize_px
    return bool(min(sides) > (min(wanted) if isinstance(wanted, tuple) else wanted))
