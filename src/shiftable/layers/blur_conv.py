"""Strided convolution that aliases less: the map is blurred first, then convolved as it was."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import with_batch

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

    def forward(self, image: Tensor) -> Tensor:
        """The convolution of the blurred map.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image, single = with_batch(image, 2)
        image = self.blur(image)
        left = [step // done for step, done in zip(self.stride, self.blur.stride, strict=True)]
        padding: str | Sequence[int] = self.padding
        if self.padding_mode != "zeros":
            y, x = self._own()
            image, padding = functional.pad(image, (x, x, y, y), mode=self.padding_mode), (0, 0)
        answer = functional.conv2d(image, self.weight, self.bias, left, padding, self.dilation, self.groups)
        return answer[0] if single else answer
