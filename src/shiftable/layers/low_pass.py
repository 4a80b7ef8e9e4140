"""Low-pass filters, scaled to the stride that follows them, and the blur that carries them out.

Keeping every s-th position of a map folds what varies faster than 1 / (2s) cycles per position onto slower patterns
(aliasing; Shannon, "Communication in the presence of noise", 1949). A filter before it takes that away. Filters here
sum to 1, so a constant map stays what it is, and are scaled so that what they do at stride 2 they do at every stride.

==========  =======================================================================================  ==============
filter      what it is at stride s                                                                   taps, usually
==========  =======================================================================================  ==============
box         mean over s positions; a half at both ends where s is even, so that it has a middle       2: s, or s + 1
triangle    linear interpolation's weights                                                            3: 2s − 1
binomial    ``taps − 1`` boxes of length s, one after the other: at stride 2 the binomial weights      3: 2s − 1
gaussian    a bell of standard deviation s / 2, sampled                                                7: 4s − 1
kaiser      sinc with its cutoff at 1 / (2s), under Kaiser's window                                   11: 6s − 1
ideal       Fourier: nothing at or above 1 / (2s), all below; takes maps as going on in a circle      the whole map
==========  =======================================================================================  ==============

``taps`` is the length at stride 2. One tap is no filter, at any stride.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from shiftable.errors import InputError, unknown

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

PADDINGS = ("reflect", "replicate", "zero-normalised", "circular")
"""What stands for the positions beyond a map's edge: its mirror image without the edge itself; the edge; nothing, and
the weights that are left are scaled to the sum 1; its other end."""

Kernel: TypeAlias = Float64[Tensor, "tap"]


@dataclass(frozen=True)
class LowPass:
    """A low-pass filter, for any stride.

    Args:
        filter: One of ``FILTERS``, or ``"ideal"``.
        taps: Its length at stride 2, 1 or more; None takes the usual one. Of no use to ``"ideal"``.
        padding: One of ``PADDINGS``; ``"ideal"`` is always circular.

    Raises:
        InputError: For unknown names, or no taps.

    Example:
        >>> LowPass()(torch.eye(3)[None, None], stride=(2, 1))[0, 0, :, 0]
        tensor([0.5000, 0.2500, 0.0000])
    """

    filter: str = "binomial"
    taps: int | None = None
    padding: str = "reflect"

    def __post_init__(self) -> None:
        if self.filter not in (*FILTERS, "ideal"):
            raise unknown("filter", self.filter, [*FILTERS, "ideal"])
        if self.padding not in PADDINGS:
            raise unknown("padding", self.padding, PADDINGS)
        if self.taps is not None and self.taps < 1:
            raise InputError(f"a filter of {self.taps} taps", todo="give 1 or more")

    def kernel(self, stride: int, *, even: bool = False) -> Kernel:
        """The weights along one axis: an odd number, so that nothing moves. One weight where the stride is 1.

        Args:
            stride: What follows.
            even: An even number, whose middle lies between two positions: two weights where the stride is 1.
        """
        if self.filter == "ideal":
            raise InputError("the ideal filter has no weights", todo="take kaiser")
        make, usual = FILTERS[self.filter]
        taps = usual if self.taps is None else self.taps
        return _kernel(_centred(np.ones(1) if stride == 1 or taps == 1 else make(taps, stride, even), even))

    def __call__(
        self, image: Float[Tensor, "image channel y x"], stride: Pair, *, subsample: bool = False
    ) -> Float[Tensor, "image channel row column"]:
        """The map without what a stride can't carry: of its size, or with ``subsample`` every stride-th position.

        Args:
            image: The map.
            stride: What follows, (y, x).
            subsample: Keep only every stride-th position, from the first on.
        """
        every = stride if subsample else (1, 1)
        if self.filter == "ideal":
            return ideal(image, stride)[:, :, :: every[0], :: every[1]]
        return blur(image, self.kernel(stride[0]), self.kernel(stride[1]), self.padding, every)


def box(taps: int) -> Kernel:
    """Equal weights."""
    return _kernel(np.full(taps, 1 / taps))


def triangle(taps: int) -> Kernel:
    """Weights that fall linearly from the middle: two boxes, one after the other.

    Example:
        >>> (triangle(5) * 9).tolist(), (triangle(4) * 6).tolist()
        ([1.0, 2.0, 3.0, 2.0, 1.0], [1.0, 2.0, 2.0, 1.0])
    """
    return _kernel(np.convolve(np.ones((taps + 1) // 2), np.ones(taps // 2 + 1)))


def binomial(taps: int) -> Kernel:
    """The weights of Pascal's triangle: ``taps − 1`` boxes of two, one after the other.

    Zhang, "Making convolutional networks shift-invariant again", ICML 2019, section 3.2.

    Example:
        >>> (binomial(5) * 16).tolist()
        [1.0, 4.0, 6.0, 4.0, 1.0]
    """
    return _kernel(_boxes(taps - 1, 2))


def gaussian(taps: int, sigma: float) -> Kernel:
    """A bell, sampled at each position and cut off.

    Args:
        taps: Its length.
        sigma: Its standard deviation, in positions.

    Example:
        >>> [round(weight, 4) for weight in gaussian(3, 1.0).tolist()]
        [0.2741, 0.4519, 0.2741]
    """
    return _kernel(np.exp(-0.5 * ((np.arange(taps) - (taps - 1) / 2) / sigma) ** 2))


def kaiser(taps: int, cutoff: float, attenuation_db: float = 40.0) -> Kernel:
    """A sinc under Kaiser's window.

    Args:
        taps: Its length.
        cutoff: At which frequency half of the amplitude is left, in cycles per position, up to 0.5.
        attenuation_db: How far down what lies above the transition is. More makes the transition wider.

    References:
        Kaiser, "Nonrecursive digital filter design using the I0-sinh window function", ISCAS 1974.
    """
    away = max(attenuation_db, 0.0)
    over = max(away - 21, 0.0)
    beta = 0.1102 * (away - 8.7) if away > 50 else 0.5842 * over**0.4 + 0.07886 * over
    place = np.arange(taps) - (taps - 1) / 2
    return _kernel(np.sinc(2 * cutoff * place) * np.kaiser(taps, beta))


def _kernel(weights: "np.ndarray | list[float]") -> Kernel:
    values = np.asarray(weights, dtype=np.float64)
    return torch.from_numpy(values / values.sum())


def _centred(weights: np.ndarray, even: bool) -> np.ndarray:
    """An odd number of weights, or an even one: one more by a mean of two, half a position back, where it is not."""
    return weights if len(weights) % 2 != even else np.convolve(weights, [0.5, 0.5])


def _boxes(count: int, taps: int) -> np.ndarray:
    weights = np.ones(1)
    for _ in range(count):
        weights = np.convolve(weights, np.full(taps, 1 / taps))
    return weights


def _odd(taps: int, stride: int) -> int:
    """The length at a stride of what has its next zeros on either side (taps + 1) / 2 positions away at stride 2."""
    return (((taps + 1) * stride + 1) // 2 - 1) | 1


FILTERS: Mapping[str, tuple[Callable[[int, int, bool], np.ndarray], int]] = {
    "box": (lambda taps, stride, even: np.ones(max(1, round(taps * stride / 2))), 2),
    "triangle": (lambda taps, stride, even: triangle(_odd(taps, stride)).numpy(), 3),
    "binomial": (lambda taps, stride, even: _boxes(taps - 1, stride), 3),
    "gaussian": (lambda taps, stride, even: gaussian(_odd(taps, stride) + even, stride / 2).numpy(), 7),
    "kaiser": (lambda taps, stride, even: kaiser(_odd(taps, stride) + even, 0.5 / stride).numpy(), 11),
}
"""By name: the weights at a stride, given (taps at stride 2, stride, whether an even number is wanted; others are made
so by a mean of two), and the usual taps."""


def blur(
    image: Float[Tensor, "image channel y x"],
    kernel_y: Float[Tensor, "tap_y"],
    kernel_x: Float[Tensor, "tap_x"],
    padding: str = "reflect",
    stride: Pair = (1, 1),
) -> Float[Tensor, "image channel row column"]:
    """Every channel filtered by itself along y and along x, of the same size and in the same place.

    An odd kernel's middle stands on the position that it gives. An even kernel has none: what it gives lies half a
    position further on, between position i and i + 1 for i; so the content moves back by half a position.

    Args:
        image: The map, of any size: also of less positions than the kernel has. Channels-last stays channels-last.
        kernel_y: Weights along y, of sum 1. A single one leaves that axis as it is. In any dtype and on any device.
        kernel_x: The same along x.
        padding: One of ``PADDINGS``. Constant maps stay constant with each.
        stride: Keep only every stride-th position, from the first on.

    Raises:
        InputError: If there is no such padding.
    """
    if padding not in PADDINGS:
        raise unknown("padding", padding, PADDINGS)
    filtered = image
    for axis, kernel, step in ((2, kernel_y, stride[0]), (3, kernel_x, stride[1])):
        if len(kernel) > 1:
            filtered = _along(filtered, axis, kernel.to(image), padding, step)
        elif step > 1:
            filtered = filtered[:, :, ::step] if axis == 2 else filtered[..., ::step]
    return _laid_out_like(image, filtered.to(image.dtype))


def ideal(image: Float[Tensor, "image channel y x"], stride: Pair) -> Float[Tensor, "image channel y x"]:
    """The map without its frequencies at or above 1 / (2 · stride) along y or x; it goes on in a circle.

    Every stride-th position of what is left says all of it, and their sum is that of all positions over the stride.

    Args:
        image: The map.
        stride: (y, x). Along an axis of stride 1 nothing is taken away.
    """
    rows, columns = image.shape[2:]
    wide = image if image.dtype == torch.float64 else image.float()
    spectrum = torch.fft.rfft2(wide)
    y = torch.arange(rows, device=image.device)
    x = torch.arange(columns // 2 + 1, device=image.device)
    y = torch.minimum(y, rows - y)
    low_y, low_x = (2 * at * step < size for at, step, size in ((y, stride[0], rows), (x, stride[1], columns)))
    low_y, low_x = low_y | (stride[0] == 1), low_x | (stride[1] == 1)
    kept = torch.fft.irfft2(spectrum * (low_y[:, None] & low_x), s=(rows, columns))
    return _laid_out_like(image, kept.to(image.dtype))


def _along(image: Tensor, axis: int, kernel: Tensor, padding: str, step: int) -> Tensor:
    """Filtered along one axis, every step-th position kept."""
    channels, taps = image.shape[1], len(kernel)
    down = axis == 2
    weight = kernel.view(1, 1, taps, 1) if down else kernel.view(1, 1, 1, taps)
    every = (step, 1) if down else (1, step)
    around = _padded(image, axis, ((taps - 1) // 2, taps // 2), padding)
    filtered = nn.functional.conv2d(around, weight.expand(channels, 1, -1, -1), stride=every, groups=channels)
    if padding != "zero-normalised":
        return filtered
    inside = torch.ones((1, 1, *(image.shape[2:] if down else (1, image.shape[3]))), dtype=kernel.dtype).to(image)
    inside = inside[..., :1] if down else inside
    inside = _padded(inside, axis, ((taps - 1) // 2, taps // 2), padding)
    return filtered / nn.functional.conv2d(inside, weight, stride=every)


def _padded(image: Tensor, axis: int, by: Pair, padding: str) -> Tensor:
    """With so many positions more before and after."""
    size = image.shape[axis]
    around = [0, 0, *by] if axis == 2 else [*by, 0, 0]
    if padding == "zero-normalised":
        return nn.functional.pad(image, around)
    if padding == "replicate" or (padding == "reflect" and max(by) < size):
        return nn.functional.pad(image, around, mode=padding)
    # round the circle, or to and fro in the mirrors, as often as a small map needs it
    place = torch.arange(-by[0], size + by[1], device=image.device)
    if padding == "circular":
        return image.index_select(axis, place % size)
    place = place % max(2 * (size - 1), 1)
    return image.index_select(axis, torch.minimum(place, (2 * (size - 1) - place).abs()))


def _laid_out_like(image: Tensor, answer: Tensor) -> Tensor:
    if image.is_contiguous(memory_format=torch.channels_last) and not image.is_contiguous():
        return answer.contiguous(memory_format=torch.channels_last)
    return answer
