"""What may be done to a model: the candidates of a repair, and what of them is refused and why."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.preprocessing import CropSelection, Size
from shiftable.repairing.candidates import Candidate, parts_of
from shiftable.repairing.choosing import Limits
from shiftable.repairing.crop_selection import USUAL_SHARE, with_stable_crop
from shiftable.repairing.dense_phases import dense_edits
from shiftable.repairing.phase_average import phase_offsets
from shiftable.repairing.plan import Phases, Plan, together
from shiftable.repairing.strides import find_stride, total_stride

if TYPE_CHECKING:
    from shiftable.surgery.editing import Edit, Planned

PHASES = (2, 4)
"""Windows along each axis that are averaged."""

STRIDE_IMAGES = 4
"""How many images a stride that can't be seen is looked for with."""


@dataclass(frozen=True)
class Proposed:
    """The candidates.

    Args:
        plans: Name → plan.
        refused: Name → why there is no such plan for this model, in words.
        sites: Of a PyTorch net, what would stand at each of its sites if all were blurred.
    """

    plans: Mapping[str, Plan]
    refused: Mapping[str, str]
    sites: "Sequence[Planned]" = ()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {
            "sites": [
                {"site": each.site.name, "type": each.site.type, "becomes": each.becomes, "refused": each.refused}
                for each in self.sites
            ],
            "candidates": {name: parts_of(plan) for name, plan in self.plans.items()},
            "refused": dict(self.refused),
        }


