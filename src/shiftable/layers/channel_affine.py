"""A gain and a shift for every channel: sets back what a changed layer before it did to their mean and contrast."""

from typing import Any

import torch
from torch import Tensor, nn


class ChannelAffine(nn.Module):
    """``map · gain + shift``, channel by channel; at first the map itself. Both are in the state dict.

    Args:
        channels: Of the map.
        device: Where gain and shift are.
        dtype: Of both.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``.

    Example:
        >>> ChannelAffine(2)(torch.ones(1, 2, 1, 1)).flatten()
        tensor([1., 1.])
    """

    gain: Tensor
    shift: Tensor

    def __init__(self, channels: int, device: Any = None, dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.register_buffer("gain", torch.ones(channels, device=device, dtype=dtype))
        self.register_buffer("shift", torch.zeros(channels, device=device, dtype=dtype))

    def forward(self, image: Tensor) -> Tensor:
        """The map with its channels set back.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        return image * self.gain[:, None, None] + self.shift[:, None, None]

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        return f"{len(self.gain)}"
