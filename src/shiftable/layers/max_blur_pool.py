"""Max pooling that aliases less: the maximum of every window, at stride 1, blurred, then subsampled."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.filtering import in_parts, laid_out_like, per_axis, with_batch, without_gradient_on_cpu

MANY = 16
"""From how many channels on a map is pooled channels-last on a CPU, where PyTorch's maximum is vectorised, and back."""


class MaxBlurPool2d(nn.Module):
    """What ``torch.nn.MaxPool2d`` gives, of its size and in its place, without what the stride can't carry.

    The maximum of each window makes frequencies that the map did not have, so the filter comes after it (Zhang, ICML
    2019, section 3.3): as many windows as there are positions, then ``BlurPool2d``. Windows at the border are cut off,
    as in PyTorch. There is nothing in its state dict.

    Args:
        kernel_size: The window, one number or (y, x).
        stride: Of how many windows one is kept; None: the window's size.
        padding: As in ``torch.nn.MaxPool2d``.
        dilation: Likewise.
        ceil_mode: Likewise.
        filter: One of ``low_pass.FILTERS``, or ``"ideal"``.
        taps: The filter's length at stride 2, see ``LowPass``. One tap is plain max pooling.
        padding_mode: One of ``low_pass.PADDINGS``.

    Shape:
        ``(image, channel, y, x)`` or ``(channel, y, x)``.

    Raises:
        InputError: For unknown names or numbers that are too small.

    Example:
        >>> MaxBlurPool2d(2)(torch.tensor([[[[0.0, 1, 0, 1], [0, 1, 0, 1]]]]))
        tensor([[[[1., 1.]]]])
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        ceil_mode: bool = False,
        *,
        filter: str = "binomial",
        taps: int | None = None,
        padding_mode: str = "reflect",
    ) -> None:
        super().__init__()
        self.kernel_size = per_axis(kernel_size, 2, "kernel size", 1)
        self.padding = per_axis(padding, 2, "padding", 0)
        self.dilation = per_axis(dilation, 2, "dilation", 1)
        self.ceil_mode = ceil_mode
        self.blur = BlurPool2d(
            self.kernel_size if stride is None else stride, filter=filter, taps=taps, padding_mode=padding_mode
        )

    def forward(self, image: Tensor) -> Tensor:
        """The map's maxima blurred, every stride-th kept.

        Args:
            image: (image, channel, y, x), or without the first.
        """
        image, single = with_batch(image, 2)
        if without_gradient_on_cpu(image):
            answer = in_parts(lambda part: self.blur(self._raised(part)), image)
        else:
            answer = self.blur(self._dense(image))
        answer = laid_out_like(image, answer)
        return answer[0] if single else answer

    def _dense(self, image: Tensor) -> Tensor:
        """The maxima at stride 1, with a gradient."""
        more = self._more()
        if any(more):
            image = functional.pad(image, (0, more[1], 0, more[0]), value=-torch.inf)
        if image.device.type == "cpu" and image.shape[1] >= MANY and not torch.compiler.is_compiling():
            image = image.contiguous(memory_format=torch.channels_last)
        return functional.max_pool2d(image, self.kernel_size, 1, self.padding, self.dilation)

    def _raised(self, image: Tensor) -> Tensor:
        """The maxima at stride 1, axis by axis: each tap raises what is there to what it sees."""
        for axis, (taps, apart, padding, more) in enumerate(
            zip(self.kernel_size, self.dilation, self.padding, self._more(), strict=True), start=2
        ):
            if taps == 1:
                continue
            size = image.shape[axis]
            count = size + 2 * padding + more - (taps - 1) * apart
            # of the windows, those whose tap lies inside: (first, one after the last)
            seen = [(max(padding - tap * apart, 0), min(size + padding - tap * apart, count)) for tap in range(taps)]
            everywhere = [tap for tap in range(taps) if seen[tap] == (0, count)][:2]
            views = [image.narrow(axis, tap * apart - padding, count) for tap in everywhere]
            if len(views) == 2:
                raised = torch.maximum(*views)
            elif views:
                raised = views[0].clone()
            else:
                raised = torch.full_like(image.narrow(axis, 0, 1), -torch.inf).repeat_interleave(count, axis)
            for tap, (first, last) in enumerate(seen):
                if tap not in everywhere and first < last:
                    at = first + tap * apart - padding
                    raised.narrow(axis, first, last - first).clamp_min_(image.narrow(axis, at, last - first))
            image = raised
        return image

    def _more(self) -> tuple[int, ...]:
        """How many windows more begin along y and x: up to where the last may, inside the map or in what is before."""
        reach = ((each - 1) * apart for each, apart in zip(self.kernel_size, self.dilation, strict=True))
        return tuple(
            min(step - 1, last - padding) if self.ceil_mode else 0
            for step, last, padding in zip(self.blur.stride, reach, self.padding, strict=True)
        )

    def extra_repr(self) -> str:
        """What stands between the brackets of its name."""
        return (
            f"kernel_size={self.kernel_size}, padding={self.padding}, dilation={self.dilation}, "
            f"ceil_mode={self.ceil_mode}"
        )