def room_of(model: Model) -> int | None:
    """How much larger than the model's view those are that all candidates are shown, in px; None if it crops nothing.

    A seventh of the view, as usual preprocessing leaves; a total stride at least, where one can be seen, for windows at
    all its phases; and a multiple of 4, as `with_phase_average` takes it.
    """
    if not model.preprocessing.cuts:
        return None
    try:
        stride = max(total_stride(model))
    except InputError:
        stride = 0
    room = max(round(min(model.view_size) * (USUAL_SHARE - 1)), stride)
    return -(-room // 4) * 4


def propose(
    model: Model,
    samples: Sequence[Sample],
    room_px: int | None,
    budget: float | int,
    margins: Callable[[], Float[np.ndarray, "view"]] | None = None,
    polyphase: bool = False,
) -> Proposed:
    """The candidates for a model.

    Args:
        model: As it was opened.
        samples: Images, for the stride of models that nobody can look into.
        room_px: How much larger than the model's the views are that all are shown.
        budget: The largest time ratio: an adaptive average asks as often as it leaves time for.
        margins: Gives the margins of the model's answers, in logits; None proposes no adaptive average.
        polyphase: Whether to propose adaptive polyphase sampling.
    """
    plans: dict[str, Plan] = {}
    refused: dict[str, str] = {}

    def add(name: str, made: Callable[[], Plan]) -> None:
        try:
            plans[name] = made()
        except InputError as error:
            refused[name] = error.what

    add("crop chosen by content", lambda: Plan(crop=_crop(model, room_px)))
    add("average over 2 × 2 windows, 1 px apart", lambda: Plan(phases=_phases(model, 2, (2, 2), room_px)))
    stride = _stride(model, samples)
    if isinstance(stride, str):
        refused |= dict.fromkeys(("averages over phases", "crop anchored to the grid"), stride)
    else:
        add("crop anchored to the grid", lambda: Plan(crop=_anchored(model, stride, room_px)))
        for phases in PHASES:
            name = f"average over {phases} × {phases} phases"
            add(name, lambda phases=phases: Plan(phases=_phases(model, phases, stride, room_px)))  # type: ignore[misc]
        if margins is not None:
            add(
                "average over 2 × 2 phases where unsure",
                lambda: Plan(phases=_adaptive(model, stride, room_px, budget, margins())),
            )
    edits, sites, why = _surgery(model, polyphase)
    plans |= {name: Plan(edits=each) for name, each in edits.items()}
    refused |= why
    return Proposed(plans, refused, sites)


def tuned(candidates: Sequence[Candidate], limits: Limits, steps: int, seed: int) -> tuple[str, Plan] | None:
    """As many blurred sites as the budget allows, best first, with a fine-tune; None if not one is within it.

    What a fine-tune brings can't be known before, and each takes long: so one is made, of the sites whose blur removes
    most flips per added time. Agreement is not asked for, since that is what tuning brings back.
    """
    from shiftable.repairing.finetune import Finetune

    single = [each for each in candidates if len(each.plan.edits) == 1 and each.plan.edits[0].remedy == "blur"]
    plan, cost = Plan(), 1.0
    for each in sorted(single, key=lambda each: -each.flips_removed.value / max(each.time_ratio.value - 1, 0.01)):
        added = max(each.time_ratio.value - 1, 0.0)
        if cost + added <= limits.budget:
            plan, cost = together(plan, each.plan), cost + added
    if not plan.edits:
        return None
    count = len(plan.edits)
    name = f"{count} site{'s' if count > 1 else ''} blurred, tuned {steps} steps"
    return name, Plan(edits=plan.edits, finetune=Finetune(steps=steps, seed=seed))


def _crop(model: Model, room_px: int | None) -> CropSelection:
    found = with_stable_crop(model, room_px=room_px).preprocessing.crop
    assert isinstance(found, CropSelection), "a chosen crop is what was asked for"
    return found


def _anchored(model: Model, stride: Size, room_px: int | None) -> CropSelection:
    """As many places as whole strides: see `with_anchored_phase`."""
    from shiftable.repairing.anchoring import with_anchored_phase

    strides = max(1, round(((room_px or 0) + 1) / stride[0]))
    found = with_anchored_phase(model, stride_px=stride, strides=strides).preprocessing.crop
    assert isinstance(found, CropSelection), "a chosen crop is what was asked for"
    return found


def _phases(model: Model, phases: int, stride: Size, room_px: int | None) -> Phases:
    offsets = phase_offsets((phases, phases), stride, where=model.spec)
    if room_px is None:
        return Phases(offsets, around="circle")
    return Phases(offsets, room_px=room_px)


def _adaptive(
    model: Model, stride: Size, room_px: int | None, budget: float, margins: Float[np.ndarray, "view"]
) -> Phases:
    """Asks about the other windows in as many views, those with the smallest margins, as the budget leaves time for."""
    phases = _phases(model, PHASES[0], stride, room_px)
    share = (budget - 1) / (len(phases.offsets_px) - 1)
    if not 0 < share < 1:
        raise InputError("the budget leaves no time for more windows" if share <= 0 else "the budget allows always")
    below = float(np.quantile(margins, share))
    return Phases(phases.offsets_px, phases.around, phases.room_px, below if below < inf else None)


def _stride(model: Model, samples: Sequence[Sample]) -> Size | str:
    try:
        return find_stride(model, samples[:STRIDE_IMAGES])
    except InputError as error:
        return error.what


def _surgery(model: Model, polyphase: bool) -> "tuple[dict[str, tuple[Edit, ...]], Sequence[Planned], dict[str, str]]":
    """Name → edits; what would stand at each site; and what is refused."""
    if not callable(getattr(getattr(model, "net", None), "named_modules", None)):
        return {}, (), {"surgery": "there is no net to look into"}
    from shiftable.models.other_net import plain
    from shiftable.repairing.plan import grey_view
    from shiftable.surgery.editing import Edit, inspected
    from shiftable.surgery.sites import find_sites

    given: Any = plain(model)  # type: ignore[arg-type]
    inputs = given.inputs(grey_view(model.view_size))
    found = [site.name for site in find_sites(given.net, inputs)]
    blurs = tuple(Edit(name, match=True) for name in found)
    sites = inspected(given.net, blurs, inputs)
    edits: dict[str, tuple[Edit, ...]] = {}
    refused: dict[str, str] = {}
    for edit, planned in zip(blurs, sites, strict=True):
        if planned.refused:
            refused[f"blur at {edit.site}"] = planned.refused
        else:
            edits[f"blur at {edit.site}"] = (edit,)
    good = tuple(each for one in edits.values() for each in one)
    if len(good) > 1:
        edits[f"blur at all {len(good)} sites"] = good
    if found:
        last = dense_edits(model)
        name = f"dense at {' and '.join(edit.site for edit in last)}"
        _add(edits, refused, name, last, given.net, inputs)
    if polyphase and found:
        _add(edits, refused, "polyphase at all sites", tuple(Edit(name, "polyphase") for name in found),
             given.net, inputs)  # fmt: skip
    return edits, sites, refused


def _add(
    edits: "dict[str, tuple[Edit, ...]]",
    refused: dict[str, str],
    name: str,
    asked: "tuple[Edit, ...]",
    net: Any,
    inputs: Any,
) -> None:
    from shiftable.surgery.editing import inspected

    whys = [planned.refused for planned in inspected(net, asked, inputs) if planned.refused]
    if whys:
        refused[name] = whys[0]
    else:
        edits[name] = asked
