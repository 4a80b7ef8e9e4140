"""One image along a sweep: how the maps inside a net follow it.

Let ``M[t, c, y, x]`` be a layer's map at step t of a sweep. What *varies* in it is ``V² = mean (M − its mean over
positions)²``, over t, c, y and x. Then

* sums vary: ``√(Σ_c var_t(mean_yx M) / Σ_c (mean_tyx |M|)²)``. After a ReLU this is the coefficient of variation of
  the global sums, over channels by power; where values have both signs it stays finite though sums are near 0.
* equivariance error: RMS of ``M[t]`` against the still map moved by offset / stride positions, over V. Circular runs:
  the exact move of a circle. Real shifts: that of a map which goes on as its mirror image, compared where content was
  in view before (``⌈|offset| / stride⌉`` positions off at each end of the axes that move). About 1.4 is what two
  unrelated maps have; a map without high frequencies, and no border, has 0.
* map change: RMS of ``M[t + 1] − M[t]`` over V. Pooled step: RMS of the change of ``mean_yx M``.
* sharpness: the spectral centroid of the still map, under a Hann window unless the run is circular.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, nan, sqrt
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from shiftable.errors import InputError
from shiftable.explaining.fourier import centroid, power_spectrum, shifted
from shiftable.explaining.map_layouts import Pair, as_maps
from shiftable.explaining.maps import Layer
from shiftable.surgery.calls import Call, Key, run

CHANNELS, PLACES = 4, 5
"""Of the figures: channels with curves, the last of which varies least; offsets with maps."""


@dataclass(frozen=True)
class Followed:
    """One layer's map of one image along a sweep, as numbers. NaN where a map does not vary, or has no such steps.

    Args:
        sums_vary: As defined above, as are ``equivariance_error`` and ``map_change``.
        pooled_step: RMS of the change of the pooled map from one px to the next, over channels and steps.
        pooled: The pooled map of the still picture.
        sharpness: Of the still map.
        moved: Steps off the still picture.
        steps: Steps of one px.
        sums: For figures: global sums over their level ``mean |M|``; None unless asked for.
        channels: Those that vary most, then the one that varies least.
        maps: Of the channel that varies most, at ``places``.
        places: Some steps.
    """

    sums_vary: float
    equivariance_error: float
    map_change: float
    pooled_step: float
    pooled: Float[np.ndarray, "channel"] = field(repr=False)
    sharpness: float
    moved: int
    steps: int
    sums: Float[np.ndarray, "channel offset"] | None = field(default=None, repr=False)
    channels: tuple[int, ...] = ()
    maps: Float[np.ndarray, "place y x"] | None = field(default=None, repr=False)
    places: tuple[int, ...] = ()


Sweep: TypeAlias = tuple[Int[np.ndarray, "step 2"], Mapping[str, Followed]]
"""One image's: its offsets in px (down, right), and what became of each layer, by name."""


def follow(
    net: nn.Module,
    layers: Sequence[Layer],
    inputs: Tensor,
    offsets_px: Int[np.ndarray, "step 2"],
    *,
    periodic: bool,
    figures: bool = False,
) -> tuple[Any, Sweep]:
    """Show a net one image along a sweep, and measure its maps.

    Args:
        net: Is run once, and not changed. For a circular run, enter what makes it circular around this.
        layers: Of `layers_of`.
        inputs: The net's input at each step, one batch: memory is that of the net's own pass.
        offsets_px: How far the content has moved at each step, (down, right); the still picture is among them.
        periodic: Whether pictures moved in a circle, and the net is circular.
        figures: Whether to keep what figures of this image need.

    Returns:
        What the net answers, a row per step; and the sweep, for `responses`.

    Raises:
        InputError: If there is no still picture, or the pass does not come by a layer.
    """
    still = np.flatnonzero((offsets_px == 0).all(1))
    if len(offsets_px) != len(inputs) or not len(still):
        raise InputError(
            f"{len(inputs)} views at {len(offsets_px)} offsets, {len(still)} of them still",
            todo="give an offset for each view, one of them (0, 0)",
        )
    view_size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
    at = {layer.at: layer for layer in layers}
    found: dict[str, Followed] = {}
    calls: Counter[str] = Counter()

    def look(key: Key, tensor: Any) -> None:
        layer = at[key]
        maps = as_maps(tensor.detach(), layer.grid.layout, view_size)
        with _disable_current_modes():  # of what is entered around this: looking is not the net's doing
            found[layer.name] = _followed(maps, layer.stride_px, offsets_px, int(still[0]), periodic, figures)

    def visit(call: Call) -> Any:
        if call.key in at:
            look(call.key, call.args[0])
        return call()

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        key = Key(name, "", calls[name])
        calls[name] += 1
        if key in at:
            look(key, next(each for each in answers if each.ndim == (3 if at[key].grid.layout == "tokens" else 4)))

    answer = run(net, inputs, visit, left)
    for layer in layers:
        if layer.name not in found:
            raise InputError(f"the net took a way without layer {layer.name!r}", todo="leave it out")
    return answer, (offsets_px, found)


