"""Crops of a video with a memory: what was chosen in one frame is kept hold of in the next."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from shiftable.models.crop_rules import LOCAL_MAXIMUM, margin
from shiftable.models.crop_selection import (
    Chosen,
    CropSelection,
    brightness,
    considered,
    cut,
    lay_axes,
    looks,
    scaled,
    select,
)
from shiftable.models.preprocessing import Preprocessing, Size, deployed_view, resize

REACH_PX = 8
"""How far a place may go from one frame to the next and be kept hold of, in px of the view."""

ALIKE = 0.5
"""How much a place may differ from what it was when it was chosen, as a share of its own contrast."""

NEAR = 2
"""Noise moves a maximum by a px or two: so far around it the place that looks most like the one held is looked for."""

Around = Int[np.ndarray, "height width"]
Looks = Int[np.ndarray, "tall wide"]
Scores = Int[np.ndarray, "down right"]


class Held(NamedTuple):
    """A place that is kept hold of: its number among those of the crop, and the brightness around it when chosen."""

    down: int
    right: int
    looks: Looks


@dataclass
class Follower:
    """Where to cut the frames of a video, told one after the other, keeping hold of one place as long as it can.

    A chosen crop by itself forgets: when a stronger maximum enters, the crop moves. Here the maximum that was chosen is
    looked for again, among those nearby, by what it looks like. Only when it leaves the range of the crop, or nothing
    there looks like it, another is chosen: the strongest of the middle half of the range, from where it lasts longest.
    So the crop changes less often; but what a frame gives depends on those before it.

    Args:
        selection: How far the crop may move, and how fine the picture is looked at. Its rule is not used: what is kept
            hold of is strict maxima of the difference of two blurs. Where a frame has none, its centre is kept.
        resize_px: As for `select`.
        view_size: As for `select`.
        reach_px: How far a place may go from one frame to the next, in px of the view.
        held: What it holds on to so far.
    """

    selection: CropSelection
    resize_px: int | Size
    view_size: Size
    reach_px: int = REACH_PX
    held: Held | None = None

    def __call__(self, frame: UInt8[np.ndarray, "height width 3"]) -> Chosen:
        """Where to cut the next frame.

        Raises:
            InputError: As `select`.
        """
        selection, rule = replace(self.selection, rule="local-maximum"), LOCAL_MAXIMUM
        y, x = axes = lay_axes((frame.shape[0], frame.shape[1]), self.resize_px, self.view_size, selection)
        widths = y.width, x.width
        if not looks(axes):
            self.held = None
        else:
            patch = brightness(frame[y.patch, x.patch], np.int32 if rule.fits_32_bits(widths) else np.int64)
            scores = considered(patch, widths, rule)
            reach = tuple(scaled(self.reach_px, width, selection.width_px) for width in widths)
            self.held = (self.held and _again(self.held, scores, patch, widths, (reach[0], reach[1]))) or _anew(
                scores, patch, widths
            )
        if self.held is None:
            return Chosen(y.first + y.middle, x.first + x.middle, y.crop, x.crop, False)
        return Chosen(y.first + self.held.down, x.first + self.held.right, y.crop, x.crop, True)


def frame_viewer(
    preprocessing: Preprocessing, view_size: Size
) -> Callable[[UInt8[np.ndarray, "height width 3"]], tuple[UInt8[np.ndarray, "tall wide 3"], bool]]:
    """What a model is shown of a video: called with its frames, one after the other.

    Args:
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.

    Returns:
        What gives the view of the next frame, and whether it holds on to something in the picture: False only where a
        crop is chosen by content and finds nothing.
    """
    crop = preprocessing.crop
    if not isinstance(crop, CropSelection):
        return lambda frame: (deployed_view(frame, preprocessing, view_size), True)
    follower = Follower(crop, preprocessing.resize_px, view_size) if crop.follow and crop.looks else None

    def view(frame: UInt8[np.ndarray, "height width 3"]) -> tuple[UInt8[np.ndarray, "tall wide 3"], bool]:
        chosen = follower(frame) if follower else select(frame, crop, preprocessing.resize_px, view_size)
        piece = cut(frame, chosen)
        shown = resize(piece, view_size, preprocessing.resampler, preprocessing.antialias, preprocessing.library)
        return shown, chosen.found or not crop.looks

    return view


def _again(held: Held, scores: Scores, patch: Around, widths: tuple[int, int], reach: tuple[int, int]) -> Held | None:
    """The place as it is now: around the maximum nearby that looks most like it. None where none looks like it."""
    down, right = max(0, held.down - reach[0]), max(0, held.right - reach[1])
    near = scores[down : held.down + reach[0] + 1, right : held.right + reach[1] + 1]
    found = [(int(row) + down, int(column) + right) for row, column in zip(*near.nonzero(), strict=True)]
    if not found:
        return None

    def differs(place: tuple[int, int]) -> int:
        return int(np.abs(_looks(patch, place, widths) - held.looks).sum())

    y, x = min(found, key=differs)
    rows = range(max(0, y - NEAR), min(scores.shape[0], y + NEAR + 1))
    columns = range(max(0, x - NEAR), min(scores.shape[1], x + NEAR + 1))
    best = min(product(rows, columns), key=differs)
    alike = differs(best) <= ALIKE * np.abs(held.looks - held.looks.mean()).sum()
    return Held(*best, held.looks) if alike else None


def _anew(scores: Scores, patch: Around, widths: tuple[int, int]) -> Held | None:
    """The strongest maximum in the middle half, else the strongest at all."""
    inner = np.zeros_like(scores)
    quarter = tuple(slice(size // 4, size - size // 4) for size in scores.shape)
    inner[quarter] = scores[quarter]
    among = inner if inner.any() else scores
    if not among.any():
        return None
    row, column = map(int, np.unravel_index(among.argmax(), among.shape))
    return Held(row, column, _looks(patch, (row, column), widths))


def _looks(patch: Around, place: tuple[int, int], widths: tuple[int, int]) -> Looks:
    """The brightness around a place, as far as its score sees."""
    rows, columns = (slice(at + 1, at + 2 * margin(width) + 2) for at, width in zip(place, widths, strict=True))
    return patch[rows, columns]
