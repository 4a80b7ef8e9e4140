"""Holding a model's answer still: with or without training, within a budget, and proved."""

from shiftable.repairing.anchoring import with_anchored_phase
from shiftable.repairing.candidates import Candidate
from shiftable.repairing.crop_selection import with_center_crop, with_stable_crop
from shiftable.repairing.guarantee import SafeShifts, safe_shifts
from shiftable.repairing.phase_average import PhaseAveraged, with_phase_average
from shiftable.repairing.plan import Phases, Plan, repaired
from shiftable.repairing.repair import Repair, repair
from shiftable.repairing.stable_crop import StableCrop, read_crop, stable_crop_of

__all__ = [
    "Candidate",
    "PhaseAveraged",
    "Phases",
    "Plan",
    "Repair",
    "SafeShifts",
    "StableCrop",
    "read_crop",
    "repair",
    "repaired",
    "safe_shifts",
    "stable_crop_of",
    "with_anchored_phase",
    "with_center_crop",
    "with_phase_average",
    "with_stable_crop",
]
