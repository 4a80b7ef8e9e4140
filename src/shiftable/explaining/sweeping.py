"""The scores of any model along one long walk over every image."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.walks import DIRECTIONS
from shiftable.data import Sample
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.explaining.views import Swept, swept
from shiftable.models import Model

CROP_STEPS = 65


class Answered(NamedTuple):
    """What a model answers along the walks.

    Args:
        scores: As the model gives them.
        images: The ids of the images, in the scores' order.
        skipped: What is wrong with those that could not be used.
        closed: Whether the last view is one step before the first, round the circle.
    """

    scores: Float[np.ndarray, "image step class"]
    images: tuple[str, ...]
    skipped: tuple[InputError, ...]
    closed: bool


def sweep(
    model: Model,
    samples: Sequence[Sample],
    *,
    motion: str = "roll",
    steps: int | None = None,
    direction: str = "horizontal",
) -> Answered:
    """Show a model every image along one walk, a pixel a step.

    Args:
        model: Any that answers rows of scores.
        samples: The images.
        motion: One of ``MOTIONS`` that goes by whole pixels: ``roll`` or ``crop``, which enlarges images to have room.
        steps: Views of each image. None takes the full circle of ``roll``, else 65.
        direction: Which way a step goes: vertical, horizontal or diagonal.

    Raises:
        InputError: For unknown names, a model that answers no scores or NaN, or if no image can be used.
    """
    outputs = count_outputs(model)
    circle = max((size for size, step in zip(model.view_size, DIRECTIONS.get(direction, (1, 1)), strict=True) if step))
    steps = steps or (circle if motion == "roll" else CROP_STEPS)
    skipped: list[InputError] = []

    def shown() -> Iterator[tuple[Swept, Sequence[np.ndarray]]]:
        for each in swept(model, samples, steps, motion, direction, skipped):
            yield each, list(each.views)

    ids, scores = [], []
    for each, answers in in_batches(shown(), model, model.batch_size, getattr(model, "at_once", 1)):
        if answers.shape[1:] != (outputs,) or np.isnan(answers).any():
            raise InputError(
                f"its scores are not {outputs} numbers a view", where=model.spec, todo="look at its weights"
            )
        ids.append(each.sample.id)
        scores.append(answers)
    if not ids:
        why = f": {skipped[0].what}" if skipped else ""
        raise InputError(f"none of {len(samples)} images can be used{why}", todo="give other images, or fewer steps")
    square = direction != "diagonal" or model.view_size[0] == model.view_size[1]
    return Answered(np.stack(scores), tuple(ids), tuple(skipped), motion == "roll" and square and steps == circle)
