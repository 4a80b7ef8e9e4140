"""The page of a diagnosis: what was found, worst first, then each part with its pictures and what they mean."""

import json
import shlex
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from shiftable.auditing.feeding.parity import refuse_audits
from shiftable.auditing.record import write_json
from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Diagnosis, plain
from shiftable.report import explain_answer_drawings, explain_drawings, explain_sections, explain_words
from shiftable.report.explain_figures import explain_figure
from shiftable.report.explain_plots import Drawing
from shiftable.report.pages import render
from shiftable.report.structure_diagram import structure_diagram

PAGE, RECORD, STRUCTURE, RISK, FIGURES = "report.html", "diagnosis.json", "structure.json", "risk.json", "figures"

DRAWN = (
    "interventions",
    "sampling",
    "harmonics",
    "spectra",
    "responses",
    "depth",
    "invariance",
    "margins",
    "risk",
    "outside",
)
"""The figures, in the page's order; a finding's ``figure`` is one of these, or ``structure``."""

FLAGS = {
    "steps": "--steps",
    "direction": "--direction",
    "layers": "--layer",
    "dense": "--dense",
    "interventions": "--interventions",
    "pairs": "--pairs",
    "labels": "--labels",
    "seed": "--seed",
}
"""Setting of a diagnosis → the flag that asks for it."""


