"""Replacements for what subsamples, so that it aliases less or not at all. Needs torch.

=====================  ===============================================================================================
layer                  stands for
=====================  ===============================================================================================
`BlurPool2d`, 1d, 3d   average pooling, or the stride of a layer before it that was made dense
`MaxBlurPool2d`        max pooling: the maximum of every window, blurred, then subsampled
`BlurConv2d`           a strided convolution: of the blurred map, with the same weights
`AdaptivePolyphase2d`  a stride whose phase is the strongest one: exact under circular shifts
`LearnedPolyphase2d`   the same, the phase picked by a small net
`AnchoredConv2d`       a patch embedding whose patches are cut where the picture says
`SmoothActivation2d`   an activation, carried out on a finer grid
=====================  ===============================================================================================

`antialiased` gives the layer that stands for a PyTorch layer. `LowPass` is the filter of them all.
"""

from shiftable.layers.anchoring import AnchoredConv2d
from shiftable.layers.blur_conv import BlurConv2d
from shiftable.layers.blur_pool import BlurPool1d, BlurPool2d, BlurPool3d
from shiftable.layers.learned_polyphase import LearnedPolyphase2d
from shiftable.layers.low_pass import LowPass
from shiftable.layers.max_blur_pool import MaxBlurPool2d
from shiftable.layers.polyphase import AdaptivePolyphase2d
from shiftable.layers.replacing import antialiased
from shiftable.layers.smooth_activation import SmoothActivation2d

__all__ = [
    "AdaptivePolyphase2d",
    "AnchoredConv2d",
    "BlurConv2d",
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "LearnedPolyphase2d",
    "LowPass",
    "MaxBlurPool2d",
    "SmoothActivation2d",
    "antialiased",
]
