"""Which sites have to pick one phase together: those whose maps meet again, as the two branches of a residual block.

Every site makes a new grid of positions out of the one before it. Where maps of two grids meet, by addition or side by
side as channels, the grids have to be the same one, whichever phases were picked: so both come of one phase of the same
grid.
"""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import lcm
from typing import Any

from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from shiftable.layers.polyphase_conv import PolyphaseConv2d
from shiftable.layers.polyphase_pool import CircularAvgPool2d, CircularMaxPool2d, PolyphasePool2d
from shiftable.layers.replacing import kind_of
from shiftable.surgery.calls import Call, flat, run
from shiftable.surgery.mixing import takes_all
from shiftable.surgery.sites import Site, named_sites
from shiftable.surgery.standing import Standing
from shiftable.surgery.travelling import Travel
from shiftable.surgery.windows import Pair, window_of

POLYPHASE = (PolyphaseConv2d, PolyphasePool2d)
"""What stands at a site that picks its phase."""


@dataclass(frozen=True)
class Passed:
    """A layer with a window, and the sizes of the map before and after it, (y, x)."""

    name: str
    before: Pair
    after: Pair


@dataclass(frozen=True)
class Grids:
    """What a net does to the grid of a picture's positions.

    Args:
        sites: That subsample still, on fixed phases, in the order in which they are carried out.
        groups: The same ones, those together that have to pick one phase.
        repeats_px: By how many px a picture in a circle has to move for the site's grid to fall on itself, by site
            name, (y, x).
        total_px: Of all grids, polyphase or not.
        windows: The layers with windows on maps that can be made to go round in a circle; each time one is carried out.
        breaks: What can't go round in a circle, a sentence each.
    """

    sites: tuple[Site, ...]
    groups: tuple[tuple[Site, ...], ...]
    repeats_px: Mapping[str, Pair]
    total_px: Pair
    windows: tuple[Passed, ...]
    breaks: tuple[str, ...]


class _Grid:
    """Positions that a map has. It may turn out to be the same as another one."""

    def __init__(self, parent: "_Grid | None" = None, stride: Pair = (1, 1)) -> None:
        self.parent, self.stride = parent, stride
        self.same: _Grid | None = None

    @property
    def root(self) -> "_Grid":
        return self if self.same is None else self.same.root

    @property
    def pitch(self) -> Pair:
        before = (1, 1) if self.parent is None else self.parent.pitch
        return before[0] * self.stride[0], before[1] * self.stride[1]

    def met(self, other: "_Grid") -> bool:
        """From now on both are the same; False if they can't be."""
        one, two = self.root, other.root
        if one is two:
            return True
        if one.parent is None or two.parent is None or one.stride != two.stride:
            return False
        two.same = one
        return one.parent.met(two.parent)


