"""What a repair costs: the time from an image in memory to its answer, beside that of the model as it is."""

from collections.abc import Sequence
from time import perf_counter

import numpy as np
from jaxtyping import Float, UInt8

from shiftable.auditing import Estimate
from shiftable.models import Model
from shiftable.models.preprocessing import deployed_view

ROUNDS, TIMED_IMAGES, RESAMPLES = 15, 8, 1000


def time_ratio(
    before: Model, after: Model, images: Sequence[UInt8[np.ndarray, "height width 3"]], rounds: int = ROUNDS
) -> Estimate:
    """Time per image after over before: choosing the crop, cutting, resizing, and one answer at a time.

    The two are timed in turn, image by image, so that whatever else the machine does hits both alike. Other work can
    only make a round longer: so of every image each model's lower quartile counts, and of these the sum, since some
    repairs take longer on some images. The interval (95 %)
    is that of rounds drawn again: it tells how steady the machine was, not how other images would do.

    Args:
        before: The model as it is deployed.
        after: The repaired one.
        images: What they are shown.
        rounds: How often.
    """
    for model in (before, after):  # memory is found and kernels are chosen
        _seconds(model, images[0])
    spent = np.empty((rounds, len(images), 2))
    for turn in range(rounds):
        for number, image in enumerate(images):
            for which in (0, 1) if (turn + number) % 2 else (1, 0):
                spent[turn, number, which] = _seconds((before, after)[which], image)
    again = spent[np.random.default_rng(0).integers(0, rounds, (RESAMPLES, rounds))]
    low, high = np.quantile(_ratio(again), (0.025, 0.975))
    return Estimate(float(_ratio(spent)), float(low), float(high), len(images), rounds * len(images))


def _ratio(spent: Float[np.ndarray, "*draws round image 2"]) -> Float[np.ndarray, "*draws"]:
    typical = np.quantile(spent, 0.25, axis=-3).sum(axis=-2)
    return np.asarray(typical[..., 1] / typical[..., 0])


def _seconds(model: Model, image: UInt8[np.ndarray, "height width 3"]) -> float:
    begin = perf_counter()
    model(deployed_view(image, model.preprocessing, model.view_size)[None])
    return perf_counter() - begin
