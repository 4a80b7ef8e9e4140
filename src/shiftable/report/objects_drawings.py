"""Views with what a model saw in them, as SVG over the picture. States differ by their lines and words, not by hue."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from shiftable.report.objects_pairs import Mark, Side, label_of
from shiftable.report.objects_words import STATES
from shiftable.report.pages import data_url

LETTER, LINE = 0.53, 1.35
"""Width of a letter and height of a tag, in sizes of the font."""

MOST_TAGS = 40

Box = tuple[float, float, float, float]


def _sample(state: str, point: bool = False) -> Markup:
    """A piece of line for the legend."""
    shape = (
        '<circle class="dot" cx="20" cy="9" r="4.5"/>' if point else '<rect class="halo" {0}/><rect class="pen" {0}/>'
    )
    place = 'x="4" y="4" width="32" height="10"'
    return Markup(
        f'<svg class="view" viewBox="0 0 40 18" width="40" height="18" aria-hidden="true">'
        f'<g class="{"point" if point else "mark"} {state}">{shape.format(place)}</g></svg>'
    )


LEGENDS: Mapping[str, Sequence[tuple[Markup, str]]] = {
    "detect": [(_sample(state), said) for state, said in STATES.items()],
    "keypoints": [(_sample(state, point=True), said) for state, said in STATES.items()],
    "segment": [],
}
"""Task → lines and what they mean."""


def side_drawing(side: Side, text: str) -> Markup:
    """A view with its boxes, or its points.

    Args:
        side: What to draw.
        text: What it says, for who can't see it.
    """
    x, y, width, height = side.shown
    unit = width / 352
    parts = []
    if side.picture is not None:
        parts.append(
            Markup('<image href="{}" width="{}" height="{}" preserveAspectRatio="none"/>').format(
                data_url(side.picture), side.size[1], side.size[0]
            )
        )
    order = ("kept", "gone", "lost", "new")
    marks = sorted(side.marks, key=lambda mark: order.index(mark.state))
    points = [mark for mark in marks if mark.box[:2] == mark.box[2:]]
    boxes = [mark for mark in marks if mark.box[:2] != mark.box[2:]]
    parts += [_rectangle(mark) for mark in boxes]
    parts += [_point(mark, unit) for mark in points]
    parts += _tags(
        [mark for mark in (*boxes, *points) if _tagged(mark)][::-1], [mark.box for mark in points], side.shown, unit
    )
    return Markup('<svg class="view" viewBox="{:g} {:g} {:g} {:g}" role="img" aria-label="{}">{}</svg>').format(
        x, y, width, height, text, Markup("").join(parts)
    )


def _tagged(mark: Mark) -> bool:
    """Points have names only where something happened to them: a person has many."""
    return mark.box[:2] != mark.box[2:] or mark.state != "kept"


def _rectangle(mark: Mark) -> Markup:
    x0, y0, x1, y1 = mark.box
    place = Markup('x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"').format(
        x0, y0, max(x1 - x0, 0.1), max(y1 - y0, 0.1)
    )
    return Markup('<g class="mark {0}"><rect class="halo" {1}/><rect class="pen" {1}/></g>').format(mark.state, place)


def _point(mark: Mark, unit: float) -> Markup:
    x, y = mark.box[:2]
    line: Markup | str = ""
    if mark.start is not None:
        path = Markup("M{:.1f} {:.1f}L{:.1f} {:.1f}").format(*mark.start, x, y)
        line = Markup('<path class="halo" d="{0}"/><path class="pen" d="{0}"/>').format(path)
        line += Markup('<circle class="from" cx="{:.1f}" cy="{:.1f}" r="{:.2f}"/>').format(*mark.start, 2.6 * unit)
    radius = (3.4 if mark.state == "kept" else 5.5) * unit
    return Markup('<g class="point {}">{}<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="{:.2f}"/></g>').format(
        mark.state, line, x, y, radius
    )


def _tags(marks: Sequence[Mark], places: Sequence[Box], shown: Box, unit: float) -> list[Markup]:
    """Names above the boxes, or inside where there is no room; none over another, what changed coming first."""
    size, parts = 11.5 * unit, []
    # no name covers a point
    taken = [(x - 4 * unit, y - 4 * unit, x + 4 * unit, y + 4 * unit) for x, y, *far in places if (x, y) == tuple(far)]
    left, top, right, bottom = shown[0], shown[1], shown[0] + shown[2], shown[1] + shown[3]
    for mark in marks[:MOST_TAGS]:
        text = label_of(mark)
        width, height = LETTER * size * len(text) + 0.6 * size, LINE * size
        boxes = [
            (min(max(x, left), right - width), y, min(max(x, left), right - width) + width, y + height)
            for x, y in _places(mark.box, width, height, unit)
            if y >= top and y + height <= bottom
        ]
        room = [box for box in boxes if not any(_overlap(box, other) for other in taken)]
        if not room and (mark.state == "kept" or mark.box[:2] == mark.box[2:] or not boxes):
            continue
        box = (room or boxes)[0]
        taken.append(box)
        parts.append(
            Markup('<g class="tag {}"><rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>'
                   '<text x="{:.1f}" y="{:.1f}" style="font-size:{:.2f}px">{}</text></g>').format(
                mark.state, box[0], box[1], width, height, box[0] + 0.3 * size, box[1] + 0.98 * size, size, text
            )
        )  # fmt: skip
    return parts


def _places(box: Box, width: float, height: float, unit: float) -> list[tuple[float, float]]:
    """Where a name may stand, best first: beside a point; above a box, below, inside."""
    x0, y0, x1, y1 = box
    if (x0, y0) == (x1, y1):
        sides = (x0 + 8 * unit, x0 - width - 8 * unit)
        return [(x, y) for y in (y0 - height / 2, y0 - 1.1 * height, y0 + 0.1 * height) for x in sides]
    return [(x0, y0 - height), (x0, y1), (x1 - width, y0 - height), (x1 - width, y1), (x0, y0), (x0, y0 + height)]


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
