"""Why a model's answer moves when the picture does, and where it may be cut."""

from shiftable.explaining.tiles import tiles
from shiftable.explaining.tiling import Check, Forbidden, Plan, TileSize, Tiling

__all__ = ["Check", "Forbidden", "Plan", "TileSize", "Tiling", "tiles"]
