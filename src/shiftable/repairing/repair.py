"""The repair: candidates measured on some of the images, the best of them taken together, proved on the others."""

import json
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from shiftable.auditing import Audit, Comparison, read_parts
from shiftable.auditing.preparing import Labels
from shiftable.auditing.record import write_json
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Model, open_model
from shiftable.repairing.candidates import Candidate
from shiftable.repairing.choosing import Limits, choose
from shiftable.repairing.export import write_repaired
from shiftable.repairing.exported_audits import audit_exports, check_formats
from shiftable.repairing.frames import find_images, is_video
from shiftable.repairing.measuring import MEASURED, Bench
from shiftable.repairing.parting import labelled, split
from shiftable.repairing.plan import Plan, source_of
from shiftable.repairing.plan import repaired as carry_out
from shiftable.repairing.proposing import propose, room_of, tuned
from shiftable.repairing.refusing import check_asked, nothing_chosen, refuse_steady
from shiftable.repairing.verification import AFTER, BEFORE, compare_videos, verify

COUNT = 200
"""How many images are looked at where nobody says."""

WALKS = 8
"""Pairs of views of an image, where nobody says."""

RECORD, ASKED, FRAMES = "repair.json", "asked.json", "frames"

OWN = (RECORD, MEASURED, BEFORE, AFTER, "video-before", "video-after", "exported-onnx",
       "exported-pt2", "plan.json", "crop.json", "comparison.json",
       "report.html", "figures")  # fmt: skip
"""What a repair writes into its folder, beside the model."""


