"""What sampling alone predicts of a model's answers to a moving picture, beside what was measured.

If nothing entered or left at the border, the scores would depend on the offset only modulo the total stride, and one
forward pass of the dense net would tell them all (`shiftable.surgery.dilating`). How far that describes a real sweep is
measured on the changes from one px to the next, of logits less their mean over classes: what all classes share moves no
answer. DESIGN section 7.
"""

from collections.abc import Callable, Sequence
from math import nan, sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Float, Int, UInt8

from shiftable.auditing.intervals import Estimate, rate
from shiftable.auditing.scoring import leading, probabilities_and_evidence
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Pair, Sampling
from shiftable.explaining.resampling import over_images
from shiftable.explaining.views import rolled

if TYPE_CHECKING:
    from torch import Tensor

Scores: TypeAlias = Float[np.ndarray, "image step class"]
Table: TypeAlias = Float[np.ndarray, "image y x class"]
"""Logits by offset modulo the total stride."""

SHOWN = 3
"""Of how many classes the figure shows the logits."""


def predict(
    model: Any,
    views: UInt8[np.ndarray, "image height width 3"],
    measured: Scores,
    offsets_px: Int[np.ndarray, "step 2"],
    stride_px: Pair,
    *,
    dense: int = 2,
    seed: int = 0,
    tick: Callable[[], object] | None = None,
) -> Sampling:
    """Predict the answers along a sweep from the unmoved view alone, and compare.

    Args:
        model: A PyTorch model, as opened. Its net is not changed.
        views: The unmoved view of each image.
        measured: The model's scores along the sweep, as it gives them.
        offsets_px: How far the content has moved at each step, (dy, dx), one px further each along one axis.
        stride_px: The total stride, (y, x). Used where the net can't be made dense, and to check whether it can.
        dense: For how many images the logits of all shifts in both directions are worked out, for ``harmonics``; 0
            leaves them to the sweep's axis.
        seed: Of the resampling of images.
        tick: Called whenever an image is done, ``len(views) + dense`` times at most.

    Raises:
        InputError: If the sweep is not along one axis, or has fewer than two steps.
    """
    steps = np.abs(np.diff(offsets_px, axis=0)).sum(axis=0)
    if len(offsets_px) < 2 or (steps > 0).sum() != 1:
        raise InputError("the sweep must go along one axis", todo="take horizontal or vertical, and two steps or more")
    axis = int(steps.argmax())
    inner = model.exact or model
    ticked = tick or (lambda: None)
    images = [inner.inputs(view[None]) for view in views]
    found, full, why_not = _tables(inner, images, axis, stride_px, dense, ticked)
    table = np.moveaxis(found, 1 + axis, 1)[:, :, 0]
    predicted = table[:, offsets_px[:, axis] % table.shape[1]]
    evidence = _evidence(measured, inner)
    correlation, ratio, share = _agreement(predicted, evidence, seed)
    shown = _typical(evidence)
    classes = leading(evidence[shown], SHOWN)[int(np.abs(offsets_px[:, axis]).argmin())]
    return Sampling(
        how="phases" if why_not else "dilated",
        why_not=why_not,
        stride_px=stride_px,
        correlation=correlation,
        rms_ratio=ratio,
        sampling_share=share,
        flips_predicted=_flips(predicted),
        flips_measured=_flips(evidence),
        harmonics=harmonics(found if full is None else full),
        predicted=predicted[shown][:, classes].T.copy(),
        measured=evidence[shown][:, classes].T.copy(),
        offsets_px=offsets_px[:, axis].astype(float),
    )


def harmonics(table: Table) -> Float[np.ndarray, "m n"]:
    """Power of the logits' dependence on the offset at the frequencies (m, n) / stride; mean over images and classes.

    The sum is the mean square of the logits about their mean over all offsets (Parseval); [0, 0] is 0.

    Args:
        table: Logits by offset modulo the total stride, in float64.

    Example:
        >>> harmonics(np.array([1.0, -1.0]).reshape(1, 1, 2, 1))
        array([[0., 1.]])
    """
    power = np.abs(np.fft.fft2(table, axes=(1, 2), norm="forward")) ** 2
    found: Float[np.ndarray, "m n"] = power.mean(axis=(0, 3))
    found[0, 0] = 0
    return found


