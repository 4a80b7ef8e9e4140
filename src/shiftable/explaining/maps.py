"""The maps inside a net that stand for its depth."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import log
from typing import Any

from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from shiftable.errors import InputError, unknown
from shiftable.explaining.map_layouts import Grid, Pair, grid_of
from shiftable.surgery.calls import Call, Key, run
from shiftable.surgery.sites import Site, find_sites

WEIGHTED = ("convolution", "addmm", "mm", "bmm", "baddbmm")
"""ATen's operations that multiply by weights: depth is counted in them."""


PADDING = ("constant_pad_nd", "reflection_pad2d", "replication_pad2d")
"""After these a tensor still stands for the map before: a window's padding is not the map's."""


@dataclass(frozen=True)
class Layer:
    """A place in a net at which a map can be looked at.

    Args:
        name: The module that gives it (``:2`` says its second call), or ``before`` the operation that gets it.
        at: The operation that gets it; one without name stands for what the module gives.
        depth: Share of the operations that multiply by weights that come before it.
        stride_px: How far apart its positions are, in px of the input.
        grid: How its tensor holds it.
    """

    name: str
    at: Key = field(repr=False)
    depth: float
    stride_px: Pair
    grid: Grid


def layers_of(net: nn.Module, inputs: Tensor, names: Sequence[str] | None = None, most: int = 12) -> tuple[Layer, ...]:
    """The maps that stand for a net's depth, in the order in which they are made.

    Those that go into a site (after the activation; not the picture itself), the last one before the global pooling,
    and between them what the net's blocks give, as far apart in depth as can be. Where there are more than ``most``,
    the last one stays and the others are thinned out evenly by depth.

    Args:
        net: Is run twice, and not changed.
        inputs: What it is shown, ``(image, channel, y, x)``; one image will do.
        names: Exactly these instead: modules' paths, or names that this function gave.
        most: How many at most.

    Raises:
        InputError: If a name is unknown, or what it names gives no map.
    """
    sites = find_sites(net, inputs)
    seen = _look(net, inputs, sites)
    chosen = _spread(seen, [*_blocks(net)], most) if names is None else [_named(name, net, seen) for name in names]
    return tuple(seen.places[place] for place in seen.places if place in chosen)


@dataclass(frozen=True)
class _Seen:
    """What one pass shows.

    Args:
        places: Where a map can be looked at, in order.
        needed: Those of the maps that go into sites; the last map comes last.
        calls: How often each module ran.
    """

    places: dict[Key, Layer]
    needed: list[Key]
    calls: Counter[str]


def _look(net: nn.Module, inputs: Tensor, sites: Sequence[Site]) -> _Seen:
    """Every map that a module gives, or that only an operation gets."""
    view_size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    found: dict[Key, tuple[Grid, int]] = {}
    needed: list[Key] = []
    last: list[Key] = []
    calls: Counter[str] = Counter()
    at: Any = WeakTensorKeyDictionary()  # where a tensor, as it now is, can be looked at
    taken: dict[str, Key] = {}  # the first map that a module has got since it runs
    done = 0

    def grid(value: Any) -> Grid | None:
        return grid_of(value.shape, len(inputs), view_size) if isinstance(value, Tensor) else None

    def place_of(call: Call, held: Grid) -> Key:
        before, module = call.args[0], call.key.module
        if before in at:
            taken.setdefault(module, at[before])
            place: Key = at[before]
            return place
        if call.key in first and module in taken:  # padded around by several operations?
            inside, _ = found[taken[module]]
            if inside.channels == held.channels and inside.size != held.size:
                return taken[module]
        found[call.key] = held, done
        return call.key

    def visit(call: Call) -> Any:
        nonlocal done
        before, name = call.argument(0), call.key.operation
        held = grid(before)
        place = None if held is None else place_of(call, held)
        answer = call()
        done += name in WEIGHTED
        if place is None:
            return answer
        if call.key in first:
            needed.append(place)
            at[before] = place
        if name in PADDING:
            at[answer] = place
        elif answer is before:  # changed in place
            at.pop(before, None)
        elif not any(grid(each) for each in (answer if isinstance(answer, tuple) else (answer,))):
            last[:] = [place]
        return answer

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        answer, here = next((each for each in answers if grid(each)), None), Key(name, "", calls[name])
        taken.pop(name, None)
        calls[name] += 1
        if answer is None:
            return
        if name:
            held = grid(answer)
            assert held is not None
            at[answer], found[here] = here, (held, done)
        elif answer in at:  # a net that answers with a map
            last[:] = [at[answer]]

    first = {site.keys[0]: site.name for site in sites}
    run(net, inputs, visit, left)
    strides = _strides(sites)
    places = {
        key: Layer(
            _name(key, calls, first),
            key,
            before / max(done, 1),
            (_nearest(strides[0], view_size[0] / held.size[0]), _nearest(strides[1], view_size[1] / held.size[1])),
            held,
        )
        for key, (held, before) in found.items()
    }
    # before the first weights there is but the picture
    return _Seen(places, [key for key in dict.fromkeys([*needed, *last]) if places[key].depth], calls)