class _Walk:
    """One forward pass, the grid of every map noted."""

    def __init__(self, net: nn.Module, inputs: Tensor) -> None:
        self.types = {name: type(module).__name__ for name, module in net.named_modules()}
        self.layers = {name for name, module in net.named_modules() if kind_of(module) is not None}
        self.known = self.layers | {
            name for name, module in net.named_modules() if isinstance(module, CircularMaxPool2d | CircularAvgPool2d)
        }
        self.strides = {
            name: (module.pick.stride[0], module.pick.stride[1])
            for name, module in net.named_modules()
            if isinstance(module, POLYPHASE)
        }
        self.travel = Travel(inputs)
        self.crossed: dict[int, _Grid] = {}  # by number of the crossing
        self.polyphase: dict[str, _Grid] = {}
        self.windows: list[Passed] = []
        self.breaks: list[str] = []
        self._known: MutableMapping[Tensor, _Grid] = WeakTensorKeyDictionary()
        self._known[inputs] = _Grid()
        self._written: dict[StorageWeakRef, _Grid] = {}

    def visit(self, call: Call) -> Any:
        maps = self._maps([call.args, call.kwargs])
        grids = [grid for each in maps if (grid := self._grid(each)) is not None]
        sizes = [standing.size for standing in self._standing(maps)]
        number = len(self.travel.crossings)
        answer = self.travel.visit(call)
        if not grids:
            return answer
        owner = next((name for name in self.strides if f"{call.key.module}.".startswith(f"{name}.")), None)
        if owner is not None:
            grid = self.polyphase.setdefault(owner, _Grid(grids[0], self.strides[owner]))
        else:
            self._look(call, answer)
            if len(self.travel.crossings) > number:
                grid = self.crossed[number] = _Grid(grids[0], self.travel.crossings[number].window.stride)
            else:
                grid = self._meeting(call, grids)
        given = self._maps(answer)
        for each in given:
            self._known[each] = grid
        if call.function._schema.is_mutable and isinstance(call.argument(0), Tensor):  # a part of what it views
            self._written[StorageWeakRef(call.args[0].untyped_storage())] = grid  # type: ignore[no-untyped-call]
        elif given and owner is None and grid in grids and call.key.module not in self.known:
            after = self._standing(given)[0].size
            if after not in sizes:
                self._break(call, f"makes a map of {_by(after)} positions from one of {_by(sizes[0])}")
        return answer

    def _grid(self, tensor: Tensor) -> _Grid | None:
        return self._known.get(tensor) or self._written.get(StorageWeakRef(tensor.untyped_storage()))  # type: ignore[no-untyped-call]

    @contextmanager
    def watching(self, net: nn.Module) -> Iterator[None]:
        """While this is entered, layers with windows are noted."""

        def passed(name: str, module: nn.Module, args: Any, answer: Any) -> None:
            standing = self.travel.standing(args[0]) if args else None
            given = answer[0] if isinstance(answer, tuple) else answer
            if standing is not None and standing.is_map:
                self.windows.append(Passed(name, _size(args[0]), _size(given)))

        handles = [
            module.register_forward_hook(partial(passed, name))
            for name, module in net.named_modules()
            if name in self.layers
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _meeting(self, call: Call, grids: Sequence[_Grid]) -> _Grid:
        for other in grids[1:]:
            if not grids[0].met(other):
                self._break(call, "brings maps together that were subsampled differently")
        return grids[0]

    def _look(self, call: Call, answer: Any) -> None:
        """Note an operation with a window of which no layer is known."""
        window = window_of(call, answer)
        if window is None or window.kind in ("slice", "merging"):
            return
        if window.kind == "interpolation":
            self._break(call, f"resizes a map from {_by(window.input_size)} to {_by(window.output_size)} positions")
        elif takes_all(window):
            self._break(call, "looks at the whole map through one window: a flattened head")
        elif call.key.module not in self.known and (window.kernel != window.stride or any(map(any, window.padding))):
            kind = self.types[call.key.module]
            self._break(
                call, f"is a {kind}, whose window of {_by(window.kernel)} can't be made to go round in a circle"
            )

    def _break(self, call: Call, what: str) -> None:
        sentence = f"{call.key.module or 'the forward'} ({call.key.operation}) {what}"
        if sentence not in self.breaks:
            self.breaks.append(sentence)

    def _maps(self, values: Any) -> list[Tensor]:
        return [each for each in flat(values) if isinstance(each, Tensor) and self._standing([each])]

    def _standing(self, tensors: Sequence[Tensor]) -> list[Standing]:
        found = (self.travel.standing(each) for each in tensors)
        return [each for each in found if each is not None and each.is_map]


def grids_of(net: nn.Module, inputs: Tensor) -> Grids:
    """What a net does to the grid of a picture's positions.

    Args:
        net: Is run once, and not changed.
        inputs: What it is shown, ``(image, channel, y, x)``; one image will do.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.MaxPool2d(2))
        >>> grids = grids_of(net, torch.zeros(1, 3, 32, 32))
        >>> grids.repeats_px, grids.groups == tuple((site,) for site in grids.sites)
        ({'0': (2, 2), '1': (4, 4)}, True)
    """
    walk = _Walk(net, inputs)
    with walk.watching(net):
        run(net, inputs, walk.visit, walk.travel.left)
    every = named_sites(net, walk.travel)
    sites = {number: every[number] for number in sorted(walk.crossed)}
    groups: dict[_Grid, list[Site]] = {}
    for number, site in sites.items():
        groups.setdefault(walk.crossed[number].root, []).append(site)
    pitches = [grid.pitch for grid in (*walk.crossed.values(), *walk.polyphase.values())]
    return Grids(
        tuple(sites.values()),
        tuple(tuple(group) for group in groups.values()),
        {site.name: walk.crossed[number].pitch for number, site in sites.items()},
        (lcm(*(y for y, _ in pitches)), lcm(*(x for _, x in pitches))),
        tuple(walk.windows),
        tuple(walk.breaks),
    )


def _size(map: Tensor) -> Pair:
    return int(map.shape[-2]), int(map.shape[-1])


def _by(pair: Pair) -> str:
    return f"{pair[0]}×{pair[1]}"
