"""A model's total stride: how far its picture must move until it meets the net's sampling grid again."""

from collections.abc import Sequence
from pathlib import Path

from shiftable.auditing.scoring import probabilities_and_evidence
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.explaining.outside import reveal_stride
from shiftable.explaining.sweeping import sweep
from shiftable.models import Model
from shiftable.models.preprocessing import Size


def total_stride(model: Model) -> Size:
    """The total stride along (y, x), in px: seen in a PyTorch net.

    Raises:
        InputError: If it is no PyTorch net, or can't be looked into.
    """
    net = getattr(getattr(model, "exact", None) or model, "net", None)
    if not callable(getattr(net, "named_modules", None)):
        raise InputError(
            "its stride can't be seen from outside",
            where=model.spec,
            todo="give stride_px, or find it from its answers: find_stride(model, images)",
        )
    from shiftable.explaining.structure import structure

    return structure(model).stride_px


def find_stride(model: Model, images: str | Path | Sequence[Sample], *, count: int | None = 8) -> Size:
    """The total stride that a model's answers tell, its views rolled in a circle; of a PyTorch net what is seen in it.

    The true one may be a multiple of it; see `reveal_stride`. It is looked for along x and taken for both axes.

    Args:
        model: Any that answers rows of scores.
        images: As `find_samples` takes them, or samples. Each is shown as many times as the view is wide.
        count: Only the first so many images.

    Raises:
        InputError: If nothing in the answers repeats, or the model can't be asked so.
    """
    if hasattr(getattr(model, "exact", None) or model, "net"):
        return total_stride(model)
    samples = find_samples(images, count) if isinstance(images, str | Path) else list(images)[:count]
    found = sweep(model, samples, motion="roll")
    shape = found.scores.shape
    kind = "similarity" if model.task == "embed" else model.scores
    chances, _ = probabilities_and_evidence(found.scores.reshape(-1, shape[-1]), kind)
    outside = reveal_stride(chances.reshape(shape), closed=found.closed)
    if outside.stride_px is None:
        raise InputError(outside.statement, where=model.spec, todo="give stride_px, or more images")
    return both(outside.stride_px)


def both(px: int | Size) -> Size:
    """A number along (y, x): the same, where one is given.

    Example:
        >>> both(4), both((4, 8))
        ((4, 4), (4, 8))
    """
    return (px, px) if isinstance(px, int) else px
