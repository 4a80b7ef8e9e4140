"""Weighted windows over maps of one, two or three axes, every channel by itself: what the layers carry out.

A window of L positions with the middle of a window of K positions and padding p has padding p + (L − K) / 2: so a
filter of any length keeps the size and the phase of the pooling that it stands for, as long as L and K are both odd
or both even. Negative padding leaves positions out.
"""

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from shiftable.errors import InputError

Margin = tuple[int, int]
"""Positions added before and after an axis; negative ones are left out."""

ONE_PASS = 36
"""Up to how many weights a window is carried out as it is, not axis by axis: each pass more reads the map again."""

PART = 2**20
"""How many values are worked on at a time on a CPU: what lies between two steps then stays in its cache, and needs no
fresh memory, which takes longer to get than to fill."""

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)


def filtered(
    image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int], margins: Sequence[Margin], padding_mode: str
) -> Tensor:
    """Every channel's weighted windows, every stride-th of them.

    Args:
        image: (image, channel, one to three axes); channels-last stays so.
        kernels: The weights along each axis, in the image's dtype.
        stride: Of each axis.
        margins: Of each axis: the first window begins at ``-margin[0]``, the last ends within ``margin[1]`` after.
        padding_mode: One of ``low_pass.PADDINGS``.
    """
    if all(len(kernel) == 1 for kernel in kernels):  # no filter
        every = [slice(None, None, step) for step in stride]
        return (
            padded(image, margins, padding_mode)[:, :, *every] if max(stride) > 1 or any(map(any, margins)) else image
        )
    if _slow_in_16_bits(image):
        with torch.autocast("cpu", enabled=False):
            wide = [kernel.float() for kernel in kernels]
            return filtered(image.float(), wide, stride, margins, padding_mode).to(image.dtype)
    if without_gradient_on_cpu(image):
        if padding_mode == "zero-normalised" and channels_last(image):  # nothing lies between: one pass, no copy
            return _without_gradient(image, kernels, stride, margins, padding_mode)
        return in_parts(lambda part: _without_gradient(part, kernels, stride, margins, padding_mode), image)
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        answer = _summed(padded(image, margins, padding_mode), kernels, stride)
    else:
        answer = _convolved(image, kernels, stride, margins, padding_mode)
    if padding_mode != "zero-normalised" or not any(max(margin) > 0 for margin in margins):
        return answer
    inside = torch.ones((), dtype=torch.float32, device=image.device)
    for size, kernel, step, margin in zip(image.shape[2:], kernels, stride, margins, strict=True):
        inside = inside[..., None] * _inside(size, kernel, step, margin)
    return answer.mul_((1 / inside).to(answer.dtype))


def in_parts(run: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """What is done to each image by itself, done to a few at a time where the batch is large.

    Args:
        run: From (image, channel, axes …) to as many images.
        image: What it is given; without a gradient, on a CPU.
    """
    count = max(PART // max(image[:1].numel(), 1), 1)
    if image.numel() <= 2 * PART or len(image) <= count:
        return run(image)
    return torch.cat([run(part) for part in torch.split(image, count)])


def without_gradient_on_cpu(*tensors: Tensor) -> bool:
    """Whether several small passes are cheaper than one over all of the map, and nobody asks for a graph of them.

    Args:
        tensors: The map, and what else may want a gradient.
    """
    if torch.compiler.is_compiling() or tensors[0].device.type != "cpu":
        return False
    return not (torch.is_grad_enabled() and any(each.requires_grad for each in tensors))


def _slow_in_16_bits(image: Tensor) -> bool:
    """Whether 32 bits are faster: a CPU takes a group per channel in 16 bits one number at a time, if not forwards."""
    if torch.compiler.is_compiling() or image.device.type != "cpu":
        return False
    if image.requires_grad and torch.is_grad_enabled():
        return image.dtype in (torch.bfloat16, torch.float16) or torch.is_autocast_enabled("cpu")
    return image.dtype == torch.float16


def _convolved(
    image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int], margins: Sequence[Margin], padding_mode: str
) -> Tensor:
    """By one convolution of a group per channel, or one for each axis."""
    if prod(len(kernel) for kernel in kernels) > ONE_PASS:
        one = torch.ones(1, dtype=image.dtype, device=image.device)
        for axis, kernel in enumerate(kernels):
            image = _convolved_at_once(
                image,
                [kernel if each == axis else one for each in range(len(kernels))],
                [stride[axis] if each == axis else 1 for each in range(len(kernels))],
                [margins[axis] if each == axis else (0, 0) for each in range(len(kernels))],
                padding_mode,
            )
        return image
    return _convolved_at_once(image, kernels, stride, margins, padding_mode)


def _convolved_at_once(
    image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int], margins: Sequence[Margin], padding_mode: str
) -> Tensor:
    weight = kernels[0]
    for kernel in kernels[1:]:
        weight = weight[..., None] * kernel
    weight = weight.expand(image.shape[1], 1, *weight.shape).contiguous()
    own: list[int] = [0] * len(kernels)
    if padding_mode == "zero-normalised" and all(before == after >= 0 for before, after in margins):
        own = [before for before, _ in margins]  # no copy of the map
    else:
        image = padded(image, margins, padding_mode)
    convolve = _CONVOLUTIONS[len(kernels) - 1]
    return convolve(image, weight, stride=list(stride), padding=own, groups=image.shape[1])


