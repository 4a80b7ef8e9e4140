"""The page of a parity audit: what was found, and every way of feeding the model beside its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shiftable.auditing import Estimate, read_audit
from shiftable.auditing.feeding.parity import REFERENCE, Compared, Parity, refuse_audits
from shiftable.auditing.feeding.variants import VARIANTS
from shiftable.auditing.record import write_json
from shiftable.engine import write_atomically
from shiftable.report import charts, provenance, wording
from shiftable.report.audit_content import LONGEST_NOTE
from shiftable.report.compare_words import points
from shiftable.report.pages import render

PAGE, RECORD = "report.html", "parity.json"

GROUPS = {
    "resize": ("How it is resized", "The same crop of the same picture, resized by another library or filter."),
    "crop": ("What is cut out", "The same resize, another part of the picture, or another shape."),
    "numbers": ("What the pixels become", "The same pixels as other numbers: mistakes of an export, not choices."),
}
"""Part of the preprocessing → the title of its rows, and what they say."""

COLUMNS = ("fed", "still: other answer", "still: |Δp|", "moved: P", "moved: difference")


def parity_rows(parity: Parity) -> list[tuple[str, str, str, str, str]]:
    """The results as rows of text under ``COLUMNS``, the reference first."""
    rows = [(f"{parity.model['spec']} (as it is)", "–", "–", _with_interval(parity.moved), "–")]
    return rows + [
        (
            each.title if each.beside == REFERENCE else f"{each.title} (beside {VARIANTS[each.beside].title})",
            _with_interval(each.still),
            f"{each.distance.value:.4f}",
            _with_interval(each.moved),
            _points(each.difference),
        )
        for each in parity.compared
    ]


def write_parity(parity: Parity, out: str | Path | None = None) -> Path:
    """Write ``parity.json`` and the page.

    Args:
        parity: What was found.
        out: The folder; None takes that of the audits.

    Returns:
        The page, ``report.html``: one file that needs no network.

    Raises:
        InputError: If the folder is an audit's.
    """
    folder = Path(out) if out else parity.folder
    refuse_audits(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / RECORD, parity.to_json())
    text = render("parity.html", parity_content(parity))
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return folder / PAGE


def parity_content(parity: Parity) -> dict[str, Any]:
    """What the template is filled with."""
    reference = read_audit(parity.folder / REFERENCE)
    name = reference.model_name
    still_end = charts.nice_end(max((each.still.high for each in parity.compared), default=1.0))
    moved_end = charts.nice_end(max(parity.moved.high, *(each.moved.high for each in parity.compared), 0.0))
    still_end, moved_end = min(still_end, 1.0), min(moved_end, 1.0)

    def rows(chosen: Sequence[Compared]) -> list[dict[str, Any]]:
        return [_row(each, parity, still_end, moved_end) for each in chosen]

    models = [each for each in parity.compared if each.kind == "model"]
    groups = [
        {"title": title, "says": says, "rows": rows([each for each in parity.compared if each.part == part])}
        for part, (title, says) in GROUPS.items()
    ]
    return {
        "name": name,
        "headline": headline(parity, name),
        "basis": _basis(parity, wording.walk_words(reference)),
        "notes": [wording.shorten(note, LONGEST_NOTE) for note in parity.warnings],
        "findings": parity.findings,
        "own": _cell(parity.moved, moved_end, f"P under shift of {name}"),
        "models": rows(models),
        "groups": [group for group in groups if group["rows"]],
        "still_end": _percent(still_end),
        "moved_end": _percent(moved_end),
        "facts": provenance.facts(reference),
        "folders": [REFERENCE, *(each.name for each in parity.compared)],
    }


def headline(parity: Parity, name: str) -> str:
    """What matters most, in one sentence.

    Args:
        parity: What was found.
        name: The reference's name.
    """
    verdicts: dict[str, list[Compared]] = {"explained": [], "unexplained": [], "same": []}
    for each in parity.compared:
        if each.explanation:
            verdicts[each.explanation.verdict].append(each)
    if verdicts["explained"]:
        first, *more = verdicts["explained"]
        assert first.explanation is not None
        assert first.explanation.variant is not None
        also = f" ({wording.count(len(more), 'other file')} also fed wrongly)" if more else ""
        return f"{first.title}: {VARIANTS[first.explanation.variant].cause}{also}."
    if verdicts["unexplained"]:
        first, *more = verdicts["unexplained"]
        also = f" and {wording.count(len(more), 'other file')} differ" if more else " differs"
        return f"{first.title}{also} from {name}, and no preprocessing explains it."
    if verdicts["same"]:
        listed = ", ".join(each.title for each in verdicts["same"])
        return f"{listed} answer{'s' if len(verdicts['same']) == 1 else ''} as {name} does."
    ways = [each for each in parity.compared if each.part == "resize" and each.beside == REFERENCE]
    worst = max(ways, key=lambda each: each.still.value, default=None)
    if worst is None or worst.still.value == 0:
        return f"{name} answers the same pictures alike, whichever library resizes them."
    return (
        f"Resized otherwise, the same pictures get another answer of {name} up to {wording.times(worst.still.value)}."
    )


def _basis(parity: Parity, walk: str) -> str:
    pictures = wording.count(parity.images["compared"], "picture")
    return (
        f"{pictures}, shown unmoved, and moved ({parity.motion['name']}): {walk}. Moved, the model as it is changes "
        f"{wording.figure_of('p_top1_change', parity.moved.value)} of its answers "
        f"(95 %: {wording.interval_of('p_top1_change', parity.moved)})."
    )


def _row(each: Compared, parity: Parity, still_end: float, moved_end: float) -> dict[str, Any]:
    """One line of the table."""
    beside = None if each.beside == REFERENCE else VARIANTS[each.beside].title
    images = parity.images["compared"]
    some = each.part in ("resize", "crop") and each.other_views is not None and each.other_views < images
    surely = each.difference.low > 0 or each.difference.high < 0
    return {
        "title": each.title,
        "beside": beside,
        "changes": ", ".join(f"{name} {_value(value)}" for name, value in each.changes.items()),
        "verdict": _verdict(each),
        "still": _cell(each.still, still_end, f"{each.title}: share of still pictures answered otherwise"),
        "distance": f"{each.distance.value:.2g}",
        "views": f"other pixels in {each.other_views} of {images}" if some else None,
        "moved": _cell(each.moved, moved_end, f"{each.title}: P under shift"),
        "difference": _points(each.difference),
        "surely": surely,
        "mac": f"{each.mac.value:.3f}",
        "enlarged": f"objects {each.enlarged:.2f} times as large" if each.enlarged != 1 else None,
    }


def _verdict(each: Compared) -> str | None:
    found = each.explanation
    if found is None:
        return None
    if found.verdict == "explained" and found.variant:
        return VARIANTS[found.variant].cause
    return {"same": "answers the same"}.get(found.verdict, "differs; no preprocessing explains it")


def _cell(found: Estimate, end: float, what: str) -> dict[str, Any]:
    value = wording.figure_of("p_top1_change", found.value)
    interval = wording.interval_of("p_top1_change", found)
    bar = charts.interval_bar(found, end, f"{what}: {value}, 95 % interval {interval}, on an axis from 0 to {end:g}")
    return {"value": value, "interval": interval, "bar": bar}


def _with_interval(found: Estimate) -> str:
    return f"{100 * found.value:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f})"


def _points(found: Estimate) -> str:
    """A difference of shares, in points.

    Example:
        >>> _points(Estimate(0.021, -0.004, 0.046, 60, 240))
        '+2.1 (−0.4 to +4.6)'
    """
    return f"{points(found.value)} ({points(found.low)} to {points(found.high)})"


def _percent(share: float) -> str:
    return f"{100 * share:g} %"


def _value(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(each, int) for each in value):
        return " × ".join(map(str, value))
    if isinstance(value, list):
        return "/".join(f"{each:.3g}" for each in value)
    return str(value).lower() if isinstance(value, bool) else str(value)
