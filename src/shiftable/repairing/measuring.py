"""The bench on which candidates are measured: the same walks over the same images, an audit each, none made twice."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from jaxtyping import UInt8

from shiftable.auditing import Audit, Estimate, audit
from shiftable.auditing.record import write_json
from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import CropSelection, deployed_view
from shiftable.repairing.candidates import Candidate, measured, parts_of, removed
from shiftable.repairing.plan import Plan, repaired
from shiftable.repairing.timing import TIMED_IMAGES, time_ratio

if TYPE_CHECKING:
    from torch import nn

MEASURED, TIMES, TUNED = "measured", "times.json", "tuned"
"""The folder of what was measured on the way, in that of the repair, and what is in it."""

MATCHED_IMAGES = 64
"""On how many unmoved images the moments of blurred sites are matched."""

DEAREST = 3.0
"""What takes more times as long is timed, and not measured, unless the budget allows it."""

Picture = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Bench:
    """A model, images, and how these move. What is measured is kept in a folder, and taken from there again.

    Args:
        model: As it is deployed.
        samples: The images, labelled where labels are known.
        tuning: Images that fine-tuning may look at.
        walks: Options of `audit`: motion, walk, seed, …
        room_px: How much larger than the model's the views are that move, so that a crop can be chosen in them; None
            where the model does not crop.
        folder: Where audits and times are.
        progress: Told (images shown, images in all, as far as that is known).
        shown: How many images were shown, and how many will be.
        audits: Made so far, by the plan's key.
    """

    model: Model
    samples: Sequence[Sample]
    tuning: Sequence[Sample]
    walks: Mapping[str, Any]
    room_px: int | None
    folder: Path
    progress: Callable[[int, int], None] | None = None
    shown: list[int] = field(default_factory=lambda: [0, 0])
    audits: dict[str, Audit] = field(default_factory=dict)

    def expect(self, audits: int, images: int = 0) -> None:
        """So many more audits are to come, and others of so many images."""
        self.shown[1] += audits * len(self.samples) + images

    def measure(self, name: str, plan: Plan, budget: float | int = 1.0) -> Candidate:
        """What a plan brings and costs.

        Args:
            name: In words.
            plan: What to do.
            budget: Up to what time ratio it is measured, if that is more than ``DEAREST``.

        Raises:
            InputError: If the plan can't be carried out, or takes far too long to be worth it.
        """
        net = self.net(plan)
        cost = self.time_ratio(plan, net)
        if cost.value > max(budget, DEAREST):
            raise InputError(f"takes {cost.value:.1f} times as long")
        alike = self.audited(Plan(crop=plan.crop)) if plan.crop is not None else None
        return measured(name, plan, self.audited(Plan()), self.audited(plan, net), cost, alike)

    def removed(self, before: Plan, after: Plan) -> tuple[Estimate, Estimate]:
        """(flips, mean absolute change) that are gone from one plan to the other, both measured."""
        return removed(self.audited(before), self.audited(after))

    def audited(self, plan: Plan, net: "nn.Module | None" = None) -> Audit:
        """The audit of a plan, shown the views that all are shown; an empty plan is the model as it is."""
        name = key(plan)
        if name not in self.audits:
            centred = plan.crop is None and plan.phases is None and self.room_px is not None
            seen = replace(plan, crop=CropSelection("center", cast(int, self.room_px))) if centred else plan
            shown = repaired(self.model, seen, net if net is not None else self.net(plan))
            self.audits[name] = self.audit(shown, self.samples, self.folder / MEASURED / name, controls=False)
        return self.audits[name]

    def audit(self, model: Model, samples: Sequence[Sample], folder: Path, controls: bool) -> Audit:
        """An audit; its progress is part of the whole's."""
        begun = self.shown[0]

        def told(done: int, in_all: int) -> None:
            self.shown[0] = begun + done
            self.shown[1] = max(self.shown)
            if self.progress is not None:
                self.progress(*self.shown)

        found = audit(model, samples, **self.walks, controls=controls, out=folder, progress=told)
        told(len(samples), len(samples))
        return found

    def net(self, plan: Plan) -> "nn.Module | None":
        """The model's net with a plan's edits: moments matched, tuned; None of a plan without edits."""
        if not plan.edits:
            return None
        from shiftable.repairing.operating import operated_net

        folder = self.folder / MEASURED / f"{TUNED}-{key(Plan(edits=plan.edits, finetune=plan.finetune))}"
        matching = [self.unmoved(image) for image in islice(readable(self.samples), MATCHED_IMAGES)]
        return operated_net(self.model, plan, matching, lambda: readable(self.tuning), folder)

    def unmoved(self, image: Picture) -> UInt8[np.ndarray, "view_height view_width 3"]:
        """What the model is shown of an image as it is deployed."""
        return deployed_view(image, self.model.preprocessing, self.model.view_size)

    def time_ratio(self, plan: Plan, net: "nn.Module | None") -> Estimate:
        """What a plan costs, from image to answer, beside the model as it is deployed; timed once."""
        path, name = self.folder / MEASURED / TIMES, key(plan)
        times = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if name not in times:
            images = list(islice(readable(self.samples), TIMED_IMAGES))
            times[name] = time_ratio(self.model, repaired(self.model, plan, net), images).to_json()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, times)
        return Estimate.from_json(times[name])


def key(plan: Plan) -> str:
    """What a plan's folder is called."""
    done = parts_of(plan)
    return sha256(json.dumps(done, sort_keys=True).encode()).hexdigest()[:12] if any(done.values()) else "before"


def readable(samples: Sequence[Sample]) -> Iterator[Picture]:
    """The images that can be read."""
    for sample in samples:
        try:
            yield sample.read()
        except InputError:
            continue
