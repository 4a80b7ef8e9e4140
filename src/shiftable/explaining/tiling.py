"""What is known of a net's tiles: their sizes, overlaps and offsets, and what forbids them."""

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, TypeAlias

from shiftable.explaining.diagnosis import plain
from shiftable.explaining.tile_grid import Cut, Grid

Pair: TypeAlias = tuple[int, int]
"""(y, x)."""

HOLDS = {"float64": 1e-9, "float32": 1e-5}
"""Up to which difference, as a share of the map's largest value, tiles count as equal to the whole."""


@dataclass(frozen=True)
class Forbidden:
    """The first operation after which tiles change the answer.

    Args:
        name: The module's path in the net, "" for the net's own ``forward``.
        type: Its type, and what it is part of.
        why: What it does.
        ends: Whether no map follows it, as with a classifier's last pooling: up to it, the net can be tiled. If not,
            the net goes on with maps of which every position depends on the whole image: it can't be tiled.
        change: By how much its answer changes if it is given only a tile, as a share of its largest value; measured on
            noise. None where it takes one size only.
    """

    name: str
    type: str
    why: str
    ends: bool
    change: float | None = None


@dataclass(frozen=True)
class Check:
    """The whole map against the one put together from tiles; differences as shares of its largest value.

    Args:
        float64: The largest difference, calculated with 64 bits, on noise and on a scene of `data.shapes`.
        float32: The same with 32 bits, as the net is used. Rounding alone makes about 1e-6 of difference.
        image_px: What was cut, with 64 and with 32 bits.
        tile_px: Into what.
        off_grid: The difference if a tile begins ``off_grid_px`` after a multiple of the stride; None at stride 1.
        off_grid_px: See there.
        no_margin: The difference if tiles are put side by side without overlap.
    """

    float64: float
    float32: float
    image_px: tuple[Pair, Pair]
    tile_px: Pair
    off_grid: float | None
    off_grid_px: int
    no_margin: float | None

    @property
    def holds(self) -> bool:
        """Whether tiles gave what the whole gave."""
        return self.float64 <= HOLDS["float64"] and self.float32 <= HOLDS["float32"]


@dataclass(frozen=True)
class TileSize:
    """A size that works.

    Args:
        tile_px: Of the tile.
        advance_px: How far apart tiles begin, at most.
        work: How many times the pixels of a large image are calculated, on average. 1 would be without overlap.
    """

    tile_px: Pair
    advance_px: Pair
    work: float


@dataclass(frozen=True)
class Plan:
    """An image cut into tiles: every row of ``rows`` with every column of ``columns``.

    ``work`` is the tiles' pixels over the image's: 1.3 means that 30 % are calculated twice.
    """

    image_px: Pair
    tile_px: Pair
    rows: tuple[Cut, ...]
    columns: tuple[Cut, ...]

    @property
    def tiles(self) -> int:
        """How many tiles there are."""
        return len(self.rows) * len(self.columns)

    @property
    def work(self) -> float:
        """The tiles' pixels over the image's."""
        return sum(row.size_px * column.size_px for row in self.rows for column in self.columns) / prod(self.image_px)


@dataclass(frozen=True)
class Tiling:
    """How a net may be shown a large image in tiles. Pairs are (y, x), in px of the input.

    Args:
        spec: The net.
        part: The map that this is about: "the answer", or the module whose output it is.
        stride_px: The total stride: tiles must begin at its multiples.
        pitch_px: How far apart the map's positions are.
        receptive_field_px: How many pixels a position sees, at most. None where it was not measured.
        first_px: The first pixel that the first position sees: minus the padding of all layers together.
        overlap_px: How many pixels neighbouring tiles, multiples of the stride, must share at least.
        margin_px: What is not kept of a tile: ((top, bottom), (left, right)). An image's own edge has no margin.
        any_size: Whether the image may have any size. If not, it must be a multiple of the stride, (y, x).
        tile_sizes: Some that work, smallest first.
        forbidden_by: What comes after the part and can't be tiled; None if all can.
        check: What running it gave; None where there is nothing to tile.
        plan: For the image and the tile that were asked for.
        remarks: What else is to be known, a sentence each.
    """

    spec: str
    part: str
    stride_px: Pair
    pitch_px: tuple[float, float]
    receptive_field_px: Pair | None
    first_px: Pair | None
    overlap_px: Pair | None
    margin_px: tuple[tuple[float, float], tuple[float, float]] | None
    any_size: tuple[bool, bool]
    tile_sizes: tuple[TileSize, ...]
    forbidden_by: Forbidden | None
    check: Check | None
    plan: Plan | None = None
    remarks: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether an image can be cut at all: for the net's answer, or for all that comes before its last pooling."""
        return self.check is not None and self.check.holds

    def to_json(self) -> dict[str, Any]:
        """Plain numbers, lists and text."""
        found = plain(asdict(self))
        found["possible"] = self.possible
        if self.check:
            found["check"]["holds"] = self.check.holds
        if self.plan:
            found["plan"] |= {"tiles": self.plan.tiles, "work": self.plan.work}
        return found  # type: ignore[no-any-return]


def tile_sizes(grids: tuple[Grid, Grid], wanted: tuple[Pair, ...]) -> tuple[TileSize, ...]:
    """The sizes nearest to the wanted ones that work."""
    found = {(grids[0].tile_px(height), grids[1].tile_px(width)) for height, width in wanted}
    return tuple(tile_size(grids, tile) for tile in sorted(found))


def tile_size(grids: tuple[Grid, Grid], tile_px: Pair) -> TileSize:
    """How far apart tiles of a size begin, and what the overlap costs."""
    advance = (grids[0].advance_px(tile_px[0]), grids[1].advance_px(tile_px[1]))
    return TileSize(tile_px, advance, prod(tile_px) / prod(advance))
