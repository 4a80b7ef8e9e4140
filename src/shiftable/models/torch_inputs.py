"""From views to the tensor that a PyTorch net is fed: on its device, in its layout, normalised."""

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from shiftable.models.preprocessing import Preprocessing


def scale_and_offset(preprocessing: Preprocessing, device: str) -> tuple[Tensor, Tensor]:
    """What a pixel of 0 to 255 is multiplied by, and what is added."""
    mean, std = (
        torch.tensor(values, device=device).view(1, -1, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    return 1 / (255 * std), -mean / std


def as_tensor(
    views: UInt8[np.ndarray, "view height width 3"],
    preprocessing: Preprocessing,
    normalising: tuple[Tensor, Tensor],
    layout: str,
) -> Tensor:
    """What a net is fed for these views.

    Args:
        views: RGB, 0 to 255.
        preprocessing: Its colour order, layout and dtype.
        normalising: `scale_and_offset`, on the net's device.
        layout: Of the memory: ``"contiguous"``, or ``"channels_last"``.
    """
    plain = np.require(views, requirements=["C", "W"])  # torch takes no read-only or mirrored array; else no copy
    scale, offset = normalising
    pixels = torch.from_numpy(plain).to(scale.device, non_blocking=True)
    pixels = pixels.permute(0, 3, 1, 2)  # of NHWC memory: this is channels_last, no copy
    if preprocessing.color_order == "BGR":
        pixels = pixels.flip(1)
    if preprocessing.dtype == "float32":
        numbers = pixels.float()
        # in place: a second array of this size, taken and freed for every batch, slows the net itself by a fifth
        pixels = torch.addcmul(offset, numbers, scale, out=numbers)
    elif preprocessing.dtype == "int8":
        pixels = (pixels.short() - 128).to(torch.int8)
    if layout == "contiguous":
        pixels = pixels.contiguous()
    return pixels.permute(0, 2, 3, 1) if preprocessing.layout == "NHWC" else pixels
