"""How an audit was made: everything a reader needs to make it again."""

import shlex
from collections.abc import Mapping
from typing import Any

from shiftable.auditing import Audit
from shiftable.auditing.metrics import choose_metrics
from shiftable.auditing.motions import FLAGS, MOTIONS
from shiftable.auditing.objects.metrics import choose_object_metrics
from shiftable.auditing.objects.tasks import PLACED
from shiftable.auditing.preparing import OF_WHOLE_WALKS
from shiftable.auditing.record import read_run
from shiftable.auditing.walks import OPTIONS
from shiftable.data import SHAPES
from shiftable.models.preprocessing import LETTERBOXES
from shiftable.report.motion_words import step_said
from shiftable.report.wording import answers_words, embeds, shorten, walk_words

WHERE = {
    "camera": "on the source pixels, before the model's resize",
    "resized": "after the model's resize, before its crop",
    "canvas": "of the picture on a canvas, after its resize",
    "tensor": "on the finished view, in a circle",
}

SLIDES_OVER = {"resized": "over the image as the model resizes it", "source": "over the original pixels, not resized"}
"""Where a view that keeps its box slides."""

REFERENCES = (
    "Azulay & Weiss 2018. Why do deep convolutional networks generalize so poorly to small image transformations? "
    "arXiv 1805.12177v1: the heat map, jaggedness.",
    "Azulay & Weiss 2019. The same title, Journal of Machine Learning Research 20(184): P(top-1 change), mean "
    "absolute change.",
    "Zhang 2019. Making convolutional networks shift-invariant again, ICML: consistency.",
    "Korn & Graubard 1998. Confidence intervals for proportions with small expected number of positive counts "
    "estimated from survey data, Survey Methodology 24: the intervals of rates.",
    "Efron 1987. Better bootstrap confidence intervals, JASA 82: the intervals of means (BCa).",
)


def facts(audit: Audit) -> list[tuple[str, str]]:
    """Terms and what they were in this audit."""
    model, images, motion = audit.model, audit.images, audit.motion
    sha256 = model["weights_sha256"]
    found = [
        ("Model", f"{model['spec']}, {answers_words(audit)}"),
        ("Weights", f"sha256 {sha256[:12]}…" if sha256 else "not visible to the audit"),
        ("View", "{} × {} px (height × width)".format(*model["view_size"])),
        ("Preprocessing", _preprocessing(model["preprocessing"])),
        ("Images", _images(images)),
        ("Motion", _motion(motion)),
        ("Walk", walk_words(audit)),
        ("Seed", str(audit.seed)),
        ("Ties", _ties(audit.ties)),
    ]
    return found + _run(audit)


def command(audit: Audit) -> str | None:
    """The command line that makes it again; None where the images, or their boxes, were handed over in Python."""
    source, boxes = audit.images["source"], audit.images.get("boxes")
    if source is None or (MOTIONS[audit.motion["name"]].needs_boxes and boxes is None and source != SHAPES):
        return None
    words = ["shiftable", "audit", audit.model["spec"], source, "--images", audit.images["listed"]]
    words += ["--task", "embed"] if embeds(audit) else []
    words += ["--threshold", audit.model["threshold"]] if "threshold" in audit.model else []
    words += ["--motion", audit.motion["name"]]
    for option in MOTIONS[audit.motion["name"]].options:
        if (value := audit.motion.get(option)) is not None:
            words += [FLAGS.get(option, f"--{option}"), value]
    words += ["--boxes", boxes] if boxes is not None else []
    words += ["--walk", audit.walk["shape"]]
    for option in OPTIONS[audit.walk["shape"]]:
        if (value := audit.walk[option]) is not None:
            words += [f"--{option.removesuffix('_px')}", value]
    return shlex.join(str(word) for word in [*words, "--seed", audit.seed, *chosen_flags(audit)])


def chosen_flags(audit: Audit) -> list[str]:
    """The flags of what the record of the run says was chosen otherwise than usual."""
    options = (read_run(audit.folder) or {}).get("asked", {}).get("options", {})
    flags = [f"--no-{name}" for name in ("controls", "enlarge") if options.get(name) is False]
    flags += [f"--{name.replace('_', '-')}" for name in ("strict", "keep_scores") if options.get(name)]
    metrics = options.get("metrics", [])
    if metrics and set(metrics) != set(_usual_metrics(audit)):
        flags += [word for name in metrics for word in ("--metric", name)]
    return flags


def _usual_metrics(audit: Audit) -> list[str]:
    """The metrics that such an audit has where none was asked for."""
    task, shape = audit.model["task"], audit.walk["shape"]
    if task in PLACED:
        return choose_object_metrics(task, shape)
    names = choose_metrics(shape, audit.images["labelled"] > 0, None, audit.model["scores"])
    motion = MOTIONS.get(audit.motion["name"])
    return [name for name in names if name not in OF_WHOLE_WALKS] if motion and motion.needs_boxes else names


