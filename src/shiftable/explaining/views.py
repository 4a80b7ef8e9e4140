"""What a net is shown to explain it: every image along a sweep of one-px steps, as numbers for the net."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Int, UInt8

from shiftable.auditing.motions import make_motion
from shiftable.auditing.showing import Show, show_or_say
from shiftable.auditing.walks import make_walk
from shiftable.data import Sample
from shiftable.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Swept:
    """One image along a sweep.

    Args:
        sample: The image.
        offsets_px: How far the content has moved at each step, (dy, dx), one px further each; 0 is in the middle.
        views: What the model is shown, step by step.
    """

    sample: Sample
    offsets_px: Int[np.ndarray, "step 2"]
    views: UInt8[np.ndarray, "step height width 3"]

    @property
    def home(self) -> int:
        """The step of the unmoved view."""
        return int(np.flatnonzero((self.offsets_px == 0).all(axis=1))[0])


def swept(
    model: Any,
    samples: Sequence[Sample],
    steps: int,
    motion: str = "crop",
    direction: str = "horizontal",
    skipped: list[InputError] | None = None,
) -> Iterator[Swept]:
    """Every image along a sweep, one at a time: with real shifts (``crop``), or in a circle (``roll``).

    Args:
        model: Its preprocessing makes the views.
        samples: The images.
        steps: Places of the sweep.
        motion: What moves; by whole pixels.
        direction: Which way.
        skipped: Takes what is wrong with images that can't be used; None raises it.
    """
    walk = make_walk("sweep", steps=steps, direction=direction)
    show = Show(make_motion(motion), walk, model.preprocessing, model.view_size, controls=False)
    for numbered in enumerate(samples):
        shown = show_or_say(show, numbered)
        if isinstance(shown, InputError):
            if skipped is None:
                raise shown
            skipped.append(shown)
            continue
        offsets = np.array([[row.dy, row.dx] for row in shown.rows]).astype(int)
        yield Swept(shown.sample, offsets, np.stack([shown.views[row.view] for row in shown.rows]))


def rolled(inputs: "Tensor", offset_px: tuple[int, int]) -> "Tensor":
    """The net's input moved in a circle, (down, right): nothing enters or leaves."""
    return inputs.roll(offset_px, dims=(-2, -1))
