"""The operations that look at a map through a window: how each one goes over it, and its response at stride 1."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from shiftable.surgery.calls import Call

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

Kind: TypeAlias = Literal["convolution", "max pooling", "average pooling", "slice", "merging", "interpolation"]
"""A slice takes each n-th position as it is; merging puts each n × n positions into one with more channels."""

NCHW, NHWC = (2, 3), (1, 2)
"""Where y and x are."""


@dataclass(frozen=True)
class Window:
    """How an operation goes over a map. Pairs are (y, x), in positions of the map before it.

    Args:
        kind: What the operation is.
        kernel: The window's positions.
        stride: Of how many positions one is kept; an interpolation's may be a fraction, here rounded up.
        padding: ((top, bottom), (left, right)), the operation's own: what was padded before is not in it.
        dilation: How far apart the window's positions are.
        input_size: Of the map before it.
        output_size: Of the map after it.
        channels: Of the map before it.
        dimensions: Where y and x are in its input.
    """

    kind: Kind
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    input_size: Pair
    output_size: Pair
    channels: int
    dimensions: Pair = NCHW


def window_of(call: Call, answer: Any) -> Window | None:
    """How an operation goes over a map, None for one that does not.

    Pooling of a whole map into one position is none. A view that takes patches apart may be merging, or may be undone
    later (Swin's windows): whoever asks has to look at what comes after.

    Args:
        call: The operation.
        answer: What it gave.
    """
    read, image = WINDOWS.get(call.key.operation), call.argument(0)
    given = answer[0] if isinstance(answer, tuple) else answer
    if read is None or not isinstance(image, Tensor) or not isinstance(given, Tensor) or image.ndim != 4:
        return None
    return read(call, image, given)


def dense(call: Call, image: Tensor, dimensions: Pair = NCHW) -> Tensor:
    """A windowed operation's response to ``image`` at stride 1, ``(image, channel, y, x)``.

    Position (i, j) of what the operation gives is position (i · stride, j · stride) of it. Merging keeps every position
    as it is, so its response is the map itself; that of a slice is the map from its first position on.

    Args:
        call: The operation.
        image: What it is carried out on.
        dimensions: Where y and x are in it.
    """
    response = DENSE[call.key.operation](call, image)
    return response if dimensions == NCHW else response.movedim(3, 1)


def _pair(value: Any) -> Pair:
    values = [value] if isinstance(value, int) else list(value)
    return int(values[0]), int(values[-1])


def _size(image: Tensor, dimensions: Pair = NCHW) -> Pair:
    return int(image.shape[dimensions[0]]), int(image.shape[dimensions[1]])


def _twice(padding: Pair) -> tuple[Pair, Pair]:
    return (padding[0], padding[0]), (padding[1], padding[1])


def _plain(kind: Kind, image: Tensor, after: Pair, stride: Pair, kernel: Pair, dimensions: Pair = NCHW) -> Window:
    channels = int(image.shape[1 if dimensions == NCHW else 3])
    before = _size(image, dimensions)
    return Window(kind, kernel, stride, ((0, 0), (0, 0)), (1, 1), before, after, channels, dimensions)


def _convolution(call: Call, image: Tensor, given: Tensor) -> Window | None:
    if call.argument(6):  # transposed: it makes maps larger
        return None
    stride, padding, dilation = (_pair(call.args[place]) for place in (3, 4, 5))
    kernel = _pair(call.args[1].shape[2:])
    return Window(
        "convolution", kernel, stride, _twice(padding), dilation, _size(image), _size(given), int(image.shape[1])
    )


def _pooling(kind: Kind, call: Call, image: Tensor, given: Tensor) -> Window | None:
    kernel = _pair(call.args[1])
    stride, padding = _pair(call.argument(2) or kernel), _pair(call.argument(3, 0))
    dilation = _pair(call.argument(4, 1)) if kind == "max pooling" else (1, 1)
    if _size(given) == (1, 1):
        return None
    return Window(kind, kernel, stride, _twice(padding), dilation, _size(image), _size(given), int(image.shape[1]))


def _adaptive(kind: Kind, call: Call, image: Tensor, given: Tensor) -> Window | None:
    before, after = _size(image), _size(given)
    if after == (1, 1):
        return None
    if before[0] % after[0] or before[1] % after[1]:  # windows of several sizes: a resize
        return _interpolation(call, image, given)
    stride = (before[0] // after[0], before[1] // after[1])
    return _plain(kind, image, after, stride, stride)


def _slice(call: Call, image: Tensor, given: Tensor) -> Window | None:
    axis, step = int(call.argument(1, 0)) % 4, int(call.argument(4, 1))
    if step == 1 or axis == 0:
        return None
    dimensions = NHWC if axis == 1 else NCHW  # of axis 2 alone it can't be told: the other slices beside it say
    stride = (step, 1) if axis == dimensions[0] else (1, step)
    return _plain("slice", image, _size(given, dimensions), stride, (1, 1), dimensions)


def _unshuffle(call: Call, image: Tensor, given: Tensor) -> Window | None:
    factor = int(call.args[1])
    return _plain("merging", image, _size(given), (factor, factor), (factor, factor))


def _patches(call: Call, image: Tensor, given: Tensor) -> Window | None:
    """A view of y and x as patches: (…, y/n, n, x/n, n, …)."""
    if given.ndim != 6:
        return None
    for dimensions in (NHWC, NCHW):
        first = dimensions[0]
        rows, high, columns, wide = (int(size) for size in given.shape[first : first + 4])
        if (rows * high, columns * wide) == _size(image, dimensions) and max(high, wide) > 1:
            return _plain("merging", image, (rows, columns), (high, wide), (high, wide), dimensions)
    return None


def _unfold(call: Call, image: Tensor, given: Tensor) -> Window | None:
    kernel, dilation, padding, stride = (_pair(call.args[place]) for place in (1, 2, 3, 4))
    rows, columns = (
        (size + 2 * pad - spread * (window - 1) - 1) // step + 1
        for size, pad, spread, window, step in zip(_size(image), padding, dilation, kernel, stride, strict=True)
    )
    channels = int(image.shape[1])
    return Window("merging", kernel, stride, _twice(padding), dilation, _size(image), (rows, columns), channels)


def _interpolation(call: Call, image: Tensor, given: Tensor) -> Window | None:
    before, after = _size(image), _size(given)
    if before[0] <= after[0] and before[1] <= after[1]:
        return None
    stride = (-(-before[0] // after[0]), -(-before[1] // after[1]))
    return _plain("interpolation", image, after, stride, (1, 1))


WINDOWS: Mapping[str, Callable[[Call, Tensor, Tensor], Window | None]] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": partial(_pooling, "max pooling"),
    "max_pool2d": partial(_pooling, "max pooling"),
    "avg_pool2d": partial(_pooling, "average pooling"),
    "_adaptive_avg_pool2d": partial(_adaptive, "average pooling"),
    "adaptive_max_pool2d": partial(_adaptive, "max pooling"),
    "slice": _slice,
    "pixel_unshuffle": _unshuffle,
    "view": _patches,
    "_unsafe_view": _patches,
    "im2col": _unfold,
    **dict.fromkeys(
        (
            "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa",
            "upsample_bicubic2d", "_upsample_bicubic2d_aa",
        ),
        _interpolation,
    ),
}  # fmt: skip
"""By ATen's name of the operation: reads its window, given (call, map, answer)."""


def _dense_convolution(call: Call, image: Tensor) -> Tensor:
    found: Tensor = call.function(image, *call.args[1:3], [1, 1], *call.args[4:])
    return found


def _dense_max(call: Call, image: Tensor) -> Tensor:
    kernel, padding, dilation = _pair(call.args[1]), _pair(call.argument(3, 0)), _pair(call.argument(4, 1))
    stride, ceil_mode = _pair(call.argument(2) or kernel), bool(call.argument(5, False))
    padded = nn.functional.pad(image, _around(image, padding, kernel, stride, dilation, ceil_mode), value=-inf)
    found: Tensor = nn.functional.max_pool2d(padded, kernel, 1, 0, dilation)
    return found


def _dense_average(call: Call, image: Tensor) -> Tensor:
    kernel, padding = _pair(call.args[1]), _pair(call.argument(3, 0))
    stride, ceil_mode = _pair(call.argument(2) or kernel), bool(call.argument(4, False))
    counted = torch.ones((1, 1, *image.shape[-2:]), dtype=image.dtype, device=image.device)
    # what a window reaches of its padding counts, unless the layer says otherwise; what lies beyond never does
    around = _around(image, padding, kernel, stride, (1, 1), ceil_mode)
    own = [padding[1], padding[1], padding[0], padding[0]]
    counted = nn.functional.pad(counted, own, value=float(call.argument(5, True)))
    counted = nn.functional.pad(counted, [0, around[1] - own[1], 0, around[3] - own[3]])
    total = nn.functional.avg_pool2d(nn.functional.pad(image, around), kernel, 1, divisor_override=1)
    divisor = call.argument(6) or nn.functional.avg_pool2d(counted, kernel, 1, divisor_override=1)
    found: Tensor = total / divisor
    return found


def _around(image: Tensor, padding: Pair, kernel: Pair, stride: Pair, dilation: Pair, ceil_mode: bool) -> Sequence[int]:
    """What to put around a map (left, right, top, bottom), so that no window of the operation reaches farther."""
    more = []
    for size, pad, window, step, spread in zip(_size(image), padding, kernel, stride, dilation, strict=True):
        over = (size + 2 * pad - spread * (window - 1) - 1) % step if ceil_mode else 0
        # a last window that would begin behind the map and its front padding is left out
        last = size + 2 * pad - spread * (window - 1) - 1 + (step - over if over else 0)
        more.append(step - over if over and last < size + pad else 0)
    return padding[1], padding[1] + more[1], padding[0], padding[0] + more[0]


def _dense_adaptive(call: Call, image: Tensor) -> Tensor:
    rows, columns = _pair(call.args[1])
    pool = nn.functional.max_pool2d if "max" in call.key.operation else nn.functional.avg_pool2d
    found: Tensor = pool(image, (image.shape[-2] // rows, image.shape[-1] // columns), 1)
    return found


def _from_first(call: Call, image: Tensor) -> Tensor:
    axis, start = int(call.argument(1, 0)) % 4, call.argument(2) or 0
    start = max(0, start + image.shape[axis]) if start < 0 else start
    return image.narrow(axis, start, image.shape[axis] - start)


def _as_it_is(call: Call, image: Tensor) -> Tensor:
    return image


DENSE: Mapping[str, Callable[[Call, Tensor], Tensor]] = {
    "convolution": _dense_convolution,
    "max_pool2d_with_indices": _dense_max,
    "max_pool2d": _dense_max,
    "avg_pool2d": _dense_average,
    "_adaptive_avg_pool2d": _dense_adaptive,
    "adaptive_max_pool2d": _dense_adaptive,
    "slice": _from_first,
    "pixel_unshuffle": _as_it_is,
    "view": _as_it_is,
    "_unsafe_view": _as_it_is,
    "im2col": _as_it_is,
}
"""By ATen's name of the operation: its response at stride 1, given (call, map)."""
