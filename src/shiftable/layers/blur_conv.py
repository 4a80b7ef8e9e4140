"""Strided convolution that aliases less: the map is blurred first, then convolved as it was."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import Margin, in_parts, padded, with_batch, without_gradient_on_cpu

ConvPadding: TypeAlias = Literal["zeros", "reflect", "replicate", "circular"]
"""PyTorch's names."""


class BlurConv2d(nn.Conv2d):
    """``torch.nn.Conv2d`` of a blurred map: same weights, same state dict, same size and place.

    What the stride can't carry is filtered away before the convolution, at stride 1; a 1 × 1 convolution is given the
    blurred map subsampled already, which is the same for less. On constant maps it is the convolution that it was.

    Args:
        in_channels: As in ``torch.nn.Conv2d``.
        out_channels: Likewise.
        kernel_size: Likewise.
        stride: Likewise; the filter is scaled to it. With stride 1 there is none.
        padding: Likewise.
        dilation: Likewise.
        groups: Likewise.
        bias: Likewise.
        padding_mode: The convolution's own, as in ``torch.nn.Conv2d``.
        device: Likewise.
        dtype: Likewise.
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``.
        taps: The filter's length at stride 2, see ``LowPass``.
        blur_padding_mode: The filter's, one of ``low_pass.PADDINGS``.

    Example:
        >>> import torch
        >>> conv = BlurConv2d(3, 8, 3, stride=2, padding=1)
        >>> sorted(conv.state_dict()), conv(torch.ones(1, 3, 7, 9)).shape
        (['bias', 'weight'], torch.Size([1, 8, 4, 5]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] | str = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: ConvPadding = "zeros",
        device: Any = None,
        dtype: Any = None,
        *,
        filter: str = "binomial",
        taps: int | None = None,
        blur_padding_mode: str = "reflect",
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, padding_mode, device, dtype
        )  # fmt: skip
        self.blur = self._made(filter, taps, blur_padding_mode, device, dtype)

    def _made(self, filter: str, taps: int | None, padding_mode: str, device: Any, dtype: Any) -> BlurPool2d:
        single = [kernel == 1 and padding == 0 for kernel, padding in zip(self.kernel_size, self._own(), strict=True)]
        return BlurPool2d(
            [step if alone else 1 for step, alone in zip(self.stride, single, strict=True)],
            scaled_to=self.stride, filter=filter, taps=taps, padding_mode=padding_mode, device=device, dtype=dtype,
        )  # fmt: skip

    def _own(self) -> Sequence[int]:
        """The padding along y and x; 0 for "valid", and "same" comes with stride 1 only."""
        return (0, 0) if isinstance(self.padding, str) else self.padding

    def _margins(self, image: Tensor) -> Sequence[Margin]:
        """What is padded before and after the map along y and x."""
        return [(own, own) for own in self._own()]

    def forward(self, image: Tensor) -> Tensor:
        """The convolution of the blurred map.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image, single = with_batch(image, 2)
        if self.weight.numel() < image[:1].numel() and without_gradient_on_cpu(image, *self.parameters()):
            answer = in_parts(self._answer, image)
        else:
            answer = self._answer(image)
        return answer[0] if single else answer

    def _answer(self, image: Tensor) -> Tensor:
        if self._can_merge(image):
            return self._merged(image)
        image = self.blur(image)
        left = [step // done for step, done in zip(self.stride, self.blur.stride, strict=True)]
        padding: str | Sequence[int] = self.padding
        if self.padding_mode != "zeros":
            y, x = self._own()
            image, padding = functional.pad(image, (x, x, y, y), mode=self.padding_mode), (0, 0)
        return functional.conv2d(image, self.weight, self.bias, left, padding, self.dilation, self.groups)

    def _can_merge(self, image: Tensor) -> bool:
        """Whether filter and weights can be one window for each channel, and the border be right to the last digits."""
        kernels = self.blur.kernels
        return (
            self.groups == self.in_channels
            and self.padding_mode == "zeros"
            and max(*self.dilation, *self.blur.stride) == 1
            and [len(kernel) for kernel in kernels] == [3, 3]
            and self.blur.low_pass.padding != "zero-normalised"
            and image.dtype in (torch.float32, torch.float64)
            and without_gradient_on_cpu(image, *self.parameters())
            and not torch.is_autocast_enabled("cpu")
            and all(middle <= 4 * first for first, middle, _ in map(Tensor.tolist, kernels))
        )

    def _merged(self, image: Tensor) -> Tensor:
        """Of a depthwise convolution and a filter of three taps, in one pass.

        Zeros around the blurred map are what a map gives that goes on beyond its border so that the filter, standing
        there, gives zero: each further position follows from the two before it.
        """
        kernels, margins = [kernel.tolist() for kernel in self.blur.kernels], self._margins(image)
        around = padded(image, [(before + 1, after + 1) for before, after in margins], self.blur.low_pass.padding)
        for axis, (kernel, (before, after), step) in enumerate(zip(kernels, margins, self.stride, strict=True), 2):
            first, middle, last = kernel
            size, taps = around.shape[axis], self.weight.shape[axis] + 2
            for place in range(before - 1, -1, -1):
                _continue(around, axis, (place, place + 1, place + 2), (middle / first, last / first))
            used = (size - taps) // step * step + taps
            for place in range(size - after, used):
                _continue(around, axis, (place, place - 1, place - 2), (middle / last, first / last))
        y, x = self.kernel_size
        weight = self.weight.flatten(1) @ _merging((y, x), *map(tuple, kernels)).to(self.weight.dtype)
        return functional.conv2d(around, weight.view(-1, 1, y + 2, x + 2), self.bias, self.stride, 0, 1, self.groups)


@lru_cache(maxsize=64)
def _merging(window: tuple[int, int], kernel_y: tuple[float, ...], kernel_x: tuple[float, ...]) -> Tensor:
    """(weight, weight of the merged window): from a window's weights to those of the filter and then the window."""
    along = []
    for size, kernel in zip(window, (kernel_y, kernel_x), strict=True):
        shifted = torch.zeros(size, size + len(kernel) - 1, dtype=torch.float64, device="cpu")
        for tap, weight in enumerate(kernel):
            shifted.diagonal(tap).fill_(weight)
        along.append(shifted)
    return torch.kron(*along)


def _continue(image: Tensor, axis: int, places: Sequence[int], shares: Sequence[float]) -> None:
    """One position from the next two, so that their weighted sum with it is zero."""
    here, near, far = (image.select(axis, place) for place in places)
    here.copy_(torch.mul(near, -shares[0]).sub_(far, alpha=shares[1]))
