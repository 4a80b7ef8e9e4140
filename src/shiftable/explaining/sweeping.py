"""The scores of any model along one long walk over every image."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from shiftable.auditing.asking import count_outputs
from shiftable.auditing.motions import make_motion
from shiftable.auditing.showing import Show, Shown, show_or_say
from shiftable.auditing.walks import DIRECTIONS, make_walk
from shiftable.data import Sample
from shiftable.engine import in_batches
from shiftable.errors import InputError
from shiftable.models import Model

CROP_STEPS = 65


class Swept(NamedTuple):
    """What a model answers along the walks.

    Args:
        scores: As the model gives them.
        images: The ids of the images, in the scores' order.
        skipped: Those that could not be used, each with the reason.
        closed: Whether the last view is one step before the first, round the circle.
        enlarged: By what factor objects are larger than the deployed model sees them.
    """

    scores: Float[np.ndarray, "image step class"]
    images: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    closed: bool
    enlarged: float


def sweep(
    model: Model,
    samples: Sequence[Sample],
    *,
    motion: str = "roll",
    steps: int | None = None,
    direction: str = "horizontal",
    seed: int = 0,
) -> Swept:
    """Show a model every image along one walk, a pixel a step.

    Args:
        model: Any that answers rows of scores.
        samples: The images.
        motion: One of ``MOTIONS`` that goes by whole pixels: ``roll`` or ``crop``, which enlarges images to have room.
        steps: Views of each image. None takes the full circle of ``roll``, else 65.
        direction: Which way a step goes: vertical, horizontal or diagonal.
        seed: Of what the motion draws.

    Raises:
        InputError: For unknown names, a model that answers no scores or NaN, or if no image can be used.
    """
    moving, outputs = make_motion(motion, seed=seed), count_outputs(model)
    circle = max((size for size, step in zip(model.view_size, DIRECTIONS.get(direction, (1, 1)), strict=True) if step))
    walk = make_walk("sweep", steps=steps or (circle if motion == "roll" else CROP_STEPS), direction=direction)
    show = Show(moving, walk, model.preprocessing, model.view_size, controls=False, seed=seed)
    skipped: list[tuple[str, str]] = []

    def usable() -> Iterator[tuple[Shown, Sequence[np.ndarray]]]:
        for numbered in enumerate(samples):
            shown = show_or_say(show, numbered)
            if isinstance(shown, Shown):
                yield shown, shown.views
            else:
                skipped.append((numbered[1].id, shown.what))

    ids, scores = [], []
    for shown, answers in in_batches(usable(), model, model.batch_size, getattr(model, "at_once", 1)):
        if answers.shape[1:] != (outputs,) or np.isnan(answers).any():
            raise InputError(
                f"its scores are not {outputs} numbers a view", where=model.spec, todo="look at its weights"
            )
        ids.append(shown.sample.id)
        scores.append(answers[[row.view for row in shown.rows]])
    if not ids:
        why = f": {skipped[0][1]}" if skipped else ""
        raise InputError(f"none of {len(samples)} images can be used{why}", todo="give other images, or fewer steps")
    square = direction != "diagonal" or model.view_size[0] == model.view_size[1]
    closed = motion == "roll" and square and walk.steps == circle
    return Swept(np.stack(scores), tuple(ids), tuple(skipped), closed, show.enlarged)
