"""Find the part of a net that gives a map, and the first operation that looks at all of the image."""

from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction
from math import lcm

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.explaining.dependence import SAMPLES, Call, Mode, Probe, Seen, first_global, reach, watch
from shiftable.explaining.extents import Part
from shiftable.explaining.tiling import Forbidden

UNITS = (32, 64, 128, 224)
"""Widths of the strips that are tried, in px: narrow is fast, some nets need more. Then the net's own size."""

LONGEST_PX = 4096
"""What still reaches from the first rows to the last of so long a strip counts as global."""

BAND = 16
"""How many of the first rows are marked."""

WHY = {
    "full": "every position of its answer depends on all of the image",
    "wraps": "what leaves at one edge of the image comes in at the other",
    "place": "its answer depends on the place in the image, not only on what is there",
}


@dataclass(frozen=True)
class Dense:
    """The map of a net that may be tiled, as far as two probes tell.

    Args:
        survey: The probes.
        part: The map, to be run.
        name: The module that returns it, "the answer" for the net's own.
        calls: The maps on the way to it, in the order of the calls, itself last.
        pitch_px: How far apart its positions are, (y, x).
        stride_px: The common multiple of the pitches of all maps on the way, (y, x).
        reach_px: How far a pixel is seen, (y, x).
        mode: What the marks are.
        forbidden: What comes after it.
    """

    survey: "Survey"
    part: Part
    name: str
    calls: tuple[tuple[int, int], ...]
    pitch_px: tuple[Fraction, Fraction]
    stride_px: tuple[int, int]
    reach_px: tuple[int, int]
    mode: Mode
    forbidden: Forbidden | None


@dataclass(frozen=True)
class Survey:
    """Both axes' probes of one net, and what they mean by a mark."""

    net: nn.Module
    channels: int
    unit_px: int
    probes: tuple[Probe, Probe]
    mode: Mode

    def is_map(self, index: int, place: int) -> bool:
        """Whether a tensor has a y and an x, and a mark at the image's edge stays near it."""
        along = [probe.grown(index, place) for probe in self.probes]
        if [len(each) for each in along] != [1, 1] or along[0] == along[1]:
            return False
        return all(probe.state(index, place, self.mode) == "local" for probe in self.probes)

    def dense(self, index: int, place: int, forbidden: Forbidden | None) -> Dense:
        """What the probes tell of a map."""
        maps = [
            (each, at)
            for each, call in enumerate(self.probes[0].long[: index + 1])
            for at in range(len(call.outputs))
            if self.is_map(each, at)
        ]
        pitches = [self._pitches(axis, maps) for axis in (0, 1)]
        y, x = (probe.grown(index, place)[0] for probe in self.probes)
        strides = [lcm(*(pitch.numerator for pitch in along.values())) for along in pitches]
        reaches = [
            probe.reach_px(index, place, along[index, place], self.mode)
            for probe, along in zip(self.probes, pitches, strict=True)
        ]
        call = self.probes[0].long[index]
        return Dense(
            survey=self,
            part=Part(self.net, index, place, (y, x), self.channels, self.unit_px),
            name=called(call.name, call.outputs[place]),
            calls=(*(each for each in maps if each != (index, place)), (index, place)),
            pitch_px=(pitches[0][index, place], pitches[1][index, place]),
            stride_px=(strides[0], strides[1]),
            reach_px=(reaches[0], reaches[1]),
            mode=self.mode,
            forbidden=forbidden,
        )

    def _pitches(self, axis: int, maps: list[tuple[int, int]]) -> dict[tuple[int, int], Fraction]:
        """How far apart the positions of each map are."""
        found: dict[tuple[int, int], Fraction] = {}
        before = Fraction(1)
        for each in maps:
            before = found[each] = self.probes[axis].pitch_px(*each, before)
        return found


def called(name: str, seen: Seen) -> str:
    """What to call a map."""
    return (name or "the answer") + (f" ({seen.key})" if seen.key else "")


def own_copy(net: nn.Module, device: str, spec: str) -> nn.Module:
    """The net in float64 and evaluation mode. The caller's stays as it is.

    Raises:
        InputError: If it can't be copied or can't be there.
    """
    try:
        return deepcopy(net).to(device).double().eval().requires_grad_(False)
    except Exception as error:  # locks, open files, a device that is not there: many types
        words = " ".join(str(error).split())[:160]
        raise InputError(f"the net can't be copied to {device} in float64 ({words})", where=spec) from error


