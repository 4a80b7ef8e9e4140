"""Blur, then subsample: in the place of average pooling, of a slice, or after a layer whose stride was taken away.

Zhang, "Making convolutional networks shift-invariant again", ICML 2019, section 3.2; any filter, stride and border.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.layers.filtering import filtered, fourier_weights, laid_out_like, mixed, modulo, per_axis, with_batch
from shiftable.layers.low_pass import LowPass


class _BlurPool(nn.Module):
    """Of any number of axes."""

    axes: ClassVar[int]

    def __init__(
        self,
        stride: int | Sequence[int] = 2,
        *,
        kernel_size: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        filter: str = "binomial",
        taps: int | None = None,
        padding_mode: str = "reflect",
        scaled_to: int | Sequence[int] | None = None,
        channels: int | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.stride = per_axis(stride, self.axes, "stride", 1)
        self.kernel_size = per_axis(kernel_size, self.axes, "kernel size", 1)
        self.padding = per_axis(padding, self.axes, "padding", 0)
        self.ceil_mode = ceil_mode
        self.scaled_to = self.stride if scaled_to is None else per_axis(scaled_to, self.axes, "scaled to", 1)
        self.low_pass = LowPass(filter, taps, padding_mode)
        if filter != "ideal":
            for axis, (step, replaced) in enumerate(zip(self.scaled_to, self.kernel_size, strict=True)):
                weights = self.low_pass.kernel(step, even=replaced % 2 == 0)
                weights = weights.to(device=device, dtype=dtype or torch.get_default_dtype())
                self.register_buffer(f"kernel_{axis}", weights, persistent=False)

    @property
    def kernels(self) -> tuple[Tensor, ...]:
        """The weights along each axis; none for the ideal filter."""
        return tuple(getattr(self, f"kernel_{axis}") for axis in range(self.axes) if self.low_pass.filter != "ideal")

    def forward(self, image: Tensor) -> Tensor:
        """The map blurred, every stride-th position kept.

        Args:
            image: (image, channel, axes …), or without the first.
        """
        image, single = with_batch(image, self.axes)
        for size, window, margin in zip(image.shape[2:], self.kernel_size, self.padding, strict=True):
            if not torch.compiler.is_compiling() and size + 2 * margin < window and not self.ceil_mode:
                raise InputError(f"a map of shape {tuple(image.shape)}", todo=f"give {window - 2 * margin} or more")
        counts = [self._count(size, axis) for axis, size in enumerate(image.shape[2:])] if self.ceil_mode else None
        pooled = self._ideal(image) if self.low_pass.filter == "ideal" else self._filtered(image)
        for axis, count in enumerate(counts or ()):
            pooled = pooled.narrow(2 + axis, 0, count)
        pooled = laid_out_like(image, pooled)
        return pooled[0] if single else pooled

    def _filtered(self, image: Tensor) -> Tensor:
        kernels = [kernel.to(image.dtype) for kernel in self.kernels]
        margins = []
        for kernel, window, padding, step in zip(kernels, self.kernel_size, self.padding, self.stride, strict=True):
            margin = padding + (len(kernel) - window) // 2
            margins.append((margin, margin + (step - 1 if self.ceil_mode else 0)))
        return filtered(image, kernels, self.stride, margins, self.low_pass.padding)

    def _ideal(self, image: Tensor) -> Tensor:
        """Fourier: it goes on in a circle, and places between positions are interpolated."""
        for axis, (window, padding, step) in enumerate(zip(self.kernel_size, self.padding, self.stride, strict=True)):
            size, scale = image.shape[2 + axis], self.scaled_to[axis]
            place = window - 1 - 2 * padding + 2 * step * torch.arange(self._count(size, axis), device=image.device)
            if scale == 1 and window % 2:  # nothing to take away, and nothing between positions
                image = image.index_select(2 + axis, modulo(place // 2, size))
            else:
                image = mixed(image, fourier_weights(size, place, 2, (size - 1) // (2 * scale)), 2 + axis)
        return image

    def _count(self, size: int, axis: int) -> int:
        """How many windows there are, by the rule of PyTorch's poolings."""
        window, padding, step = self.kernel_size[axis], self.padding[axis], self.stride[axis]
        room = size + 2 * padding - window
        if not self.ceil_mode:
            return room // step + 1
        # the last window begins inside the map, or in the padding before it
        counts = (room + step - 1) // step + 1, (size + padding - 1) // step + 1
        return torch.sym_min(*counts)  # type: ignore[no-any-return, no-untyped-call]

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        parts = [f"stride={self.stride}"]
        if set(self.kernel_size) != {1} or set(self.padding) != {0}:
            parts.append(f"kernel_size={self.kernel_size}, padding={self.padding}")
        if self.ceil_mode:
            parts.append("ceil_mode=True")
        if self.scaled_to != self.stride:
            parts.append(f"scaled_to={self.scaled_to}")
        parts.append(f"filter={self.low_pass.filter!r}")
        if self.low_pass.taps is not None:
            parts.append(f"taps={self.low_pass.taps}")
        return ", ".join([*parts, f"padding_mode={self.low_pass.padding!r}"])


class BlurPool2d(_BlurPool):
    """Low-pass filter a map, then keep every stride-th position: of the size and in the place of what it stands for.

    Alone it stands for ``[..., ::stride, ::stride]``, or for the stride of a layer before it that was made dense, of
    odd kernel and "same" padding. With ``kernel_size``, ``padding`` and ``ceil_mode`` it stands for a pooling or a
    convolution of these: its windows lie around the same middles, and there are as many. Where a middle lies between
    two positions (an even kernel), the filter has an even number of taps, else an odd one, whatever was asked for.

    There is nothing in its state dict. The number of channels is whatever comes.

    Args:
        stride: Of how many positions one is kept; one number, or (y, x).
        kernel_size: Of what it stands for.
        padding: Of what it stands for. What is seen there says ``padding_mode``.
        ceil_mode: As in ``torch.nn.AvgPool2d``.
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``, which goes on in a circle.
        taps: The filter's length at stride 2, see ``LowPass``.
        padding_mode: One of ``low_pass.PADDINGS``. Constant maps stay constant with each.
        scaled_to: The stride that the filter is made for; None: its own.
        channels: Of no use; timm gives it.
        device: Where the weights are.
        dtype: Of the weights; they follow the map's.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``.

    Raises:
        InputError: For unknown names, strides below 1, or maps smaller than what it stands for.

    Example:
        >>> BlurPool2d(2)(torch.ones(1, 8, 7, 5)).shape
        torch.Size([1, 8, 4, 3])
        >>> BlurPool2d((2, 1), kernel_size=(2, 1), filter="box")(torch.tensor([[[[1.0], [3], [5], [6]]]]))[0, 0, :, 0]
        tensor([2.0000, 5.5000])
    """

    axes = 2


class BlurPool1d(_BlurPool):
    """`BlurPool2d` of ``(image, channel, x)``."""

    axes = 1


class BlurPool3d(_BlurPool):
    """`BlurPool2d` of ``(image, channel, z, y, x)``."""

    axes = 3
