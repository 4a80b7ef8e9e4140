"""A model whose crop holds on to the picture: repaired without training, whatever its backend."""

from dataclasses import replace
from typing import Any, cast

from shiftable.auditing.feeding.variants import fed
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import CropSelection, Size

USUAL_SHARE = 8 / 7
"""The resized image's short side over the view's, in the usual preprocessing of classifiers (256 and 224 px)."""

USUAL_STRIDE = 32
"""The total stride of most detectors, in px."""


def with_stable_crop(
    model: Model,
    *,
    rule: str = "anchored",
    room_px: int | None = None,
    letterbox: bool | None = None,
    follow: bool = False,
) -> Model:
    """The same model, its crop chosen by the picture's content before the resize.

    Nothing is trained and the model is asked as before: only which part of an image becomes its view is another
    matter. It is audited like any other. Under ``camera`` (and on videos) the rule sees the source pixels of each
    frame; under the motions after the resize, ``crop`` among them, a view larger by ``room_px`` moves, and the rule
    sees that. `with_center_crop` gives the model to compare with: it is shown the same larger views.

    Of a model that letterboxes its images nothing is cut off: where in the padding the picture is laid is chosen.

    Args:
        model: A model of this package, or any that is a dataclass.
        rule: One of ``RULES``.
        room_px: How far the crop may move in all along each axis, in px of the view. The more, the rarer a change:
            about once in ``room_px`` steps. Where the model's resize leaves less than that around the view, it is made
            larger, and objects with it. None takes a seventh of the view's short side less one, 31 px for 224:
            32 places, which is the usual total stride. In a letterbox always 31 px.
        letterbox: Whether nothing is cut off, but the image made smaller by the room and laid onto grey; None does as
            the model does. A model whose images are squashed to its view may be given either.
        follow: Whether the crop keeps hold of its place from frame to frame of a video, instead of being chosen in
            each frame alone.

    Raises:
        InputError: If the rule is unknown, the model can't be fed otherwise, or it shall crop what it letterboxes.
    """
    fields, view = model.preprocessing, model.view_size
    whole = not fields.cuts if letterbox is None else letterbox
    if not (whole or fields.cuts):
        raise InputError(
            "its images are letterboxed, so there is no crop to choose",
            where=model.spec,
            todo="open it with another crop, as preprocessing={'crop': 'center', 'resize_px': [HEIGHT, WIDTH]}",
        )
    if room_px is None:
        room_px = (USUAL_STRIDE if whole else round(min(view) * (USUAL_SHARE - 1))) - 1
    selection = CropSelection(rule, room_px, letterbox=whole, follow=follow)
    if whole:
        squashed = fields.cuts and not isinstance(fields.resize_px, int)
        return fed(model, replace(fields, crop=selection, resize_px=fields.resize_px if squashed else min(view)))
    resize_px = enough(fields.resize_px, selection.larger(view))
    return _enlarged(fed(model, replace(fields, crop=selection, resize_px=resize_px)), fields.resize_px)


def _enlarged(model: Model, before: int | Size) -> Model:
    """The model, with a remark if its images are resized to more than before."""
    after, changed = model.preprocessing.resize_px, cast(Any, model)
    if after == before or not hasattr(model, "remarks"):
        return model
    factor = max(a / b for a, b in zip(_both(after), _both(before), strict=True))
    said = f"images are resized to {after} px instead of {before} px, to leave room for the crop to move: "
    return cast(Model, replace(changed, remarks=(*changed.remarks, f"{said}objects are {factor:.2f} times as large")))


def _both(resize_px: int | Size) -> Size:
    return (resize_px, resize_px) if isinstance(resize_px, int) else resize_px


def with_center_crop(model: Model, *, room_px: int | None = None, letterbox: bool | None = None) -> Model:
    """The same model, shown the centre of the larger views that `with_stable_crop` chooses from.

    Args:
        model: As for `with_stable_crop`.
        room_px: As for `with_stable_crop`.
        letterbox: As for `with_stable_crop`; the image then stays in the middle.

    Raises:
        InputError: As `with_stable_crop`.
    """
    return with_stable_crop(model, rule="center", room_px=room_px, letterbox=letterbox)


def enough(resize_px: int | Size, larger: Size) -> int | Size:
    """A resize that leaves room for a larger view: the model's own where it does.

    Example:
        >>> enough(256, (256, 256)), enough(232, (256, 256)), enough((224, 256), (256, 256))
        (256, 256, (256, 256))
    """
    if isinstance(resize_px, int):
        return max(resize_px, *larger)
    return max(resize_px[0], larger[0]), max(resize_px[1], larger[1])
