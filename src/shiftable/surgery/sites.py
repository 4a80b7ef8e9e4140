"""The sites of a net: the operations that keep only some positions of a map. Each can be carried out otherwise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor, nn

from shiftable.surgery.calls import Call, Key, run, visited
from shiftable.surgery.travelling import Travel
from shiftable.surgery.windows import DENSE, Pair, Window, dense


@dataclass(frozen=True)
class Site:
    """Where a net subsamples.

    Args:
        name: The module's path; where a module subsamples by several operations, or the net's own ``forward`` does,
            with the operation.
        type: The module's class.
        window: How it goes over the map.
        keys: Its operations. More than one where a map is taken apart by several slices.
    """

    name: str
    type: str
    window: Window
    keys: tuple[Key, ...] = field(repr=False)

    @property
    def has_dense(self) -> bool:
        """Whether it has a response at stride 1: everything but an interpolation."""
        return self.keys[0].operation in DENSE and self.window.kind != "interpolation"


@dataclass(frozen=True)
class Operation:
    """A site's operation, about to be carried out.

    Args:
        site: The site.
        call: The operation itself.
    """

    site: Site
    call: Call

    @property
    def input(self) -> Tensor:
        """The map that is subsampled, as the operation gets it, y and x at ``site.window.dimensions``."""
        found: Tensor = self.call.args[0]
        return found

    @property
    def first(self) -> bool:
        """Whether it is the first of the site's operations: each of several slices gets the same map."""
        return self.call.key == self.site.keys[0]

    @property
    def stride(self) -> Pair:
        """Of this operation: a slice goes along one axis only."""
        if self.site.window.kind != "slice":
            return self.site.window.stride
        step = int(self.call.args[4])
        return (step, 1) if int(self.call.args[1]) % 4 == self.site.window.dimensions[0] else (1, step)

    def __call__(self, input: Tensor | None = None) -> Any:
        """Carry it out, on another map if one is given."""
        return self.call() if input is None else self.call(input)

    def dense(self, input: Tensor | None = None) -> Tensor:
        """Its response at stride 1, ``(image, channel, y, x)``: every ``stride``-th position is what it gives."""
        return dense(self.call, self.input if input is None else input, self.site.window.dimensions)


Handler: TypeAlias = Callable[[Operation], Any]
"""Carries out a site's operation and returns what the operation would: ``operation()``, or something else."""


@contextmanager
def intercepted(net: nn.Module, handlers: Mapping[Site, Handler]) -> Iterator[None]:
    """While this is entered, the operations of these sites are carried out by their handlers.

    The net itself is not changed. A site is not met where the net takes another way than it did when it was found.
    Enter `torch.no_grad` too, or `torch.inference_mode`.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
        >>> picture = torch.zeros(1, 3, 32, 32)
        >>> sizes = {}
        >>> def look(operation):
        ...     sizes[operation.site.name] = tuple(operation.dense().shape)
        ...     return operation()
        >>> with torch.no_grad(), intercepted(net, dict.fromkeys(find_sites(net, picture), look)):
        ...     answer = net(picture)
        >>> sizes
        {'0': (1, 8, 30, 30), '2': (1, 8, 14, 14)}
    """
    at = {key: (site, handler) for site, handler in handlers.items() for key in site.keys}

    def visit(call: Call) -> Any:
        found = at.get(call.key)
        return call() if found is None else found[1](Operation(found[0], call))

    with visited(net, visit):
        yield


def find_sites(net: nn.Module, inputs: Tensor) -> tuple[Site, ...]:
    """Every operation that subsamples, in the order in which they are carried out.

    Args:
        net: Is run once, and not changed.
        inputs: What it is shown, ``(image, channel, y, x)``; one image will do.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> for site in find_sites(net, torch.zeros(1, 3, 32, 32)):
        ...     print(site.name, site.window.kind, site.window.stride, site.window.output_size)
        0 convolution (2, 2) (16, 16)
        2 max pooling (2, 2) (8, 8)
    """
    return named_sites(net, travelled(net, inputs))


def travelled(net: nn.Module, inputs: Tensor) -> Travel:
    """The way of a picture through a net.

    Args:
        net: Is run once, and not changed.
        inputs: What it is shown, ``(image, channel, y, x)``; one image will do.
    """
    travel = Travel(inputs)
    run(net, inputs, travel.visit, travel.left)
    return travel


def named_sites(net: nn.Module, travel: Travel) -> tuple[Site, ...]:
    """The sites of a net that were met on the way, in the order of ``travel.crossings``."""
    types = {name: type(module).__name__ for name, module in net.named_modules()}
    return tuple(_named([(each.keys, each.window) for each in travel.crossings], types))


def _named(found: Sequence[tuple[tuple[Key, ...], Window]], types: Mapping[str, str]) -> Iterator[Site]:
    modules = [keys[0].module for keys, _ in found]
    operations = [(keys[0].module, keys[0].operation) for keys, _ in found]
    for keys, window in found:
        module, operation, _ = keys[0]
        name = module
        if not module or modules.count(module) > 1:
            plain = operation.removesuffix("_with_indices")
            several = operations.count((module, operation)) > 1
            number = (
                f"_{1 + [k[0] for k, _ in found if k[0][:2] == (module, operation)].index(keys[0])}" if several else ""
            )
            name = ":".join(part for part in (module, plain + number) if part)
        yield Site(name, types.get(module, ""), window, keys)
