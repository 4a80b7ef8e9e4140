"""Layers with a window, made to go round in a circle: as they are, or with the strongest phase kept."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from shiftable.layers.polyphase import AdaptivePolyphase2d
from shiftable.layers.polyphase_conv import PolyphaseConv2d
from shiftable.layers.polyphase_pool import CircularAvgPool2d, CircularMaxPool2d, PolyphasePool2d
from shiftable.layers.replacing import kind_of
from shiftable.layers.same_padding import same_margin
from shiftable.surgery.polyphase_grids import Passed
from shiftable.surgery.windows import Pair


def off_the_circle(module: nn.Module, passed: Passed) -> Iterator[str]:
    """Why a layer can't give a map that goes on where it ends.

    Args:
        module: Of a kind that `kind_of` knows.
        passed: The sizes of its map, as it stands.
    """
    kernel, stride, padding, dilation = _window(module)
    (rows, columns), after = passed.before, passed.after
    if after == (1, 1) and all(
        size == edge and not pad for size, edge, pad in zip(kernel, passed.before, padding, strict=True)
    ):
        return  # the whole map
    if rows % stride[0] or columns % stride[1]:
        yield f"{passed.name} gets {rows}×{columns} positions, no multiple of its stride {stride[0]}×{stride[1]}"
    elif (rows // stride[0], columns // stride[1]) != after:
        yield (
            f"{passed.name} makes {after[0]}×{after[1]} positions of {rows}×{columns}, and not "
            f"{rows // stride[0]}×{columns // stride[1]}: its padding is not half its window"
        )
    elif any(
        (size - 1) * apart - pad > edge
        for size, apart, pad, edge in zip(kernel, dilation, padding, passed.before, strict=True)
    ):
        yield f"the window of {passed.name} is larger than its map of {rows}×{columns} positions"


def looks_beyond(module: nn.Module) -> bool:
    """Whether a layer sees beyond its map's edge, and something else there than the other side.

    Args:
        module: Of a kind that `kind_of` knows.
    """
    kernel, stride, padding, _ = _window(module)
    if isinstance(module, nn.Conv2d):
        return any(padding) and module.padding_mode != "circular"
    return any(padding) or any(size > step for size, step in zip(kernel, stride, strict=True))


def in_a_circle(module: Any) -> nn.Module:
    """A layer with circular padding, everything else as it was.

    Args:
        module: A layer that `looks_beyond`. A convolution is changed in place.
    """
    if isinstance(module, nn.Conv2d):
        module.padding_mode = "circular"
        return module
    made: nn.Module
    if isinstance(module, nn.MaxPool2d):
        made = CircularMaxPool2d(module.kernel_size, module.stride, module.padding, module.dilation)
    else:
        made = CircularAvgPool2d(
            module.kernel_size, module.stride, module.padding, divisor_override=module.divisor_override
        )
    return made.train(module.training)


def polyphase(module: Any, taps: int) -> nn.Module:
    """What stands for a strided layer, with its weights.

    Args:
        module: Of a kind that `kind_of` knows.
        taps: The length of the blur before positions are dropped; 1 is none.
    """
    kernel, stride, padding, dilation = _window(module)
    made: nn.Module
    if isinstance(module, nn.Conv2d):
        made = PolyphaseConv2d(
            module.in_channels, module.out_channels, kernel, stride, padding, dilation, module.groups,
            module.bias is not None, device="meta", dtype=module.weight.dtype,
        )  # fmt: skip
        # weights that are never made draw no random numbers
        made.weight, made.bias = module.weight, module.bias
        made.pick = AdaptivePolyphase2d(stride, taps=taps, device=module.weight.device, dtype=module.weight.dtype)
    elif isinstance(module, nn.MaxPool2d):
        made = PolyphasePool2d(CircularMaxPool2d(kernel, 1, padding, dilation), stride, taps=taps)
    else:
        averaging = CircularAvgPool2d(kernel, 1, padding, divisor_override=module.divisor_override)
        made = PolyphasePool2d(averaging, stride, taps=taps)
    return made.train(module.training)


def _window(module: nn.Module) -> tuple[Pair, Pair, Pair, Pair]:
    """(kernel, stride, padding, dilation) of a layer, each (y, x)."""
    given = module.__dict__
    kernel, dilation = _pair(given["kernel_size"]), _pair(given.get("dilation", 1))
    stride = _pair(given["stride"] or kernel)
    reach = [(size - 1) * apart for size, apart in zip(kernel, dilation, strict=True)]
    if str(kind_of(module)).endswith("Same"):  # of a map whose size is a multiple of the stride
        y, x = (same_margin(*each)[0] for each in zip(stride, kernel, stride, dilation, strict=True))
        return kernel, stride, (y, x), dilation
    if given["padding"] == "same":
        return kernel, stride, (reach[0] // 2, reach[1] // 2), dilation
    return kernel, stride, _pair(0 if given["padding"] == "valid" else given["padding"]), dilation


def _pair(value: int | Sequence[int]) -> Pair:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
