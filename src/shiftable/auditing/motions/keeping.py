"""The view slides only where it shows the whole object (Azulay & Weiss, JMLR 20(184), 2019, experiment 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, floor
from typing import NamedTuple

from shiftable.auditing.motions.sliding import lay_out, picture_on_scene, resized_scene
from shiftable.auditing.motions.stage import Picture, Stage, Window
from shiftable.auditing.walks import NOWHERE
from shiftable.data.boxes import SLACK_PX, Box
from shiftable.errors import InputError, unknown
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import Size, center_place

PLACES = ("resized", "source")
"""Where the view may slide: over the image as the model resizes it, or over the original pixels."""

ROUNDING_PX = 1e-6
"""How far an edge may be from a whole pixel and still be there: what is lost in a product of floats."""


def keep_box(
    image: Picture,
    preprocessing: Preprocessing,
    view_size: Size,
    room_px: tuple[int, int],
    enlarge: bool,
    *,
    boxes: Sequence[Box] | None = None,
    at: str = "resized",
) -> Stage:
    """The view slides by whole pixels, over the places where the image's largest box is entirely inside it.

    (0, 0) is the deployed place, whether the view may stand there or not; ``home`` is the nearest place where it may.
    The image is never enlarged.

    Args:
        image: The image.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
        room_px: Only for a letterbox: the grey that goes on outside the view, along (y, x).
        enlarge: Of no effect.
        boxes: The image's, in px of it.
        at: ``"resized"``: the view slides over the image as the model resizes it, and the box, scaled, is rounded
            outwards to whole pixels. ``"source"``: it slides over the original pixels, which are not resized.

    Raises:
        InputError: If there is no box, or it is that of another image, or no place of the view shows all of it.
    """
    if at not in PLACES:
        raise unknown("place for the view to slide over", at, PLACES)
    box = largest_box(boxes, (image.shape[0], image.shape[1]))
    scene, (top, left), (y0, x0, y1, x1) = SCENES[at](image, preprocessing, view_size, room_px, box)
    (height, width), (view_height, view_width) = scene.shape[:2], view_size
    if y1 - y0 > view_height or x1 - x0 > view_width:
        raise InputError(
            f"{NOWHERE}: it has {y1 - y0}×{x1 - x0} px, the view {view_height}×{view_width} px",
            todo="take a model with a larger view" if at == "resized" else "take --at resized",
        )
    dy = _allowed(top, height - view_height, y1 - view_height, y0)
    dx = _allowed(left, width - view_width, x1 - view_width, x0)

    def view(down: int, right: int) -> Picture:
        y, x = top - down, left - right  # the content moves down when the window moves up
        return scene[y : y + view_height, x : x + view_width]

    def window(down: int, right: int) -> Window:
        return Window(top - down, left - right, view_height, view_width)

    picture = None
    if at == "resized":
        picture = picture_on_scene((image.shape[0], image.shape[1]), preprocessing, view_size, room_px, False)
    return Stage(view, dy, dx, window=window, picture=picture, home=(_nearest(dy), _nearest(dx)))


def largest_box(boxes: Sequence[Box] | None, image_size: Size) -> Box:
    """The box with the largest area; the first of equal ones. What reaches out of the image by 1 px at most is cut off.

    Args:
        boxes: An image's.
        image_size: (height, width) in px of the image as it is.

    Raises:
        InputError: If there is none, or it can't be of this image.
    """
    if not boxes:
        raise InputError("no box is known for it", todo="give --boxes with its annotation")
    box = max(boxes, key=lambda each: (each.x1 - each.x0) * (each.y1 - each.y0))
    if box.image_size not in (None, image_size):
        raise InputError("it is {}×{} px, but {}×{} px where its box was drawn".format(*image_size, *box.image_size))
    height, width = image_size
    reaches_out = min(box.x0, box.y0) < -SLACK_PX or box.x1 > width + SLACK_PX or box.y1 > height + SLACK_PX
    if reaches_out or box.x0 >= width or box.y0 >= height or min(box.x1, box.y1) <= 0:
        edges = ", ".join(f"{edge:g}" for edge in (box.x0, box.y0, box.x1, box.y1))
        raise InputError("its box ({}) leaves the image ({}×{} px)".format(edges, *image_size))
    return replace(
        box, x0=max(box.x0, 0), y0=max(box.y0, 0), x1=min(box.x1, width), y1=min(box.y1, height)
    )  # fmt: skip


class Edges(NamedTuple):
    """A box in px of the scene, rounded outwards to whole ones."""

    y0: int
    x0: int
    y1: int
    x1: int


class Scene(NamedTuple):
    """What the view slides over, the deployed view's (top, left) there, and the box there."""

    pixels: Picture
    place: tuple[int, int]
    box: Edges


def _resized(
    image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], box: Box
) -> Scene:
    image_size = image.shape[0], image.shape[1]
    layout = lay_out(image_size, preprocessing, view_size, room_px, enlarge=False)
    scene = resized_scene(image, preprocessing, view_size, room_px, enlarge=False)
    return Scene(*scene, _scaled(box, image_size, layout.picture_size, layout.picture_place))


def _source(image: Picture, preprocessing: Preprocessing, view_size: Size, room_px: tuple[int, int], box: Box) -> Scene:
    image_size = image.shape[0], image.shape[1]
    if any(side < view for side, view in zip(image_size, view_size, strict=True)):
        raise InputError("the image ({}×{} px) is smaller than the view ({}×{} px)".format(*image_size, *view_size))
    return Scene(image, center_place(image_size, view_size, preprocessing.crop), _scaled(box, image_size, image_size))


SCENES = {"resized": _resized, "source": _source}


def _scaled(box: Box, image_size: Size, size: Size, corner: tuple[int, int] = (0, 0)) -> Edges:
    """The box of an image that was resized and put at this corner."""
    down, right = size[0] / image_size[0], size[1] / image_size[1]
    y0, x0 = floor(box.y0 * down + ROUNDING_PX), floor(box.x0 * right + ROUNDING_PX)
    y1, x1 = ceil(box.y1 * down - ROUNDING_PX), ceil(box.x1 * right - ROUNDING_PX)
    return Edges(y0 + corner[0], x0 + corner[1], y1 + corner[0], x1 + corner[1])


def _allowed(deployed: int, last: int, first_whole: int, last_whole: int) -> range:
    """The offsets of a window that stands at ``deployed``, may stand at 0 to ``last``, and holds the box only from
    ``first_whole`` to ``last_whole``.
    """
    low, high = max(0, first_whole), min(last, last_whole)
    return range(deployed - high, deployed - low + 1)


def _nearest(reach: range) -> int:
    """The offset that is nearest to 0."""
    return min(max(0, reach[0]), reach[-1])


def nowhere_remarks(skipped: Sequence[Mapping[str, str]], listed: int) -> list[str]:
    """What a reader must know of the images whose box leaves the view no two places.

    Args:
        skipped: The images that were left out, each with its ``reason``.
        listed: How many images there were.

    Example:
        >>> nowhere_remarks([{"image": "a.jpg", "reason": NOWHERE}, {"image": "b.jpg", "reason": "truncated"}], 100)
        ['1 of 100 images have no two places that show the whole box']
    """
    count = sum(entry["reason"].startswith(NOWHERE) for entry in skipped)
    return [f"{count} of {listed} images have no two places that show the whole box"] if count else []
