"""The page of a data set's bias: where its objects are, and how large."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftable.auditing.record import write_json
from shiftable.bias import Bias, Preference, Side
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.report import explain_sections
from shiftable.report.explain_figures import explain_figure
from shiftable.report.explain_plots import Axis, Curve, Drawing, Heat, Plot, Rows, exact, linear
from shiftable.report.pages import render

if TYPE_CHECKING:
    from rich.console import Console

FILE, PAGE, FIGURES = "bias.json", "report.html", "figures"
MOST_CLASSES = 30
TITLES: Mapping[Side, tuple[str, str]] = {
    "across": ("From left to right", "0 at the left edge, 1 at the right"),
    "down": ("From top to bottom", "0 at the top, 1 at the bottom"),
    "size": ("Size", "square root of the share of the image"),
}
PREFERRED = 0.9
"""A spread below this is told as a preference, if its interval is below 1."""


def write_bias(found: Bias, folder: str | Path, source: str = "") -> Path:
    """Write ``bias.json``, the page, and its figures as PNG.

    Args:
        found: What `shiftable.bias.bias` gave.
        folder: Where to. It may hold a page of the same kind, which is replaced.
        source: What was read, for the page.

    Returns:
        The page, ``report.html``.

    Raises:
        InputError: If the folder can't be written, or holds something else.
    """
    folder = Path(folder)
    if (folder / PAGE).exists() and not (folder / FILE).exists():
        raise InputError("holds another page", where=folder, todo="give another --out")
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        write_json(folder / FILE, found.to_json())
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another --out") from None
    drawings = {each.name: each for each in (_histograms(found), _heat(found), _classes(found)) if each is not None}
    for name, each in drawings.items():
        write_atomically(folder / FIGURES / f"{name}.png", partial(explain_figure, each))
    content: dict[str, Any] = {
        "source": source,
        "headline": headline(found),
        "found": found,
        "boxes": f"{found.boxes:,} boxes",
        "rows": [_row(each) for each in found.preferences.values()],
        "pictures": {name: explain_sections.picture(each) for name, each in drawings.items()},
    }
    text = render("bias.html", content)
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return folder / PAGE


def show_bias(console: "Console", found: Bias, page: Path) -> None:
    """Print it for people."""
    from rich.table import Table

    console.print(headline(found))
    table = Table("", "spread", "95 % interval", "distance from uniform", "p", box=None)
    for each in found.preferences.values():
        table.add_row(*_row(each))
    console.print(table)
    console.print(f"page: {page}")


def headline(found: Bias) -> str:
    """What was found, in a sentence."""
    standing: tuple[Side, ...] = ("across", "down")
    held = [side for side in standing if _preferred(found.preferences[side])]
    if not held:
        return "Objects show no strong preference for the middle of their images."
    how = min(found.preferences[side].spread.value for side in held)
    where = " and ".join({"across": "left and right", "down": "top and bottom"}[side] for side in held)
    return (
        f"Objects keep to the middle, between {where}: {how:.0%} of the distance from it that no preference would give."
    )


def _preferred(each: Preference) -> bool:
    return each.spread.value < PREFERRED and each.spread.high < 1


def _row(each: Preference) -> tuple[str, str, str, str, str]:
    """Title, spread, its interval, distance, p."""
    p = "< 0.0001" if each.p_value < 1e-4 else f"{each.p_value:.2g}"
    interval = f"{each.spread.low:.2f} to {each.spread.high:.2f}"
    return TITLES[each.side][0], f"{each.spread.value:.2f}", interval, f"{each.distance:.2f}", p


def _histograms(found: Bias) -> Drawing:
    plots = []
    for side, each in found.preferences.items():
        title, words = TITLES[side]
        bins = len(each.counts)
        share = each.counts / max(each.counts.sum(), 1)
        x = np.repeat(np.arange(bins + 1) / bins, 2)[1:-1]
        curves = (
            Curve("boxes", x, np.repeat(share, 2), 0),
            Curve("no preference", np.array([0.0, 1.0]), np.full(2, 1 / bins), 1, kind="guide"),
        )
        plots.append(
            Plot(title, curves, exact(words, 0.0, 1.0), linear("share of boxes", [*share, 1 / bins], percent=True))
        )
    return Drawing("histograms", "Where objects are, and how large", tuple(plots), 3)


def _heat(found: Bias) -> Drawing:
    axes = [Axis(words, 0.0, 1.0, ((0.0, "0"), (0.5, "½"), (1.0, "1"))) for words in ("left to right", "top to bottom")]
    title = "How often a place of the image is inside a box"
    return Drawing("heat", title, (Heat(title, found.heat / found.heat.max(), axes[0], axes[1]),), 1)


def _classes(found: Bias) -> Drawing | None:
    if not found.classes:
        return None
    ranked = sorted(found.classes.items(), key=lambda each: _middle(each[1]))[:MOST_CLASSES]
    values = tuple(each["across"].spread for _, each in ranked)
    notes = tuple(
        f"{value.value:.2f} ({value.low:.2f} to {value.high:.2f}), {value.images:,} images" for value in values
    )
    reach = [end for value in values for end in (value.value, value.low, value.high)]
    rows = Rows("Spread from left to right", tuple(name for name, _ in ranked), values, notes,
                linear("1: no preference; 0: always the middle", reach, least=1.0))  # fmt: skip
    return Drawing("classes", "Classes that keep most to the middle", (rows,), 1)


def _middle(found: Mapping[Side, Preference]) -> float:
    value = found["across"].spread.value
    return value if np.isfinite(value) else np.inf