def device_of(net: nn.Module) -> torch.device:
    """Where its weights are."""
    return next((weight.device for weight in net.parameters()), torch.device("cpu"))


def input_channels(net: nn.Module) -> int:
    """Of its first layer that has any, else 3."""
    channels = (getattr(module, "in_channels", None) for module in net.modules())
    return next((each for each in channels if isinstance(each, int)), 3)


def dense_part(net: nn.Module, view_px: tuple[int, int], spec: str, seed: int) -> Dense:
    """The last map of a net before its first global operation: the net's own answer, if there is none.

    Args:
        net: As `own_copy` gives it.
        view_px: (height, width) of what it is usually shown.
        spec: Its name, for errors.
        seed: Of the noise that it is shown.

    Raises:
        InputError: If the net can't be run, or gives no map.
    """
    survey, blamed = _survey(net, view_px, spec, seed)
    calls = survey.probes[0].long
    failed = survey.probes[0].failed or survey.probes[1].failed
    if blamed is None and failed is None:
        last = len(calls) - 1
        maps = [place for place in range(len(calls[last].outputs)) if survey.is_map(last, place)]
        if not maps:
            raise no_map(spec)
        widest = max(maps, key=lambda place: survey.dense(last, place, None).reach_px)
        return survey.dense(last, widest, None)
    if failed is None or blamed is not None:
        assert blamed is not None
        index = blamed[0]
        forbidden = _forbidden(survey, *blamed)
        origins = [
            seen.origin for place, seen in enumerate(calls[index].inputs)
            if seen.origin is not None and survey.probes[0].state(index, place, survey.mode, inputs=True) == "local"
        ]  # fmt: skip
    else:
        if no := watch(net, marked(survey.channels, view_px, 0, seed).to(device_of(net))).failed:
            size = "×".join(map(str, view_px))
            raise InputError(
                f"the net can't take an image of {size} px ({no[0] or no[1]}: {no[2]})",
                where=spec,
                todo="say what size it takes by --preprocessing 'view_size=[H,W]'",
            )
        forbidden = Forbidden(failed[0], failed[1], f"it takes one size only ({failed[2]})", ends=True)
        index, origins = len(calls), []
    earlier = [*origins, *reversed(range(index))]
    found = next(
        ((each, place) for each in earlier for place in range(len(calls[each].outputs)) if survey.is_map(each, place)),
        None,
    )
    if found is None:
        raise no_map(spec)
    return survey.dense(*found, forbidden)


def no_map(spec: str) -> InputError:
    return InputError("the net gives no map whose rows and columns follow the image's", where=spec)


def _survey(net: nn.Module, view_px: tuple[int, int], spec: str, seed: int) -> tuple[Survey, tuple[int, str] | None]:
    """Probes long enough to tell what is global from what only reaches far, and the first global call."""
    channels = input_channels(net)
    unit = _unit(net, channels, max(view_px), seed)
    survey, blamed = _look(net, channels, unit, seed, numbers=False)
    if blamed is not None and blamed[1] != "fixed" and _only_nan(survey, blamed[0]):
        return _look(net, channels, unit, seed, numbers=True)
    return survey, blamed


def _look(net: nn.Module, channels: int, unit: int, seed: int, numbers: bool) -> tuple[Survey, tuple[int, str] | None]:
    short, until = 8 * unit, None
    while True:
        probes = tuple(_probe(net, channels, unit, axis, short, until, seed) for axis in (0, 1))
        mode: Mode = "changed" if numbers else _mode(probes)
        survey = Survey(net, channels, unit, (probes[0], probes[1]), mode)
        blamed = _first_global(survey)
        if blamed is None and until is not None:
            until = None  # what was everywhere only reaches far: look further
        elif blamed is not None and blamed[1] == "full" and 2 * short < LONGEST_PX:
            short, until = 2 * short, blamed[0]
        else:
            return survey, blamed


def _only_nan(survey: Survey, index: int) -> bool:
    """Whether NaN reaches far from here and no number does: past a masked attention, which multiplies by e^-100."""
    return all(
        probe.state(index, place, "changed") in ("local", "untouched")
        for probe in survey.probes
        for place in range(len(probe.long[index].outputs))
    )


