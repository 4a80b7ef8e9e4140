"""Subsampling that picks its phase by content, so that it moves along with the map: adaptive polyphase sampling.

At stride s a map has s × s phases, ``map[:, a::s, b::s]``. A circular shift changes their order, and moves some of
them by one position; a rule that looks at what is in them, not at where they stand, picks the same one again.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import channels_last, laid_out_like, per_axis, with_batch


def phases(image: Tensor, stride: Sequence[int]) -> Tensor:
    """All phases of a map, as a view of it.

    Args:
        image: (image, channel, y, x), its size a multiple of the stride.
        stride: (y, x).

    Returns:
        (image, phase y, phase x, channel, row, column).

    Raises:
        InputError: If the size is no multiple.
    """
    (y, x), (rows, columns) = stride, image.shape[-2:]
    if rows % y or columns % x:
        raise InputError(
            f"a map of {rows} × {columns} positions has no equal phases at stride {y} × {x}",
            todo="pad it to a multiple",
        )
    cells = image.view(*image.shape[:2], rows // y, y, columns // x, x)
    return cells.permute(0, 3, 5, 1, 2, 4)


def norms(image: Tensor, stride: Sequence[int], norm: float = 2.0) -> Tensor:
    """The size of each phase: the norm of its values.

    What only differs in the order in which it was added up is the same: positions are summed in double precision, where
    the device has it, and rounded to single.

    Args:
        image: (image, channel, y, x).
        stride: (y, x).
        norm: Which, p ≥ 1; ``inf`` is the largest absolute value.

    Returns:
        (image, phase), phases row by row.
    """
    wide = torch.float32 if image.dtype in (torch.float16, torch.bfloat16) else image.dtype
    if norm == 2 and not channels_last(image):  # four times as fast as the norm, which goes across planes
        of_positions = image.to(wide).square().sum(dim=1, keepdim=True).sqrt()
    else:
        of_positions = torch.linalg.vector_norm(image, norm, dim=1, keepdim=True, dtype=wide)
    if image.device.type != "mps":
        of_positions = of_positions.double()
    of_phases: Tensor = torch.linalg.vector_norm(phases(of_positions, stride), norm, dim=(3, 4, 5))
    return of_phases.flatten(1).float()


def strongest(image: Tensor, stride: Sequence[int], norm: float = 2.0) -> Tensor:
    """The phase of the largest norm; of equal ones the first, row by row.

    Chaman & Dokmanić, "Truly shift-invariant convolutional neural networks", CVPR 2021, section 4.

    Args:
        image: (image, channel, y, x).
        stride: (y, x).
        norm: See `norms`.

    Returns:
        (image), ``phase y · stride x + phase x``.
    """
    return norms(image.detach(), stride, norm).argmax(dim=1)


def picked(image: Tensor, stride: Sequence[int], phase: Tensor) -> Tensor:
    """One phase of each image.

    Args:
        image: (image, channel, y, x).
        stride: (y, x).
        phase: (image), as from `strongest`.
    """
    every = phases(image, stride)
    if every.shape[1:3] == (1, 1):
        return image
    one = torch.arange(image.shape[0], device=image.device)
    return laid_out_like(image, every[one, phase // stride[1], phase % stride[1]])


class AdaptivePolyphase2d(nn.Module):
    """Keep every stride-th position, beginning where the map is strongest: shifts by any number of positions survive.

    For maps that go on in a circle, and without anything position-dependent around it, what follows gets the same
    values, only shifted: 100 % consistency (Chaman & Dokmanić, CVPR 2021, section 4). Ties go to the smallest phase.
    There is nothing in its state dict. Gradients go to the positions that were picked, none through the choice.

    In a residual block the shortcut has to take the main branch's phase:
    ``phase = layer.phase(main); layer(main, phase) + layer(shortcut, phase)``.

    Args:
        stride: Of how many positions one is kept; one number, or (y, x).
        norm: By which phases are compared, p ≥ 1, ``inf`` for the largest value.
        filter: What blurs the map before, see ``BlurPool2d``; with circular padding.
        taps: The filter's length at stride 2; 1 is none.
        channels: Of no use; timm gives it.
        device: Of the filter.
        dtype: Of the filter.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``, y and x multiples of the stride.

    Raises:
        InputError: For other sizes.

    Example:
        >>> layer = AdaptivePolyphase2d(2)
        >>> layer(torch.tensor([[[0.0, 3, 0, 4]] * 2])), layer(torch.tensor([[[3.0, 0, 4, 0]] * 2]))
        (tensor([[[3., 4.]]]), tensor([[[3., 4.]]]))
    """

    def __init__(
        self,
        stride: int | Sequence[int] = 2,
        *,
        norm: float = 2.0,
        filter: str = "binomial",
        taps: int | None = 1,
        channels: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.stride = per_axis(stride, 2, "stride", 1)
        self.norm = norm
        self.blur = BlurPool2d(
            1, scaled_to=self.stride, filter=filter, taps=taps, padding_mode="circular", device=device, dtype=dtype
        )

    def phase(self, image: Tensor) -> Tensor:
        """Which phase is strongest, after the blur.

        Args:
            image: (image, channel, y, x), or without the first.

        Returns:
            (image).
        """
        return strongest(self.blur(with_batch(image, 2)[0]), self.stride, self.norm)

    def forward(self, image: Tensor, phase: Tensor | None = None) -> Tensor:
        """The map blurred, one phase of it kept.

        Args:
            image: (image, channel, y, x), or without the first.
            phase: (image), of another map's `phase`; None: its own.
        """
        image, single = with_batch(image, 2)
        blurred = self.blur(image)
        answer = picked(blurred, self.stride, strongest(blurred, self.stride, self.norm) if phase is None else phase)
        return answer[0] if single else answer

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        return f"stride={self.stride}, norm={self.norm}"
