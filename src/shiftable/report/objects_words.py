"""Plain words for what an audit of a detector, a segmenter or a key-point model found."""

from collections.abc import Mapping
from math import floor, isnan, log10

from shiftable.auditing import Audit, Estimate
from shiftable.report.motion_words import words_of
from shiftable.report.objects_terms import figure_of, unit
from shiftable.report.wording import between, count

LEADING: Mapping[str, str] = {"detect": "vanished", "segment": "pixels_changed", "keypoints": "point_error_px"}
"""What the headline is about."""

PER_VIEW = {"detect": "objects_per_view", "keypoints": "points_per_view"}

PHASED: Mapping[str, tuple[str, ...]] = {
    "detect": ("vanished", "centre_error_px"),
    "segment": ("pixels_changed",),
    "keypoints": ("point_error_px", "points_dropped"),
}
"""What is drawn against the place where a step begins."""

STATES = {
    "kept": "seen in both views",
    "lost": "not there in the second view",
    "new": "not there in the first view",
    "gone": "where the lost one was",
}
"""What an object's lines mean."""

WHEN: Mapping[str, str] = {
    "shift": "When the picture moves by {}",
    "scale": "When the picture is made {} larger",
    "angle": "When the picture is turned by {}",
}
"""What a step does to the picture, by what changes."""


def task(audit: Audit) -> str:
    """What kind of model it is: ``"detect"``, ``"segment"`` or ``"keypoints"``."""
    return str(audit.model["task"])


def headline(audit: Audit) -> str:
    """What was found, in one sentence."""
    name, kind = audit.model_name, task(audit)
    found = audit.metrics.get(LEADING[kind])
    if found is None:
        per_view = audit.metrics.get(PER_VIEW.get(kind, ""))
        thing = {"detect": "object", "segment": "pixel to compare", "keypoints": "point"}[kind]
        if per_view is not None and per_view.value:
            return f"{name} sees {per_view.value:.1f} {thing}s in a view, on average."
        return f"{name} saw no {thing} in any view."
    still = audit.controls.get("still", {}).get(LEADING[kind])
    again = "" if still is None else f"; shown the same picture again, {_again(kind, still)}"
    return f"{_when(audit)}, {_does(kind, name, found)}{again}."


def basis(audit: Audit, pairs: int) -> str:
    """What the headline rests on.

    Args:
        audit: The audit.
        pairs: Of views.
    """
    kind = task(audit)
    found = audit.metrics.get(LEADING[kind])
    seen = count(pairs, "pair") + " of views of " + count(audit.images["count"], "image")
    if found is None:
        return f"This rests on {seen}."
    counted = {"detect": "object", "segment": "pixel", "keypoints": "point"}[kind]
    rests = f"{count(found.pairs, counted)} in {seen}" if kind != "segment" else seen
    known = not isnan(found.low) and found.value > 0
    return f"This rests on {rests}" + (f": with 95 % confidence it is {_between(kind, found)}." if known else ".")


def moved(audit: Audit) -> str:
    """What was done to the pictures, beside the controls."""
    did = words_of(audit).did
    return "two places" if audit.walk["shape"] == "random" else did[0].lower() + did[1:]


def answers(audit: Audit) -> str:
    """What the model answers with."""
    classes = audit.model.get("classes")
    kinds = f" of {classes:,} classes" if classes else ""
    return {
        "detect": f"a detector{kinds}: boxes with a class and a score",
        "segment": f"a segmenter{kinds}: a class for every pixel",
        "keypoints": "a key-point model: points with scores",
    }[task(audit)]


def counting(audit: Audit) -> str:
    """From what on something counts, and what is compared."""
    thresholds = audit.model.get("thresholds", {})
    source = "the source image" if audit.motion["where"] == "camera" else "the image as the model resizes it"
    if task(audit) == "segment":
        return (
            "Views are laid over one another as they lie in the picture; only pixels of the picture that both show are "
            "compared. Where a pixel lies between pixels of the view before, it has changed if none of these has its "
            "class."
        )
    seen = f"{thresholds['score_threshold']:g}"
    if task(audit) == "keypoints":
        return f"A point is seen from a score of {seen} on. Distances are in px of {source}, where nothing moves."
    return (
        f"An object is seen from a score of {seen} on, and still there if a box of the same class with a score of "
        f"{thresholds['match_threshold']:g} or more covers the same place (overlap, IoU, above 0.5). Distances are in "
        f"px of {source}, where nothing moves."
    )


