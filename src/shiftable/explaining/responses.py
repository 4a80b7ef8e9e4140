"""How the maps inside a net follow the picture as it moves: their global sums, and the maps themselves, over images.

A map that is sampled finely enough moves with the picture, and its global sum stays what it was (Azulay & Weiss, JMLR
20(184), 2019, section 3). `follow` measures one image along one sweep, by the definitions in `following`; each map is
read when the net has made it, and let go: nothing is kept but numbers. `responses` puts the images together.
"""

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Int

from shiftable.auditing.intervals import Estimate, magnitude
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Response
from shiftable.explaining.following import Followed, Sweep, follow
from shiftable.explaining.maps import Layer

__all__ = ["Followed", "Kind", "Sweep", "follow", "responses"]

Kind: TypeAlias = Literal["circular", "real"]
"""In a circle, by a net made circular: what sampling does. Views of a larger picture, the net as it is: with its
borders."""


def responses(
    layers: Sequence[Layer], sweeps: Mapping[Kind, Sequence[Sweep]], *, seed: int = 0
) -> tuple[Response, ...]:
    """The layers' responses over images, with 95 % intervals.

    Args:
        layers: Of `layers_of`.
        sweeps: Of `follow`, image by image; of either kind or both.
        seed: Of the resampling of images.

    Raises:
        InputError: If there are no sweeps.
    """
    sweeps = {kind: found for kind, found in sweeps.items() if found}
    if not sweeps:
        raise InputError("no image was followed", todo="give an image or more")
    return tuple(_response(layer, sweeps, seed) for layer in layers)


def _response(layer: Layer, sweeps: Mapping[Kind, Sequence[Sweep]], seed: int) -> Response:
    followed: dict[str, list[Followed]] = {
        kind: [by_layer[layer.name] for _, by_layer in found] for kind, found in sweeps.items()
    }

    def estimated(value: Callable[[Followed], float], counted: Callable[[Followed], int]) -> dict[str, Estimate]:
        return {
            kind: _over_images([*map(value, found)], [*map(counted, found)], seed) for kind, found in followed.items()
        }

    pooled = {}
    for kind, found in followed.items():
        spread = _spread([each.pooled for each in found])
        steps = [each.pooled_step / spread if spread else nan for each in found]
        pooled[kind] = _over_images(steps, [each.steps for each in found], seed)
    still = followed.get("real") or followed["circular"]
    offsets, curves, maps, maps_at = _figures(layer, sweeps)
    return Response(
        layer.name,
        layer.depth,
        layer.stride_px,
        layer.grid.channels,
        layer.grid.size,
        estimated(lambda each: each.sums_vary, lambda each: each.moved),
        estimated(lambda each: each.equivariance_error, lambda each: each.moved),
        estimated(lambda each: each.map_change, lambda each: each.steps),
        pooled,
        _over_images([each.sharpness for each in still], [1] * len(still), seed),
        offsets,
        curves,
        maps,
        maps_at,
    )


def _over_images(values: Sequence[float], counts: Sequence[int], seed: int) -> Estimate:
    """The mean over images, without those that have none."""
    value, count = np.array(values, dtype=float), np.array(counts, dtype=float)
    known = np.isfinite(value) & (count > 0)
    if not known.any():
        return Estimate(nan, nan, nan, 0, 0)
    return magnitude(value[known] * count[known], count[known], seed=seed)


def _spread(pooled: Sequence[np.ndarray]) -> float:
    """Standard deviation between images, RMS over channels; 0 of a single image."""
    return float(np.sqrt(np.var(pooled, axis=0, ddof=1).mean())) if len(pooled) > 1 else 0.0


def _figures(
    layer: Layer, sweeps: Mapping[Kind, Sequence[Sweep]]
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Offsets that all kinds have, curves of the same channels, and maps: of the circular run, if there is one."""
    kept = {
        kind: (offsets, by_layer[layer.name])
        for kind, found in sweeps.items()
        for offsets, by_layer in reversed(found)
        if by_layer[layer.name].sums is not None
    }
    if not kept:
        nothing = np.empty(0)
        return nothing, {}, np.empty((0, *layer.grid.size)), nothing
    along = {kind: _along(offsets) for kind, (offsets, _) in kept.items()}
    common = sorted(set.intersection(*(set(each.tolist()) for each in along.values())))
    shown = kept.get("circular") or next(iter(kept.values()))
    channels = list(shown[1].channels)
    curves = {}
    for kind, (_, each) in kept.items():
        steps = [along[kind].tolist().index(offset) for offset in common]
        curves[str(kind)] = each.sums[np.ix_(channels, steps)] if each.sums is not None else np.empty((0, len(steps)))
    maps = shown[1].maps if shown[1].maps is not None else np.empty((0, *layer.grid.size))
    return np.array(common, dtype=float), curves, maps, _along(shown[0])[list(shown[1].places)].astype(float)


def _along(offsets: Int[np.ndarray, "step 2"]) -> np.ndarray:
    """The offsets along the way: down, unless the way goes across."""
    return np.asarray(offsets[:, 0] if np.ptp(offsets[:, 0]) else offsets[:, 1])