@dataclass(frozen=True)
class Repair:
    """What was done to a model, and what it brought.

    Args:
        plan: What was done.
        verified: What it brings and costs, on the images that nothing was chosen by.
        comparison: The two audits of that, before and after.
        candidates: All that were measured alone, on the images for choosing.
        steps: The plan as it grew, measured on those.
        combined: All combinations that were measured on those.
        left_out: What was not measured, and why: name → reason.
        settings: Limits, images, motion, walks, seed.
        remarks: What a reader must know, a sentence each.
        videos: Audits of videos, before and after; none if none was asked for.
        folder: Where everything is.
    """

    plan: Plan
    verified: Candidate
    comparison: Comparison
    candidates: tuple[Candidate, ...]
    steps: tuple[Candidate, ...]
    combined: tuple[Candidate, ...]
    left_out: Mapping[str, str]
    settings: Mapping[str, Any]
    remarks: tuple[str, ...]
    videos: tuple[Audit, ...] = ()
    folder: Path = field(default=Path(), compare=False)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, without the folder; the audits are in theirs."""
        return {
            "model": self.comparison.audits[0].audit.model["spec"],
            "settings": dict(self.settings),
            "verified": self.verified.to_json(),
            "steps": [each.name for each in self.steps],
            "candidates": [each.to_json() for each in self.candidates],
            "combined": [each.to_json() for each in self.combined],
            "left_out": dict(self.left_out),
            "videos": [audit.to_json() for audit in self.videos],
            "remarks": list(self.remarks),
        }


def repair(
    model: Model | str,
    images: str | Path | Sequence[Sample],
    budget: float | int = 1.1,
    *,
    min_agreement: float | int = 0.9,
    max_accuracy_loss: float | int = 0.02,
    motion: str = "crop",
    walk: str = "pairs",
    walks: int | None = None,
    labels: Labels = None,
    finetune: int = 0,
    tune_images: str | Path | Sequence[Sample] | None = None,
    polyphase: bool = False,
    video: str | Path | None = None,
    export: Sequence[str] = (),
    count: int | None = COUNT,
    seed: int = 0,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Model, Repair]:
    """Make a model's answers hold still when the picture moves, within a budget of time, and prove it.

    Every candidate (a crop chosen by content, averages over phases, and of PyTorch nets surgery) is measured on half of
    the images: what it removes and what it costs, on this machine. They are added up greedily as long as each makes a
    difference that can't be chance. The result is audited on the other half, before and after, and written to a
    folder. A repair that was stopped goes on when it is started again with the same arguments.

    Args:
        model: An open classifier, or a name for `open_model`.
        images: As `find_samples` takes them, or samples. Of fewer than 64, all serve for choosing and for proving.
        budget: How long an answer may take at most, from image to answer, times what it takes now.
        min_agreement: The share of images that the repaired net must answer as the original does the same pixels.
        max_accuracy_loss: By how much the accuracy may fall, 0 to 1, where labels are known.
        motion: What moves: ``"crop"``, the view over the resized image, or ``"camera"``, the source pixels.
        walk: ``"pairs"``, at random places, or ``"sweep"``.
        walks: Pairs per image; None takes 8.
        labels: A CSV with ``file,class_index``, or a mapping of ids to classes.
        finetune: Steps of a fine-tune without labels that surgery is followed by; 0 does none.
        tune_images: What it is tuned on; None takes a third of the images, which then serve for nothing else.
        polyphase: Also propose adaptive polyphase sampling, for nets with circular padding.
        video: A video, or a folder of videos, that both models are shown in the end.
        export: Formats, ``"onnx"`` or ``"pt2"``, that a PyTorch model is exported to as well; each file is audited
            again.
        count: Only the first so many images.
        seed: Of everything drawn at random.
        out: The folder to write to; None writes to a temporary one, which goes when the result does.
        overwrite: Delete another repair that is in the folder.
        progress: Told (images shown, images in all, as far as that is known).

    Returns:
        The repaired model, and what it brought.

    Raises:
        InputError: If there is nothing to repair, nothing helps within the limits (the closest is named), the images
            are too few to tell (how many would do is said), or anything given can't be used.
    """
    limits = Limits(budget, min_agreement, max_accuracy_loss)
    check_asked(limits, motion, walk, finetune, tune_images)
    opened = open_model(model) if isinstance(model, str) else model
    check_formats(export, opened)
    if opened.task != "classify":
        raise InputError(f"its task is {opened.task!r}, and classifiers are repaired", where=opened.spec,
                         todo="with_stable_crop holds any model's crop")  # fmt: skip
    walks_of = {"motion": motion, "walk": walk, "walks": walks or WALKS if walk == "pairs" else None, "seed": seed}
    asked = {
        "model": Plan(source_of(opened)).to_json()["source"], **walks_of, "images": _named(images), "count": count,
        "labels": _named(labels), "finetune": finetune, "tune_images": _named(tune_images),
    }  # fmt: skip
    folder = _opened(out, asked, overwrite)
    filmed = is_video(images)
    samples = find_images(images, folder / MEASURED / FRAMES, count)
    parts, remarks = split(labelled(samples, labels, opened), find_images(tune_images or (), None, None), finetune)
    if filmed:
        video = video or str(images)
        remarks.append(f"the images are {len(samples)} frames of one video, which are alike: intervals are too short")
    settings = {
        **{name: value for name, value in asked.items() if name not in ("model", "count")},
        "budget": budget, "min_agreement": min_agreement, "max_accuracy_loss": max_accuracy_loss,
        "polyphase": polyphase, "video": _named(video), "out": _named(out), "listed": len(samples),
        "choosing": len(parts.choosing), "proving": len(parts.proving), "tuning": len(parts.tuning),
    }  # fmt: skip
    bench = Bench(opened, parts.choosing, parts.tuning, walks_of, room_of(opened), folder, progress)
    bench.expect(1, 2 * len(parts.proving))
    before = bench.audited(Plan())
    refuse_steady(before, opened)
    proposed = propose(opened, parts.choosing, bench.room_px, budget, lambda: _margins(before), polyphase)
    left_out = dict(proposed.refused)
    bench.expect(len(proposed.plans))

    def measure(name: str, plan: Plan) -> Candidate | None:
        try:
            return bench.measure(name, plan, budget)
        except InputError as error:
            left_out[name] = error.what
            return None

    candidates = [each for each in map(measure, proposed.plans, proposed.plans.values()) if each]
    if finetune and (more := tuned(candidates, limits, finetune, seed)):
        bench.expect(1)
        candidates += [each for each in [measure(*more)] if each]
    choice = choose(candidates, limits, measure, lambda one, other: bench.removed(one.plan, other.plan))
    if not choice.steps:
        raise nothing_chosen(candidates, left_out, limits, opened)
    best = choice.steps[-1]
    net = bench.net(best.plan)
    after = carry_out(opened, best.plan, net)
    verified, comparison = verify(bench, best, after, parts.proving)
    if too_much := limits.exceeded(verified):
        remarks.append(f"on the images of the proof it {too_much}, more than the limits that it was chosen by allow")
    videos = compare_videos(opened, after, video, folder, seed) if video else ()
    done = Repair(
        replace(best.plan, source=source_of(opened)), verified, comparison, tuple(candidates), choice.steps,
        choice.combined, left_out, settings, tuple(remarks), videos, folder,
    )  # fmt: skip
    done = replace(done, plan=replace(done.plan, measured=done.to_json()))
    try:
        after = write_repaired(opened, done.plan, folder, net=net, overwrite=True)
    except InputError as error:  # after all the work: what was found is kept
        done = replace(done, remarks=(*done.remarks, f"the model was not written: {error}"))
    if told := audit_exports(after, export, parts.proving, walks_of, comparison.audits[1].audit, folder):
        done = replace(done, remarks=(*done.remarks, *told))
    write_json(folder / RECORD, done.to_json())
    if not out:
        weakref.finalize(done, shutil.rmtree, folder, ignore_errors=True)
    return after, done


def _named(source: object) -> str | None:
    """A path as it was given; None of what was handed over in Python."""
    return str(source) if isinstance(source, str | Path) else None


def _margins(audit: Audit) -> Float[np.ndarray, "view"]:
    return np.concatenate(
        [part.of(None)["margin"] for part in read_parts(audit.folder, ["image", "control", "margin"])]
    )


def _opened(out: str | Path | None, asked: Mapping[str, Any], overwrite: bool) -> Path:
    """The folder, which holds this repair or none.

    Raises:
        InputError: If it holds another, or can't be written.
    """
    if out is None:
        return Path(tempfile.mkdtemp(prefix="shiftable-"))
    folder = Path(out)
    path = folder / MEASURED / ASKED
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    if known is None and (folder / "audit.json").exists():
        raise InputError("holds an audit", where=folder, todo="give another --out")
    wanted = json.loads(json.dumps(asked))
    if known is not None and known != wanted and not overwrite:
        differs = next(name for name in wanted if known.get(name) != wanted[name])
        raise InputError(
            f"holds another repair (its {differs.replace('_', ' ')} differs)", where=folder,
            todo="give another --out, or --overwrite to delete it",
        )  # fmt: skip
    if overwrite:
        for name in OWN:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink(missing_ok=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, wanted)
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another --out") from None
    return folder
