"""What is done to a photograph before a model sees it: resize, crop, and how the pixels become numbers."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from math import floor
from operator import ge
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from jaxtyping import UInt8

from shiftable.errors import InputError, unknown
from shiftable.models.crop_selection import GREY as GREY
from shiftable.models.crop_selection import Chosen as Chosen
from shiftable.models.crop_selection import CropSelection as CropSelection
from shiftable.models.crop_selection import cut as cut
from shiftable.models.crop_selection import select as select
from shiftable.models.resizing import MOST_PIXELS as MOST_PIXELS
from shiftable.models.resizing import RESAMPLERS as RESAMPLERS
from shiftable.models.resizing import Library
from shiftable.models.resizing import Size as Size
from shiftable.models.resizing import resize as resize
from shiftable.models.resizing import resize_part as resize_part
from shiftable.models.resizing import resized_size as resized_size

Crop: TypeAlias = Literal["center", "center-down", "letterbox", "letterbox-corner"] | CropSelection

LETTERBOXES = ("letterbox", "letterbox-corner")
"""The crop rules by name that cut nothing off: they pad. So does a `CropSelection` that letterboxes."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Preprocessing:
    """How a photograph becomes a model's input. Part of the model, recorded with every audit.

    Args:
        resize_px: What the image is resized to, in pixels: one number for the short side (the long side follows,
            rounded down, as torchvision and timm do), or (height, width) to squash it regardless of its proportions.
        resampler: The resize's filter, one of ``RESAMPLERS``.
        antialias: Whether the filter widens when the image shrinks (Pillow does; OpenCV and tensor resizes may not).
        crop: The rule that says where the view is cut out of the resized image: ``"center"``, half a pixel rounded
            to even, as torchvision and timm do; ``"center-down"``, rounded down, as transformers does. Or it cuts
            nothing off: ``"letterbox"``, the whole picture scaled to fit into the view, centred (half a pixel rounded
            up and left, as ultralytics does), the rest grey; ``"letterbox-corner"``, the same at the top left, as
            YOLOX does. Then ``resize_px`` is not used. A `CropSelection` chooses by the picture's content, before the
            resize: the square that becomes the view is cut out of the image, or the image laid onto grey, and then
            resized.
        mean: Subtracted per channel, in units of 0..1 (a pixel of 255 is 1). One value stands for all channels.
        std: Divided by per channel, after the mean.
        color_order: ``"RGB"`` or ``"BGR"``, as the model wants it. Views are always RGB.
        layout: ``"NCHW"`` or ``"NHWC"``, as the model wants it. Views are always NHWC.
        dtype: The type of the numbers the model wants.
        library: Whose resize it is: ``"pillow"``; ``"opencv"``; ``"tensor"``, as torchvision resizes tensors.
    """

    resize_px: int | Size = 256
    resampler: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    antialias: bool = True
    crop: Crop = "center"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    color_order: Literal["RGB", "BGR"] = "RGB"
    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8", "int8"] = "float32"
    library: Library = "pillow"

    @property
    def cuts(self) -> bool:
        """Whether something of the image may be cut off; else it is letterboxed."""
        return not (self.crop.letterbox if isinstance(self.crop, CropSelection) else self.crop in LETTERBOXES)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def for_view(view_size: Size, crop_fraction: float = 0.875, **fields: Any) -> Preprocessing:
    """The usual preprocessing for a model that says nothing about its own.

    Args:
        view_size: (height, width) in px of what the model is shown.
        crop_fraction: The view's short side as a share of the resized image's.
        fields: Other fields of `Preprocessing`.

    Example:
        >>> for_view((224, 224)).resize_px
        256
    """
    return Preprocessing(resize_px=int(min(view_size) / crop_fraction), **fields)


