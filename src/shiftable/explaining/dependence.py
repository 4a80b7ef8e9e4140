"""Which outputs of a net see which pixels: mark some rows of its input, and look where the marks arrive.

The mark is NaN: 0 · NaN is NaN, so every number that is computed from a marked pixel becomes NaN, whatever the weights,
and no other does. Beside it runs the same picture with other noise in the marked rows, because some operations swallow
a NaN (``nan_to_num``, comparisons) and some only seem to let it pass (a masked attention multiplies it by e^-100).
In float64 no convolution takes the short cuts (Winograd, FFT) that would spread a NaN over its neighbours.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor, nn

Mode: TypeAlias = Literal["nan", "either", "changed"]
"""What is a mark: NaN; a change, too, where NaN is swallowed; a change alone, where NaN passes what none does."""

State: TypeAlias = Literal["untouched", "local", "wraps", "full", "fixed"]
"""Where the marks of the first rows are: nowhere, near the start, at both ends, everywhere, in a map of fixed size."""

SAMPLES = 3
"""A probe's batch: the picture, the picture with NaN in the marked rows, with other noise in them."""

FAINT = 1e-12
"""A change below this share of a map's largest value is no change: float64 has 16 digits."""


@dataclass(frozen=True)
class Seen:
    """A tensor during a probe: its shape for one picture, and per dimension which indices hold marks.

    ``origin`` is the call that returned it last, or None for the input and for what no module returned.
    """

    key: str
    shape: tuple[int, ...]
    nan: tuple[Bool[np.ndarray, "_"], ...] = field(repr=False)
    changed: tuple[Bool[np.ndarray, "_"], ...] = field(repr=False)
    origin: int | None

    def marks(self, dimension: int, mode: Mode) -> Bool[np.ndarray, " index"]:
        """Which indices of a dimension hold marks."""
        nan, changed = self.nan[dimension], self.changed[dimension]
        either: Bool[np.ndarray, " index"] = np.logical_or(nan, changed)
        return {"nan": nan, "either": either, "changed": changed}[mode]


@dataclass(frozen=True)
class Call:
    """A module that ran: its path in the net ("" is the net itself), its type, what went in and what came out."""

    name: str
    kind: str
    inputs: tuple[Seen, ...]
    outputs: tuple[Seen, ...]


@dataclass(frozen=True)
class Trace:
    """The calls in the order in which they ended. ``failed``: the innermost module that raised, and its words."""

    calls: tuple[Call, ...]
    failed: tuple[str, str, str] | None


class _EnoughError(Exception):
    """Ends a forward pass at the module whose answer is wanted."""