def record(audit: Audit) -> dict[str, Any]:
    """``audit.json`` without what the page shows already."""
    content = audit.to_json()
    images = {key: value for key, value in content["images"].items() if key != "skipped"}
    return {
        key: images if key == "images" else content[key]
        for key in ("schema", "model", "images", "motion", "walk", "seed")
    }


def _images(images: Mapping[str, Any]) -> str:
    source = shorten(str(images["source"] or "a list of samples"), 200)
    labels = f"{images['labelled']:,} of {images['listed']:,} listed with labels"
    return f"{images['count']:,} of {source}, {labels}; sha256 of the list {images['sha256'][:12]}…"


def _preprocessing(fields: Mapping[str, Any]) -> str:
    library = "" if fields["library"] == "pillow" else f" by {fields['library']}"
    side = fields["resize_px"]
    size = f"short side to {side} px" if isinstance(side, int) else "to {} × {} px".format(*side)
    antialias = "antialiased" if fields["antialias"] else "without antialiasing"
    numbers = "; ".join(f"{name} {', '.join(f'{value:g}' for value in fields[name])}" for name in ("mean", "std"))
    how = f"{fields['resampler']} {antialias}{library}"
    if fields["crop"] in LETTERBOXES:
        return f"the whole picture in a grey {fields['crop']}, {how}; {numbers}"
    crop = fields["crop"]
    if isinstance(crop, str):
        cut = f"{crop} crop"
    else:
        whole, follows = crop.get("letterbox"), ", followed from frame to frame" if crop.get("follow") else ""
        cut = (
            "whole picture in a grey letterbox laid" if whole else "crop chosen"
        ) + " on the image ({}, room {} px{})"
        cut = cut.format(crop["rule"], crop["room_px"], follows)
    return f"resized, {size}, {how}; {cut}; {numbers}"


def _motion(motion: Mapping[str, Any]) -> str:
    room = f"; {_enlarged(motion['enlarged'])}" if motion["where"] == "resized" else ""
    return motion_said(motion) + room


def motion_said(motion: Mapping[str, Any]) -> str:
    """A motion, where it happens, and what was chosen.

    Args:
        motion: An audit's.
    """
    known = MOTIONS[motion["name"]].options if motion["name"] in MOTIONS else {}
    chosen = {name: motion[name] for name in known if motion.get(name) is not None}
    where = SLIDES_OVER.get(chosen.pop("at", ""), WHERE.get(motion["where"], motion["where"]))
    steps = f"; steps of {step_said(motion)}" if chosen.pop("step", None) else ""
    said = "".join(f"; {name.removesuffix('_px')} {value}" for name, value in chosen.items())
    return f"{motion['name']}: {where}{steps}{said}"


def _enlarged(factor: float) -> str:
    return (
        "objects keep their size"
        if factor == 1
        else f"objects are {factor:.2f} times as large, to make room for the walk"
    )


def _ties(ties: Mapping[str, float | None]) -> str:
    said = [f"{100 * share:.2g} % of the {name.replace('_', ' ')}" for name, share in ties.items() if share is not None]
    return f"equal scores decided {' and '.join(said)}" if said else "nothing changed, so equal scores decided nothing"


def recheck_words(found: Mapping[str, Any]) -> str:
    """What was asked again of the exact model, and whether that was enough.

    Example:
        >>> counts = {"views": 90, "rechecked_share": 0.156, "checked": 40, "disagreed": 0}
        >>> recheck_words({**counts, "low": 0.0, "high": 0.088})
        '15.6 % of 90 views were answered again in plain fp32; to 0 of 40 others (0.0 to 8.8 %) that has another answer'
    """
    again = f"{100 * found['rechecked_share']:.1f} % of {found['views']:,} views were answered again in plain fp32"
    interval = f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %"
    return f"{again}; to {found['disagreed']} of {found['checked']} others ({interval}) that has another answer"


def _run(audit: Audit) -> list[tuple[str, str]]:
    run = read_run(audit.folder) or {}
    machine = [f"{name} {value}" for name, value in run.get("machine", {}).items()]
    versions = [f"{name} {version}" for name, version in run.get("versions", {}).items()]
    settings = [f"{name.replace('_', ' ')} {value}" for name, value in run.get("settings", {}).items()]
    recheck = [recheck_words(run["recheck"])] if "recheck" in run else []
    lines = [("Rechecked", recheck), ("Machine", machine), ("Versions", versions), ("Settings", settings)]
    return [(name, ", ".join(words)) for name, words in lines if words]
