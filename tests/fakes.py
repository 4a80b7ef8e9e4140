"""Models whose answers are known beforehand."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from shiftable.data import Sample
from shiftable.models import Preprocessing


@dataclass(frozen=True)
class FakeModel:
    """Answers with a function of the views."""

    answer: Callable[[np.ndarray], np.ndarray]
    view_size: tuple[int, int] = (8, 8)
    preprocessing: Preprocessing = Preprocessing(resize_px=16)  # noqa: RUF009
    scores: str = "probabilities"
    spec: str = "fake"
    weights_sha256: str | None = None
    task: str = "classify"
    class_names: tuple[str, ...] | None = None
    batch_size: int = 4
    settings: dict[str, object] = field(default_factory=dict)

    def __call__(self, views):
        return self.answer(views).astype(np.float32)


def histogram(views, classes=12):
    """Counts of grey levels: exactly the same wherever the pixels lie."""
    return np.stack([np.bincount(view.ravel() // 22, minlength=classes)[:classes] for view in views])


def parity(views):
    """Class 0 or 1 by the first pixel's parity: on `checkerboards` another answer at every step."""
    odd = views[:, 0, 0, 0] % 2
    return np.stack([1 - odd, odd], axis=1)


def hashed(views, classes=20):
    """Scores that depend on every pixel in no orderly way."""
    seeds = [int(view.astype(np.uint64).cumsum()[::7].sum()) for view in views]
    return np.stack([np.random.default_rng(seed).normal(size=classes) for seed in seeds])


def pictures(count, size=(16, 24), labels=None, seed=0):
    """Samples of noise, non-square."""
    rng = np.random.default_rng(seed)
    arrays = rng.integers(0, 256, (count, *size, 3), dtype=np.uint8)
    return [
        Sample(f"image-{number}", None if labels is None else labels[number], lambda array=array: array)
        for number, array in enumerate(arrays)
    ]


def checkerboards(count, size=(16, 24), labels=None):
    """Samples whose grey levels 100 and 101 alternate along both axes, starting at different corners."""
    board = np.indices(size).sum(axis=0)
    return [
        Sample(
            f"board-{number}",
            None if labels is None else labels[number],
            lambda number=number: np.repeat(((board + number) % 2 + 100).astype(np.uint8)[..., None], 3, axis=2),
        )
        for number in range(count)
    ]
