"""Run a net on an image and on its tiles: are the answers the same?"""

from copy import deepcopy
from dataclasses import replace
from math import ceil, prod

import numpy as np
import torch
from torch import Tensor

from shiftable.data.shapes import draw_scene, render
from shiftable.explaining.extents import Part
from shiftable.explaining.tile_grid import Cut, Grid, cuts
from shiftable.explaining.tiling import Check, Pair

Cuts = tuple[tuple[Cut, ...], tuple[Cut, ...]]

LARGEST_PX = {"float64": 320**2, "float32": 1152**2}
"""Images up to this area are cut both ways at once; of larger ones, a strip along each axis."""


def check_tiles(part: Part, grids: tuple[Grid, Grid], seed: int) -> Check:
    """The map of a whole image against the one put together from tiles: noise, and a scene of `data.shapes`.

    Args:
        part: The map, in float64.
        grids: What its positions see, along y and x.
        seed: Of the noise and the scene.
    """
    advance = [grid.stride_px * ceil(32 / grid.stride_px) for grid in grids]
    tile = (grids[0].overlap_px + advance[0], grids[1].overlap_px + advance[1])
    image = tuple(
        size + step - (grid.stride_px // 2 if grid.any_size else 0)
        for size, step, grid in zip(tile, advance, grids, strict=True)
    )
    differences, images = [], []
    for kind in ("float64", "float32"):
        typed = part if kind == "float64" else replace(part, net=deepcopy(part.net).float())
        found, size = _difference(typed, grids, (image[0], image[1]), tile, LARGEST_PX[kind], seed)
        differences.append(found)
        images.append(size)
    off = [_off_grid(part, axis, grid, tile[axis], seed) for axis, grid in enumerate(grids) if grid.stride_px > 1]
    bare = [_no_margin(part, axis, grid, seed) for axis, grid in enumerate(grids) if grid.begin]
    return Check(
        differences[0], differences[1], (images[0], images[1]), tile,
        max(off) if off else None, max(grid.stride_px for grid in grids) // 2, max(bare) if bare else None,
    )  # fmt: skip


def pictures(size_px: Pair, channels: int, seed: int) -> Tensor:
    """Noise, and a scene, both of mean 0 and deviation 1: ``(2, channel, height, width)``."""
    noise = torch.randn((channels, *size_px), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    drawn = render(draw_scene(seed, size=size_px), size_px).astype(np.float64).transpose(2, 0, 1)
    scene = torch.from_numpy(np.resize((drawn - drawn.mean()) / drawn.std(), (channels, *size_px)))
    return torch.stack([noise, scene])


def stitch(part: Part, images: Tensor, rows: tuple[Cut, ...], columns: tuple[Cut, ...]) -> Tensor:
    """The map that tiles give, each run by itself."""
    return torch.cat([torch.cat([_kept(part, images, y, x) for x in columns], -1) for y in rows], -2)


def _kept(part: Part, images: Tensor, y: Cut, x: Cut) -> Tensor:
    tile = images[..., y.offset_px : y.offset_px + y.size_px, x.offset_px : x.offset_px + x.size_px]
    return part(tile)[..., slice(*y.keep), slice(*x.keep)]


def _difference(
    part: Part, grids: tuple[Grid, Grid], image: Pair, tile: Pair, largest_px: int, seed: int
) -> tuple[float, Pair]:
    """The largest one on both pictures, and the image's size: cut both ways, or, if large, strips cut along each."""
    if prod(image) <= largest_px:
        sizes = [(image, (cuts(grids[0], image[0], tile[0]), cuts(grids[1], image[1], tile[1])))]
    else:
        across = part.across_px
        whole = (Cut(0, across, (0, None), 0),)
        sizes = [
            ((image[0], across), (cuts(grids[0], image[0], tile[0]), whole)),
            ((across, image[1]), (whole, cuts(grids[1], image[1], tile[1]))),
        ]
    weight = next(part.net.parameters(), torch.empty(0, dtype=torch.float64))
    found = 0.0
    for size, (rows, columns) in sizes:
        images = pictures(size, part.channels, seed).to(weight.device, weight.dtype)
        found = max(found, relative(part(images), stitch(part, images, rows, columns)))
    return found, sizes[0][0]


def relative(whole: Tensor, other: Tensor) -> float:
    """The largest difference as a share of the largest value; infinite if the shapes are not the same."""
    if whole.shape != other.shape:
        return float("inf")
    return float((whole - other).abs().max() / whole.abs().max().clamp(min=1e-300))


def _off_grid(part: Part, axis: int, grid: Grid, tile_px: int, seed: int) -> float:
    """A tile half a stride off the grid, put where it fits best."""
    off = grid.stride_px // 2
    picture = part.noise(tile_px + grid.stride_px, seed)
    whole = part.strip(picture, axis)
    moved = part.strip(picture[:, :, off : off + tile_px], axis)[..., grid.begin : grid.end(tile_px)]
    nearest = {int(off // grid.pitch_px), int(-(-off // grid.pitch_px))}
    found = []
    for shift in nearest:
        place = whole[..., grid.begin + shift : grid.end(tile_px) + shift]
        found.append(relative(place, moved))
    return min(found)


def _no_margin(part: Part, axis: int, grid: Grid, seed: int) -> float:
    """Two tiles side by side, cut on the grid but without overlap: what their edges do."""
    half = grid.stride_px * ceil((grid.receptive_field_px + 32) / grid.stride_px)
    picture = part.noise(2 * half, seed)
    whole = part.strip(picture, axis)
    border = half // grid.stride_px * grid.positions
    second = part.strip(picture[:, :, half:], axis)
    return relative(whole[..., border:], second[..., : whole.shape[-1] - border])
