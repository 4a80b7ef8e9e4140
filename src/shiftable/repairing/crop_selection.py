"""A model whose crop holds on to the picture: repaired without training, whatever its backend."""

from dataclasses import replace

from shiftable.auditing.feeding.variants import fed
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import LETTERBOXES, CropSelection, Size

USUAL_SHARE = 8 / 7
"""The resized image's short side over the view's, in the usual preprocessing of classifiers (256 and 224 px)."""


def with_stable_crop(model: Model, *, rule: str = "anchored", room_px: int | None = None) -> Model:
    """The same model, its crop chosen by the picture's content before the resize.

    Nothing is trained and the model is asked as before: only which part of an image becomes its view is another
    matter. It is audited like any other. Under ``camera`` (and on videos) the rule sees the source pixels of each
    frame; under the motions after the resize, ``crop`` among them, a view larger by ``room_px`` moves, and the rule
    sees that. `with_center_crop` gives the model to compare with: it is shown the same larger views.

    Args:
        model: A model of this package, or any that is a dataclass.
        rule: One of ``RULES``.
        room_px: How far the crop may move in all along each axis, in px of the view; None takes a seventh of the
            view's short side, 32 px for 224. The more, the rarer a change: about once in ``room_px`` steps. Where the
            model's resize leaves less than that around the view, it is made larger, and objects with it.

    Raises:
        InputError: If the rule is unknown, the model can't be fed otherwise, or it crops nothing, but letterboxes.
    """
    fields = model.preprocessing
    if fields.crop in LETTERBOXES:
        raise InputError(
            "its images are letterboxed, so there is no crop to choose",
            where=model.spec,
            todo="open it with another crop, as preprocessing={'crop': 'center', 'resize_px': [HEIGHT, WIDTH]}",
        )
    if room_px is None:
        room_px = round(min(model.view_size) * (USUAL_SHARE - 1))
    selection = CropSelection(rule, room_px)
    resize_px = enough(fields.resize_px, selection.larger(model.view_size))
    return fed(model, replace(fields, crop=selection, resize_px=resize_px))


def with_center_crop(model: Model, *, room_px: int | None = None) -> Model:
    """The same model, shown the centre of the larger views that `with_stable_crop` chooses from.

    Args:
        model: As for `with_stable_crop`.
        room_px: As for `with_stable_crop`.

    Raises:
        InputError: As `with_stable_crop`.
    """
    return with_stable_crop(model, rule="center", room_px=room_px)


def enough(resize_px: int | Size, larger: Size) -> int | Size:
    """A resize that leaves room for a larger view: the model's own where it does.

    Example:
        >>> enough(256, (256, 256)), enough(232, (256, 256)), enough((224, 256), (256, 256))
        (256, 256, (256, 256))
    """
    if isinstance(resize_px, int):
        return max(resize_px, *larger)
    return max(resize_px[0], larger[0]), max(resize_px[1], larger[1])
