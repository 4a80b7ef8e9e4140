"""Subsampling whose phase is picked by a small net: learned polyphase sampling."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import laid_out_like, per_axis, with_batch
from shiftable.layers.polyphase import phases, picked


class LearnedPolyphase2d(nn.Module):
    """Keep every stride-th position, beginning where a small net says: polyphase sampling that is learned.

    Each phase is scored by the same net, two circular convolutions and the mean over all positions, which does not see
    where it stands. While training, phases are mixed with weights drawn by the Gumbel softmax of the scores, from
    PyTorch's own random numbers, as dropout's are; while evaluating, the highest score is taken. Rojas-Gomez, Lim,
    Schwing, Do & Yeh, "Learnable polyphase sampling for shift invariant and equivariant convolutional networks",
    NeurIPS 2022, sections 4.1 and 4.2. Its net has weights, which are in the state dict.

    Args:
        channels: Of the map.
        stride: Of how many positions one is kept; one number, or (y, x).
        hidden: Channels within the net that scores.
        temperature: Of the softmax. Training begins high and ends low; set it between steps.
        filter: What blurs the map before, see ``BlurPool2d``; with circular padding.
        taps: The filter's length at stride 2; 1 is none.
        device: Of the weights.
        dtype: Likewise.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``, y and x multiples of the stride.

    Example:
        >>> layer, image = LearnedPolyphase2d(4).eval(), torch.rand(2, 4, 6, 8)
        >>> torch.allclose(layer(image).sum(dim=(2, 3)), layer(image.roll(1, 3)).sum(dim=(2, 3)))
        True
    """

    def __init__(
        self,
        channels: int,
        stride: int | Sequence[int] = 2,
        *,
        hidden: int = 16,
        temperature: float = 1.0,
        filter: str = "binomial",
        taps: int | None = 1,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.stride = per_axis(stride, 2, "stride", 1)
        self.temperature = temperature
        self.blur = BlurPool2d(
            1, scaled_to=self.stride, filter=filter, taps=taps, padding_mode="circular", device=device, dtype=dtype
        )
        self.score = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="circular", device=device, dtype=dtype),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, 3, padding=1, padding_mode="circular", device=device, dtype=dtype),
        )

    def scores(self, image: Tensor) -> Tensor:
        """How the net likes each phase.

        Args:
            image: (image, channel, y, x), blurred already.

        Returns:
            (image, phase).
        """
        every = phases(image, self.stride).flatten(1, 2)
        scored: Tensor = self.score(every.flatten(0, 1))
        # summed so that the order of positions hardly counts, as in `norms`
        wide = scored if scored.device.type == "mps" else scored.double()
        return wide.mean(dim=(1, 2, 3)).float().view(every.shape[:2])

    def phase(self, image: Tensor) -> Tensor:
        """Which phase the net likes best, after the blur.

        Args:
            image: (image, channel, y, x), or without the first.

        Returns:
            (image).
        """
        return self.scores(self.blur(with_batch(image, 2)[0])).argmax(dim=1)

    def forward(self, image: Tensor, phase: Tensor | None = None) -> Tensor:
        """The map blurred, one phase of it kept, or while training a mixture of them.

        Args:
            image: (image, channel, y, x), or without the first.
            phase: (image), to be taken in any case, of another map's `phase`.
        """
        image, single = with_batch(image, 2)
        blurred = self.blur(image)
        if phase is None and self.training:
            weights = functional.gumbel_softmax(self.scores(blurred), self.temperature).to(blurred.dtype)
            answer = torch.einsum("ip,ipcyx->icyx", weights, phases(blurred, self.stride).flatten(1, 2))
            answer = laid_out_like(image, answer)
        else:
            answer = picked(blurred, self.stride, self.scores(blurred).argmax(dim=1) if phase is None else phase)
        return answer[0] if single else answer

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        return f"stride={self.stride}, temperature={self.temperature}"