def named_tensors(answer: Any, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in what a module took or returned, with their place in it."""
    if isinstance(answer, Tensor):
        yield key, answer
    elif isinstance(answer, Mapping):
        for name, value in answer.items():
            yield from named_tensors(value, f"{key}.{name}" if key else str(name))
    elif isinstance(answer, list | tuple):
        for place, value in enumerate(answer):
            yield from named_tensors(value, f"{key}[{place}]")


def watch(net: nn.Module, batch: Tensor, until: int | None = None) -> Trace:
    """Run the three samples of a probe through a net and write down where marks are, module by module."""
    calls: list[Call] = []
    running: list[tuple[str, str, tuple[Seen, ...]]] = []

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        # looked at before the module runs: it may work in place
        running.append((name, type(module).__name__, tuple(_seen([args, kwargs]))))

    def after(module: nn.Module, args: Any, kwargs: Any, answer: Any) -> None:
        name, kind, inputs = running.pop()
        index = len(calls)
        calls.append(Call(name, kind, inputs, tuple(_seen(answer))))
        for _, tensor in named_tensors(answer):
            setattr(tensor, _ORIGIN, index)
        if index == until:
            raise _EnoughError

    handles = []
    failed = None
    try:
        for name, module in net.named_modules():
            handles.append(module.register_forward_pre_hook(partial(before, name), with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        with torch.no_grad():
            net(batch)
    except _EnoughError:
        pass
    except Exception as error:  # nets refuse a size in many types
        name, kind, _ = running[-1] if running else ("", type(net).__name__, ())
        failed = (name, kind, " ".join(str(error).split())[:160] or type(error).__name__)
    finally:
        for handle in handles:
            handle.remove()
    return Trace(tuple(calls), failed)


_ORIGIN, _MARKS = "_shiftable_origin", "_shiftable_marks"
"""Notes on tensors: the call that returned them, and the marks found in them, good until somebody writes into them."""


def _seen(answer: Any) -> Iterator[Seen]:
    for key, tensor in named_tensors(answer):
        if tensor.ndim < 2 or len(tensor) % SAMPLES or not tensor.numel():
            continue
        version, marks = getattr(tensor, _MARKS, (None, None))
        if version != tensor._version or marks is None:
            marks = _marks(tensor)
            setattr(tensor, _MARKS, (tensor._version, marks))
        shape = (len(tensor) // SAMPLES, *tensor.shape[1:])
        yield Seen(key, shape, marks[0], marks[1], getattr(tensor, _ORIGIN, None))


def _marks(tensor: Tensor) -> tuple[tuple[Bool[np.ndarray, "_"], ...], ...]:
    # in NumPy: its reductions of truth values are ten times faster than torch's
    base, nan, other = tensor.detach().double().cpu().numpy().reshape(SAMPLES, -1, *tensor.shape[1:])
    with np.errstate(invalid="ignore", over="ignore"):
        changed = ~(np.abs(other - base) <= FAINT * np.nanmax(np.abs(base), initial=0))
    axes = range(base.ndim)
    return tuple(
        tuple(marks.any(axis=tuple(other for other in axes if other != axis)) for axis in axes)
        for marks in (np.isnan(nan), changed)
    )


def reach(net: nn.Module, batch: Tensor, index: int, place: int) -> Tensor:
    """What the call ``index`` returns, its tensor number ``place``; the net runs no further than needed."""
    count = 0
    found: list[Tensor] = []

    def after(module: nn.Module, args: Any, answer: Any) -> None:
        nonlocal count
        if count == index:
            found.append([tensor for _, tensor in named_tensors(answer)][place].clone())
            raise _EnoughError
        count += 1

    handles = [module.register_forward_hook(after) for module in net.modules()]
    try:
        with torch.no_grad():
            net(batch)
    except _EnoughError:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found[0]


@dataclass(frozen=True)
class Probe:
    """Two traces of one net, the second of a picture twice as long along ``axis`` (0 is y, 1 is x).

    What grows from the one to the other tells which dimension of a tensor runs along the axis.
    """

    axis: int
    lengths: tuple[int, int]
    short: tuple[Call, ...]
    long: tuple[Call, ...]
    failed: tuple[str, str, str] | None

    def grown(self, index: int, place: int, inputs: bool = False) -> tuple[int, ...]:
        """The dimensions of a call's tensor that are longer where the picture is longer."""
        long, short = ((call.inputs if inputs else call.outputs) for call in (self.long[index], self.short[index]))
        if place >= len(short) or len(short[place].shape) != len(long[place].shape):
            return ()
        sizes = zip(long[place].shape, short[place].shape, strict=True)
        return tuple(dimension for dimension, (more, less) in enumerate(sizes) if more > less)

    def state(self, index: int, place: int, mode: Mode, inputs: bool = False) -> State:
        """Where the marks are in a call's tensor."""
        seen = (self.long[index].inputs if inputs else self.long[index].outputs)[place]
        if not any(seen.marks(dimension, mode).any() for dimension in range(len(seen.shape))):
            return "untouched"
        grown = self.grown(index, place, inputs)
        if not grown:
            return "fixed"
        marks = [seen.marks(dimension, mode) for dimension in grown]
        if all(each.all() for each in marks):
            return "full"
        return "wraps" if any(each[-1] and not each.all() for each in marks) else "local"

    def pitch_px(self, index: int, place: int, before: Fraction = Fraction(1)) -> Fraction:
        """How many pixels apart the positions of a map are, along the axis.

        Counting them tells it up to one position; what is left to choose from, whole pixels or a whole share of one,
        must be a multiple or a divisor of ``before``, the pitch of the map before.
        """
        (dimension,) = self.grown(index, place)
        more, less = (calls[index].outputs[place].shape[dimension] for calls in (self.long, self.short))
        added, positions = self.lengths[1] - self.lengths[0], more - less
        about = Fraction(added, positions)
        if positions >= added:
            return 1 / Fraction(round(1 / about))
        most = added / (positions - 1) if positions > 1 else 2 * added
        near = [Fraction(px) for px in range(added // (positions + 1) + 1, ceil(most))]
        fitting = [px for px in near if 1 in ((px / before).denominator, (before / px).denominator)]
        return min(fitting or near or [about], key=lambda px: abs(px - about))

    def reach_px(self, index: int, place: int, pitch_px: Fraction, mode: Mode) -> int:
        """How far from the first rows, in px, their marks are found in a map."""
        (dimension,) = self.grown(index, place)
        marks = self.long[index].outputs[place].marks(dimension, mode)
        return ceil((int(np.flatnonzero(marks).max(initial=0)) + 1) * pitch_px)


def first_global(probe: Probe, mode: Mode) -> tuple[int, State] | None:
    """The first call that is given a map with marks near the start only, and returns nothing of that kind.

    Innermost calls end first, so it is the smallest module that holds the operation. None if the net's own answer
    still holds such a map, or there is no such call.
    """
    if not probe.failed and any(
        probe.state(len(probe.long) - 1, place, mode) == "local" for place in range(len(probe.long[-1].outputs))
    ):
        return None
    for index, call in enumerate(probe.long):
        given = [probe.state(index, place, mode, inputs=True) for place in range(len(call.inputs))]
        got = [probe.state(index, place, mode) for place in range(len(call.outputs))]
        ends = [state for state in got if state in ("full", "fixed", "wraps")]
        if "local" in given and ends and "local" not in got:
            return index, ends[0]
    return None
