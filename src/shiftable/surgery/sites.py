"""The sites of a net: the operations that keep only some positions of a map. Each can be carried out otherwise."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from shiftable.surgery.calls import Call, Key, visited
from shiftable.surgery.windows import DENSE, NCHW, NHWC, Pair, Window, dense, window_of


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
        return self.keys[0].operation in DENSE


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
        return dense(self.call, self.input if input is None else input)


Handler: TypeAlias = Callable[[Operation], Any]
"""Carries out a site's operation and returns what the operation would: ``operation()``, or something else."""


@contextmanager
def intercepted(net: nn.Module, handlers: Mapping[Site, Handler]) -> Iterator[None]:
    """While this is entered, the operations of these sites are carried out by their handlers.

    The net itself is not changed. A site is not met where the net takes another way than it did when it was found.
    Enter `torch.no_grad` too, and not `torch.inference_mode`, in which PyTorch hands on other operations.

    Example:
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
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> for site in find_sites(net, torch.zeros(1, 3, 32, 32)):
        ...     print(site.name, site.window.kind, site.window.stride, site.window.output_size)
        0 convolution (2, 2) (16, 16)
        2 max pooling (2, 2) (8, 8)
    """
    found: list[tuple[Key, Window]] = []
    patches: list[tuple[Key, Window]] = []  # views that may turn out to be merging

    def visit(call: Call) -> Any:
        answer = call()
        window = window_of(call, answer)
        if window is not None and max(window.stride) > 1:
            (patches if "view" in call.key.operation else found).append((call.key, window))
            if "view" in call.key.operation:
                found.append(patches[-1])
        return answer

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        for each in [each for each in patches if each[0].module == name]:
            patches.remove(each)
            if not any(_merged(each[1], answer) for answer in answers):
                found.remove(each)

    with torch.no_grad(), visited(net, visit, left):
        net(inputs)
    types = {name: type(module).__name__ for name, module in net.named_modules()}
    return tuple(_named(_joined(found), types))


def _merged(window: Window, answer: Tensor) -> bool:
    """Whether a module's answer has one position for each patch, so that the patches became channels."""
    rows, columns = window.output_size
    if answer.ndim == 3:
        return answer.shape[1] == rows * columns
    return answer.ndim == 4 and any(answer.shape[y : x + 1] == (rows, columns) for y, x in (NHWC, NCHW))


def _joined(found: Sequence[tuple[Key, Window]]) -> list[tuple[list[Key], Window]]:
    """Slices that a module takes of the same map, one after the other, are one site with both their strides."""
    sites: list[tuple[list[Key], Window]] = []
    for key, window in found:
        keys, last = sites[-1] if sites else ([], window)
        if not (window.kind == last.kind == "slice" and keys and keys[-1].module == key.module and _same(last, window)):
            sites.append(([key], window))
            continue
        axes = NHWC if NHWC in (last.dimensions, window.dimensions) else NCHW
        stride = last.stride
        if window.dimensions == axes:
            stride = (max(stride[0], window.stride[0]), max(stride[1], window.stride[1]))
        else:  # its axis 2 is x, where others go along axis 1
            stride = (stride[0], max(stride[1], window.stride[0]))
        size = (last.input_size[0] // stride[0], last.input_size[1] // stride[1])
        sites[-1] = ([*keys, key], replace(last, stride=stride, output_size=size))
    return sites


def _same(first: Window, window: Window) -> bool:
    """Whether a slice is of the map that the site begins with, or of what an earlier slice of it gave."""
    sizes = [first.input_size[0], -(-first.input_size[0] // first.stride[0]), *first.input_size[1:], first.channels]
    return all(size in sizes for size in window.input_size)


def _named(found: Sequence[tuple[list[Key], Window]], types: Mapping[str, str]) -> Iterator[Site]:
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
        yield Site(name, types.get(module, ""), window, tuple(keys))