def _tables(
    model: Any, images: Sequence["Tensor"], axis: int, stride_px: Pair, dense: int, tick: Callable[[], object]
) -> tuple[Table, Float[np.ndarray, "some all_y all_x class"] | None, str | None]:
    """Logits by offset along an axis, for the first images in both directions, and why they are not the dense net's."""
    from shiftable.surgery.dilating import check_dilation, dilated_logits
    from shiftable.surgery.phases import NotDilatable
    from shiftable.surgery.sites import find_sites

    along = (axis == 0, axis == 1)
    try:
        sites = find_sites(model.net, images[0])
        check_dilation(model.net, _multiple(images[0], stride_px), axes=along, sites=sites)
        one, both = [], []
        for image in images:
            one.append(_logits(dilated_logits(model.net, image, axes=along, sites=sites), model))
            tick()
        for image in images[:dense]:
            both.append(_logits(dilated_logits(model.net, image, sites=sites), model))
            tick()
        return np.concatenate(one), np.concatenate(both) if both else None, None
    except (NotDilatable, InputError) as forbids:  # an InputError: at a multiple of its stride, the net is no net
        return np.concatenate([_phases(model, image, axis, stride_px, tick) for image in images]), None, str(forbids)


def _multiple(image: "Tensor", stride_px: Pair) -> "Tensor":
    """The image going on in a circle up to the next multiple of the stride."""
    import torch

    for axis, step in zip((2, 3), stride_px, strict=True):
        size = image.shape[axis]
        image = image.index_select(axis, torch.arange(-(-size // step) * step, device=image.device) % size)
    return image


def _phases(model: Any, image: "Tensor", axis: int, stride_px: Pair, tick: Callable[[], object]) -> Table:
    """The net as it is on the image moved in a circle, by no more than half the stride either way."""
    import torch

    from shiftable.models.torch_model import as_scores

    stride = stride_px[axis]
    offsets = [(each + stride // 2) % stride - stride // 2 for each in range(stride)]
    answers = []
    with torch.no_grad():
        for start in range(0, stride, model.batch_size):
            some = offsets[start : start + model.batch_size]
            moved = torch.cat([rolled(image, (each, 0) if axis == 0 else (0, each)) for each in some])
            answers.append(as_scores(model.net(moved)))
    tick()
    return _logits(torch.cat(answers).reshape(1, *((stride, 1) if axis == 0 else (1, stride)), -1), model)


def _logits(scores: "Tensor", model: Any) -> Table:
    found: Table = _evidence(scores[..., model.class_offset or 0 :].double().cpu().numpy(), model)
    return found


def _evidence(scores: np.ndarray, model: Any) -> Any:
    """Logits, or what stands for them."""
    wide = scores.astype(np.float64)
    return probabilities_and_evidence(wide.reshape(-1, wide.shape[-1]), model.scores)[1].reshape(wide.shape)


def _agreement(
    predicted: Scores, measured: Scores, seed: int
) -> tuple[Estimate | None, Estimate | None, Estimate | None]:
    """Correlation, RMS ratio and explained share of the changes; None where either never changes."""
    first, second = (_changes(scores) for scores in (predicted, measured))
    sums = np.stack([(a * b).sum(axis=(1, 2)) for a, b in ((first, second), (first, first), (second, second))])
    if not sums[1].sum() or not sums[2].sum():
        return None, None, None
    images, steps = first.shape[:2]

    def estimated(statistic: Callable[[float, float, float], float]) -> Estimate:
        def value(drawn: np.ndarray) -> float:
            both, own, other = (float(each) for each in sums[:, drawn].sum(axis=1))
            return statistic(both, own, other) if own and other else nan

        return Estimate(
            value(np.arange(images)), *over_images(value, images, seed=seed), images=images, pairs=images * steps
        )

    return (
        estimated(lambda both, own, other: both / sqrt(own * other)),
        estimated(lambda both, own, other: sqrt(own / other)),
        estimated(lambda both, own, other: max(0.0, both) ** 2 / (own * other)),
    )


def _changes(scores: Scores) -> Float[np.ndarray, "image pair class"]:
    return np.asarray(np.diff(scores - scores.mean(axis=2, keepdims=True), axis=1))


def _flips(scores: Scores) -> Estimate:
    top1 = scores.argmax(axis=2)
    changed = (top1[:, 1:] != top1[:, :-1]).sum(axis=1).astype(float)
    return rate(changed, np.full(len(top1), top1.shape[1] - 1.0))


def _typical(scores: Scores) -> int:
    """The image that changes as much as the middle one."""
    power = (_changes(scores) ** 2).sum(axis=(1, 2))
    return int(power.argsort()[len(power) // 2])
