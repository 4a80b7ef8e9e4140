"""Strided convolution that moves along with the map: carried out at every position of a circle, the phase picked."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.polyphase import AdaptivePolyphase2d


def wrapped(image: Tensor, kernel: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """A map with so much of its other side around it that it has a window for each of its positions.

    Args:
        image: (image, channel, y, x), or without the first.
        kernel: The window's positions, (y, x).
        padding: How many positions the first window begins before the map; no more than there are.
        dilation: How far apart the window's positions are.
    """
    reach = ((size - 1) * apart for size, apart in zip(kernel, dilation, strict=True))
    y, x = ((before, whole - before) for whole, before in zip(reach, padding, strict=True))
    return functional.pad(image, (*x, *y), mode="circular") if any((*x, *y)) else image


def subsampled(
    layer: AdaptivePolyphase2d, dense: Tensor, phase: Tensor | None, with_phase: bool
) -> Tensor | tuple[Tensor, Tensor]:
    """One phase of a dense response, and which it is if that is asked for.

    Args:
        layer: Picks it.
        dense: (image, channel, y, x), or without the first.
        phase: (image), of a branch beside it; None: its own.
        with_phase: Whether to give it as well.
    """
    if with_phase and phase is None:
        phase = layer.phase(dense)
    answer: Tensor = layer(dense, phase)
    return answer if phase is None or not with_phase else (answer, phase)


class PolyphaseConv2d(nn.Conv2d):
    """A strided ``torch.nn.Conv2d`` of a map that goes on in a circle, its phase the strongest: same weights and keys.

    It is carried out at stride 1 and followed by ``AdaptivePolyphase2d``, so it costs stride² times as much. Phase 0 is
    where the strided convolution stands: away from the border, that phase is what it gives.

    Args:
        in_channels: As in ``torch.nn.Conv2d``.
        out_channels: Likewise.
        kernel_size: Likewise.
        stride: Likewise.
        padding: Likewise, in positions: where the first window begins.
        dilation: Likewise.
        groups: Likewise.
        bias: Likewise.
        norm: By which phases are compared, see ``AdaptivePolyphase2d``.
        taps: Of a blur before subsampling, see ``AdaptivePolyphase2d``; 1 is none.
        device: Of the weights.
        dtype: Likewise.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``, y and x multiples of the stride: of n positions n / stride.

    Example:
        In a residual block the shortcut takes the phase of the main branch:

        >>> import torch
        >>> main, shortcut = PolyphaseConv2d(3, 8, 3, 2, 1), PolyphaseConv2d(3, 8, 1, 2)
        >>> image = torch.randn(1, 3, 8, 8)
        >>> map, phase = main(image, with_phase=True)
        >>> (map + shortcut(image, phase)).shape
        torch.Size([1, 8, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        norm: float = 2.0,
        taps: int | None = 1,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, "circular", device, dtype
        )  # fmt: skip
        self.pick = AdaptivePolyphase2d(self.stride, norm=norm, taps=taps, device=device, dtype=dtype)

    def _own(self) -> Sequence[int]:
        """The padding along y and x; 0 for "valid", and "same" comes with stride 1 only."""
        return (0, 0) if isinstance(self.padding, str) else self.padding

    def forward(  # type: ignore[override]
        self, image: Tensor, phase: Tensor | None = None, with_phase: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """One phase of the convolution.

        Args:
            image: (image, channel, y, x), or without the first.
            phase: (image), of a branch beside it; None: the strongest.
            with_phase: Whether to give the phase too, for the branches beside it.
        """
        image = wrapped(image, self.kernel_size, self._own(), self.dilation)
        dense = functional.conv2d(image, self.weight, self.bias, 1, 0, self.dilation, self.groups)
        return subsampled(self.pick, dense, phase, with_phase)
