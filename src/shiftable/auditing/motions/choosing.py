"""Motions of models whose crop is chosen by content: a larger view moves, and the crop is chosen in it."""

from collections.abc import Callable
from dataclasses import replace

from shiftable.auditing.motions.stage import Picture, Stage, Window
from shiftable.errors import InputError
from shiftable.models import Preprocessing
from shiftable.models.preprocessing import CropSelection, Size, cut, select


def choosing(
    stage: Callable[[Preprocessing, Size], Stage],
    preprocessing: Preprocessing,
    selection: CropSelection,
    view_size: Size,
) -> Stage:
    """An image that is moved after the resize, for a model that chooses its crop.

    The larger view goes where that of a model with a centre crop would. So rules for the crop are compared on the very
    same larger views.

    Args:
        stage: Gets the image ready for a preprocessing and a view's size.
        preprocessing: The model's.
        selection: Its crop.
        view_size: (height, width) in px, the model's.

    Raises:
        InputError: If nothing is cropped, but letterboxed: there is no larger view to choose from.
    """
    if selection.letterbox:
        raise InputError(
            "a letterbox laid by the picture's content is laid before the resize", where="--motion", todo="take camera"
        )
    larger = selection.larger(view_size)
    around = stage(replace(preprocessing, crop="center"), larger)

    def view(dy: int, dx: int) -> Picture:
        seen = around.view(dy, dx)
        return cut(seen, select(seen, selection, larger, view_size))

    held = not selection.looks or select(around.view(*around.home), selection, larger, view_size).found
    if around.window is None:
        return replace(around, view=view, held=held)
    outer = around.window

    def window(dy: int, dx: int) -> Window:
        whole, chosen = outer(dy, dx), select(around.view(dy, dx), selection, larger, view_size)
        down, across = whole.height / larger[0], whole.width / larger[1]
        y, x = whole.y + chosen.top * down, whole.x + chosen.left * across
        return Window(y, x, chosen.height * down, chosen.width * across)

    return replace(around, view=view, window=window, held=held)