def _unit(net: nn.Module, channels: int, view_px: int, seed: int) -> int:
    """The narrowest strip that the net takes; if it takes none, the one on which it comes furthest."""
    got = {}
    for unit in (*UNITS, view_px):
        trace = watch(net, marked(channels, (4 * unit, unit), 0, seed).to(device_of(net)))
        if not trace.failed:
            return unit
        got[unit] = len(trace.calls)
    return max(got, key=lambda unit: got[unit])


def marked(channels: int, size_px: tuple[int, int], axis: int, seed: int) -> Tensor:
    """The three pictures of a probe, the first rows (columns) marked."""
    made = torch.Generator().manual_seed(seed)
    picture, other = torch.randn((2, channels, *size_px), generator=made, dtype=torch.float64)
    batch = torch.stack([picture] * SAMPLES)
    along = batch.movedim(2 + axis, 0)
    along[:BAND, 1] = torch.nan
    along[:BAND, 2] = 10 * other.movedim(1 + axis, 0)[:BAND]
    return batch


def _probe(net: nn.Module, channels: int, unit: int, axis: int, short: int, until: int | None, seed: int) -> Probe:
    traces = []
    for length in (short, 2 * short):
        size = (length, unit) if axis == 0 else (unit, length)
        traces.append(watch(net, marked(channels, size, axis, seed).to(device_of(net)), until))
    calls = [trace.calls for trace in traces]
    same = next(
        (place for place, (a, b) in enumerate(zip(*calls, strict=False)) if a.name != b.name), min(map(len, calls))
    )
    return Probe(axis, (short, 2 * short), calls[0][:same], calls[1][:same], traces[1].failed)


def _mode(probes: tuple[Probe, ...]) -> Mode:
    """NaN alone tells, unless something swallows it."""
    swallowed = any(
        (changed & ~nan).any()
        for probe in probes
        for call in probe.long
        for seen in call.outputs
        for changed, nan in zip(seen.changed, seen.nan, strict=True)
    )
    return "either" if swallowed else "nan"


def _first_global(survey: Survey) -> tuple[int, str] | None:
    found = [blamed for probe in survey.probes if (blamed := first_global(probe, survey.mode))]
    return min(found) if found else None


def _forbidden(survey: Survey, index: int, state: str) -> Forbidden:
    call = survey.probes[0].long[index]
    follow = any(
        probe.grown(each, place)
        for probe in survey.probes
        for each in range(index, len(probe.long))
        for place in range(len(probe.long[each].outputs))
    )
    size = "×".join(str(side) for side in call.outputs[0].shape[2:]) or "no"
    why = WHY.get(state) or f"it makes {size} position{'s' if size not in ('1', '1×1') else ''} of a map of any size"
    return Forbidden(call.name, kind_of(survey.net, call), why, not follow, _change(survey, index) if follow else None)


def _change(survey: Survey, index: int) -> float | None:
    """By how much a call's answer changes if the net is shown half of a strip; of a map, what is in the first eighth.

    The strip is noise that grows four times as strong, or its two halves would have the same means.
    """
    picture = Part(survey.net, index, 0, (-2, -1), survey.channels, survey.unit_px).noise(8 * survey.unit_px, 0)
    picture *= torch.linspace(0.5, 2, picture.shape[2], dtype=picture.dtype, device=picture.device)[:, None]
    whole, tile = (reach(survey.net, each, index, 0) for each in (picture, picture[:, :, : 4 * survey.unit_px]))
    for dimension in survey.probes[0].grown(index, 0):
        whole, tile = (each.narrow(dimension, 0, whole.shape[dimension] // 8) for each in (whole, tile))
    return float((whole - tile).abs().max() / whole.abs().max()) if whole.shape == tile.shape else None


def kind_of(net: nn.Module, call: Call) -> str:
    """A module's type, and that of what it is a part of."""
    kinds = {name: type(module).__name__ for name, module in net.named_modules()}
    parent = kinds.get(call.name.rpartition(".")[0], "") if call.name else ""
    return call.kind if parent in ("", "Sequential", "ModuleList", kinds[""]) else f"{call.kind} in {parent}"
