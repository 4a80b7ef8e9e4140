"""Crops of a video with a memory: what was chosen in one frame is kept hold of in the next."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from shiftable.models.crop_rules import LOCAL_MAXIMUM, margin
from shiftable.models.crop_selection import Chosen, brightness, considered, lay_axes, scaled
from shiftable.repairing.stable_crop import StableCrop

REACH_PX = 8
"""How far a place may go from one frame to the next and be kept hold of, in px of the view."""

ALIKE = 0.5
"""How much a place may differ from what it was the frame before, as a share of its own contrast."""

Around = Int[np.ndarray, "height width"]
Looks = Int[np.ndarray, "tall wide"]
Scores = Int[np.ndarray, "down right"]


class Held(NamedTuple):
    """A place that is kept hold of: its number among those of the crop, and the brightness around it."""

    down: int
    right: int
    looks: Looks


def follow(
    frames: Iterable[UInt8[np.ndarray, "height width 3"]], crop: StableCrop, reach_px: int = REACH_PX
) -> Iterator[Chosen]:
    """Where to cut each frame of a video, keeping hold of one place as long as the crop can be centred on it.

    `StableCrop` by itself forgets: when a stronger maximum enters, the crop moves. Here the maximum that was chosen is
    looked for again, among those nearby, by what it looks like. Only when it leaves the range of the crop, or nothing
    there looks like it, another is chosen: the strongest of the middle half of the range, from where it lasts longest.
    So the crop changes less often; but what a frame gives depends on those before it.

    Args:
        frames: RGB, all of one size.
        crop: How a frame becomes a view, by ``StableCrop.cut``. Its rule is not used: what is kept hold of is strict
            maxima of the difference of two blurs. Where a frame has none, its centre is kept.
        reach_px: How far a place may go from one frame to the next, in px of the view.

    Raises:
        InputError: As `StableCrop`.
    """
    selection, rule = replace(crop.selection, rule="local-maximum"), LOCAL_MAXIMUM
    held: Held | None = None
    for frame in frames:
        size = frame.shape[0], frame.shape[1]
        y, x = lay_axes(size, crop.resize_px, crop.size, selection)
        widths = y.width, x.width
        patch = brightness(frame[y.patch, x.patch], np.int32 if rule.fits_32_bits(widths) else np.int64)
        scores = considered(patch, widths, rule)
        reach = scaled(reach_px, y.width, selection.width_px), scaled(reach_px, x.width, selection.width_px)
        place = (held and _again(held, scores, patch, widths, reach)) or _anew(scores)
        if place is None:
            held = None
            yield Chosen(y.first + y.middle, x.first + x.middle, y.crop, x.crop, False)
        else:
            held = Held(*place, _looks(patch, place, widths))
            yield Chosen(y.first + held.down, x.first + held.right, y.crop, x.crop, True)


def _again(
    held: Held, scores: Scores, patch: Around, widths: tuple[int, int], reach: tuple[int, int]
) -> tuple[int, int] | None:
    """The maximum near where it was that looks most like it; None where none looks like it."""
    down, right = max(0, held.down - reach[0]), max(0, held.right - reach[1])
    near = scores[down : held.down + reach[0] + 1, right : held.right + reach[1] + 1]
    found = [(int(row) + down, int(column) + right) for row, column in zip(*near.nonzero(), strict=True)]
    if not found:
        return None
    differs = [np.abs(_looks(patch, place, widths) - held.looks).sum() for place in found]
    contrast = np.abs(held.looks - held.looks.mean()).sum()
    best = int(np.argmin(differs))
    return found[best] if differs[best] <= ALIKE * contrast else None


def _anew(scores: Scores) -> tuple[int, int] | None:
    """The strongest maximum in the middle half, else the strongest at all."""
    inner = np.zeros_like(scores)
    quarter = tuple(slice(size // 4, size - size // 4) for size in scores.shape)
    inner[quarter] = scores[quarter]
    among = inner if inner.any() else scores
    if not among.any():
        return None
    row, column = np.unravel_index(among.argmax(), among.shape)
    return int(row), int(column)


def _looks(patch: Around, place: tuple[int, int], widths: tuple[int, int]) -> Looks:
    """The brightness around a place, as far as its score sees."""
    rows, columns = (slice(at + 1, at + 2 * margin(width) + 2) for at, width in zip(place, widths, strict=True))
    return patch[rows, columns]
