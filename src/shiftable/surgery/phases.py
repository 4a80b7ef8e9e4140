"""A net's forward pass with all phases of its subsampling, kept apart as a larger batch."""

from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from shiftable.errors import InputError
from shiftable.models.reasons import reason
from shiftable.surgery import borders
from shiftable.surgery.calls import Call, Key, Left, Visit, run
from shiftable.surgery.sites import Operation, Site
from shiftable.surgery.windows import Pair

Axes = tuple[bool, bool]
"""Along which axes, (y, x), phases are kept apart; along the other the net subsamples as it does."""


class NotDilatable(Exception):
    """What forbids that one forward pass tells the answers to all shifts.

    Args:
        module: The path of the module.
        operation: Its operation, as ATen names it.
        why: What it does.
    """

    def __init__(self, module: str, operation: str, why: str) -> None:
        super().__init__(f"{module or 'the forward'} ({operation}): {why}")
        self.module, self.operation, self.why = module, operation, why


class Phases:
    """Carries out a net's operations with all their phases, the batch being (image, phase_y, phase_x).

    Args:
        sites: The operations that subsample.
        axes: Along which their phases are kept apart.
        circle: Whether maps have no edges.
    """

    def __init__(self, sites: Mapping[Key, Site], axes: Axes, circle: bool) -> None:
        self.sites, self.axes, self.circle = sites, axes, circle
        self.last = Key("", "forward", 0)
        # (y, x) phases of every tensor that came from the picture
        self.spacings: MutableMapping[Tensor, Pair] = WeakTensorKeyDictionary()
        # of maps that were to be padded: how many positions before the first, (y, x)
        self.fronts: MutableMapping[Tensor, Pair] = WeakTensorKeyDictionary()

    def run(self, net: nn.Module, inputs: Tensor, visit: Visit | None = None, left: Left | None = None) -> Any:
        """The net's answer for all phases; ``visit``, if given, has to hand each operation on."""
        self.spacings[inputs] = (1, 1)
        try:
            return run(net, inputs, visit or self, left)
        except InputError:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            # a net's own code may count on the batch that it was given: then it fails in many types
            module, operation, _ = self.last
            raise NotDilatable(module, operation, f"after it, {reason(error)}") from error

    def spacing(self, tensor: Tensor) -> Pair:
        return self.spacings.get(tensor, (1, 1))

    def apart(self, tensor: Tensor) -> Tensor:
        """A tensor of one image as ``[phase_y, phase_x, ...]``."""
        high, wide = self.spacing(tensor)
        if len(tensor) != high * wide:
            raise NotDilatable(*self.last[:2], f"a batch of {len(tensor)} where {high * wide} phases were expected")
        return tensor.reshape(high, wide, *tensor.shape[1:])

    def __call__(self, call: Call) -> Any:
        self.last = call.key
        tensors = [*_tensors(call.args), *_tensors(call.kwargs.values())]
        met = {self.spacings[each] for each in tensors if each in self.spacings}
        if len(met) > 1:
            raise NotDilatable(call.key.module, call.key.operation, "branches of different strides meet")
        spacing = met.pop() if met else None
        reach = borders.reach_of(call)
        fronts = [self.fronts[each] for each in tensors if each in self.fronts]
        if fronts and reach is None:
            raise NotDilatable(call.key.module, call.key.operation, "a map is padded before what has no window")
        stride = self._phases(call, reach)
        before = borders.padded_in_front(call) if self.circle else None
        if before is not None:
            answer = call.args[0].view_as(call.args[0])
            self.fronts[answer] = before
        elif reach is not None and (self.circle or stride != (1, 1)):
            windowed = self._windowed(call, reach, fronts[0] if fronts else (0, 0), stride)
            answer, spacing = self._together(call, windowed, stride, spacing)
        elif stride != (1, 1):
            site = self.sites[call.key]
            moved = borders.moved(call, stride, site.window.dimensions, self.circle)
            answer, spacing = self._together(call, moved, stride, spacing)
        else:
            answer = call()
        if spacing is not None:
            for each in _tensors([answer]):
                self.spacings[each] = spacing
        return answer

    def _phases(self, call: Call, reach: borders.Reach | None) -> Pair:
        """How many phases of an operation to give: 1 where it keeps every position."""
        if call.key not in self.sites:
            return 1, 1
        stride = Operation(self.sites[call.key], call).stride if reach is None else reach.stride
        return (stride[0] if self.axes[0] else 1), (stride[1] if self.axes[1] else 1)

    def _windowed(self, call: Call, reach: borders.Reach, front: Pair, stride: Pair) -> Iterator[borders.Phase]:
        if self.circle:
            return borders.in_a_circle(call, reach, front, stride)
        return borders.from_later_on(call, reach, self.sites[call.key].window.output_size, stride)

    def _together(
        self, call: Call, phases: Iterator[borders.Phase], stride: Pair, before: Pair | None
    ) -> tuple[Any, Pair | None]:
        """The phases as one batch, and how many there are with those of before: e = before + spacing before · new."""
        high, wide = before or (1, 1)
        batch: Tensor | None = None
        for (y, x), given in phases:
            if stride == (1, 1):
                batch = given
                break
            if batch is None:
                if len(given) % (high * wide):
                    raise NotDilatable(call.key.module, call.key.operation, "its map's first axis is not the images'")
                batch = given.new_empty((len(given) * stride[0] * stride[1], *given.shape[1:]))
                if given.ndim == 4 and given.is_contiguous(memory_format=torch.channels_last):
                    batch = batch.contiguous(memory_format=torch.channels_last)
            apart = batch.view(-1, stride[0], high, stride[1], wide, *given.shape[1:])
            apart[:, y, :, x] = given.reshape(-1, high, wide, *given.shape[1:])
        spacing = None if before is None else (high * stride[0], wide * stride[1])
        # of a maximum's places nobody asks here
        return (batch, batch) if call.key.operation == "max_pool2d_with_indices" else batch, spacing


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
