"""The picture at one phase of the sampling grid, whatever its place: the input anchored to the total stride."""

from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import Size
from shiftable.repairing.crop_selection import with_stable_crop
from shiftable.repairing.strides import both, total_stride


def with_anchored_phase(model: Model, *, stride_px: int | Size | None = None, strides: int = 1) -> Model:
    """The same model, its crop placed so that the picture always lies at the same phase of the net's grid.

    It is `with_stable_crop` by the rule ``"anchored"`` with as many places as the stride has px, or some strides. That
    rule takes the one place that lies a multiple of the number of places from the anchor, the strongest strict maximum
    in the picture. So, as long as the anchor is the same, the crop is either the same part of the picture, or has
    jumped by whole strides: the grid falls onto the picture as before, and only what comes in at the border is new.
    (With the 33 places of 32 px of room, a jump moves the grid by a px.)

    That holds where the rule sees the view's own pixels, as when the picture moves after the resize. On a photograph
    that is resized afterwards, the places are source pixels, whose number is rounded: a jump there is whole strides to
    within half a source pixel.

    Args:
        model: As for `with_stable_crop`.
        stride_px: The total stride, the same along both axes; None asks a PyTorch net.
        strides: How many strides of room. More makes jumps rarer, but the crop moves further from the centre.

    Raises:
        InputError: As `with_stable_crop`; if the strides along y and x differ, or there is none to be seen.
    """
    y, x = total_stride(model) if stride_px is None else both(stride_px)
    if y != x:
        raise InputError(f"strides of {y} and {x} px have no phase in common", where=model.spec, todo="give stride_px")
    if min(y, strides) < 1:
        raise InputError(f"{strides} strides of {y} px leave no place", where=model.spec, todo="give 1 or more")
    return with_stable_crop(model, rule="anchored", room_px=strides * y - 1)
