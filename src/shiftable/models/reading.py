"""What nets that say where something is return, read: boxes, key points or maps of classes for every view."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.models.decoder import Decoder
from shiftable.models.preprocessing import Size
from shiftable.models.protocol import Task

Reader: TypeAlias = Callable[[nn.Module, Tensor, Size], Sequence[object]]
"""(net, its inputs, view size) → what it says of each view, to be checked."""

RETURNS: Mapping[Task, str] = {
    "detect": "a list of {boxes, scores, labels}, one for each view",
    "keypoints": "a list of {keypoints, scores}, one for each view",
    "segment": "logits (view, class, height, width), or classes (view, height, width)",
}
"""What is understood without a decoder, by task."""


def by_decoder(decoder: Decoder, task: Task) -> Reader:
    """The net is shown one view at a time, and the decoder is given all tensors that it returns."""

    def read(net: nn.Module, inputs: Tensor, view_size: Size) -> list[object]:
        outputs = ([_plain(tensor) for tensor in tensors_in(net(each[None]))] for each in inputs)
        return [decoder(each, view_size, task) for each in outputs]

    return read


def by_form(task: Task) -> Reader:
    """What torchvision's nets and others of the same form return.

    Detectors: a list of ``{"boxes", "scores", "labels"}``; key points: ``{"keypoints", "keypoints_scores", "scores"}``,
    whose points' scores are logits, as torchvision has them. Segmenters: logits (view, class, height, width), enlarged
    bilinearly to the view before the largest is taken, or whole numbers (view, height, width); alone, or as ``"out"``
    or ``"logits"`` of a mapping.
    """
    return {"detect": _boxes, "keypoints": _points, "segment": _maps}[task]


def _boxes(net: nn.Module, inputs: Tensor, view_size: Size) -> list[object]:
    return [(found["boxes"], found["scores"], found["labels"]) for found in _listed(net(inputs), "detect")]


def _points(net: nn.Module, inputs: Tensor, view_size: Size) -> list[object]:
    return [(_with_scores(found), found["scores"]) for found in _listed(net(inputs), "keypoints")]


def _with_scores(found: Mapping[str, np.ndarray]) -> np.ndarray:
    """x, y and score of every point: torchvision's third number is whether it is visible, and always 1."""
    points = found["keypoints"].astype(np.float64)
    if "keypoints_scores" in found and points.size:
        points[..., 2] = 1 / (1 + np.exp(-found["keypoints_scores"].astype(np.float64)))
    return points


def _listed(output: object, task: Task) -> list[dict[str, np.ndarray]]:
    """The mappings of arrays in what a detector returned."""
    need = {"detect": ("boxes", "scores", "labels"), "keypoints": ("keypoints", "scores")}[task]
    if not isinstance(output, list | tuple) or not all(
        isinstance(found, Mapping) and all(isinstance(found.get(name), Tensor) for name in need) for found in output
    ):
        raise _unknown_form(output, task)
    return [{name: _plain(part) for name, part in found.items() if isinstance(part, Tensor)} for found in output]


def _maps(net: nn.Module, inputs: Tensor, view_size: Size) -> list[object]:
    output = net(inputs)
    found = output
    if isinstance(output, Mapping):
        found = next((output[name] for name in ("out", "logits") if name in output), None)
    if not isinstance(found, Tensor):
        raise _unknown_form(output, "segment")
    if found.is_floating_point() and found.ndim == 4 and found.shape[1] > 1:
        if tuple(found.shape[2:]) != tuple(view_size):
            found = F.interpolate(found.float(), view_size, mode="bilinear", align_corners=False)
        found = found.argmax(1).int()
    if found.is_floating_point() or found.ndim != 3:
        raise _unknown_form(output, "segment")
    return list(_plain(found))


def _unknown_form(output: object, task: Task) -> InputError:
    shown = f"{type(output).__name__} of {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
    return InputError(f"the model answers with a {shown}", todo=f"let it return {RETURNS[task]}, or give a --decoder")


def tensors_in(output: Any) -> Iterator[Tensor]:
    """All tensors in what a net returned, in its order."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for part in output.values():
            yield from tensors_in(part)
    elif isinstance(output, tuple | list):
        for part in output:
            yield from tensors_in(part)


def _plain(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