def override(base: Preprocessing, changes: Mapping[str, Any], where: object = "--preprocessing") -> Preprocessing:
    """A copy of ``base`` with some fields replaced and checked.

    Args:
        base: What the model brings itself.
        changes: Field names and new values, as they come from JSON or the command line.
        where: Named in the error when a field is unknown or its value is of the wrong kind.

    Raises:
        InputError: For an unknown field, or a value that the field can't take.

    Example:
        >>> override(Preprocessing(), {"resampler": "bicubic", "resize_px": 232}).resize_px
        232
    """
    from pydantic import TypeAdapter, ValidationError

    known = asdict(base)
    for name in changes:
        if name not in known:
            error = unknown("preprocessing field", name, known)
            raise InputError(error.what, where=where, todo=error.todo)
    try:
        fields = TypeAdapter(Preprocessing).validate_python({**known, **changes})
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{first['loc'][0]} can't be {first['input']!r}", where=where, todo=first["msg"].lower()
        ) from None
    _check(fields, where)
    return replace(base, **{name: getattr(fields, name) for name in changes})


def _check(fields: Preprocessing, where: object) -> None:
    sides = fields.resize_px if isinstance(fields.resize_px, tuple) else (fields.resize_px,)
    if min(sides) < 1:
        raise InputError(f"resize_px can't be {fields.resize_px}", where=where, todo="give at least 1 pixel")
    for name in ("mean", "std"):
        values = getattr(fields, name)
        if len(values) not in (1, 3):
            raise InputError(f"{name} has {len(values)} values", where=where, todo="give 1 or 3")
    if not all(value > 0 for value in fields.std):
        raise InputError(f"std can't be {fields.std}", where=where, todo="give numbers above 0")


def parse_changes(text: str) -> dict[str, Any]:
    """The changes that ``--preprocessing`` asks for: a JSON file's, or ``field=value`` pairs separated by ``;``.

    Raises:
        InputError: If the file is missing or is no JSON object.

    Example:
        >>> parse_changes("resampler=bicubic;resize_px=232;mean=[0.5,0.5,0.5]")
        {'resampler': 'bicubic', 'resize_px': 232, 'mean': [0.5, 0.5, 0.5]}
    """
    if "=" in text and not Path(text).exists():
        return {
            name.strip(): parse_value(value) for name, _, value in (pair.partition("=") for pair in text.split(";"))
        }
    try:
        changes = json.loads(Path(text).read_text())
    except OSError as error:
        raise InputError(
            error.strerror or "can't be read", where=text, todo="give a JSON file or field=value"
        ) from None
    except ValueError as error:
        raise InputError(f"no JSON ({error})", where=text, todo="give a JSON object of preprocessing fields") from None
    if not isinstance(changes, dict):
        raise InputError("not a JSON object", where=text, todo='write {"resampler": "bicubic", …}')
    return changes


def parse_value(text: str) -> Any:
    """A command line's ``value``: JSON where it is any, else the text itself.

    Example:
        >>> parse_value("3"), parse_value("false"), parse_value("same")
        (3, False, 'same')
    """
    try:
        return json.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text.strip(), text.strip())


def center_place(image_size: Size, view_size: Size, crop: Crop = "center") -> tuple[int, int]:
    """(top, left) in px of the centre crop, half a pixel rounded as ``crop`` says.

    Example:
        >>> center_place((256, 341), (224, 224)), center_place((256, 343), (224, 224))
        ((16, 58), (16, 60))
        >>> center_place((256, 343), (224, 224), "center-down")
        (16, 59)
    """
    top, left = ((have - want) / 2 for have, want in zip(image_size, view_size, strict=True))
    return (floor(top), floor(left)) if crop == "center-down" else (round(top), round(left))


def deployed_view(
    image: UInt8[np.ndarray, "height width 3"], preprocessing: Preprocessing, view_size: Size
) -> UInt8[np.ndarray, "view_height view_width 3"]:
    """The view that a model is shown of an image where nothing moves.

    Args:
        image: RGB.
        preprocessing: The model's.
        view_size: (height, width) in px, the model's.
    """
    if preprocessing.crop in LETTERBOXES:
        return letterboxed(image, preprocessing, view_size)
    if isinstance(preprocessing.crop, CropSelection):
        piece = cut(image, select(image, preprocessing.crop, preprocessing.resize_px, view_size))
        return resize(piece, view_size, preprocessing.resampler, preprocessing.antialias, preprocessing.library)
    size = resized_size((image.shape[0], image.shape[1]), preprocessing.resize_px)
    place = center_place(size, view_size, preprocessing.crop)
    how = preprocessing.resampler, preprocessing.antialias, preprocessing.library
    return resize_part(image, size, place, view_size, *how)


