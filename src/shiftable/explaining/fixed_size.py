"""Nets that take images of one size only: there is nothing to cut, but something to say."""

from collections.abc import Sequence

from torch import nn

from shiftable.errors import InputError
from shiftable.explaining.dense_part import UNITS, WHY, called, device_of, input_channels, kind_of, marked, no_map
from shiftable.explaining.dependence import Seen, watch
from shiftable.explaining.tiling import Forbidden, Pair, Tiling


def fixed_size(net: nn.Module, view_px: Pair, spec: str, seed: int) -> Tiling | None:
    """What is to be said of a net that refuses other sizes before its first layer, as vision transformers do, or None.

    Raises:
        InputError: If it does not take ``view_px`` either, or gives no map.
    """
    channels = input_channels(net)
    sizes = [(4 * unit, unit) for unit in (*UNITS, max(view_px))]
    if any(watch(net, marked(channels, size, 0, seed).to(device_of(net)), until=0).calls for size in sizes):
        return None
    trace = watch(net, marked(channels, view_px, 0, seed).to(device_of(net)))
    if trace.failed:
        name, kind, words = trace.failed
        size = "×".join(map(str, view_px))
        raise InputError(f"the net can't take an image of {size} px ({name or kind}: {words})", where=spec)
    index = next((i for i, call in enumerate(trace.calls) if _whole(call.outputs) and not _whole(call.inputs)), None)
    earlier = trace.calls if index is None else trace.calls[:index]
    maps = [
        (call, seen)
        for call in earlier
        for seen in call.outputs
        if len(seen.shape) == 4
        and not view_px[0] % seen.shape[2]
        and not view_px[1] % seen.shape[3]
        and not _whole([seen])
    ]
    if not maps:
        raise no_map(spec)
    (last, seen), only = maps[-1], f"the net takes {view_px[0]}×{view_px[1]} px only"
    high, wide = view_px[0] / seen.shape[2], view_px[1] / seen.shape[3]
    why = only if index is None else f"{WHY['full']}, and {only}"
    by = trace.calls[-1] if index is None else trace.calls[index]
    return Tiling(
        spec=spec,
        part=called(last.name, seen),
        stride_px=(int(high), int(wide)),
        pitch_px=(high, wide),
        receptive_field_px=None,
        first_px=None,
        overlap_px=None,
        margin_px=None,
        any_size=(False, False),
        tile_sizes=(),
        forbidden_by=Forbidden(by.name, kind_of(net, by), why, ends=False),
        check=None,
    )


def _whole(tensors: Sequence[Seen]) -> bool:
    """Whether marks are everywhere."""
    return bool(tensors) and all(marks.all() for seen in tensors for marks in seen.nan)
