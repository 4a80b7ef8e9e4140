"""Replacements for what subsamples, so that it aliases less or not at all. Needs torch.

=====================  ===============================================================================================
layer                  stands for
=====================  ===============================================================================================
`BlurPool2d`, 1d, 3d   average pooling, or the stride of a layer before it that was made dense
`MaxBlurPool2d`        max pooling: the maximum of every window, blurred, then subsampled
`BlurConv2d`           a strided convolution: of the blurred map, with the same weights
`AdaptivePolyphase2d`  a stride whose phase is the strongest one: exact under circular shifts
`LearnedPolyphase2d`   the same, the phase picked by a small net
`PolyphaseConv2d`      a strided convolution on a circle, the phase the strongest
`PolyphasePool2d`      a pooling likewise
`AnchoredConv2d`       a patch embedding whose patches are cut where the picture says
`SmoothActivation2d`   an activation, carried out on a finer grid
`ChannelAffine`        nothing: a gain and a shift per channel, after a layer that was replaced
=====================  ===============================================================================================

`antialiased` gives the layer that stands for a PyTorch layer, or for one of timm's with "same" padding
(`SameBlurConv2d`, `SameMaxBlurPool2d`, `SameBlurPool2d`). `LowPass` is the filter of them all.
"""

from shiftable.layers.anchoring import AnchoredConv2d
from shiftable.layers.blur_conv import BlurConv2d
from shiftable.layers.blur_pool import BlurPool1d, BlurPool2d, BlurPool3d
from shiftable.layers.channel_affine import ChannelAffine
from shiftable.layers.learned_polyphase import LearnedPolyphase2d
from shiftable.layers.low_pass import LowPass
from shiftable.layers.max_blur_pool import MaxBlurPool2d
from shiftable.layers.polyphase import AdaptivePolyphase2d
from shiftable.layers.polyphase_conv import PolyphaseConv2d
from shiftable.layers.polyphase_pool import PolyphasePool2d
from shiftable.layers.replacing import antialiased
from shiftable.layers.same_padding import SameBlurConv2d, SameBlurPool2d, SameMaxBlurPool2d
from shiftable.layers.smooth_activation import SmoothActivation2d

__all__ = [
    "AdaptivePolyphase2d",
    "AnchoredConv2d",
    "BlurConv2d",
    "BlurPool1d",
    "BlurPool2d",
    "BlurPool3d",
    "ChannelAffine",
    "LearnedPolyphase2d",
    "LowPass",
    "MaxBlurPool2d",
    "PolyphaseConv2d",
    "PolyphasePool2d",
    "SameBlurConv2d",
    "SameBlurPool2d",
    "SameMaxBlurPool2d",
    "SmoothActivation2d",
    "antialiased",
]
