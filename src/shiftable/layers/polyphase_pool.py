"""Pooling of maps that go on in a circle, and pooling whose phase is picked: it moves along with the map."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.filtering import per_axis
from shiftable.layers.polyphase import AdaptivePolyphase2d
from shiftable.layers.polyphase_conv import subsampled, wrapped


class CircularMaxPool2d(nn.MaxPool2d):
    """``torch.nn.MaxPool2d`` of a map that goes on in a circle: of n positions n / stride, none of them at a border.

    Example:
        >>> import torch
        >>> CircularMaxPool2d(3, 1, 1)(torch.tensor([[[[4.0, 0, 0, 1]]]]).expand(1, 1, 3, 4))[0, 0, 0]
        tensor([4., 4., 1., 4.])
    """

    def forward(self, image: Tensor) -> Tensor:
        """The windows' maxima.

        Args:
            image: (image, channel, y, x), or without the first; its size a multiple of the stride.
        """
        kernel, padding, dilation = (
            per_axis(each, 2, "window", 0) for each in (self.kernel_size, self.padding, self.dilation)
        )
        return functional.max_pool2d(wrapped(image, kernel, padding, dilation), kernel, self.stride, 0, dilation)


class CircularAvgPool2d(nn.AvgPool2d):
    """``torch.nn.AvgPool2d`` of a map that goes on in a circle: of n positions n / stride, no padding to be counted.

    Example:
        >>> import torch
        >>> CircularAvgPool2d(3, 1, 1)(torch.tensor([[[[3.0, 0, 0, 6]]]]).expand(1, 1, 3, 4))[0, 0, 0]
        tensor([3., 1., 2., 3.])
    """

    def forward(self, image: Tensor) -> Tensor:
        """The windows' means.

        Args:
            image: (image, channel, y, x), or without the first; its size a multiple of the stride.
        """
        kernel, padding = (per_axis(each, 2, "window", 0) for each in (self.kernel_size, self.padding))
        around = wrapped(image, kernel, padding, (1, 1))
        return functional.avg_pool2d(around, kernel, self.stride, divisor_override=self.divisor_override)


class PolyphasePool2d(nn.Module):
    """Pooling on a circle, every stride-th position kept, the phase the strongest. Nothing in its state dict.

    Args:
        pool: At stride 1, its answer as large as its input: a `CircularMaxPool2d` or `CircularAvgPool2d`.
        stride: Of how many positions one is kept; one number, or (y, x).
        norm: By which phases are compared, see ``AdaptivePolyphase2d``.
        taps: Of a blur before subsampling, see ``AdaptivePolyphase2d``; 1 is none.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``, y and x multiples of the stride.

    Example:
        >>> import torch
        >>> pool = PolyphasePool2d(CircularMaxPool2d(2, 1), 2)
        >>> image = torch.rand(1, 3, 6, 8)
        >>> torch.allclose(pool(image).sum(dim=(2, 3)), pool(image.roll(1, 3)).sum(dim=(2, 3)))
        True
    """

    def __init__(
        self, pool: nn.Module, stride: int | Sequence[int], *, norm: float = 2.0, taps: int | None = 1
    ) -> None:
        super().__init__()
        self.pool = pool
        self.pick = AdaptivePolyphase2d(stride, norm=norm, taps=taps)

    def forward(
        self, image: Tensor, phase: Tensor | None = None, with_phase: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """One phase of the pooled map.

        Args:
            image: (image, channel, y, x), or without the first.
            phase: (image), of a branch beside it; None: the strongest.
            with_phase: Whether to give the phase too, for the branches beside it.
        """
        return subsampled(self.pick, self.pool(image), phase, with_phase)
