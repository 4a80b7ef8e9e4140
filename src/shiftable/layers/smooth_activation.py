"""Activations that make fewer frequencies than the map can carry: on a finer grid, then blurred, then back."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.errors import InputError
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import fourier_weights, laid_out_like, mixed, padded, per_axis, with_batch
from shiftable.layers.low_pass import LowPass


class SmoothActivation2d(nn.Module):
    """An activation of the curve through the map's values, not of the values: subpixel shifts survive better.

    A function of each position's value makes frequencies that the positions can't carry; they fold. So the map is
    interpolated to a finer grid, where there is room for them, and what the coarse grid can't carry is filtered away
    on the way back. Karras, Aittala, Laine, Härkönen, Hellsten, Lehtinen & Aila, "Alias-free generative adversarial
    networks", NeurIPS 2021, section 2. With the ideal filter and maps that go on in a circle, a polynomial of degree
    ``2 · factor − 1`` or less commutes with shifts by any fraction of a position (Michaeli, Michaeli & Soudry,
    "Alias-free convnets: fractional shift invariance via polynomial activations", CVPR 2023).

    Whatever state there is is the activation's.

    Args:
        activation: Any function of single values; a module's parameters are kept.
        factor: How much finer the grid is; one number, or (y, x).
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``.
        taps: The filter's length at factor 2, see ``LowPass``.
        padding_mode: One of ``low_pass.PADDINGS``. Constant maps get the activation of the constant with each.

    Raises:
        InputError: For unknown names, or one tap, which can't interpolate.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``; the same after it.

    Example:
        >>> SmoothActivation2d(nn.ReLU())(torch.full((1, 2, 4, 4), 3.0)).mean()
        tensor(3.0000)
    """

    finer_y: Tensor
    finer_x: Tensor

    def __init__(
        self,
        activation: nn.Module,
        factor: int | Sequence[int] = 2,
        *,
        filter: str = "kaiser",
        taps: int | None = None,
        padding_mode: str = "reflect",
    ) -> None:
        super().__init__()
        self.activation = activation
        self.factor = per_axis(factor, 2, "factor", 1)
        self.low_pass = LowPass(filter, taps, padding_mode)
        if taps == 1:
            raise InputError("a filter of 1 tap, which can't interpolate", todo="give 2 or more")
        self.down = BlurPool2d(self.factor, filter=filter, taps=taps, padding_mode=padding_mode)
        if filter != "ideal":
            for name, each in zip("yx", self.factor, strict=True):
                self.register_buffer(f"finer_{name}", _between(self.low_pass, each), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """The map activated.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image, single = with_batch(image, 2)
        answer = laid_out_like(image, self.down(self.activation(self._finer(image))))
        return answer[0] if single else answer

    def _finer(self, image: Tensor) -> Tensor:
        if self.low_pass.filter == "ideal":
            for axis, each in enumerate(self.factor):
                if each > 1:
                    size = image.shape[2 + axis]
                    places = torch.arange(size * each, device=image.device)
                    image = mixed(image, fourier_weights(size, places, each, (size - 1) // 2), 2 + axis)
            return image
        channels, (y, x) = image.shape[1], self.factor
        finer_y, finer_x = (finer.to(image.dtype) for finer in (self.finer_y, self.finer_x))
        # (phase y, phase x, tap y, tap x)
        weight = (finer_y[:, None, :, None] * finer_x[None, :, None, :]).flatten(0, 1)[:, None]
        margins = [((each.shape[1] - 1) // 2, each.shape[1] // 2) for each in (finer_y, finer_x)]
        around = padded(image, margins, self.low_pass.padding)
        finer = functional.conv2d(around, weight.repeat(channels, 1, 1, 1), groups=channels)
        if self.low_pass.padding == "zero-normalised":
            inside = padded(torch.ones_like(image[:1, :1]), margins, self.low_pass.padding)
            finer = finer / functional.conv2d(inside, weight).repeat(1, channels, 1, 1)
        rows, columns = image.shape[2:]
        finer = finer.view(-1, channels, y, x, rows, columns).permute(0, 1, 4, 2, 5, 3)
        return finer.reshape(-1, channels, rows * y, columns * x)

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        return f"factor={self.factor}"


def _between(low_pass: LowPass, factor: int) -> Tensor:
    """The weights of the places between two positions: (phase, tap), each row of sum 1, phase 0 being the position.

    Tap t of phase j looks at position t − (taps − 1) // 2, which is ``factor · that − j`` away on the finer grid.
    """
    kernel = low_pass.kernel(factor)
    reach = len(kernel) // 2
    before = reach // factor
    after = (reach + factor - 1) // factor
    away = factor * torch.arange(-before, after + 1) - torch.arange(factor)[:, None]
    weights = torch.where(away.abs() <= reach, kernel[(reach + away).clamp(0, 2 * reach)], 0)
    total = weights.sum(dim=1, keepdim=True)
    return (weights / total).to(torch.get_default_dtype())
