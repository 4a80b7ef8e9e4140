"""The layer that stands for a PyTorch layer that subsamples, with its weights, size and phase."""

from typing import Any

from torch import nn

from shiftable.errors import InputError
from shiftable.layers.blur_conv import BlurConv2d
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.max_blur_pool import MaxBlurPool2d


def antialiased(
    layer: nn.Module, *, filter: str = "binomial", taps: int | None = None, padding_mode: str = "reflect"
) -> nn.Module:
    """What stands for a layer, and gives maps of the same size in the same place, without what its stride can't carry.

    A convolution's weights are shared, not copied. Average pooling is replaced by a blur of its stride altogether.

    Args:
        layer: A ``Conv2d``, ``MaxPool2d`` or ``AvgPool2d`` of a stride above 1. Of these types exactly: one that is
            made from them may do something else.
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
    made: nn.Module
    if type(layer) is nn.Conv2d and max(layer.stride) > 1:
        own: dict[str, Any] = {
            name: getattr(layer, name)
            for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode")
        }
        made = BlurConv2d(
            layer.in_channels, layer.out_channels, bias=layer.bias is not None, device="meta",
            dtype=layer.weight.dtype, filter=filter, taps=taps, blur_padding_mode=padding_mode, **own,
        )  # fmt: skip
        # weights that are never made draw no random numbers
        made.weight, made.bias = layer.weight, layer.bias
        made.blur = BlurPool2d(
            made.blur.stride, scaled_to=layer.stride, filter=filter, taps=taps, padding_mode=padding_mode,
            device=layer.weight.device, dtype=layer.weight.dtype,
        )  # fmt: skip
    elif type(layer) is nn.MaxPool2d and not layer.return_indices and _most(layer.stride) > 1:
        made = MaxBlurPool2d(
            layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode,
            filter=filter, taps=taps, padding_mode=padding_mode,
        )  # fmt: skip
    elif type(layer) is nn.AvgPool2d and _most(layer.stride) > 1:
        made = BlurPool2d(
            layer.stride, kernel_size=layer.kernel_size, padding=layer.padding, ceil_mode=layer.ceil_mode,
            filter=filter, taps=taps, padding_mode=padding_mode,
        )  # fmt: skip
    else:
        raise InputError(
            f"{layer} is no layer that can be replaced by name of its type",
            todo="give a Conv2d, MaxPool2d (without indices) or AvgPool2d of a stride above 1",
        )
    return made.train(layer.training)


def _most(stride: int | tuple[int, ...]) -> int:
    return stride if isinstance(stride, int) else max(stride)
