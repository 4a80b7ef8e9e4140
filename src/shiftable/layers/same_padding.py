"""The blurred layers with TensorFlow's "same" padding: as much as a map of n positions needs to become n / stride.

    after = ⌈n / stride⌉,   padding = max((after − 1) · stride + dilation · (kernel − 1) + 1 − n, 0)

of which the smaller half comes before the map. At stride 2 an even map is padded behind only: so it depends on the
map's size where the windows lie. timm's ``Conv2dSame``, ``MaxPool2dSame`` and ``AvgPool2dSame`` do so.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.errors import InputError
from shiftable.layers.blur_conv import BlurConv2d
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import Margin, filtered
from shiftable.layers.max_blur_pool import MaxBlurPool2d


def same_margin(size: int, kernel: int, stride: int, dilation: int = 1) -> Margin:
    """How many positions are padded before and after an axis.

    Args:
        size: Of the axis.
        kernel: The window's positions.
        stride: Of how many positions one is kept.
        dilation: How far apart the window's positions are.

    Example:
        >>> same_margin(224, 3, 2), same_margin(225, 3, 2)
        ((0, 1), (1, 1))
    """
    after = (size + stride - 1) // stride
    total = torch.sym_max((after - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)  # type: ignore[no-untyped-call]
    return total // 2, total - total // 2


class SameBlurConv2d(BlurConv2d):
    """`BlurConv2d` whose padding depends on the map's size; see `same_margin`.

    The map is blurred before it is padded, so that it stays what it was where it is constant.
    """

    def _margins(self, image: Tensor) -> Sequence[Margin]:
        return list(map(same_margin, image.shape[-2:], self.kernel_size, self.stride, self.dilation))

    def _answer(self, image: Tensor) -> Tensor:
        if self._can_merge(image):
            return self._merged(image)
        y, x = self._margins(image)
        image = functional.pad(self.blur(image), (*x, *y))
        left = [step // done for step, done in zip(self.stride, self.blur.stride, strict=True)]
        return functional.conv2d(image, self.weight, self.bias, left, 0, self.dilation, self.groups)


class SameMaxBlurPool2d(MaxBlurPool2d):
    """`MaxBlurPool2d` whose padding depends on the map's size; see `same_margin`."""

    def forward(self, image: Tensor) -> Tensor:
        """The map's maxima blurred, every stride-th kept.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        margins = _margins(image, self.kernel_size, self.blur.stride, self.dilation)
        return super().forward(functional.pad(image, margins, value=-torch.inf))


class SameBlurPool2d(BlurPool2d):
    """`BlurPool2d` in the place of average pooling whose padding depends on the map's size; see `same_margin`.

    Raises:
        InputError: With the filter ``"ideal"``, which it does not have.
    """

    def __init__(self, kernel_size: Sequence[int], stride: Sequence[int], **settings: Any) -> None:
        if settings.get("filter") == "ideal":
            raise InputError("average pooling with same padding has no ideal filter", todo="take kaiser")
        super().__init__(stride, kernel_size=kernel_size, padding=[each // 2 for each in kernel_size], **settings)

    def _filtered(self, image: Tensor) -> Tensor:
        kernels = [kernel.to(image.dtype) for kernel in self.kernels]
        margins = []
        for size, kernel, window, step in zip(image.shape[2:], kernels, self.kernel_size, self.stride, strict=True):
            before, after = same_margin(size, window, step)
            more = (len(kernel) - window) // 2
            margins.append((before + more, after + more))
        return filtered(image, kernels, self.stride, margins, self.low_pass.padding)


class SameDenseConv2d(nn.Conv2d):
    """A convolution of stride 1, padded as if it kept every ``sampled``-th position only; see `same_margin`.

    Args:
        sampled: (y, x).
        settings: As in ``torch.nn.Conv2d``.
    """

    def __init__(self, *settings: Any, sampled: Sequence[int], **more: Any) -> None:
        super().__init__(*settings, **more)
        self.sampled = tuple(sampled)

    @classmethod
    def of(cls, layer: nn.Conv2d) -> "SameDenseConv2d":
        """A strided layer's, with its weights.

        Args:
            layer: timm's ``Conv2dSame``.
        """
        made = cls(
            layer.in_channels, layer.out_channels, layer.kernel_size, dilation=layer.dilation, groups=layer.groups,
            bias=layer.bias is not None, device="meta", sampled=layer.stride,
        )  # fmt: skip
        made.weight, made.bias = layer.weight, layer.bias
        return made.train(layer.training)

    def forward(self, image: Tensor) -> Tensor:
        """The convolution at every position.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image = functional.pad(image, _margins(image, self.kernel_size, self.sampled, self.dilation))
        return functional.conv2d(image, self.weight, self.bias, 1, 0, self.dilation, self.groups)


def _margins(image: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Left, right, top, bottom."""
    y, x = map(same_margin, image.shape[-2:], kernel, stride, dilation)
    return [*x, *y]
