"""The page of a repair: what was wrong, what was done, before and after, what else was tried, and how to deploy it."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from shiftable.auditing import Audit, Estimate
from shiftable.auditing.record import read_run, write_json
from shiftable.data import Sample
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.repairing.candidates import Candidate
from shiftable.repairing.repair import Repair
from shiftable.report import provenance, repair_words, video_costs, wording
from shiftable.report.audits import write_report
from shiftable.report.compare_page import FILE
from shiftable.report.compare_words import points
from shiftable.report.pages import render
from shiftable.report.repair_charts import Mark, efficient, pareto, pareto_figure

PAGE, FIGURES, FIGURE = "report.html", "figures", "pareto.png"

SHOWN = ("p_top1_change", "mac", "change_if_right", "accuracy", "margin")
"""The metrics that stand beside each other, before and after."""

REFERENCES = (
    "Azulay & Weiss 2019. Why do deep convolutional networks generalize so poorly to small image transformations? "
    "Journal of Machine Learning Research 20(184): P(top-1 change), mean absolute change, and training against both.",
    "Shifman & Weiss 2024. Lost in translation: modern neural networks still struggle with small realistic image "
    "transformations, ECCV: a crop that is chosen by content.",
    "Zhang 2019. Making convolutional networks shift-invariant again, ICML: blurring before a stride.",
    "Chaman & Dokmanić 2021. Truly shift-invariant convolutional neural networks, CVPR: the strongest phase.",
    "Korn & Graubard 1998. Confidence intervals for proportions with small expected number of positive counts "
    "estimated from survey data, Survey Methodology 24: the intervals of rates.",
)


def write_repair(
    repair: Repair, *, class_names: Sequence[str] | None = None, samples: Sequence[Sample] | None = None
) -> Path:
    """Write a repair's page, its figure as PNG, ``comparison.json``, and the pages of its audits, into its folder.

    Args:
        repair: What was done, and what it brought.
        class_names: A name per class, for the pages of the audits.
        samples: The images, for their pictures.

    Returns:
        The page, ``report.html``: one file that needs no network.

    Raises:
        InputError: If the folder can't be written.
    """
    folder = repair.folder
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another --out") from None
    for compared in repair.comparison.audits:
        write_report(compared.audit, class_names=class_names, samples=samples)
    for audit in repair.videos:
        write_report(audit, class_names=class_names)
    write_json(folder / FILE, repair.comparison.to_json())
    marks = marks_of(repair)
    pareto_figure(marks, repair.settings["budget"], folder / FIGURES / FIGURE)
    text = render("repair.html", _content(repair, marks))
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return folder / PAGE


def marks_of(repair: Repair) -> list[Mark]:
    """The points of the figure: the model as it is, then every candidate and combination under its number."""
    candidates = [*repair.candidates, *repair.combined]
    first, chosen = candidates[0], {each.name for each in repair.steps}
    was = first.flips.value + first.flips_removed.value
    now = Mark("", "as it is", 1.0, Estimate(was, was, was, first.flips.images, first.flips.pairs))
    marks = [
        now,
        *(
            Mark(str(at), each.name, each.time_ratio.value, each.flips, each.name in chosen)
            for at, each in enumerate(candidates, start=1)
        ),
    ]
    best = efficient([(mark.time, mark.flips.value) for mark in marks])
    return [replace(mark, efficient=at in best) for at, mark in enumerate(marks)]


def _content(repair: Repair, marks: Sequence[Mark]) -> dict[str, Any]:
    """What the template is filled with."""
    first, settings = repair.comparison.audits[0].audit, repair.settings
    return {
        "name": first.model_name,
        "headline": repair_words.headline(repair),
        "basis": repair_words.basis(repair),
        "notes": [*repair.remarks, *_warnings(repair)],
        "done": repair_words.done(repair.plan),
        "steps": [each.name for each in repair.steps],
        "rows": _rows(repair),
        "figure": pareto(marks, repair.settings["budget"]),
        "budget": f"{repair.settings['budget']:g}",
        "limits": (
            f"a time ratio of {settings['budget']:g}, {100 * settings['min_agreement']:g} % agreement, and a loss of "
            f"{100 * settings['max_accuracy_loss']:g} points of accuracy"
        ),
        "costs": _costs(repair.verified),
        "crop": repair.plan.crop is not None,
        "candidates": [
            _candidate(str(at), each, marks[at])
            for at, each in enumerate([*repair.candidates, *repair.combined], start=1)
        ],
        "choosing": f"{repair.settings['choosing']:,}",
        "left_out": list(repair.left_out.items()),
        "videos": _videos(repair),
        "deploying": _deploying(repair),
        "facts": _facts(repair),
        "command": command(repair),
        "references": REFERENCES,
        "files": [(file, words) for file, words in FILES.items() if (repair.folder / file).exists()],
    }


FILES = {
    "plan.json": "what is done, and what it was chosen by; the folder is opened by it",
    "crop.json": "how the crop is chosen, for deployment and for --preprocessing",
    "model.py": "rebuilds the net by the library it is from",
    "model.safetensors": "its weights",
    "model.onnx": "the model, as it was",
    "model.tflite": "the model, as it was",
    "before/report.html": "the audit before, with the worst cases",
    "after/report.html": "the audit after, with the worst cases that are left",
    "video-before/report.html": "the audit of the videos before",
    "video-after/report.html": "the audit of the videos after",
    "comparison.json": "the two audits compared, also at matched accuracy and margin",
    "repair.json": "the numbers of this page",
    "figures/pareto.png": "the figure in print quality",
}
"""What may lie beside the page."""


def _rows(repair: Repair) -> list[dict[str, Any]]:
    """Before and after, metric by metric, with the paired difference where there is one."""
    first, last = (compared.audit.metrics for compared in repair.comparison.audits)
    verified = repair.verified
    differences = {
        "p_top1_change": _negative(verified.flips_removed),
        "mac": _negative(verified.mac_removed),
        "accuracy": verified.accuracy_change,
    }
    rows: list[dict[str, Any]] = []
    for name in SHOWN:
        if name not in first or name not in last:
            continue
        change, title = differences.get(name), wording.metric_words(name)[0]
        rows.append(
            {
                "title": title,
                "before": _cell(name, first[name]),
                "after": _cell(name, last[name]),
                "change": change and _change(name, change),
                "less": repair_words.less(first[name].value, last[name].value) if name in SHOWN[:3] else "",
            }
        )
    return rows


def _costs(verified: Candidate) -> list[tuple[str, str, str, str]]:
    """(title, what it says, value, interval) of what has no before."""
    shares = [
        (title, says, repair_words.share(each.value), f"{repair_words.share(each.low)} at least")
        for title, says, each in (
            ("Agreement", "with the original net on the same pixels", verified.agreement),
            ("Same answer", "as before, to the unmoved picture", verified.same_answer),
        )
    ]
    time = verified.time_ratio
    within = f"{repair_words.ratio(time.low)} to {repair_words.ratio(time.high)}"
    return [*shares, ("Time", "times that of the model as it is", repair_words.ratio(time.value), within)]


def _cell(name: str, found: Estimate) -> tuple[str, str]:
    return wording.figure_of(name, found.value), wording.interval_of(name, found)


def _change(name: str, found: Estimate) -> tuple[str, str]:
    if name == "mac":
        value, low, high = (f"{each:+.3f}".replace("-", "−") for each in (found.value, found.low, found.high))
    else:
        value, low, high = (points(each) for each in (found.value, found.low, found.high))
    return f"{value}{'' if name == 'mac' else ' points'}", f"{low} to {high}"


def _negative(found: Estimate) -> Estimate:
    return Estimate(-found.value, -found.high, -found.low, found.images, found.pairs)


def _candidate(number: str, each: Candidate, mark: Mark) -> dict[str, Any]:
    right = each.accuracy_change
    return {
        "number": number,
        "name": each.name,
        "chosen": mark.chosen,
        "cells": [
            ("Changed answers left", *_cell("p_top1_change", each.flips)),
            ("Removed, points", points(each.flips_removed.value),
             f"{points(each.flips_removed.low)} to {points(each.flips_removed.high)}"),
            ("Mean absolute change left", *_cell("mac", each.mac)),
            ("Time", repair_words.ratio(each.time_ratio.value),
             f"{repair_words.ratio(each.time_ratio.low)} to {repair_words.ratio(each.time_ratio.high)}"),
            *(
                (title, repair_words.share(found.value), f"{repair_words.share(found.low)} at least")
                for title, found in (("Agreement", each.agreement), ("Same answer", each.same_answer))
            ),
            ("Accuracy, points", *(
                ("–", "") if right is None else (points(right.value), f"{points(right.low)} to {points(right.high)}")
            )),
        ],
    }  # fmt: skip


def _videos(repair: Repair) -> dict[str, Any] | None:
    """Flips a minute of the videos, before and after, and before with what is done today against flicker."""
    if not repair.videos:
        return None
    before, after = (audit.metrics["flips_per_minute"] for audit in repair.videos)
    found = [
        (name, f"{each.value:.1f}", f"{each.low:.1f} to {each.high:.1f}" if each.low == each.low else "", "none")
        for name, each in (("As it was", before), ("Repaired", after))
    ]
    smoothing = video_costs.smoothing(repair.videos[0])
    for kind, setting, often, late, _ in smoothing["rows"][1:] if smoothing else ():
        found.append((f"As it was; {kind[0].lower()}{kind[1:]}, {setting}", often, "", late))
    return {"rows": found, "images": repair.videos[0].images["source"]}


def _deploying(repair: Repair) -> list[tuple[str, str]]:
    """(what, code) of how to use the repaired model."""
    out = str(repair.settings.get("out") or "OUT")
    found = [("With this package", f'import shiftable as sh\n\nmodel = sh.open_model("{out}")')]
    if repair.plan.crop is not None:
        found.append((
            "The crop, in place of resize and centre crop: for Pillow images, arrays of bytes and tensors of bytes",
            f'from shiftable.repairing import read_crop\n\ncrop = read_crop("{out}/crop.json")\nview = crop(picture)',
        ))  # fmt: skip
    if (repair.folder / "model.py").exists():
        found.append((
            "The net, without this package where nothing of it is in the net",
            f"# in {out}\nfrom model import repaired\n\nnet = repaired()",
        ))  # fmt: skip
        found.append((
            "As one file",
            f'from shiftable.repairing.graphs import to_onnx, to_pt2\n\nto_onnx("{out}", "model.onnx")',
        ))  # fmt: skip
    return found


def _warnings(repair: Repair) -> list[str]:
    """What the audits and their comparison warn of, each once."""
    audits = [compared.audit for compared in repair.comparison.audits]
    return list(dict.fromkeys([*(warning for audit in audits for warning in audit.warnings), *repair.comparison.notes]))


def _facts(repair: Repair) -> list[tuple[str, str]]:
    settings, before = repair.settings, repair.comparison.audits[0].audit
    listed = (
        f"{settings['listed']:,} of {wording.shorten(str(settings['images'] or 'a list of samples'), 200)}: "
        f"{settings['choosing']:,} for choosing, {settings['proving']:,} for the proof"
    )
    return [
        ("Model", before.model["spec"]),
        ("Images", listed + (f", {settings['tuning']:,} for tuning" if settings["tuning"] else "")),
        ("Motion", provenance.motion_said(before.motion)),
        ("Walk", wording.walk_words(before)),
        ("Time", f"{repair.verified.time_ratio.images} images, one at a time, in turn with the model as it is: resize, "
                 "crop, choice and answer"),
        ("Seed", str(before.seed)),
        ("Machine", _machine(before)),
    ]  # fmt: skip


def _machine(audit: Audit) -> str:
    """What the times were taken on."""
    run = read_run(audit.folder) or {}
    settings, machine = run.get("settings", {}), run.get("machine", {})
    parts = [str(settings.get("device", "cpu")), machine.get("processor"), machine.get("system")]
    if settings.get("threads"):
        parts.insert(1, wording.count(int(settings["threads"]), "thread"))
    return ", ".join(part for part in parts if part)


def command(repair: Repair) -> str | None:
    """The command line that makes it again; None where the images were handed over in Python."""
    settings = repair.settings
    if settings["images"] is None or repair.plan.source is None:
        return None
    words = ["shiftable", "repair", repair.plan.source.spec, settings["images"], "--images", settings["listed"]]
    for name in ("budget", "min_agreement", "max_accuracy_loss", "motion", "walk", "walks", "labels", "finetune",
                 "tune_images", "seed"):  # fmt: skip
        if settings[name]:
            words += [f"--{name.replace('_', '-')}", settings[name]]
    words += ["--polyphase"] if settings["polyphase"] else []
    return shlex.join(map(str, words))
