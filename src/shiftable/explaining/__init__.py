"""Why a model's answer moves when the picture does, and where it may be cut."""

from shiftable.explaining.diagnosis import Diagnosis, Finding, Structure
from shiftable.explaining.explain import explain
from shiftable.explaining.risk import Risk, read_risk
from shiftable.explaining.tiles import tiles
from shiftable.explaining.tiling import Check, Forbidden, Plan, TileSize, Tiling

__all__ = [
    "Check",
    "Diagnosis",
    "Finding",
    "Forbidden",
    "Plan",
    "Risk",
    "Structure",
    "TileSize",
    "Tiling",
    "explain",
    "read_risk",
    "tiles",
]