def border(audit: Audit, left_out: int, everything: int) -> list[str]:
    """What is to be said of the objects or points at the border, a sentence each.

    Args:
        audit: The audit.
        left_out: How many were left out.
        everything: Of how many.
    """
    if not everything:
        return []
    thing = {"detect": "object", "keypoints": "point"}[task(audit)]
    said = [
        f"What lies at the border of a view leaves the picture, and is left out: {left_out:,} of "
        f"{count(everything, thing)}."
    ]
    whole, inner = (audit.metrics.get(name) for name in ("dropped_with_border", "dropped"))
    if left_out and whole is not None and inner is not None:
        figures = [figure_of("dropped", found.value) for found in (inner, whole)]
        said.append(f"With those {figures[1]} are no longer counted one step later, without them {figures[0]}.")
    return said


def grid(audit: Audit) -> str:
    """What charts over the offset's remainder would say."""
    said = (
        "A net that subsamples looks at the picture through a grid, often every 8th, 16th or 32nd pixel, and sees the "
        "same again when the picture has moved that far. So a sawtooth or a wave in a chart, larger than the bars, "
        "means that the answer depends on where on the net’s grid a thing happens to fall; a level line means that it "
        "does not. Each chart folds all steps by how far the picture has moved where they begin, in px of the view, "
        "which the grid lies on. The bars are 95 % intervals; those of few observations may leave the chart."
    )
    if audit.motion["where"] == "camera":
        said += (
            " The camera’s own pixels are made larger or smaller before the net sees them, by another factor in "
            "pictures of another size; here they are counted as the net sees them, rounded to whole ones."
        )
    return said


def pairs_text(kind: str, pairs: int, asked_again: bool) -> str:
    """What the worst pairs are.

    Args:
        kind: The task.
        pairs: How many are shown.
        asked_again: Whether there are masks to show.
    """
    if not pairs:
        return {
            "detect": "No object vanished or appeared, and none moved.",
            "segment": "No pixel changed class.",
            "keypoints": "No point was lost, and none moved.",
        }[kind]
    if kind == "segment":
        masks = " Striped pixels are of another class in the second view than in the first." if asked_again else (
            " The audit keeps no masks; with the model at hand the page shows which pixels change."
        )  # fmt: skip
        return f"Two views one step apart in which most pixels change class, at most two pairs of a picture.{masks}"
    if kind == "keypoints":
        return (
            "Two views one step apart in which most points are lost or new, then those whose points move farthest; at "
            "most two pairs of a picture. In the second view a line leads from where a point should have stayed "
            "(white) to where it is (dark)."
        )
    return (
        "Two views one step apart in which most objects vanish or appear, at most two pairs of a picture. The same "
        "things are in both."
    )


def of_hundred(share: float) -> str:
    """A share as a count of things.

    Example:
        >>> of_hundred(0.139), of_hundred(0.004), of_hundred(0.0), of_hundred(1.0)
        ('14 of 100', '1 of 250', 'none', 'all')
    """
    if share in (0, 1):
        return "all" if share else "none"
    if share < 0.02:
        unit = 10 ** max(0, floor(log10(1 / share)) - 1)
        return f"1 of {round(1 / share / unit) * unit:,}"
    return f"{min(round(100 * share), 99)} of 100"


def _when(audit: Audit) -> str:
    words = words_of(audit)
    step = words.apart.partition(" apart")[0]
    if audit.walk.get("direction") == "diagonal":
        step += f" down and {'one' if step == 'one pixel' else 'as much'} to the right"
    camera = "When the camera moves by {}" if audit.motion["where"] == "camera" else WHEN["shift"]
    return (camera if words.of == "shift" else WHEN[words.of]).format(step)


def _does(kind: str, name: str, found: Estimate) -> str:
    if kind == "segment":
        return f"{figure_of('pixels_changed', found.value)} of the pixels that {name} sorts change class"
    if kind == "keypoints":
        moved = figure_of("point_error_px", found.value)
        return f"a point that {name} places moves by {moved} although it should not move at all"
    if found.value:
        return f"{name} loses {of_hundred(found.value)} objects that it saw"
    limit = f" ({of_hundred(found.high)} at most, with 95 % confidence)" if not isnan(found.high) else ""
    return f"{name} loses none of the {count(found.pairs, 'object')} that it saw{limit}"


def _again(kind: str, still: Estimate) -> str:
    if kind == "keypoints":
        return "not at all" if still.value == 0 else f"by {figure_of('point_error_px', still.value)}"
    return of_hundred(still.value) if kind == "detect" or still.value == 0 else figure_of("pixels_changed", still.value)


def _between(kind: str, found: Estimate) -> str:
    if kind == "detect":
        return between(found.low, found.high)
    low, high = (figure_of(LEADING[kind], end) for end in (found.low, found.high))
    behind = " " + unit(LEADING[kind])
    return f"between {low.removesuffix(behind)} and {high}"