def _followed(
    maps: Tensor, stride_px: Pair, offsets_px: Int[np.ndarray, "step 2"], still: int, periodic: bool, figures: bool
) -> Followed:
    home = maps[still].float().contiguous()
    sums, levels, varying, changes, errors = [], [], [], [], []
    before = None
    for step, offset in enumerate(offsets_px):
        now = maps[step].float().contiguous()
        mean = now.mean((1, 2))
        sums.append(mean)
        levels.append(now.abs().mean((1, 2)))
        varying.append(_mean_square(now - mean[:, None, None]))
        if before is not None and np.abs(offset - offsets_px[step - 1]).max() == 1:
            changes.append((step, _mean_square(now - before)))
        if step != still:
            errors.append(_error(now, home, offset, stride_px, periodic))
        before = now
    sum_, level = torch.stack(sums).cpu().double(), torch.stack(levels).cpu().double().mean(0)
    scale = float(np.mean(varying))
    vary = scale > 1e-12 * _mean_square(home)  # less is rounding
    stepped = [step for step, _ in changes]
    differences = sum_[stepped] - sum_[[step - 1 for step in stepped]]
    deviation = sum_.std(0, correction=0)
    size = (int(home.shape[1]), int(home.shape[2]))
    shown: dict[str, Any] = {}
    if figures:
        channels = _channels(deviation.numpy(), level.numpy())
        places = tuple(np.linspace(0, len(offsets_px) - 1, min(PLACES, len(offsets_px))).round().astype(int).tolist())
        curves = (sum_ / level.clamp_min(torch.finfo(torch.float64).tiny)).T.numpy()
        chosen = maps[list(places), channels[0]].float().cpu().numpy()
        shown = {"sums": curves, "channels": channels, "maps": chosen, "places": places}
    return Followed(
        _ratio(float(deviation.square().sum()), float(level.square().sum())),
        _ratio(float(np.mean(errors)), scale) if vary and errors else nan,
        _ratio(float(np.mean([change for _, change in changes])), scale) if vary and changes else nan,
        float(differences.square().mean().sqrt()) if stepped else nan,
        sum_[still].numpy(),
        centroid(power_spectrum(home, windowed=not periodic), size) if vary else nan,
        len(errors),
        len(changes),
        **shown,
    )


def _mean_square(values: Tensor) -> float:
    return float(values.square().mean())


def _ratio(power: float, of: float) -> float:
    return sqrt(power / of) if of > 0 else nan


def _error(now: Tensor, home: Tensor, offset: np.ndarray, stride_px: Pair, periodic: bool) -> float:
    """Mean square of the map against the still one moved, where both saw the same content."""
    down, right = (float(along) / stride for along, stride in zip(offset, stride_px, strict=True))
    difference = now - shifted(home, (down, right), mirrored=not periodic)
    if not periodic:
        for axis, along in ((1, ceil(abs(down))), (2, ceil(abs(right)))):
            size = difference.shape[axis]
            margin = min(along, (size - 1) // 2)
            difference = difference.narrow(axis, margin, size - 2 * margin)
    return _mean_square(difference)


def _channels(deviation: np.ndarray, level: np.ndarray) -> tuple[int, ...]:
    """Those whose sums vary most, then, of the livelier half, the one that varies least for its level.

    Most as such, not for their level: a channel that is hardly ever on varies most for its level, and shows nothing.
    """
    lively = np.flatnonzero((level >= np.median(level)) & (level > 0))
    most = np.argsort(-deviation, kind="stable")[: CHANNELS - 1].tolist()
    least = [int(lively[np.argmin(deviation[lively] / level[lively])])] if len(lively) else []
    return tuple(dict.fromkeys([*most, *least]))
