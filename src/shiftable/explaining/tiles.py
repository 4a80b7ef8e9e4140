"""Which tiles a large image may be cut into without changing what a net sees of it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from shiftable.errors import InputError, missing_extra
from shiftable.explaining.tile_grid import Grid, cuts
from shiftable.explaining.tiling import Pair, Plan, Tiling, tile_sizes

if TYPE_CHECKING:
    from shiftable.explaining.dense_part import Dense

SIZES_PX = (512, 1024, 2048)
"""Tiles that are proposed, beside the size that the net is usually shown; twice the overlap is the least."""

BY_NUMBERS = (
    "past a mask NaN tells of more than any number does: extents are those at which numbers change by more than 1e-12"
)


def tiles(
    model: Any,
    *,
    image_px: int | Pair | None = None,
    tile_px: int | Pair | None = None,
    device: str | None = None,
    seed: int = 0,
) -> Tiling:
    """The total stride, the receptive field, and the tiles that change nothing: measured, then checked by running.

    Tiles that begin at multiples of the total stride are sampled by the net on the same grid as the whole image, and
    what lies so far inside that no receptive field leaves the tile is the same number. No table of layers is used: NaN
    in some rows of the input shows which positions of every map see them, moved noise shows at which stride the net
    repeats, and the first module that answers marks at one edge with marks everywhere is what forbids tiles.

    Args:
        model: A PyTorch model as `open_model` returns it, or a net. It is copied, not touched.
        image_px: The size of an image to be planned, (height, width) or one number for both.
        tile_px: The size of its tiles; the nearest one that works is taken. None takes the first proposed.
        device: Where the net runs; it must have float64. None takes the CPU.
        seed: Of the noise.

    Raises:
        InputError: If the model is no PyTorch net, gives no map, can't be run, or the image or the tile is too small.
    """
    net, spec, view_px = _opened(model)
    image, tile = _pair(image_px, "image"), _pair(tile_px, "tile")
    try:
        from shiftable.explaining import dense_part, fixed_size, repeating
    except ModuleNotFoundError as error:
        raise missing_extra("torch", "torch") from error
    copy = dense_part.own_copy(net, device or "cpu", spec)
    fixed = fixed_size.fixed_size(copy, view_px, spec, seed)
    if fixed is not None:
        _nothing_to_plan(fixed, image or tile)
        return fixed
    dense, grids = repeating.last_repeating(dense_part.dense_part(copy, view_px, spec, seed), spec, seed)
    return _tiling(spec, dense, grids, view_px, image, tile, seed)


def _opened(model: Any) -> tuple[Any, str, Pair]:
    """The net, its name, and the size that it is usually shown."""
    net = getattr(getattr(model, "exact", None) or model, "net", model)
    spec = str(getattr(model, "spec", type(model).__name__))
    if not callable(getattr(net, "named_modules", None)):
        raise InputError(
            "tiles are found by looking into a PyTorch net, and into this model nobody can look",
            where=spec,
            todo="open the net that it was made from",
        )
    fields = getattr(model, "preprocessing", None)
    if fields is not None and (fields.dtype != "float32" or fields.layout != "NCHW"):
        raise InputError(
            f"it takes {fields.dtype} numbers as {fields.layout}",
            where=spec,
            todo="give a net that takes float32 as NCHW",
        )
    height, width = getattr(model, "view_size", (224, 224))
    return net, spec, (int(height), int(width))


def _pair(size: int | Pair | None, what: str) -> Pair | None:
    pair = (size, size) if isinstance(size, int) else size
    if pair is not None and min(pair) < 1:
        raise InputError(f"{what} of {pair[0]}×{pair[1]} px", todo="give a size of 1 px or more")
    return pair


def _tiling(
    spec: str, dense: "Dense", grids: tuple[Grid, Grid], view_px: Pair, image: Pair | None, tile: Pair | None, seed: int
) -> Tiling:
    from shiftable.explaining.tile_check import check_tiles

    y, x = grids
    usable = dense.forbidden is None or dense.forbidden.ends
    least = (2 * y.overlap_px, 2 * x.overlap_px)
    proposed = [(max(size[0], least[0]), max(size[1], least[1])) for size in (view_px, *((px, px) for px in SIZES_PX))]
    wanted = proposed if tile is None else [_large_enough(grids, tile, spec)]
    found = Tiling(
        spec=spec,
        part=dense.name,
        stride_px=(y.stride_px, x.stride_px),
        pitch_px=(float(y.pitch_px), float(x.pitch_px)),
        receptive_field_px=(y.receptive_field_px, x.receptive_field_px),
        first_px=(y.first_px[0], x.first_px[0]),
        overlap_px=(y.overlap_px, x.overlap_px),
        margin_px=(y.margin_px, x.margin_px),
        any_size=(y.any_size, x.any_size),
        tile_sizes=tile_sizes(grids, tuple(wanted)) if usable else (),
        forbidden_by=dense.forbidden,
        check=None,
        remarks=(BY_NUMBERS,) if dense.mode == "changed" else (),
    )
    if not usable:
        _nothing_to_plan(found, image or tile)
        return found
    plan = None if image is None else _plan(grids, image, found.tile_sizes[0].tile_px, spec)
    return replace(found, plan=plan, check=check_tiles(dense.part, grids, seed))


def _large_enough(grids: tuple[Grid, Grid], tile: Pair, spec: str) -> Pair:
    least = tuple(grid.overlap_px + grid.stride_px for grid in grids)
    if any(size <= grid.overlap_px for size, grid in zip(tile, grids, strict=True)):
        raise InputError(
            f"a tile of {tile[0]}×{tile[1]} px is no larger than the overlap that it needs, "
            f"{grids[0].overlap_px}×{grids[1].overlap_px} px",
            where=spec,
            todo=f"take {least[0]}×{least[1]} px or more",
        )
    return tile


def _plan(grids: tuple[Grid, Grid], image: Pair, tile: Pair, spec: str) -> Plan:
    fields = grids[0].receptive_field_px, grids[1].receptive_field_px
    if image[0] < fields[0] and image[1] < fields[1]:
        raise InputError(
            f"an image of {image[0]}×{image[1]} px is smaller than the receptive field, {fields[0]}×{fields[1]} px",
            where=spec,
            todo="show it whole",
        )
    try:
        return Plan(image, tile, cuts(grids[0], image[0], tile[0], 0), cuts(grids[1], image[1], tile[1], 1))
    except InputError as error:
        raise InputError(error.what, where=spec, todo=error.todo) from None


def _nothing_to_plan(found: Tiling, asked: Pair | None) -> None:
    if asked is not None and found.forbidden_by is not None:
        by = found.forbidden_by
        raise InputError(
            f"no tiles leave its answer as it is: {by.name or 'its forward'} ({by.type}), {by.why}",
            where=found.spec,
            todo="show the image whole, or use a net without",
        )
