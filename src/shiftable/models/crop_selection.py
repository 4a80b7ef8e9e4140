"""A crop that keeps hold of the picture: where to cut is decided by what is there, on the pixels before the resize.

After Shifman & Weiss, "Lost in translation", ECCV 2024 (RICS). A centre crop slides over the scene when the camera
moves. A crop that is chosen by a rule that moves with the scene stays on it, byte for byte, until the place leaves the
range of the crop.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from shiftable.errors import InputError, unknown
from shiftable.models.crop_rules import RULES, Rule, Widths, margin, strict_maxima
from shiftable.models.resizing import Size, resized_size

GREY = 114
"""The grey level of a letterbox's bars, as the YOLO family pads."""


@dataclass(frozen=True)
class CropSelection:
    """A crop rule that looks at the picture.

    Args:
        rule: One of ``RULES``.
        room_px: How far the crop may move in all, along each axis, in px of the view. That makes ``room_px + 1``
            places, more where the image has more px; no rule without memory can change less often than once in so many
            steps.
        width_px: How wide the inner box of the score map is, in px of the view.
        letterbox: Whether nothing is cut off: the whole image is scaled to fit into the view less the room, and laid
            onto grey by its content. Its proportions stay if it is resized by its short side; resized to (height,
            width) it is squashed. With room for a detector's total stride less a px, or some strides less a px, the
            scene then keeps its phase on the detector's grid: ``room_px + 1`` px of the view are whole px of the image.
        follow: Whether a place is kept hold of from frame to frame of a video (`crop_following.Follower`), so that a
            view depends on those before it. Of no effect on still images.
    """

    rule: str = "anchored"
    room_px: int = 31
    width_px: int = 5
    letterbox: bool = False
    follow: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("crop rule", self.rule, RULES)
        for name, least in (("room_px", 0), ("width_px", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} can't be {getattr(self, name)}", where="crop", todo=f"give {least} or more")

    @property
    def looks(self) -> bool:
        """Whether there is anything to choose, and it is chosen by what is in the picture."""
        return RULES[self.rule] is not None and self.room_px > 0

    def larger(self, view_size: Size) -> Size:
        """(height, width) in px of the view that a crop of ``view_size`` is chosen from."""
        return view_size[0] + self.room_px, view_size[1] + self.room_px


class Axis(NamedTuple):
    """Where a crop may stand along one axis, in px of the image.

    Args:
        crop: Its length.
        first: Where its first place begins.
        places: How many places it has, a px apart.
        width: The inner box of the score map.
        start: The first px that is looked at: a crop centred there begins at ``start − crop // 2``.
        seen: How many px are looked at from there.
    """

    crop: int
    first: int
    places: int
    width: int
    start: int
    seen: int

    @property
    def patch(self) -> slice:
        """The px of the image that the scores of what is looked at, and of a px around it, depend on."""
        more = margin(self.width) + 1
        return slice(self.start - more, self.start + self.seen + more)

    @property
    def middle(self) -> int:
        """The place of the centre crop, half a px rounded to even."""
        return round((self.places - 1) / 2)

    def place(self, index: Any) -> Any:
        """The place that belongs to an anchor, the number of a px that is looked at: a multiple of ``places`` away."""
        return (self.start + index - self.first - self.crop // 2) % self.places


class Chosen(NamedTuple):
    """A crop of an image, or what a letterbox shows: more than the image.

    Args:
        top: Where it begins, in px of the image; in a letterbox 0 or less.
        left: The same.
        height: In px of the image.
        width: The same.
        found: Whether there was something to hold on to. Else, without texture or with two equal maxima, the centre is
            kept.
    """

    top: int
    left: int
    height: int
    width: int
    found: bool


def select(
    image: UInt8[np.ndarray, "height width 3"], selection: CropSelection, resize_px: int | Size, view_size: Size
) -> Chosen:
    """The part of an image that the view is made of.

    Args:
        image: RGB.
        selection: The rule.
        resize_px: What the model's images are resized to: it says how large the view is on the image.
        view_size: (height, width) in px, the model's.

    Raises:
        InputError: If the view does not fit into the resized image, or is too small for the score map; if a letterbox
            has no room for the image.
    """
    axes = lay_axes((image.shape[0], image.shape[1]), resize_px, view_size, selection)
    return choose(image, axes, RULES[selection.rule])


def lay_axes(image_size: Size, resize_px: int | Size, view_size: Size, selection: CropSelection) -> tuple[Axis, Axis]:
    """Where the crop may stand along (y, x): around the image's centre.

    Args:
        image_size: (height, width) in px.
        resize_px: As for `select`.
        view_size: As for `select`.
        selection: The rule.

    Raises:
        InputError: As for `select`.
    """
    rule = RULES[selection.rule]
    if selection.letterbox:
        counts = [_places(*sizes, selection.room_px) for sizes in zip(image_size, view_size, strict=True)]
        if isinstance(resize_px, int):
            counts = [max(counts)] * 2  # the proportions stay
        laid = [_lay_whole(*sizes, selection, rule) for sizes in zip(image_size, view_size, counts, strict=True)]
    else:
        resized = resized_size(image_size, resize_px)
        laid = [_lay(*sizes, selection, rule) for sizes in zip(image_size, resized, view_size, strict=True)]
    return laid[0], laid[1]


def _lay(length: int, resized: int, view: int, selection: CropSelection, rule: Rule | None) -> Axis:
    crop = scaled(view, length, resized)
    if not 0 < crop <= length:
        raise InputError(
            f"the resized image ({resized} px) is smaller than the view ({view} px)", todo="give a larger resize_px"
        )
    width = max(1, scaled(selection.width_px, length, resized))
    room = min(scaled(selection.room_px, length, resized), length - crop)
    axis = _look(length, crop, room + 1, width, crop - room, rule)
    if rule and view < margin(selection.width_px) * 2:
        raise InputError(
            f"a view of {view} px is too small for score maps of boxes of {selection.width_px} px",
            todo=f"give boxes of {max(1, view // 4 - 1)} px or less",
        )
    return _if_seen(axis, length)


def _places(length: int, view: int, room_px: int) -> int:
    """How many places a letterbox must have, a px of the image apart: so many px of it are ``room_px + 1`` of the view.

    Example:
        >>> _places(640, 352, 15)  # 22 · 31 = 682 px of the image are the view: 31 places for 640 px
        31
    """
    step = room_px + 1
    if view <= step:
        raise InputError(f"a letterbox of {view} px has no room of {room_px} px", todo=f"give less than {view - 1} px")
    return max(1, -(-(length - 1) * step // (view - step)))


def _lay_whole(length: int, view: int, count: int, selection: CropSelection, rule: Rule | None) -> Axis:
    step = selection.room_px + 1
    crop, width = -(-view * count // step), max(1, scaled(selection.width_px, count, step))
    return _if_seen(_look(length, crop, count, width, length - 2 * (count - 1), rule), length)


def _if_seen(axis: Axis, length: int) -> Axis:
    """Nothing is looked at in a strip of a few px: its middle is kept."""
    around = margin(axis.width) + 1
    fits = around <= axis.start and axis.start + axis.seen + around <= length
    return axis if fits else axis._replace(seen=0)


def _look(length: int, crop: int, count: int, width: int, sure: int, rule: Rule | None) -> Axis:
    """The places, about the middle, and what is looked at.

    Args:
        length: The image's, in px, like the next four.
        crop: The crop's.
        count: How many places there are.
        width: The inner box of the score map.
        sure: What is still there, wherever the content moves to while the crop can follow it.
        rule: The rule.
    """
    first = (length - crop - count + 1) // 2
    start, seen = first + crop // 2, count
    if rule and rule.wide:
        # No further than still shows, at any place that the crop may take, what would be looked at: so what can not
        # change is known from the image alone. And a whole, odd number of times the places, about the middle: so an
        # anchor leaves what is looked at just when its crop would have to jump anyway.
        times = max(0, ((sure - 2 * (margin(width) + 1)) // seen - 1) // 2)
        start, seen = start - times * seen, (2 * times + 1) * seen
    return Axis(crop, first, count, width, start, seen)


def scaled(px: int, length: int, resized: int) -> int:
    """So many px of the resized image, in px of the image; halves are rounded up. In whole numbers: any language does
    the same.

    Example:
        >>> scaled(224, 375, 256), scaled(5, 375, 256)
        (328, 7)
    """
    return (2 * px * length + resized) // (2 * resized)


def looks(axes: tuple[Axis, Axis]) -> bool:
    """Whether there is more than one place, and enough of the picture to look at."""
    y, x = axes
    return y.places * x.places > 1 and y.seen * x.seen > 0


def cut(image: UInt8[np.ndarray, "height width 3"], chosen: Chosen) -> UInt8[np.ndarray, "tall wide 3"]:
    """A crop of an image; grey where it reaches beyond."""
    top, left, height, width, _ = chosen
    rows, columns = slice(max(0, top), top + height), slice(max(0, left), left + width)
    inside = image[rows, columns]
    if inside.shape[:2] == (height, width):
        return inside
    grey = np.full((height, width, 3), GREY, np.uint8)
    grey[rows.start - top :, columns.start - left :][: inside.shape[0], : inside.shape[1]] = inside
    return grey


def choose(image: UInt8[np.ndarray, "height width 3"], axes: tuple[Axis, Axis], rule: Rule | None) -> Chosen:
    """Where to cut.

    Args:
        image: RGB; of it ``Axis.patch`` along both axes is looked at.
        axes: Where the crop may stand along (y, x).
        rule: The rule; None keeps the centre.
    """
    y, x = axes
    if rule is None or not looks(axes):
        return Chosen(y.first + y.middle, x.first + x.middle, y.crop, x.crop, False)
    widths = y.width, x.width
    patch = brightness(image[y.patch, x.patch], np.int32 if rule.fits_32_bits(widths) else np.int64)
    top, left, found = (int(number[0]) for number in places(considered(patch, widths, rule)[None], axes))
    return Chosen(top, left, y.crop, x.crop, bool(found))


def brightness(image: UInt8[np.ndarray, "height width 3"], dtype: type) -> Int[np.ndarray, "height width"]:
    """Red + 2 green + blue."""
    green: np.ndarray = image[..., 1].astype(dtype)
    green += green
    green += image[..., 0]
    green += image[..., 2]
    return green


def considered(patch: Any, widths: Widths, rule: Rule) -> Any:
    """The scores of what is looked at; 0 where a rule that wants strict maxima sees none."""
    scores = rule.score(patch, widths)
    return strict_maxima(scores) if rule.strict else scores[..., 1:-1, 1:-1]


def places(scores: Any, axes: tuple[Axis, Axis]) -> tuple[Any, Any, Any]:
    """(top, left, found) of the crops that belong to the strongest of each of some maps; NumPy's or PyTorch's.

    Where all is 0, or two are equally strong, nothing is found and the centre kept.
    """
    columns = scores.shape[-1]
    flat = scores.reshape(len(scores), -1)
    highest = flat.max(1)
    highest = getattr(highest, "values", highest)  # PyTorch gives two things
    found = ((flat == highest[:, None]).sum(1) == 1) & (highest > 0)
    best = flat.argmax(1)
    y, x = axes
    down = y.place(best // columns) * found + y.middle * ~found
    across = x.place(best % columns) * found + x.middle * ~found
    return y.first + down, x.first + across, found