def _name(place: Key, calls: Counter[str], sites: Mapping[Key, str]) -> str:
    if not place.operation:
        return place.module if calls[place.module] == 1 else f"{place.module}:{place.nth + 1}"
    return f"before {sites.get(place) or ':'.join(part for part in place[:2] if part)}"


def _strides(sites: Sequence[Site]) -> tuple[list[int], list[int]]:
    """What a map's stride can be along each axis: products of sites' strides. Its size tells which, but for borders."""
    possible = ({1}, {1})
    for site in sites:
        for axis, stride in zip(possible, site.window.stride, strict=True):
            axis |= {stride * other for other in axis}
    return sorted(possible[0]), sorted(possible[1])


def _nearest(strides: Sequence[int], ratio: float) -> int:
    return min(strides, key=lambda stride: abs(log(ratio / stride)))


def _named(name: str, net: nn.Module, seen: _Seen) -> Key:
    """The place of that name; a module's last call, if it says none."""
    for place, layer in reversed(seen.places.items()):
        if name == layer.name or (name == place.module and not place.operation):
            return place
    if name in dict(net.named_modules()):
        raise InputError(
            f"layer {name!r} gives no map of several positions", where="--layers", todo="name one before the pooling"
        )
    raise unknown("layer", name, [layer.name for place, layer in seen.places.items() if not place.operation])


def _spread(seen: _Seen, blocks: Sequence[str], most: int) -> list[Key]:
    """The last map, then those of the sites, then those of the blocks, always the one farthest from all others."""
    others = [place for place in seen.places if place.module in blocks and not place.operation]
    others = [place for place in others if seen.calls[place.module] == 1]
    chosen = seen.needed[-1:]

    def distance(place: Key) -> float:
        return min((abs(seen.places[place].depth - seen.places[other].depth) for other in chosen), default=1.0)

    for pool in (seen.needed, others):
        while len(chosen) < most and (rest := [place for place in pool if place not in chosen]):
            farthest = max(rest, key=distance)
            if pool is others and not distance(farthest):
                break
            chosen.append(farthest)
    return chosen


def _blocks(net: nn.Module, path: str = "") -> Iterator[str]:
    """The paths of a net's building blocks: what it, its lists and its stages hold, but for bare weights."""
    for name, module in net.named_children():
        inner = f"{path}{name}"
        if isinstance(module, nn.Sequential | nn.ModuleList) or _is_stage(module):
            yield from _blocks(module, f"{inner}.")
        elif [*module.children()] or not [*module.parameters()]:
            yield inner


def _is_stage(module: nn.Module) -> bool:
    """Whether it holds a list of several blocks, each with several weights."""
    lists = [inner for inner in module.modules() if isinstance(inner, nn.Sequential | nn.ModuleList) and len(inner) > 1]
    return any(all(_weights(block) > 1 for block in inner) for inner in lists)


def _weights(module: nn.Module) -> int:
    return sum(any(weight.ndim > 1 for weight in inner.parameters(recurse=False)) for inner in module.modules())
