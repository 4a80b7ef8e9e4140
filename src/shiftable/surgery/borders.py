"""Operations that look through a window, carried out with another border: in a circle, or from later positions on.

An operation that subsamples keeps the positions k · stride of its stride-1 response. Its *phase* e is what it would
keep instead: the positions k · stride + e. That is the operation itself, on a map moved by −e.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import inf, prod
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.surgery.calls import Call
from shiftable.surgery.windows import Pair

Phase: TypeAlias = tuple[Pair, Tensor]
"""((y, x), the operation's result from these positions on)."""


@dataclass(frozen=True)
class Reach:
    """What a windowed operation's arguments say. Pairs are (y, x), in positions of its input."""

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair

    @property
    def extent(self) -> Pair:
        """From a window's first position to its last."""
        first, last = (spread * (size - 1) + 1 for size, spread in zip(self.kernel, self.dilation, strict=True))
        return first, last


def reach_of(call: Call) -> Reach | None:
    """None where an operation does not look through a window that goes over y and x."""
    read, image = READ.get(call.key.operation), call.argument(0)
    return read(call) if read is not None and isinstance(image, Tensor) and image.ndim == 4 else None


def in_a_circle(call: Call, reach: Reach, front: Pair, phases: Pair) -> Iterator[Phase]:
    """A windowed operation on a map whose edges meet: of n positions it keeps n / stride.

    A window as large as the map that is not padded is pooling of the whole map, or a flattened head: it stays that.

    Args:
        call: The operation.
        reach: Of the operation.
        front: How many positions were to be padded before the first by an operation before this one.
        phases: How many phases to give, (y, x).

    Raises:
        InputError: If the map is no multiple of the stride.
    """
    image = call.args[0]
    front = (front[0] + reach.padding[0], front[1] + reach.padding[1])
    size, kept = _size(image), []
    for positions, extent, before, stride in zip(size, reach.extent, front, reach.stride, strict=True):
        whole = extent == positions and not before
        if positions % stride and not whole:
            raise InputError(
                f"in a circle, a map of {size[0]}×{size[1]} positions has no steps of {stride}",
                where=call.key.module,
                todo="show the net a size that is a multiple of its total stride",
            )
        kept.append(1 if whole else positions // stride)
    padded = image
    for axis, (before, length) in enumerate(zip(front, _lengths(reach, kept, phases), strict=True)):
        at = (torch.arange(length, device=image.device) - before) % size[axis]
        padded = padded.index_select(axis + 2, at)
    yield from _each(call, reach, padded, torch.ones_like(padded[:1, :1]), kept, phases)


def from_later_on(call: Call, reach: Reach, kept: Pair, phases: Pair) -> Iterator[Phase]:
    """A windowed operation with the border that it has: phase (0, 0) is what it gives.

    The border stays where it is, at the map's own edges. Where a phase's last windows reach beyond it, the border's
    last row goes on; where there is no padding, the map's.

    Args:
        call: The operation.
        reach: Of the operation.
        kept: How many positions it gives.
        phases: How many phases to give, (y, x).
    """
    average = "avg" in call.key.operation
    value = -inf if "max" in call.key.operation else 0.0
    around = [reach.padding[1], reach.padding[1], reach.padding[0], reach.padding[0]]
    padded = nn.functional.pad(call.args[0], around, value=value)
    counted = torch.ones_like(call.args[0][:1, :1])
    counted = nn.functional.pad(counted, around, value=float(call.argument(5, True)) if average else 1.0)
    rows, columns = _lengths(reach, kept, phases)
    beyond = [0, max(columns - padded.shape[3], 0), 0, max(rows - padded.shape[2], 0)]
    if any(beyond):
        padded = nn.functional.pad(padded, beyond, mode="replicate")
        counted = nn.functional.pad(counted, beyond)  # a mean is one of what is there
    yield from _each(call, reach, padded, counted, kept, phases)


def _lengths(reach: Reach, kept: Any, phases: Pair) -> Iterator[int]:
    """How many positions all phases' windows need."""
    for number, stride, extent, more in zip(kept, reach.stride, reach.extent, phases, strict=True):
        yield (number - 1) * stride + extent + more - 1


def _each(call: Call, reach: Reach, padded: Tensor, counted: Tensor, kept: Any, phases: Pair) -> Iterator[Phase]:
    rows, columns = _lengths(reach, kept, (1, 1))
    for y, x in product(*map(range, phases)):
        view = (..., slice(y, y + rows), slice(x, x + columns))
        yield (y, x), UNPADDED[call.key.operation](call, reach, padded[view], counted[view])


def moved(call: Call, phases: Pair, dimensions: Pair, circular: bool) -> Iterator[Phase]:
    """Any other operation that subsamples, a slice or merging: on the moved map, its last row repeated if not a circle.

    Args:
        call: The operation.
        phases: How many phases to give, (y, x).
        dimensions: Where y and x are in its input.
        circular: Whether the map's edges meet.
    """
    for y, x in product(*map(range, phases)):
        image = call.args[0]
        for step, axis in zip((y, x), dimensions, strict=True):
            if step:
                at = torch.arange(step, step + image.shape[axis], device=image.device)
                at = at % image.shape[axis] if circular else at.clamp(max=image.shape[axis] - 1)
                image = image.index_select(axis, at)
        yield (y, x), call(image)


def padded_in_front(call: Call) -> Pair | None:
    """How many positions an operation pads before the first, (y, x); None for one that pads no y and x of a map."""
    image = call.argument(0)
    if call.key.operation not in PADS or not isinstance(image, Tensor) or image.ndim != 4:
        return None
    left, right, top, bottom = (*map(int, call.args[1]), 0, 0, 0, 0)[:4]
    return (top, left) if any((left, right, top, bottom)) and not any(call.args[1][4:]) else None


PADS = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d")


def _size(image: Tensor) -> Pair:
    return int(image.shape[2]), int(image.shape[3])


def _pair(value: Any) -> Pair:
    values = [value] if isinstance(value, int) else list(value)
    return int(values[0]), int(values[-1])


def _convolution(call: Call) -> Reach | None:
    if call.argument(6):  # transposed: it makes maps larger
        return None
    stride, padding, dilation = (_pair(call.args[place]) for place in (3, 4, 5))
    return Reach(_pair(call.args[1].shape[2:]), stride, padding, dilation)


def _pooling(call: Call) -> Reach:
    kernel, dilation = _pair(call.args[1]), (1, 1)
    if "max" in call.key.operation:
        dilation = _pair(call.argument(4, 1))
    return Reach(kernel, _pair(call.argument(2) or kernel), _pair(call.argument(3, 0)), dilation)


def _adaptive(call: Call) -> Reach | None:
    size, (rows, columns) = _size(call.args[0]), _pair(call.args[1])
    if size[0] % rows or size[1] % columns:
        return None
    stride = (size[0] // rows, size[1] // columns)
    return Reach(stride, stride, (0, 0), (1, 1))


def _unfold(call: Call) -> Reach:
    kernel, dilation, padding, stride = (_pair(call.args[place]) for place in (1, 2, 3, 4))
    return Reach(kernel, stride, padding, dilation)


READ: Mapping[str, Callable[[Call], Reach | None]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _pooling,
    "max_pool2d": _pooling,
    "avg_pool2d": _pooling,
    "_adaptive_avg_pool2d": _adaptive,
    "im2col": _unfold,
}
"""By ATen's name of the operation: reads its window."""


def _convolve(call: Call, reach: Reach, image: Tensor, counted: Tensor) -> Tensor:
    found: Tensor = call.function(image, *call.args[1:4], [0, 0], *call.args[5:])
    return found


def _largest(call: Call, reach: Reach, image: Tensor, counted: Tensor) -> Tensor:
    return nn.functional.max_pool2d(image, reach.kernel, reach.stride, 0, reach.dilation)


def _average(call: Call, reach: Reach, image: Tensor, counted: Tensor) -> Tensor:
    divisor = call.argument(6) if call.key.operation == "avg_pool2d" else None
    if divisor or bool((counted == 1).all()):
        return nn.functional.avg_pool2d(image, reach.kernel, reach.stride, divisor_override=divisor)
    # what lies beyond a map and its padding never counts
    total, count = (nn.functional.avg_pool2d(each, reach.kernel, reach.stride) for each in (image * counted, counted))
    return total / count.clamp(min=1 / (2 * prod(reach.kernel)))


def _take_apart(call: Call, reach: Reach, image: Tensor, counted: Tensor) -> Tensor:
    return nn.functional.unfold(image, reach.kernel, reach.dilation, 0, reach.stride)


UNPADDED: Mapping[str, Callable[[Call, Reach, Tensor, Tensor], Tensor]] = {
    "convolution": _convolve,
    "max_pool2d_with_indices": _largest,
    "max_pool2d": _largest,
    "avg_pool2d": _average,
    "_adaptive_avg_pool2d": _average,
    "im2col": _take_apart,
}
"""By ATen's name of the operation: carries it out on a map that is padded already, given what counts in a mean."""
