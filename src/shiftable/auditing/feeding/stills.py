"""What several models answer to the same unmoved pictures, without keeping more than a few numbers of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from shiftable.auditing.motions.stage import Picture
from shiftable.auditing.scoring import probabilities_and_evidence
from shiftable.data import Sample
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import deployed_view

CHUNK = 32
"""Images whose full answers are held at a time."""

View: TypeAlias = UInt8[np.ndarray, "_ _ 3"]
"""A view; those of different models may have different sizes."""

Probabilities: TypeAlias = Float[np.ndarray, "image class"]


@dataclass(frozen=True)
class Stills:
    """One model's answers to unmoved pictures, an entry per image.

    Args:
        top1: The first choice; of equal scores the lowest class.
        reference_p: The probability of the class that is the reference's first choice.
        distance: The absolute difference, in the probability of the other's first choice, to the answers compared with.
        other_view: Whether the view itself is another than that of the answers compared with.
    """

    top1: Int[np.ndarray, "image"]
    reference_p: Float[np.ndarray, "image"]
    distance: Float[np.ndarray, "image"]
    other_view: Bool[np.ndarray, "image"]


def answer_stills(
    models: Mapping[str, Model], beside: Mapping[str, str], samples: Sequence[Sample], strict: bool = False
) -> tuple[dict[str, Stills], list[InputError]]:
    """The answers of all models to all images; an image that one of them can't be shown is left out for all.

    Args:
        models: Name → model; the first is the reference. They tell the same classes apart.
        beside: Name → the name of the model that it is compared with.
        samples: The images.
        strict: Stop at an image that can't be used.

    Returns:
        Name → answers, and what was wrong with the images left out.

    Raises:
        InputError: If a model answers NaN, no image can be used, or, where that is asked for, one can't.
    """
    parts: dict[str, list[Stills]] = {name: [] for name in models}
    broken: list[InputError] = []
    for views in _chunks(models, samples, strict, broken):
        answers = {name: _ask(model, views[name]) for name, model in models.items()}
        first = {name: answer.argmax(axis=1) for name, answer in answers.items()}
        reference, rows = next(iter(models)), np.arange(len(next(iter(views.values()))))
        for name, answer in answers.items():
            other = beside.get(name, reference)
            change = np.abs(answer[rows, first[other]] - answers[other][rows, first[other]])
            moved = np.array(
                [not np.array_equal(ours, theirs) for ours, theirs in zip(views[name], views[other], strict=True)]
            )
            parts[name].append(Stills(first[name], answer[rows, first[reference]], change, moved))
    if not next(iter(parts.values())):
        raise InputError(f"none of the {len(broken)} images can be used ({broken[0]})")
    fields = Stills.__dataclass_fields__
    return {
        name: Stills(**{field: np.concatenate([getattr(part, field) for part in each]) for field in fields})
        for name, each in parts.items()
    }, broken


def _chunks(
    models: Mapping[str, Model], samples: Sequence[Sample], strict: bool, broken: list[InputError]
) -> Iterator[dict[str, list[View]]]:
    """Name → views, some images at a time."""
    views: dict[str, list[View]] = {name: [] for name in models}
    for number, sample in enumerate(samples, start=1):
        try:
            for name, view in _views(models, sample.read()).items():
                views[name].append(view)
        except InputError as error:
            if strict:
                raise
            broken.append(InputError(error.what, where=sample.id, todo=error.todo))
        held = len(next(iter(views.values())))
        if held and (held == CHUNK or number == len(samples)):
            yield views
            views = {name: [] for name in models}


def _views(models: Mapping[str, Model], image: Picture) -> dict[str, View]:
    """Each model's view; made once for those that differ in the numbers only."""
    made: dict[object, View] = {}
    views = {}
    for name, model in models.items():
        fields = model.preprocessing
        way = (fields.resize_px, fields.resampler, fields.antialias, fields.crop, fields.library, model.view_size)
        if way not in made:
            made[way] = deployed_view(image, fields, model.view_size)
            height, width = made[way].shape[:2]
            if (height, width) != tuple(model.view_size):
                raise InputError("the resized image is smaller than the view")
        views[name] = made[way]
    return views


def _ask(model: Model, views: Sequence[View]) -> Probabilities:
    ((_, scores),) = in_batches([(None, views)], model, model.batch_size, getattr(model, "at_once", 1))
    if np.isnan(scores).any():
        raise InputError("the model answers NaN", where=model.spec, todo="look at its weights")
    return probabilities_and_evidence(scores, model.scores)[0]
