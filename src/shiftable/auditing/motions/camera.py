"""The camera moves: by whole pixels of the source, before the model's own resize and crop."""

from collections.abc import Callable
from functools import lru_cache

from shiftable.auditing.motions.stage import Picture, Stage, Window, reach
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import (
    LETTERBOXES,
    Chosen,
    CropSelection,
    Size,
    center_place,
    deployed_view,
    letterbox_place,
    resize,
    resized_size,
    select,
)

FramesView = Callable[[int, int], Picture]
"""The view of the frame whose upper left corner is at (y, x)."""

STRIPS = 8
"""How many strips, one for each dx, an image keeps: all that a grid of radius 3 comes back to, row after row."""


def camera(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], enlarge: bool
) -> Stage:
    """A frame of fixed size slides over the source; the model's own resize and crop of the frame follow.

    The frame is the image less ``room_px``, an odd room rounded up to even: so it stands exactly in the middle at
    (0, 0), and reaches equally far both ways. Without room it is the whole image, and the view the deployed one. Every
    view is, bit for bit, what the model would be shown if the frame were the photograph.

    Args:
        image: The source.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        room_px: How far the places lie apart along (y, x), in px of the source.
        enlarge: Of no effect. Room comes out of the frame, so the frame's content is always larger in the view, by
            image over frame, than the image's would be.

    Raises:
        InputError: If the frame would be less than half of the image along an axis, for then the views show little of
            what the image is known to show; or if the view does not fit into the resized frame.
    """
    (height, width), (room_y, room_x) = image.shape[:2], (room + room % 2 for room in room_px)
    if 2 * room_y > height or 2 * room_x > width:
        raise InputError(
            f"the image ({height}×{width} px) is too narrow to move by {room_px[0]}×{room_px[1]} px, "
            "which must be at most half of it",
            todo="take fewer steps, or larger images",
        )
    frame = height - room_y, width - room_x
    top, left = room_y // 2, room_x // 2
    crop = preprocessing.crop
    plain = preprocessing.cuts and not isinstance(crop, CropSelection)
    in_halves = plain and preprocessing.library == "pillow" and preprocessing.antialias
    frames_view = (_in_halves if in_halves else _at_once)(image, frame, preprocessing, view_size)
    shown = _shown(frame, preprocessing, view_size)

    def chosen(y: int, x: int, selection: CropSelection) -> Chosen:
        return select(image[y : y + frame[0], x : x + frame[1]], selection, preprocessing.resize_px, view_size)

    # the content moves down when the frame moves up
    def view(dy: int, dx: int) -> Picture:
        return frames_view(top - dy, left - dx)

    def window(dy: int, dx: int) -> Window:
        y, x = top - dy, left - dx
        if isinstance(crop, CropSelection):
            place = chosen(y, x, crop)
            return Window(y + place.top, x + place.left, place.height, place.width)
        return Window(y + shown.y, x + shown.x, shown.height, shown.width)

    def picture(dy: int, dx: int) -> Window:
        return Window(top - dy, left - dx, *frame)

    reaches, bars = (reach(top, room_y), reach(left, room_x)), None if preprocessing.cuts else picture
    held = not (isinstance(crop, CropSelection) and crop.looks) or chosen(top, left, crop).found
    return Stage(view, *reaches, window=window, picture=bars, held=held)


def _shown(frame: Size, preprocessing: Preprocessing, view_size: Size) -> Window:
    """The part of a frame that the view shows, in px of the source; with a letterbox it reaches beyond the frame."""
    if preprocessing.crop in LETTERBOXES:
        size, place = letterbox_place(frame, view_size, preprocessing.crop)
        y, x = -place[0], -place[1]
    else:
        size = resized_size(frame, preprocessing.resize_px)
        y, x = center_place(size, view_size, preprocessing.crop)
    down, right = frame[0] / size[0], frame[1] / size[1]
    return Window(y * down, x * right, view_size[0] * down, view_size[1] * right)


def _at_once(image: Picture, frame: Size, preprocessing: Preprocessing, view_size: Size) -> FramesView:
    """What is deployed, frame by frame."""
    if preprocessing.cuts:
        _check_fits(resized_size(frame, preprocessing.resize_px), view_size)
    height, width = frame
    return lambda y, x: deployed_view(image[y : y + height, x : x + width], preprocessing, view_size)


def _in_halves(image: Picture, frame: Size, preprocessing: Preprocessing, view_size: Size) -> FramesView:
    """The same bytes for less: Pillow resizes every row along x, rounds to bytes, then every column along y.

    So frames above one another share the first half, and only the columns that are shown need the second.
    """
    size = resized_size(frame, preprocessing.resize_px)
    _check_fits(size, view_size)
    top, left = center_place(size, view_size, preprocessing.crop)

    @lru_cache(STRIPS)
    def strip(x: int) -> Picture:
        """The view's columns, of all the frames at this x."""
        wide = resize(image[:, x : x + frame[1]], (image.shape[0], size[1]), preprocessing.resampler)
        return wide[:, left : left + view_size[1]]

    def view(y: int, x: int) -> Picture:
        tall = resize(strip(x)[y : y + frame[0]], (size[0], view_size[1]), preprocessing.resampler)
        return tall[top : top + view_size[0]]

    return view


def _check_fits(size: Size, view_size: Size) -> None:
    if size[0] < view_size[0] or size[1] < view_size[1]:
        raise InputError(
            f"the resized frame ({size[0]}×{size[1]} px) is smaller than the view ({view_size[0]}×{view_size[1]} px)"
        )