def _without_gradient(
    image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int], margins: Sequence[Margin], padding_mode: str
) -> Tensor:
    if _is_mean_of_rows(image, kernels, stride):
        answer = _averaged(padded(image, margins, padding_mode), kernels)
    else:
        answer = _convolved(image, kernels, stride, margins, padding_mode)
    if padding_mode == "zero-normalised":
        for axis, (kernel, step, (before, _)) in enumerate(zip(kernels, stride, margins, strict=True)):
            size, count = image.shape[2 + axis], answer.shape[2 + axis]
            first = min(max(-(-before // step), 0), count)  # how many windows begin before the map
            last = max((size + before - len(kernel)) // step + 1, first)  # the first that ends after it
            weights = kernel.tolist()
            for window in (*range(first), *range(last, count)):
                begin = window * step - before
                inside = sum(weights[max(-begin, 0) : size - begin]) or 1.0  # none: it is cut off by who asked
                answer.select(2 + axis, window).mul_(1 / inside)
    return answer


def _is_mean_of_rows(image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int]) -> bool:
    """Whether `_averaged` can do it, and faster than a convolution, which orders channels anew."""
    return (
        max(stride) == 1
        and not channels_last(image)
        and image.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and all(len(kernel) <= 3 and min(kernel.tolist()) > 0 for kernel in kernels)
    )


def _averaged(image: Tensor, kernels: Sequence[Tensor]) -> Tensor:
    """Positive weights of sum 1, at stride 1: from one tap to the next, what is there mixed with what comes."""
    for axis, kernel in enumerate(kernels):
        count = image.shape[2 + axis] - len(kernel) + 1
        mean, total = image.narrow(2 + axis, 0, count), 0.0
        for tap, weight in enumerate(kernel.tolist()):
            total += weight
            if tap:
                mean = torch.lerp(mean, image.narrow(2 + axis, tap, count), weight / total)
        image = mean
    return image


def _summed(image: Tensor, kernels: Sequence[Tensor], stride: Sequence[int]) -> Tensor:
    """By sums of slices, axis by axis: a compiler makes one pass over the map of it."""
    for axis, (kernel, step) in enumerate(zip(kernels, stride, strict=True)):
        taps = len(kernel)
        count = (image.shape[2 + axis] - taps) // step + 1
        total = None
        for tap in range(taps):
            place = [slice(None)] * image.ndim
            place[2 + axis] = slice(tap, tap + (count - 1) * step + 1, step)
            part = image[tuple(place)] * kernel[tap]
            total = part if total is None else total + part
        assert total is not None
        image = total
    return image


def _inside(size: int, kernel: Tensor, step: int, margin: Margin) -> Tensor:
    """The sum of the weights that lie inside an axis, for every window; in single precision at least."""
    ones = torch.ones(1, 1, size, dtype=torch.float64 if kernel.dtype == torch.float64 else torch.float32)
    around = functional.pad(ones.to(kernel.device), margin)
    return _summed(around, [kernel.to(around.dtype)], [step])[0, 0]  # a convolution takes longer to begin


def padded(image: Tensor, margins: Sequence[Margin], mode: str) -> Tensor:
    """With so many positions more around each axis, or fewer.

    Args:
        image: (image, channel, one to three axes).
        margins: Of each axis.
        mode: One of ``low_pass.PADDINGS``.
    """
    if not any(before or after for before, after in margins):
        return image
    if mode == "zero-normalised":
        return functional.pad(image, _flat(margins))
    more = [(max(before, 0), max(after, 0)) for before, after in margins]
    # the reach of "reflect" first: its question is answered once and for all where sizes are symbols
    if mode == "replicate" or all(max(by) < size for by, size in zip(more, image.shape[2:], strict=True)):
        around = functional.pad(image, _flat(more), mode=mode) if any(map(any, more)) else image
    else:
        around = image
        for axis, by in enumerate(more):
            around = _wrapped(around, 2 + axis, by, mode)
    for axis, (before, after) in enumerate(margins):
        if min(before, after) < 0:
            start = max(-before, 0)
            around = around.narrow(2 + axis, start, around.shape[2 + axis] - start - max(-after, 0))
    return around


def _wrapped(image: Tensor, axis: int, by: Margin, mode: str) -> Tensor:
    """Round the circle, or to and fro in the mirrors, as often as a small map needs it."""
    size = image.shape[axis]
    return image.index_select(axis, _shown(torch.arange(-by[0], size + by[1], device=image.device), size, mode))


def _shown(place: Tensor, size: int, mode: str) -> Tensor:
    """Which position of the map is seen at a place that may lie beyond its edge."""
    if mode == "circular":
        return modulo(place, size)
    if mode == "replicate":
        return place.clamp(0, size - 1)
    place = modulo(place, max(2 * (size - 1), 1))
    return torch.minimum(place, (2 * (size - 1) - place).abs())


def _flat(margins: Sequence[Margin]) -> list[int]:
    return [by for margin in reversed(margins) for by in margin]


def fourier_weights(size: int, places: Tensor, per: int, highest: int) -> Tensor:
    """What interpolates a periodic axis from its positions, with none but its lowest frequencies: Dirichlet's kernel.

    Args:
        size: Of the axis.
        places: (row), whole numbers; so many make a position:
        per: positions are at its multiples.
        highest: The highest frequency that is kept, in cycles per axis.

    Returns:
        (row, position); each row's sum is 1.
    """
    away = modulo(places[:, None] - per * torch.arange(size, device=places.device), per * size)
    # angles are whole numbers of parts of the circle, taken round it as such, so that they are exact
    odd, half_circle = 2 * highest + 1, per * size
    above = torch.sin(modulo(odd * away, 2 * half_circle).float() * (torch.pi / half_circle))
    below = torch.sin(away.float() * (torch.pi / half_circle))
    return torch.where(away == 0, odd / size, above / (size * torch.where(away == 0, 1, below)))


def modulo(places: Tensor, size: int) -> Tensor:
    """What is left after whole rounds.

    Args:
        places: Whole numbers.
        size: Of a round. Made a tensor of, as ONNX's exporter can't divide by a symbol.
    """
    return places % torch.full((1,), size, device=places.device)


def laid_out_like(image: Tensor, answer: Tensor) -> Tensor:
    """The answer channels-last if the map is, else contiguous.

    Args:
        image: The map, of any number of axes.
        answer: Of as many.
    """
    if image.ndim == 4 and channels_last(image):
        return answer.contiguous(memory_format=torch.channels_last)
    return answer.contiguous() if image.is_contiguous() else answer


def channels_last(image: Tensor) -> bool:
    """Whether channels are next to each other; asked in a way that a ``vmap`` understands.

    Args:
        image: The map.
    """
    return image.stride(1) == 1 and image.stride(-1) > 1


def mixed(image: Tensor, weights: Tensor, axis: int) -> Tensor:
    """Along one axis, each row of weights' sum.

    Args:
        image: The map.
        weights: (row, position).
        axis: Which.
    """
    return (image.movedim(axis, -1) @ weights.to(image.dtype).T).movedim(-1, axis)


def per_axis(value: int | Sequence[int], axes: int, name: str, least: int) -> tuple[int, ...]:
    """One whole number for every axis.

    Args:
        value: One for all, or one each.
        axes: How many axes there are.
        name: What it is, for the error.
        least: The smallest that makes sense.

    Raises:
        InputError: If there are too many, or one is too small.
    """
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes or min(values) < least:
        raise InputError(f"{name} {value}", todo=f"give a whole number of {least} or more, or {axes} of them")
    return values


def with_batch(image: Tensor, axes: int) -> tuple[Tensor, bool]:
    """(image, channel, axes …), and whether the first had to be made.

    Args:
        image: (channel, axes …) or (image, channel, axes …).
        axes: How many.

    Raises:
        InputError: If it is neither.
    """
    if image.ndim not in (axes + 1, axes + 2):
        raise InputError(f"a map of shape {tuple(image.shape)}", todo=f"give (image, channel) and {axes} axes")
    return (image, False) if image.ndim == axes + 2 else (image[None], True)
