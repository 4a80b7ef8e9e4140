"""Holding a model's answer still: without training first."""

from shiftable.repairing.crop_selection import with_center_crop, with_stable_crop
from shiftable.repairing.guarantee import SafeShifts, safe_shifts
from shiftable.repairing.stable_crop import StableCrop, read_crop, stable_crop_of

__all__ = [
    "SafeShifts",
    "StableCrop",
    "read_crop",
    "safe_shifts",
    "stable_crop_of",
    "with_center_crop",
    "with_stable_crop",
]
