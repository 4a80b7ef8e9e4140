"""A net as a chain of maps, each as high as it has positions, and what makes each smaller than the one before."""

from collections.abc import Sequence
from math import sqrt

from markupsafe import Markup

from shiftable.explaining.diagnosis import Structure, Subsampling
from shiftable.report.charts import caption
from shiftable.report.explain_words import pair

STEP, LEFT, TOP, TALLEST = 68.0, 34.0, 26.0, 96.0
"""How far apart maps are, where the first one is, and how high the largest may be, in the picture's own units."""

LINE = 14.0
NAMES = {
    "convolution": "conv",
    "max pooling": "max pool",
    "average pooling": "mean pool",
    "slice": "slice",
    "merging": "merging",
    "interpolation": "resize",
}


def structure_diagram(structure: Structure) -> Markup:
    """The longest way through a net from left to right, as SVG.

    A saw stands where nothing blurs before positions are dropped, a wave where something does: colour says nothing.
    Heights are square roots of the numbers of rows, which stand below. Numbers are those of the table of sites; "+2"
    are two more in branches beside it. Where there are many, it is wider than a phone and scrolls.
    """
    steps = [(number, each) for number, each in enumerate(structure.sites, start=1) if each.on_main_path]
    sizes = [structure.view_size, *(each.output_size for _, each in steps)]
    tallest = max(size[0] for size in sizes)
    middle = TOP + TALLEST / 2
    width = 2 * LEFT + STEP * len(steps)
    parts = [Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, middle, width - 8)]
    parts.append(Markup('<path class="axis" d="M{0} {1}l-6 -4m6 4l-6 4"/>').format(width - 8, middle))
    for place, size in enumerate(sizes):
        x, height = LEFT + place * STEP, max(4.0, TALLEST * sqrt(size[0] / tallest))
        parts.append(
            Markup('<rect class="column" x="{:.1f}" y="{:.1f}" width="9" height="{:.1f}"/>').format(
                x - 4.5, middle - height / 2, height
            )
        )
        label = str(size[0]) if size[0] == size[1] else f"{size[0]}×{size[1]}"
        parts.append(caption(x, TOP + TALLEST + LINE, label, "small"))
    for place, (number, each) in enumerate(steps):
        parts += _site(LEFT + (place + 0.5) * STEP, middle, number, each, _beside(structure.sites, each))
    height = TOP + TALLEST + 6 * LINE
    return Markup(
        '<div class="scroll"><svg class="chart" viewBox="0 0 {:.0f} {:.0f}" '
        'style="max-width:{:.0f}px;min-width:{:.0f}px" role="img" aria-label="{}">{}</svg></div>'
    ).format(width, height, 1.25 * width, 0.78 * width, said(structure), Markup("").join(parts))


def said(structure: Structure) -> str:
    """What the diagram shows, for who can't see it."""
    steps = [
        f"{each.kind} of stride {pair(each.stride)}, {_blur(each)}, to {each.output_size[0]} × {each.output_size[1]}"
        for each in structure.main_path
    ]
    start = "A view of {} × {} px".format(*structure.view_size)
    return f"{start}: " + "; ".join(steps) if steps else f"{start}; nothing makes its maps smaller"


def _site(x: float, middle: float, number: int, each: Subsampling, beside: int) -> list[Markup]:
    shape = "q4.5 -14 9 0t9 0t9 0" if each.blur else "l4 -9l4 18l4 -18l4 18l4 -18l4 18l3 -9"
    top = TOP + TALLEST + 2 * LINE + 4
    words = _blur(each).split(" ") if each.blur else ["no blur"]
    more = f" +{beside}" if beside else ""
    return [
        Markup('<rect x="{:.1f}" y="{:.1f}" width="31" height="22" style="fill:var(--paper)"/>').format(
            x - 15.5, middle - 11
        ),
        Markup('<path d="M{:.1f} {:.1f}{}" style="fill:none;stroke-width:1.8;stroke:var({})"/>').format(
            x - 13.5, middle, shape, "--ink" if each.blur else "--mark"
        ),
        caption(x, TOP - 12, f"{number}{more}", "small"),
        caption(x, top, f"÷ {pair(each.stride)}", "small"),
        caption(x, top + LINE, NAMES.get(each.kind, each.kind)),
        *(caption(x, top + (2 + line) * LINE, word) for line, word in enumerate(words[:2])),
    ]


def _blur(each: Subsampling) -> str:
    return "no blur" if each.blur is None else each.blur.removeprefix("its own kernel, ")


def _beside(sites: Sequence[Subsampling], main: Subsampling) -> int:
    """How many sites in branches make maps of the same positions smaller."""
    return sum(not each.on_main_path and each.stride_before_px == main.stride_before_px for each in sites)
