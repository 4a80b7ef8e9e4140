"""The page of a trace: one image along its motions, views above curves, as in figure 1 of Azulay & Weiss 2019."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftable.auditing.motions import MOTIONS
from shiftable.auditing.tracing.trace import Panel, Trace
from shiftable.auditing.tracing.views import VIDEO
from shiftable.engine import write_atomically
from shiftable.report import provenance, trace_charts, trace_words
from shiftable.report.pages import render
from shiftable.report.trace_figure import trace_figure

if TYPE_CHECKING:
    from rich.console import Console

PAGE, FIGURE, RECORD = "trace.html", "trace.png", "trace.json"


def write_trace(trace: Trace, folder: str | Path) -> Path:
    """Write a trace's page, its figure and its numbers into a folder, which is made if it is not there.

    Args:
        trace: What to show.
        folder: Gets ``trace.html``, one file that needs no network; ``trace.png``, in print quality; ``trace.json``;
            and, of several motions, a figure for each, ``trace-MOTION.png``.

    Returns:
        The page.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for motion in (*MOTIONS, VIDEO):  # those of an earlier trace; the folder may hold the user's own pictures
        (folder / f"trace-{motion}.png").unlink(missing_ok=True)
    files = {FIGURE: list(trace.panels)}
    if len(trace.panels) > 1:
        files |= {f"trace-{panel.motion['name']}.png": [panel] for panel in trace.panels}
    for name, panels in files.items():
        trace_figure(panels, trace.named, folder / name)
    record = json.dumps(trace.to_json(), indent=1, ensure_ascii=False)
    write_atomically(folder / RECORD, lambda draft: draft.write_text(record, "utf-8", errors="backslashreplace"))
    text = render("trace.html", trace_content(trace, [*files]))
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return folder / PAGE


def trace_content(trace: Trace, figures: list[str]) -> dict[str, Any]:
    """What the template is filled with."""
    lead = trace_words.leading_panel(trace)
    record = trace.to_json()
    return {
        "name": trace.model_name,
        "image": trace.image,
        "headline": trace_words.headline(lead, trace.named) + ".",
        "basis": _basis(trace, lead),
        "panels": [_panel(trace, panel, alone=len(trace.panels) == 1) for panel in trace.panels],
        "label": _label(trace),
        "notes": trace.remarks,
        "flips": any(panel.flips for panel in trace.panels),
        "facts": _facts(trace),
        "command": trace_words.command(trace),
        "record": {key: record[key] for key in ("model", "image", "label", "asked")},
        "files": [
            *((name, "the figure, in print quality") for name in figures),
            (RECORD, "the numbers: every step, every curve"),
        ],
    }


def show_trace(console: "Console", trace: Trace, page: Path) -> None:
    """A line for every motion: how often the answer changes, and the largest jump.

    Args:
        console: Where to print.
        trace: What was found.
        page: Where its page is.
    """
    for panel in trace.panels:
        flips = f"{len(panel.flips)} of {len(panel.jumps)} answers change"
        said = trace_words.headline(panel, trace.named)
        console.print(f"{panel.motion['name']}: {flips}. {said}.", markup=False, highlight=False)
    for remark in trace.remarks:
        console.print(f"note: {remark}", markup=False, highlight=False)
    console.print(f"report: {page}", markup=False, highlight=False)


def _basis(trace: Trace, lead: Panel) -> str:
    seen = f"{len(lead.views)} frames" if lead.frames is not None else f"{len(lead.views)} views"
    said = f"{trace.model_name} was shown {seen} of {trace.image}. {trace_words.summary(lead)}"
    if trace.label is not None:
        right = int((lead.top1 == trace.label).sum())
        said += f" It is right in {right} of {len(lead.views)}."
    return said


def _label(trace: Trace) -> str | None:
    """The right class's name, where it is drawn."""
    named = (panel.names.get(trace.label) for panel in trace.panels) if trace.label is not None else ()
    return next((name for name in named if name is not None), None)


def _panel(trace: Trace, panel: Panel, alone: bool) -> dict[str, Any]:
    said = trace_words.headline(panel, trace.named)
    names = [trace_words.short_name(panel, number) for number in panel.classes]
    styles = trace_words.line_styles(trace.panels)
    enlarged, end = panel.motion["enlarged"], trace_charts.axis_end(trace.panels)
    return {
        "title": trace_words.motion_words(panel),
        "headline": None if alone else said,
        "summary": trace_words.summary(panel),
        "enlarged": f"Objects are {enlarged:.2f} times as large, to make room for the walk." if enlarged > 1 else None,
        "chart": trace_charts.panel_chart(panel, end, styles, f"{trace_words.motion_words(panel)}. {said}"),
        "keys": [
            (trace_charts.key(styles[number]), trace_words.short_name(panel, number), _note(trace, panel, number))
            for number in panel.classes
        ],
        "axis": trace_words.axis_words(panel),
        "columns": names,
        "rows": [
            (
                trace_words.place_words(panel, step),
                panel.names[int(top1)],
                step in panel.flips,
                [f"{100 * p:.1f} %" for p in panel.probabilities[step]],
            )
            for step, top1 in enumerate(panel.top1)
        ],
    }


def _note(trace: Trace, panel: Panel, number: int) -> str:
    leads = int((panel.top1 == number).sum())
    return f"leads {leads} of {len(panel.top1)}" + ("; right" if number == trace.label else "")


def _facts(trace: Trace) -> list[tuple[str, str]]:
    model, sha256 = trace.model, trace.model["weights_sha256"]
    where = {panel.motion["name"]: panel.motion["where"] for panel in trace.panels if panel.frames is None}
    motions = [f"{name}, {provenance.WHERE.get(place, place)}" for name, place in where.items()]
    motions += ["successive frames"] if len(where) < len(trace.panels) else []
    return [
        ("Model", f"{model['spec']}, {model['classes']:,} classes, answers in {model['scores']}"),
        ("Weights", f"sha256 {sha256[:12]}…" if sha256 else "not visible to the trace"),
        ("View", "{} × {} px (height × width)".format(*model["view_size"])),
        ("Image", trace.image),
        ("Motion", "; ".join(motions)),
    ]
