"""Where tiles may be cut: arithmetic on the positions of a map and on the pixels that each of them sees."""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor

from shiftable.errors import InputError

AXES = ("high", "wide")
"""Axis 0 is y, axis 1 is x."""


@dataclass(frozen=True)
class Grid:
    """What the positions of a map see, along one axis.

    Position ``o`` sees the pixels ``first_px[o % n] + (o // n) * stride_px`` to
    ``last_px[o % n] + (o // n) * stride_px``, ``n`` being the number of positions per stride.

    Args:
        stride_px: The total stride: moving the picture by so much moves the map by whole positions, exactly.
        first_px: The first pixel seen by each of the positions of one stride; below 0 is outside the picture.
        last_px: The last pixel seen by each.
        any_size: Whether the grid lies alike in pictures of any size. If not, sizes must be multiples of the stride, as
            with TensorFlow's "same" padding.

    Example:
        >>> two_strided_3x3 = Grid(stride_px=4, first_px=(-3,), last_px=(3,), any_size=True)
        >>> two_strided_3x3.receptive_field_px, two_strided_3x3.overlap_px
        (7, 4)
    """

    stride_px: int
    first_px: tuple[int, ...]
    last_px: tuple[int, ...]
    any_size: bool

    @property
    def positions(self) -> int:
        """Positions of the map per stride."""
        return len(self.first_px)

    @property
    def pitch_px(self) -> Fraction:
        """How many pixels apart the map's positions are."""
        return Fraction(self.stride_px, self.positions)

    @property
    def receptive_field_px(self) -> int:
        """How many pixels a position sees, at most."""
        return max(last - first + 1 for first, last in zip(self.first_px, self.last_px, strict=True))

    @property
    def begin(self) -> int:
        """The first position of a tile from which on none sees anything above (left of) the tile."""
        strides = [ceil(Fraction(-first, self.stride_px)) - 1 for first in self.first_px]
        return max(0, max(place + self.positions * outside for place, outside in enumerate(strides)) + 1)

    def end(self, tile_px: int) -> int:
        """One more than the last position of a tile up to which none sees anything below (right of) the tile."""
        strides = [floor(Fraction(tile_px - 1 - last, self.stride_px)) + 1 for last in self.last_px]
        return min(place + self.positions * outside for place, outside in enumerate(strides))

    def advance_px(self, tile_px: int) -> int:
        """How far the next tile may begin after this one: a multiple of the stride, 0 or less if they are too small."""
        return self.stride_px * ((self.end(tile_px) - self.begin) // self.positions)

    @property
    def overlap_px(self) -> int:
        """How many pixels two neighbouring tiles, multiples of the stride, must share."""
        large = self.stride_px * (4 + ceil(Fraction(self.receptive_field_px, self.stride_px)))
        return large - self.advance_px(large)

    @property
    def margin_px(self) -> tuple[float, float]:
        """What is not kept of a tile, a multiple of the stride, at its start and at its end, in px of the picture."""
        large = self.stride_px * (4 + ceil(Fraction(self.receptive_field_px, self.stride_px)))
        return float(self.begin * self.pitch_px), float(large - self.end(large) * self.pitch_px)

    def tile_px(self, wanted_px: int) -> int:
        """The tile size nearest to a wanted one: a multiple of the stride, larger than the overlap."""
        nearest = self.stride_px * floor(Fraction(wanted_px, self.stride_px) + Fraction(1, 2))
        return max(nearest, self.overlap_px + self.stride_px)


@dataclass(frozen=True)
class Cut:
    """One tile along one axis: the pixels from ``offset_px``, ``size_px`` of them, and which of its positions to keep.

    ``keep`` are (from, to) positions of the tile's own map, ``to`` not included, None: to its end; ``at`` is where the
    first of them belongs in the whole map.
    """

    offset_px: int
    size_px: int
    keep: tuple[int, int | None]
    at: int


def cuts(grid: Grid, image_px: int, tile_px: int, axis: int = 0) -> tuple[Cut, ...]:
    """Cut an axis of an image into tiles of which the kept parts fill its map once, without a gap.

    Tiles begin at multiples of the stride. The last one ends with the image, whose border is its own.

    Raises:
        InputError: If tiles are too small, or the image's size puts the grid elsewhere than the tiles' do.
    """
    too_small = grid.overlap_px + grid.stride_px
    advance = grid.advance_px(tile_px)
    if advance < grid.stride_px:
        raise InputError(
            f"tiles {tile_px} px {AXES[axis]} are too small: neighbours must share {grid.overlap_px} px and begin "
            f"a multiple of {grid.stride_px} px apart",
            todo=f"take {too_small} px or more",
        )
    if not grid.any_size and (image_px % grid.stride_px or tile_px % grid.stride_px):
        what, size = ("image", image_px) if image_px % grid.stride_px else ("tile", tile_px)
        more = grid.stride_px * ceil(size / grid.stride_px)
        raise InputError(
            f"{what} of {size} px ({AXES[axis]}): this net's grid depends on the size, which must be a multiple of "
            f"{grid.stride_px} px",
            todo=f"pad it to {more} px",
        )
    starts = [0]
    while starts[-1] + tile_px < image_px:
        last = grid.stride_px * ceil(Fraction(image_px - tile_px, grid.stride_px))
        starts.append(min(starts[-1] + advance, last))
    found: list[Cut] = []
    covered = 0
    for start in starts:
        shift = start // grid.stride_px * grid.positions
        ends = start == starts[-1]
        keep = (covered - shift, None if ends else grid.end(tile_px))
        found.append(Cut(start, min(tile_px, image_px - start), keep, covered))
        covered = shift + grid.end(tile_px)
    return tuple(found)
