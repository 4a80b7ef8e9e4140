"""The last map of a net that repeats at some stride: what answers by place, not by what is there, comes after it."""

from math import ceil

from shiftable.errors import InputError
from shiftable.explaining.dense_part import WHY, Dense, kind_of
from shiftable.explaining.extents import measure
from shiftable.explaining.tile_grid import Grid
from shiftable.explaining.tiling import Forbidden


def last_repeating(dense: Dense, spec: str, seed: int) -> tuple[Dense, tuple[Grid, Grid]]:
    """A map and what its positions see: the given one's, or the last one's before it that repeats.

    Raises:
        InputError: If none does, or the map is 0 everywhere.
    """
    if not dense.part.strip(
        dense.part.noise(dense.stride_px[0] * (ceil(dense.reach_px[0] / dense.stride_px[0]) + 8), seed), 0
    ).any():
        raise InputError(
            f"{dense.name} is 0 everywhere on noise: nothing can be compared", where=spec, todo="load trained weights"
        )
    grids = _grids(dense, seed)
    if grids:
        return dense, grids
    good, bad = -1, len(dense.calls) - 1
    found = None
    while bad - good > 1:
        middle = (good + bad) // 2
        earlier = dense.survey.dense(*dense.calls[middle], None)
        grids = _grids(earlier, seed)
        if grids:
            good, found = middle, (earlier, grids)
        else:
            bad = middle
    if found is None:
        raise InputError(
            "moving the image by any number of pixels changes more than the place of its first map", where=spec
        )
    call = dense.survey.probes[0].long[dense.calls[bad][0]]
    forbidden = Forbidden(call.name, kind_of(dense.survey.net, call), WHY["place"], ends=False)
    return dense.survey.dense(*dense.calls[good], forbidden), found[1]


def _grids(dense: Dense, seed: int) -> tuple[Grid, Grid] | None:
    found = []
    for axis in (0, 1):
        grid = measure(
            dense.part, axis, dense.stride_px[axis], dense.pitch_px[axis], dense.reach_px[axis], dense.mode, seed
        )
        if grid is None:
            return None
        found.append(grid)
    return found[0], found[1]
