"""How particular operations move a map's positions, or drop some: the rules of `shiftable.surgery.travelling`.

Each gets the travel, the operation, its first argument, what it gave, and where the first argument stands; it returns
where what it gave stands, or None where it is as any other operation.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from shiftable.surgery.calls import Call
from shiftable.surgery.mixing import Mix
from shiftable.surgery.standing import (
    UNPADDED,
    Crossing,
    Patches,
    Standing,
    axes_in,
    joined,
    kept,
    padded,
    resized,
    windowed,
)
from shiftable.surgery.windows import NCHW, NHWC, Pair, Window, window_of

if TYPE_CHECKING:
    from shiftable.surgery.travelling import Travel

TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}
"""How many positions a resize looks at along an axis."""


def _slice(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    axis, step, count = int(call.argument(1, 0)) % image.ndim, int(call.argument(4, 1)), image.ndim
    if given.shape == image.shape and step == 1:
        return own
    axes = axes_in(own, image.shape)
    if axes is None or axis not in axes:
        return _token(travel, call, image, given, own, axis) if count == 3 else None
    start = int(call.argument(2) or 0)
    start = max(0, min(start + image.shape[axis] if start < 0 else start, image.shape[axis]))
    down = axis == axes[0]
    size = (int(given.shape[axes[0]]), int(given.shape[axes[1]]))
    stride = (step, 1) if down else (1, step)
    after = kept(own, (start, 0) if down else (0, start), size, stride, axes)
    return after if step == 1 else _sliced(travel, call, after, axes)


def _sliced(travel: "Travel", call: Call, after: Standing, axes: Pair) -> Standing:
    """A slice that drops positions: of the crossing that takes the same map apart, or a new one."""
    assert after.sliced is not None
    root, stride = after.sliced
    for number, known in enumerate(travel.crossings):
        if known.before is root and known.keys[0].module == call.key.module and known.window.kind == "slice":
            both = (max(stride[0], known.window.stride[0]), max(stride[1], known.window.stride[1]))
            small = (min(after.size[0], known.after.size[0]), min(after.size[1], known.after.size[1]))
            window = replace(known.window, stride=both, output_size=small)
            sites = (*root.sites, number)
            after = replace(after, sites=sites)
            travel.crossings[number] = replace(known, keys=(*known.keys, call.key), window=window, after=after)
            return after
    window = Window("slice", (1, 1), stride, UNPADDED, (1, 1), root.size, after.size, root.channels, _image_axes(axes))
    return travel.crossed(Crossing((call.key,), window, root, after))


def _token(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing, axis: int) -> Standing | None:
    """One token taken out of all."""
    if image.ndim != 3 or axis != 1 or image.shape[1] < own.positions or own.positions == 1:
        return None
    if given.ndim == 3 and given.shape[1] > 1:
        return None
    return travel.past(Mix(call.key, "one token taken", ends=True), joined([own]))


def _select(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    return _token(travel, call, image, given, own, int(call.argument(1, 0)) % image.ndim)


def _pad(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    axes, pads = axes_in(own, image.shape), [int(each) for each in call.args[1]]
    if axes is None:
        return None
    pads += [0] * (2 * image.ndim - len(pads))
    y, x = (2 * (image.ndim - 1 - axis) for axis in axes)
    return padded(own, ((pads[y], pads[y + 1]), (pads[x], pads[x + 1])), axes)


def _permute(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    axes = axes_in(own, image.shape)
    order = list(range(image.ndim))
    if call.key.operation == "permute":
        order = [int(axis) % image.ndim for axis in call.args[1]]
    else:
        one, other = (int(call.args[place]) % image.ndim for place in (1, 2))
        order[one], order[other] = other, one
    return replace(joined([own]), axes=axes and (order.index(axes[0]), order.index(axes[1])))


def _view(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    if given.shape == image.shape:
        return own
    window = window_of(call, given)
    if window is not None and window.kind == "merging" and axes_in(own, image.shape) == window.dimensions:
        return replace(joined([own]), patches=Patches(call.key, window, own))
    if own.patches is not None and given.ndim != image.ndim:
        return _merged(travel, own.patches, given) or replace(joined([own]), patches=None)
    if given.ndim == 2 and image.ndim > 2 and own.positions > 1 and given.shape[0] == travel.batch:
        return travel.past(Mix(call.key, "flattened", ends=True), joined([own]))
    axes = axes_in(replace(own, axes=NHWC if _tokens_first(image, own) else NCHW), given.shape)
    return replace(joined([own]), axes=axes, padded=own.padded)


def _merged(travel: "Travel", patches: Patches, given: Tensor) -> Standing | None:
    """Past patches that became channels; None if they were put back."""
    window, before = patches.window, patches.before
    rows, columns = window.output_size
    channels = window.channels * prod(window.kernel)
    shapes = [(rows, columns, channels), (channels, rows, columns), (rows * columns, channels)]
    if given.shape[0] != travel.batch or tuple(given.shape[1:]) not in [*shapes, shapes[-1][::-1]]:
        return None
    after = windowed(before, window, channels, None)
    after = replace(after, axes=axes_in(after, given.shape))
    return travel.crossed(Crossing((patches.key,), window, before, after))


def _clone(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    return own


def _resize(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    if given.ndim != 4 or image.ndim != 4:
        return None
    size = (int(given.shape[2]), int(given.shape[3]))
    window = window_of(call, given)
    name = call.key.operation
    taps = next((each for word, each in TAPS.items() if word in name), 1)
    if window is None:  # it makes the map larger, or leaves it as it is
        if size == own.size:
            return joined([own])
        return resized(own, size, taps, NCHW) if size != (1, 1) else None
    if window.kind == "interpolation":
        wide = [
            taps * (-(-before // after) if "_aa" in name or "adaptive" in name else 1)
            for before, after in zip(own.size, size, strict=True)
        ]
        window = replace(window, kernel=(wide[0], wide[1]))
    return travel.through(call, window, given, own)


def _unfold(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    axes = axes_in(own, image.shape)
    if axes is not None and int(call.args[1]) % image.ndim in axes and int(call.args[3]) > 1:
        travel.unknown.append(call.key)
    return None


def _convolution(travel: "Travel", call: Call, image: Tensor, given: Tensor, own: Standing) -> Standing | None:
    window = window_of(call, given)
    if window is not None:
        return travel.through(call, window, given, own)
    if not call.argument(6) or given.ndim != 4:
        return None
    travel.weighted.append(call.key)
    strides, taps = call.args[3], int(call.args[1].shape[2])
    after = resized(own, (int(given.shape[2]), int(given.shape[3])), -(-taps // int(strides[0])), NCHW)
    exact = [pitch / int(step) for pitch, step in zip(own.pitch_px, strides, strict=False)]
    return replace(after, pitch_px=(exact[0], exact[-1]), depth=own.depth + 1, channels=int(given.shape[1]),
                   repeats_px=own.repeats_px)  # fmt: skip


def _image_axes(axes: Pair) -> Pair:
    return NHWC if axes == NHWC else NCHW


def _tokens_first(image: Tensor, own: Standing) -> bool:
    """Whether a tensor of tokens has its channels last."""
    return image.ndim == 3 and image.shape[1] == own.positions


Rule: TypeAlias = Callable[["Travel", Call, Tensor, Tensor, Standing], Standing | None]

RULES: Mapping[str, Rule] = {
    "slice": _slice,
    "select": _select,
    "permute": _permute,
    "transpose": _permute,
    **dict.fromkeys(("view", "_unsafe_view", "reshape", "_reshape_alias"), _view),
    **dict.fromkeys(("clone", "contiguous", "_to_copy", "detach", "alias", "dropout"), _clone),
    **dict.fromkeys(("constant_pad_nd", "reflection_pad2d", "replication_pad2d"), _pad),
    **dict.fromkeys(
        (
            "upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d", "_upsample_bilinear2d_aa",
            "upsample_bicubic2d", "_upsample_bicubic2d_aa", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
            "pixel_shuffle",
        ),
        _resize,
    ),
    "unfold": _unfold,
    "convolution": _convolution,
}  # fmt: skip
"""By ATen's name of the operation: where what it gives stands, or None where it is as any other operation."""
