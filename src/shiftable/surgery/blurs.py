"""Which operations low-pass a map by weights that nobody learned, and what to call them."""

from math import comb

import torch
from torch import Tensor

from shiftable.surgery.calls import Call
from shiftable.surgery.windows import Window

SUMS_TO_ONE = 1e-3
"""How far a filter's sum may be from 1: 16-bit weights are no closer."""


def blur_in(call: Call, window: Window) -> str | None:
    """What low-pass an operation applies itself, in words; None if it is none.

    A mean is one, a resize that widens its filter, and a depthwise convolution whose filters are not negative and sum
    to 1: no learned layer does that in every channel. Maxima and learned filters are none.

    Args:
        call: The operation.
        window: How it goes over the map.
    """
    name = call.key.operation
    if window.kind == "average pooling":
        return f"average {_by(window.kernel)}" if max(window.kernel) > 1 else None
    if window.kind == "interpolation":
        return "antialiased resize" if name.endswith("_aa") else None
    if window.kind == "convolution":
        return filter_words(call.args[1], int(call.args[8]), window.channels)
    return None


def filter_words(weight: Tensor, groups: int, channels: int) -> str | None:
    """What to call a convolution's weight that is a fixed low-pass, None for any other.

    Args:
        weight: ``(output, input / groups, y, x)``.
        groups: Of the convolution.
        channels: Of its input.

    Example:
        >>> binomial = torch.tensor([1.0, 2.0, 1.0])
        >>> filter_words((binomial[:, None] * binomial / 16).expand(8, 1, 3, 3), 8, 8)
        'binomial 3×3'
    """
    if groups != channels or weight.shape[0] != channels or weight.shape[2:].numel() < 2 or weight.is_meta:
        return None
    filters = weight.detach()[:, 0].double().cpu()
    if (filters < 0).any() or ((filters.sum((1, 2)) - 1).abs() > SUMS_TO_ONE).any():
        return None
    if (filters.amax((1, 2)) > 1 - SUMS_TO_ONE).any():  # it only moves the map
        return None
    rows, columns = int(weight.shape[2]), int(weight.shape[3])
    for kind, expected in (("average", torch.ones(rows, columns)), ("binomial", _binomial(rows, columns))):
        if torch.allclose(filters, (expected / expected.sum()).double().expand_as(filters), atol=SUMS_TO_ONE):
            return f"{kind} {_by((rows, columns))}"
    return f"low-pass {_by((rows, columns))}"


def _binomial(rows: int, columns: int) -> Tensor:
    y, x = (torch.tensor([float(comb(size - 1, place)) for place in range(size)]) for size in (rows, columns))
    return y[:, None] * x


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]}×{pair[1]}"
