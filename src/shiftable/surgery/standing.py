"""Where a map stands in a net: how far apart its positions are, what they see, and what was done to it last."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm
from typing import TypeAlias

from shiftable.surgery.calls import Key
from shiftable.surgery.windows import NCHW, NHWC, Pair, Window

Fractions: TypeAlias = tuple[Fraction, Fraction]
"""(y, x)."""

UNPADDED = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Patches:
    """A map taken apart into patches by a view: merged if the patches become channels, else put back later."""

    key: Key
    window: Window
    before: "Standing"


@dataclass(frozen=True, eq=False)
class Standing:
    """Where a tensor stands that was made from the picture. Compared by identity. Pairs are (y, x).

    A tensor that was pooled to one position keeps what its last map was, and says what ended it.

    Args:
        size: Positions of the map.
        channels: Of the map.
        axes: Where y and x are in the tensor; None where it has other dimensions than a map.
        pitch_px: How far apart the positions are, in px of the net's input.
        first_px: The first pixel that the first position sees, below 0 in the padding.
        last_px: The last.
        repeats_px: The common multiple of the pitches of all maps on the way: the total stride.
        depth: How many layers multiplied by weights on the longest way here.
        blur: What low-passed it last, in words; whatever mixes or drops positions after that makes it None.
        padded: What was padded just before, ((top, bottom), (left, right)).
        sites: The numbers of the sites on the longest way here.
        layer: The module that gave it, or the one that gave the nearest tensor before it.
        named: Whether that module gave this very tensor.
        sliced: The map of which it is a slice, and the strides of the slicing up to here.
        patches: Where it is a map in patches.
        ended: The number of the operation that pooled it.
    """

    size: Pair
    channels: int
    axes: Pair | None = NCHW
    pitch_px: Fractions = (Fraction(1), Fraction(1))
    first_px: Fractions = (Fraction(0), Fraction(0))
    last_px: Fractions = (Fraction(0), Fraction(0))
    repeats_px: Pair = (1, 1)
    depth: int = 0
    blur: str | None = None
    padded: tuple[Pair, Pair] = UNPADDED
    sites: tuple[int, ...] = ()
    layer: str = ""
    named: bool = False
    sliced: tuple["Standing", Pair] | None = field(default=None, repr=False)
    patches: Patches | None = field(default=None, repr=False)
    ended: int | None = None

    @property
    def positions(self) -> int:
        """How many there are."""
        return self.size[0] * self.size[1]

    @property
    def is_map(self) -> bool:
        """Whether it still has positions of the picture."""
        return self.ended is None


@dataclass(frozen=True)
class Crossing:
    """A place where positions are dropped.

    Args:
        keys: The operations: several slices of one map are one crossing.
        window: How they go over the map.
        before: The map before.
        after: What they give.
        blur: Their own low-pass, in words.
    """

    keys: tuple[Key, ...]
    window: Window
    before: Standing
    after: Standing
    blur: str | None = None


def joined(standings: Sequence[Standing], main: Standing | None = None) -> Standing:
    """Where a tensor stands that was calculated from these, position by position: as the deepest map among them.

    Args:
        standings: One or more.
        main: The one whose positions it has, where it is known: an attention's queries.
    """
    maps = [each for each in standings if each.is_map] or list(standings)
    main = main or max(maps, key=lambda each: each.depth)
    alike = [main, *(each for each in maps if each.pitch_px == main.pitch_px)]
    blurs = {each.blur for each in alike}
    return replace(
        main,
        first_px=_each(min, *(each.first_px for each in alike)),
        last_px=_each(max, *(each.last_px for each in alike)),
        repeats_px=_lcm(*(each.repeats_px for each in maps)),
        depth=max(each.depth for each in standings),
        blur=main.blur if len(blurs) == 1 else None,
        padded=UNPADDED,
        named=False,
        sliced=None,
    )


def padded(standing: Standing, around: tuple[Pair, Pair], axes: Pair) -> Standing:
    """The same with rows and columns ((top, bottom), (left, right)) around it."""
    before = (around[0][0], around[1][0])
    moved = [start * pitch for start, pitch in zip(before, standing.pitch_px, strict=True)]
    return replace(
        joined([standing]),
        axes=axes,
        size=(standing.size[0] + sum(around[0]), standing.size[1] + sum(around[1])),
        first_px=_less(standing.first_px, moved),
        last_px=_less(standing.last_px, moved),
        padded=added(standing.padded, around),
    )


def kept(standing: Standing, start: Pair, size: Pair, stride: Pair, axes: Pair) -> Standing:
    """Every ``stride``-th position from ``start`` on. It remembers the map that it was taken from."""
    root, before = standing.sliced or (standing, (1, 1))
    if any(one > 1 and other > 1 for one, other in zip(before, stride, strict=True)):  # a slice of slices' result
        root, before = standing, (1, 1)
    moved = [-first * pitch for first, pitch in zip(start, standing.pitch_px, strict=True)]
    pitch = _times(standing.pitch_px, stride)
    return replace(
        joined([standing]),
        axes=axes,
        size=size,
        pitch_px=pitch,
        first_px=_less(standing.first_px, moved),
        last_px=_less(standing.last_px, moved),
        repeats_px=_lcm(standing.repeats_px, _numerators(pitch)),
        blur=standing.blur if stride == (1, 1) else None,
        sliced=(root, (before[0] * stride[0], before[1] * stride[1])),
    )


def windowed(standing: Standing, window: Window, channels: int, blur: str | None) -> Standing:
    """After an operation that looks at it through a window.

    Args:
        standing: Before it.
        window: How it goes over the map.
        channels: That it gives.
        blur: Its own low-pass.
    """
    steps: Sequence[int | Fraction] = window.stride
    if window.kind == "interpolation":
        sizes = zip(window.input_size, window.output_size, strict=True)
        steps = [Fraction(before, after) for before, after in sizes]
    pitch = _times(standing.pitch_px, steps)
    before = [pad[0] * step for pad, step in zip(window.padding, standing.pitch_px, strict=True)]
    reach = [
        (size - 1) * spread * step
        for size, spread, step in zip(window.kernel, window.dilation, standing.pitch_px, strict=True)
    ]
    first = _less(standing.first_px, before)
    same_rate = window.kernel == window.stride == (1, 1)
    return replace(
        joined([standing]),
        size=window.output_size,
        channels=channels,
        axes=window.dimensions,
        pitch_px=pitch,
        first_px=first,
        last_px=_less(_less(standing.last_px, before), [-each for each in reach]),
        repeats_px=_lcm(standing.repeats_px, _numerators(pitch)),
        blur=(standing.blur if same_rate else blur) if window.stride == (1, 1) else None,
        patches=None,
    )


def resized(standing: Standing, size: Pair, taps: int, axes: Pair) -> Standing:
    """The map with another number of positions over the same picture, each made from ``taps`` of the old along an axis.

    Where the first one lies is known to about a position.
    """
    pitch = _times(standing.pitch_px, [Fraction(a, b) for a, b in zip(standing.size, size, strict=True)])
    coarser = [max(each) for each in zip(pitch, standing.pitch_px, strict=True)]  # a finer map has no new phases
    reach = [-(taps - 1) * step for step in standing.pitch_px]
    return replace(
        joined([standing]),
        axes=axes,
        size=size,
        pitch_px=pitch,
        last_px=_less(standing.last_px, reach),
        repeats_px=_lcm(standing.repeats_px, _numerators((coarser[0], coarser[1]))),
        blur=None,
    )


def axes_in(standing: Standing, shape: Sequence[int]) -> Pair | None:
    """Where y and x are in a tensor of this shape, None if it is no map with the standing's positions."""
    if len(shape) != 4:
        return None
    for axes in (standing.axes, NCHW, NHWC):
        if axes is not None and (shape[axes[0]], shape[axes[1]]) == standing.size:
            return axes
    return None


def added(one: tuple[Pair, Pair], other: tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    """Two paddings together."""
    (top, bottom), (left, right) = one
    return (top + other[0][0], bottom + other[0][1]), (left + other[1][0], right + other[1][1])


def _times(pair: Fractions, factors: Sequence[int | Fraction]) -> Fractions:
    return pair[0] * factors[0], pair[1] * factors[1]


def _less(pair: Fractions, other: Sequence[int | Fraction]) -> Fractions:
    return pair[0] - other[0], pair[1] - other[1]


def _numerators(pitch: Fractions) -> Pair:
    return pitch[0].numerator, pitch[1].numerator


def _lcm(*pairs: Pair) -> Pair:
    return lcm(*(pair[0] for pair in pairs)), lcm(*(pair[1] for pair in pairs))


def _each(which: Callable[[Iterator[Fraction]], Fraction], *pairs: Fractions) -> Fractions:
    return which(pair[0] for pair in pairs), which(pair[1] for pair in pairs)
