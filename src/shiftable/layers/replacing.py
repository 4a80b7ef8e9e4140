"""The layer that stands for a layer that subsamples, with its weights, size and phase."""

import sys
from collections.abc import Sequence
from typing import Any, cast

from torch import nn

from shiftable.errors import InputError
from shiftable.layers.blur_conv import BlurConv2d
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.max_blur_pool import MaxBlurPool2d
from shiftable.layers.same_padding import SameBlurConv2d, SameBlurPool2d, SameMaxBlurPool2d

TIMMS = {"timm.layers.conv2d_same": ("Conv2dSame",), "timm.layers.pool2d_same": ("MaxPool2dSame", "AvgPool2dSame")}
"""Its layers that are known, by module."""


def antialiased(
    layer: nn.Module, *, filter: str = "binomial", taps: int | None = None, padding_mode: str = "reflect"
) -> nn.Module:
    """What stands for a layer, and gives maps of the same size in the same place, without what its stride can't carry.

    A convolution's weights are shared, not copied. Average pooling is replaced by a blur of its stride altogether.

    Args:
        layer: A ``Conv2d``, ``MaxPool2d`` or ``AvgPool2d`` of a stride above 1, or timm's of these with "same" padding.
            Of these types exactly: one that is made from them may do something else.
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``.
        taps: The filter's length at stride 2, see ``LowPass``.
        padding_mode: The filter's, one of ``low_pass.PADDINGS``.

    Raises:
        InputError: For other layers.

    Example:
        >>> antialiased(nn.MaxPool2d(3, stride=2, padding=1))
        MaxBlurPool2d(
          kernel_size=(3, 3), padding=(1, 1), dilation=(1, 1), ceil_mode=False
          (blur): BlurPool2d(stride=(2, 2), filter='binomial', padding_mode='reflect')
        )
    """
    name, own = kind_of(layer), cast(Any, layer)
    low_pass: dict[str, Any] = {"filter": filter, "taps": taps, "padding_mode": padding_mode}
    if name is None or max(_pair(own.stride)) == 1 or getattr(layer, "return_indices", False):
        raise InputError(
            f"{layer} is no layer that can be replaced by name of its type",
            todo="give a Conv2d, MaxPool2d (without indices) or AvgPool2d of a stride above 1",
        )
    made: nn.Module
    if isinstance(layer, nn.Conv2d):
        made = _convolution(SameBlurConv2d if name == "Conv2dSame" else BlurConv2d, layer, **low_pass)
    elif isinstance(layer, nn.MaxPool2d):
        made = (SameMaxBlurPool2d if name == "MaxPool2dSame" else MaxBlurPool2d)(
            layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode, **low_pass
        )
    elif name == "AvgPool2dSame":
        made = SameBlurPool2d(_pair(own.kernel_size), _pair(own.stride), **low_pass)
    else:
        made = BlurPool2d(
            own.stride, kernel_size=own.kernel_size, padding=own.padding, ceil_mode=own.ceil_mode, **low_pass
        )
    return made.train(layer.training)


def kind_of(layer: nn.Module) -> str | None:
    """The name of a layer's type if it is exactly one that `antialiased` knows, else None.

    Args:
        layer: Any layer.

    Example:
        >>> kind_of(nn.Conv2d(3, 8, 1)), kind_of(BlurConv2d(3, 8, 1))
        ('Conv2d', None)
    """
    known: list[Any] = [nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d]
    for module, names in TIMMS.items():
        if module in sys.modules:  # else there are no layers of it
            known += [getattr(sys.modules[module], name) for name in names]
    return type(layer).__name__ if any(type(layer) is each for each in known) else None


def _convolution(stands: type[BlurConv2d], layer: nn.Conv2d, **low_pass: Any) -> BlurConv2d:
    own: dict[str, Any] = {
        name: getattr(layer, name)
        for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
    }
    filter, taps, padding_mode = low_pass.values()
    # weights that are never made draw no random numbers
    made = stands(
        layer.in_channels, layer.out_channels, bias=layer.bias is not None, device="meta", dtype=layer.weight.dtype,
        filter=filter, taps=taps, blur_padding_mode=padding_mode, **own,
    )  # fmt: skip
    made.weight, made.bias = layer.weight, layer.bias
    made.blur = BlurPool2d(
        made.blur.stride, scaled_to=layer.stride, device=layer.weight.device, dtype=layer.weight.dtype, **low_pass
    )
    return made


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
