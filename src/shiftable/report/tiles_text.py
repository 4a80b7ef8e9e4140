"""What the command line prints of a net's tiles."""

from typing import TYPE_CHECKING

from shiftable.explaining.tile_grid import Cut
from shiftable.explaining.tiling import Check, Forbidden, Pair, Plan, TileSize, Tiling

if TYPE_CHECKING:
    import rich.console
    import rich.table


def show_tiles(console: "rich.console.Console", tiling: Tiling) -> None:
    """What was measured, the sizes that work, what running them gave, and what forbids tiles."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(tiling):
        table.add_row(Text(name), Text(value))
    console.print(table)
    if tiling.tile_sizes:
        console.print(_sizes(tiling.tile_sizes))
    for sentence in sentences(tiling):
        console.print(sentence, markup=False)
    for remark in tiling.remarks:
        console.print(Text("note:", "bold"), Text(remark))


def sentences(tiling: Tiling) -> list[str]:
    """What a reader should take away, the most important first."""
    said = [verdict(tiling)]
    if tiling.check is not None:
        said += _checked(tiling.check)
    if tiling.plan is not None:
        said += _planned(tiling.plan)
    return said


def verdict(tiling: Tiling) -> str:
    """Whether tiles change anything, in one sentence."""
    by = tiling.forbidden_by
    if by is None:
        return f"The whole net can be tiled: {_rule(tiling)}."
    if by.ends:
        can = f"The features up to {tiling.part} can be tiled: {_rule(tiling)}."
        return f"{can} {_named(by)} forbids what follows: {by.why}."
    change = (
        ""
        if by.change is None
        else f" Shown half of a strip of noise that grows stronger, its answer there changes by {by.change:.1%}."
    )
    return (
        f"Tiles change the answer: {_named(by)}, reached at stride {_pair(tiling.stride_px)} px; {by.why}.{change}"
        " Show the image whole."
    )


def _facts(tiling: Tiling) -> list[tuple[str, str]]:
    facts = [
        ("net", tiling.spec),
        ("part", tiling.part),
        ("total stride", f"{_pair(tiling.stride_px)} px"),
        ("positions every", f"{_pair(tiling.pitch_px)} px"),
    ]
    if tiling.receptive_field_px and tiling.first_px:
        facts.append(
            ("receptive field", f"{_pair(tiling.receptive_field_px)} px, the first from {_pair(tiling.first_px)} px on")
        )
    if tiling.tile_sizes and tiling.overlap_px and tiling.margin_px:
        (top, bottom), (left, right) = tiling.margin_px
        facts.append(("overlap", f"{_pair(tiling.overlap_px)} px or more, tiles being multiples of the stride"))
        facts.append(
            ("not kept of a tile", f"{top:g} px at the top, {bottom:g} bottom, {left:g} left, {right:g} right")
        )
    return facts


def _rule(tiling: Tiling) -> str:
    sizes = "" if all(tiling.any_size) else ", images whose sides are multiples of it"
    overlap = _pair(tiling.overlap_px or (0, 0))
    return f"offsets at multiples of {_pair(tiling.stride_px)} px, {overlap} px of overlap{sizes}"


def _named(by: Forbidden) -> str:
    return f"{by.name or 'its own forward'} ({by.type})"


def _sizes(sizes: tuple[TileSize, ...]) -> "rich.table.Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("tile, px", "next begins after, px", "work"):
        table.add_column(column)
    for each in sizes:
        table.add_row(_pair(each.tile_px), _pair(each.advance_px), f"×{each.work:.2f}")
    return table


def _checked(check: Check) -> list[str]:
    words = "equal" if check.holds else "NOT equal: something was measured wrongly, please report this net"
    said = [
        f"Checked by running: whole and tiles of {_pair(check.tile_px)} px are {words}; they differ by "
        f"{check.float64:.0e} of the largest value in float64, {check.float32:.0e} in float32."
    ]
    others = []
    if check.off_grid is not None:
        others.append(f"{check.off_grid:.1%} with tiles that begin {check.off_grid_px} px off the grid")
    if check.no_margin is not None:
        others.append(f"{check.no_margin:.1%} without overlap")
    return [*said, f"They differ by {' and by '.join(others)}."] if others else said


def _planned(plan: Plan) -> list[str]:
    return [
        f"An image of {_pair(plan.image_px)} px: {plan.tiles} tiles of {_pair(plan.tile_px)} px, "
        f"together {plan.work:.2f} times its pixels.",
        f"rows begin at {_starts(plan.rows)}",
        f"columns begin at {_starts(plan.columns)}",
    ]


def _starts(cuts: tuple[Cut, ...]) -> str:
    starts = [str(cut.offset_px) for cut in cuts]
    return ", ".join(starts if len(starts) <= 12 else [*starts[:6], "…", *starts[-2:]]) + " px"


def _pair(pair: Pair | tuple[float, float]) -> str:
    """Once, where both axes are alike."""
    return f"{pair[0]:g}" if pair[0] == pair[1] else f"{pair[0]:g}×{pair[1]:g}"
