"""What the command line prints of a net's structure."""

from typing import TYPE_CHECKING

from shiftable.explaining.diagnosis import Structure, Subsampling
from shiftable.report.explain_words import pair

if TYPE_CHECKING:
    import rich.console
    import rich.table


def show_structure(console: "rich.console.Console", structure: Structure) -> None:
    """The operations that subsample, in order, the resize first; then what follows from them."""
    from rich.table import Table
    from rich.text import Text

    facts = Table(box=None, pad_edge=False, show_header=False)
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in _facts(structure):
        facts.add_row(Text(name), Text(value))
    console.print(facts)
    console.print()
    console.print(_sites(structure))
    console.print()
    for sentence in sentences(structure):
        console.print(sentence, markup=False)
    for remark in structure.remarks:
        console.print(Text("note:", "bold"), Text(remark))


def sentences(structure: Structure) -> list[str]:
    """What a reader should take away."""
    if structure.copies == 1:
        return ["Moving the picture by a pixel moves every map by a position: sampling changes nothing."]
    unblurred = sum(each.blur is None for each in structure.sites)
    said = [
        f"Moving the picture by multiples of {pair(structure.stride_px)} px moves its last map by whole positions; "
        f"of all shifts that is 1 in {structure.copies:,} ({structure.guaranteed:.2%}).",
        f"To show it every phase, training would need {structure.copies:,} shifted copies of each image.",
    ]
    if unblurred:
        said.append(f"Sites with no blur before them or in them: {unblurred} of {len(structure.sites)}.")
    return said


def _facts(structure: Structure) -> list[tuple[str, str]]:
    main = structure.main_path
    branches = len(structure.sites) - len(main)
    beside = f", and {branches} in branches" if branches else ""
    facts = [
        ("net", structure.spec),
        ("view", f"{structure.view_size[0]} × {structure.view_size[1]} px"),
        ("subsamples", f"at {len(main)} of {structure.layers} layers of the longest way{beside}"),
        ("poolings", f"{structure.poolings} of these"),
        ("layers in all", str(structure.layers_in_all)),
        ("total stride", f"{pair(structure.stride_px)} px"),
        ("receptive field", f"{pair(structure.receptive_field_px)} px, by windows alone"),
        ("last map", structure.last_map),
    ]
    return facts + [("looks at all of a map", each) for each in structure.mixes]


def _sites(structure: Structure) -> "rich.table.Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in ("", "site", "what", "stride", "kernel", "padding", "blurred by", "map", "grid, px", "sees, px"):
        table.add_column(column, overflow="fold")
    if structure.resize is not None:
        size = "{}×{}".format(*structure.view_size)
        table.add_row(*map(Text, ("0", "the resize", structure.resize, "", "", "", "", size, "1", "")))
    for number, each in enumerate(structure.sites, start=1):
        table.add_row(*map(Text, (str(number), *_row(each))))
    return table


def _row(each: Subsampling) -> tuple[str, ...]:
    (top, bottom), (left, right) = each.padding
    padding = str(top) if top == bottom == left == right else f"{top},{bottom} {left},{right}"
    dilated = f", dilated {pair(each.dilation)}" if max(each.dilation) > 1 else ""
    after = (each.stride_before_px[0] * each.stride[0], each.stride_before_px[1] * each.stride[1])
    return (
        each.name,
        each.kind + ("" if each.on_main_path else ", in a branch"),
        pair(each.stride),
        "{}×{}".format(*each.kernel) + dilated,
        padding,
        each.blur or "nothing",
        "{}×{} → {}×{}".format(*each.input_size, *each.output_size),
        pair(after),
        pair(each.receptive_field_px),
    )
