"""The proof: the same walks over images that nothing was chosen by, before and after."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shiftable.auditing import Audit, Comparison, audit, compare
from shiftable.data import Sample
from shiftable.models import Model
from shiftable.repairing.candidates import Candidate, measured
from shiftable.repairing.measuring import MEASURED, Bench, key
from shiftable.repairing.plan import Plan, repaired

BEFORE, AFTER, CROPPED, VIDEO, PROVED = "before", "after", f"{MEASURED}/cropped", "video", "proved"
"""The audits' folders, and the file that says of which plan."""


def verify(bench: Bench, chosen: Candidate, after: Model, samples: Sequence[Sample]) -> tuple[Candidate, Comparison]:
    """Audit a model before and after a repair.

    Both are shown the same views: where a crop is chosen in larger views, or windows are taken of them, the model as it
    is is shown their centre.

    Args:
        bench: Knows the model, and how images move.
        chosen: What was done.
        after: The repaired model, as it is to be deployed.
        samples: The images.

    Returns:
        What the repair brings and costs, and the two audits of that.
    """
    plan = chosen.plan
    before = repaired(bench.model, centred(plan))
    _forget_others(bench.folder, key(plan))
    first = bench.audit(before, samples, bench.folder / BEFORE, controls=True)
    last = bench.audit(after, samples, bench.folder / AFTER, controls=True)
    alike = None
    if plan.crop is not None and plan != Plan(crop=plan.crop):
        alike = bench.audit(
            repaired(bench.model, Plan(crop=plan.crop)), samples, bench.folder / CROPPED, controls=False
        )
    elif plan.crop is not None:
        alike = last
    return measured(chosen.name, plan, first, last, chosen.time_ratio, alike), compare([first, last])


def _forget_others(folder: Path, name: str) -> None:
    """Delete the proof of another plan: the same measurements, under other limits, may give another choice."""
    proved = folder / MEASURED / PROVED
    if proved.exists() and proved.read_text(encoding="utf-8") != name:
        for each in (BEFORE, AFTER, CROPPED, f"{VIDEO}-{BEFORE}", f"{VIDEO}-{AFTER}"):
            shutil.rmtree(folder / each, ignore_errors=True)
    proved.write_text(name, encoding="utf-8")


def centred(plan: Plan) -> Plan:
    """The plan that does nothing to a model but shows it the centre of the views that another plan looks at."""
    if plan.phases is not None and plan.phases.around == "picture":
        return Plan(crop=plan.crop and replace(plan.crop, rule="center"),
                    phases=replace(plan.phases, offsets_px=((0, 0),), only_below=None,
                                   room_px=_room_of(plan)))  # fmt: skip
    return Plan(crop=plan.crop and replace(plan.crop, rule="center"))


def compare_videos(before: Model, after: Model, videos: str | Path, folder: Path, seed: int) -> tuple[Audit, Audit]:
    """Audits of both models on videos, each with what averaging over time and waiting would do.

    Args:
        before: The model as it is deployed.
        after: The repaired one.
        videos: A file, or a folder.
        folder: That of the repair.
        seed: Of everything drawn at random.
    """
    found = [
        audit(model, str(videos), motion="video", out=folder / f"{VIDEO}-{name}", seed=seed)
        for name, model in ((BEFORE, before), (AFTER, after))
    ]
    return found[0], found[1]


def _room_of(plan: Plan) -> int:
    """The room of a plan's windows, as `with_phase_average` has it."""
    assert plan.phases is not None, "of a plan with phases"
    furthest = max(max(abs(down), abs(right)) for down, right in plan.phases.offsets_px)
    return max(2 * furthest, plan.phases.room_px)