def write_diagnosis(diagnosis: Diagnosis, folder: str | Path, beside: Sequence[Mapping[str, Any]] = ()) -> Path:
    """Write a diagnosis, its page and its figures into a folder, which is made if it is not there.

    Args:
        diagnosis: What to show.
        folder: Gets ``diagnosis.json``; ``structure.json`` and ``risk.json`` where these parts are there;
            ``report.html``, one file that needs no network; and ``figures/``, as PNG.
        beside: Other nets' diagnoses, as `read_beside` gives them, for the figure of several nets.

    Returns:
        The page.
    """
    folder = Path(folder)
    (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    record = plain(diagnosis.to_json())
    write_json(folder / RECORD, record)
    for name, part in ((STRUCTURE, record["structure"]), (RISK, record["risk"])):
        if part is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_json(folder / name, part)
    drawings = explain_drawings_of(diagnosis, record, beside)
    _draw(drawings, folder / FIGURES)
    text = render("explain.html", explain_content(diagnosis, drawings, beside))
    write_atomically(folder / PAGE, lambda draft: draft.write_text(text, "utf-8", errors="xmlcharrefreplace"))
    return folder / PAGE


def claim_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Make sure, before the work, that a diagnosis may be written into a folder.

    Args:
        folder: Where it goes.
        overwrite: Whether an earlier diagnosis may be deleted.

    Raises:
        InputError: If the folder holds a diagnosis that may not be deleted, or an audit, or is a file.
    """
    folder = Path(folder)
    refuse_audits(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file", where=folder, todo="give another --out")
    if not (folder / RECORD).exists():
        return
    if not overwrite:
        raise InputError(
            "holds another diagnosis", where=folder, todo="give another --out, or --overwrite to delete it"
        )
    for name in (PAGE, RECORD, STRUCTURE, RISK, *(f"{FIGURES}/{name}.png" for name in DRAWN)):
        (folder / name).unlink(missing_ok=True)


def read_beside(folder: str | Path) -> dict[str, Any]:
    """Another net's diagnosis, as `Diagnosis.to_json` gave it.

    Args:
        folder: What `write_diagnosis` wrote it into.

    Raises:
        InputError: If there is none.
    """
    path = Path(folder, RECORD)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "no diagnosis is there", where=path, todo="give a folder that shiftable explain wrote"
        ) from error
    except ValueError as error:
        raise InputError("is no JSON", where=path, todo="write it again with shiftable explain") from error
    if not isinstance(found, dict) or not {"spec", "responses"} <= set(found):
        raise InputError("is no diagnosis", where=path, todo="give a folder that shiftable explain wrote")
    return found


def explain_drawings_of(
    diagnosis: Diagnosis, record: Mapping[str, Any], beside: Sequence[Mapping[str, Any]]
) -> dict[str, Drawing]:
    """What can be drawn of it, by name, in the page's order.

    Args:
        diagnosis: What was found.
        record: The same as plain numbers.
        beside: Other nets, as plain numbers.
    """
    sampling = diagnosis.sampling
    found: dict[str, Drawing | None] = {
        "interventions": explain_drawings.interventions(diagnosis.interventions),
        "sampling": None if sampling is None else explain_drawings.sampling(sampling),
        "harmonics": None if sampling is None else explain_drawings.harmonics(sampling),
        "spectra": explain_drawings.spectra(diagnosis.spectra),
        "responses": explain_drawings.responses(diagnosis.responses),
        "depth": explain_drawings.depth(diagnosis.responses),
        "invariance": explain_drawings.invariance([record, *beside]) if diagnosis.responses else None,
        "margins": diagnosis.margins and explain_answer_drawings.margins(diagnosis.margins),
        "risk": diagnosis.risk and explain_answer_drawings.risk(diagnosis.risk),
        "outside": diagnosis.outside and explain_answer_drawings.outside(diagnosis.outside),
    }
    return {name: drawing for name in DRAWN if (drawing := found[name]) is not None}


def explain_content(
    diagnosis: Diagnosis, drawings: Mapping[str, Drawing], beside: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """What the template is filled with."""
    name = explain_words.model_name(diagnosis.spec)
    anchors = [*drawings, *(["structure"] if diagnosis.structure else [])]
    return {
        "name": name,
        "headline": explain_words.headline(diagnosis, name),
        "basis": explain_words.basis(diagnosis),
        "findings": [explain_sections.finding(each, anchors) for each in diagnosis.findings],
        "pictures": {key: explain_sections.picture(drawing) for key, drawing in drawings.items()},
        "structure": explain_sections.structure(diagnosis.structure),
        "diagram": None if diagnosis.structure is None else structure_diagram(diagnosis.structure),
        "interventions": explain_sections.interventions(diagnosis.interventions, diagnosis.interactions),
        "sampling": explain_sections.sampling(diagnosis.sampling),
        "spectra": explain_sections.spectra(diagnosis.spectra),
        "responses": explain_sections.responses(diagnosis.responses),
        "nets": [explain_words.model_name(str(each["spec"])) for each in beside],
        "margins": explain_sections.margins(diagnosis.margins),
        "risk": explain_sections.risk(diagnosis.risk),
        "outside": explain_sections.outside(diagnosis.outside),
        "unseen": [explain_sections.coded(each) for each in explain_words.unseen(diagnosis)],
        "facts": _facts(diagnosis),
        "command": _command(diagnosis),
        "record": {
            "spec": diagnosis.spec,
            "model": plain(diagnosis.model),
            "images": {key: value for key, value in plain(diagnosis.images).items() if key != "skipped"},
            "settings": plain(diagnosis.settings),
        },
        "files": _files(diagnosis),
    }


def _draw(drawings: Mapping[str, Drawing], folder: Path) -> None:
    """Every drawing as PNG; those of an earlier diagnosis that this one has not are taken away."""
    for name in DRAWN:
        if name in drawings:
            write_atomically(folder / f"{name}.png", partial(explain_figure, drawings[name]))
        else:
            (folder / f"{name}.png").unlink(missing_ok=True)


def _files(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    files = [(RECORD, "all numbers of this page")]
    files += [(STRUCTURE, "where the net subsamples")] if diagnosis.structure is not None else []
    files += [(RISK, "the risk of an answer, for a deployment")] if diagnosis.risk is not None else []
    return [*files, (f"{FIGURES}/", "the figures, as PNG")]


def _facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    """Terms and what they were."""
    model, images = diagnosis.model, diagnosis.images
    sha256, view = model.get("weights_sha256"), model.get("view_size")
    scores = f", answers in {model['scores']}" if "scores" in model else ""
    classes = f", {model['classes']:,} classes" if "classes" in model else ""
    facts = [
        ("Model", f"{diagnosis.spec}{classes}{scores}"),
        ("Weights", f"sha256 {str(sha256)[:12]}…" if sha256 else "not visible"),
    ]
    facts += [("View", "{} × {} px (height × width)".format(*view))] if view else []
    if images:
        sha = f"; sha256 of the list {str(images['sha256'])[:12]}…" if images.get("sha256") else ""
        facts.append(("Images", f"{images.get('count', '?')} of {images.get('source') or 'a list of samples'}{sha}"))
    return facts + [
        (key.replace("_", " ").capitalize(), said)
        for key, value in diagnosis.settings.items()
        if (said := _said(value)) not in ("", "None")
    ]


def _said(value: Any) -> str:
    """A setting in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_said(each)}" for key, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_said, value))
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _command(diagnosis: Diagnosis) -> str | None:
    """The command line that makes it again; None where the images were handed over in Python."""
    source = diagnosis.images.get("source")
    if not source:
        return None
    words = ["shiftable", "explain", diagnosis.spec, source]
    words += ["--images", diagnosis.images["listed"]] if "listed" in diagnosis.images else []
    for name, flag in FLAGS.items():
        value = diagnosis.settings.get(name)
        for each in value if isinstance(value, list | tuple) else [value]:
            if each is not None and each is not False and (name, each) != ("pairs", 0):
                words += [flag] if each is True else [flag, each]
    return shlex.join(str(word) for word in words)