def letterboxed(
    image: UInt8[np.ndarray, "height width 3"],
    preprocessing: Preprocessing,
    view_size: Size,
    margin_px: tuple[int, int] = (0, 0),
) -> UInt8[np.ndarray, "plane_height plane_width 3"]:
    """The whole image, scaled to fit into the view, on grey.

    Args:
        image: RGB.
        preprocessing: The model's; its crop rule is one of ``LETTERBOXES``.
        view_size: (height, width) in px, the model's.
        margin_px: More grey above and below, and left and right of the view: a plane for the view to slide over.
    """
    size, (top, left) = letterbox_place((image.shape[0], image.shape[1]), view_size, preprocessing.crop)
    picture = resize(image, size, preprocessing.resampler, preprocessing.antialias, preprocessing.library)
    above, beside = margin_px
    plane = np.full((view_size[0] + 2 * above, view_size[1] + 2 * beside, 3), GREY, np.uint8)
    plane[above + top : above + top + size[0], beside + left : beside + left + size[1]] = picture
    return plane


def letterbox_place(image_size: Size, view_size: Size, crop: Crop = "letterbox") -> tuple[Size, tuple[int, int]]:
    """The (height, width) of a picture in its letterbox, and its (top, left), all in px.

    Example:
        >>> letterbox_place((375, 500), (224, 224)), letterbox_place((375, 500), (224, 224), "letterbox-corner")
        (((168, 224), (28, 0)), ((168, 224), (0, 0)))
        >>> letterbox_place((301, 230), (97, 97))  # 97 - 74 is odd: the wider bar is on the right
        ((97, 74), (0, 11))
    """
    scale = min(want / have for have, want in zip(image_size, view_size, strict=True))
    height, width = (min(max(round(have * scale), 1), want) for have, want in zip(image_size, view_size, strict=True))
    place = (0, 0) if crop == "letterbox-corner" else ((view_size[0] - height) // 2, (view_size[1] - width) // 2)
    return (height, width), place


def prepare(
    base: Preprocessing, view_size: Size, changes: Mapping[str, Any], spec: object
) -> tuple[Size, Preprocessing]:
    """The view and the preprocessing: what the model brings itself, with what the user changes.

    Args:
        base: What the model brings.
        view_size: (height, width) in px, the model's own.
        changes: Fields of `Preprocessing` to replace, and ``view_size``. A new view keeps its share of the image,
            unless ``resize_px`` is given too. With ``resize_px`` a letterbox is left, unless ``crop`` is given too.
        spec: The model's name, for errors.

    Raises:
        InputError: For an unknown field, a value it can't take, or a resize to less than the view.
    """
    changes = dict(changes)
    if "resize_px" in changes and base.crop in LETTERBOXES:
        changes.setdefault("crop", "center")  # a letterbox would make nothing of it
    if "view_size" in changes:
        size = _view_size(changes.pop("view_size"))
        changes.setdefault("resize_px", _scaled(base.resize_px, view_size, size))
        view_size = size
    prepared = override(base, changes)
    check_fits(prepared, view_size, spec)
    return view_size, prepared


def _view_size(value: object) -> Size:
    match value:
        case [int(height), int(width)] if min(height, width) > 0:
            return height, width
        case int(side) if side > 0:
            return side, side
    raise InputError(f"view_size can't be {value!r}", where="--preprocessing", todo="give [HEIGHT,WIDTH] in px")


def _scaled(resize_px: int | Size, old: Size, new: Size) -> int | Size:
    """A resize that leaves the same share of the image in another view."""
    if isinstance(resize_px, int):
        return int(resize_px * min(new) / min(old))
    return int(resize_px[0] * new[0] / old[0]), int(resize_px[1] * new[1] / old[1])


def check_fits(preprocessing: Preprocessing, view_size: Size, where: object) -> None:
    """Raises InputError if every image is resized to less than the view: libraries pad then, this package does not."""
    if not preprocessing.cuts:
        return
    resize_px = preprocessing.resize_px
    fits = resize_px >= min(view_size) if isinstance(resize_px, int) else all(map(ge, resize_px, view_size))
    if not fits:
        raise InputError(
            f"images are resized to {resize_px} px, less than its view of {view_size[0]}×{view_size[1]} px",
            where=where,
            todo=f"give --preprocessing resize_px={max(view_size)}",
        )
