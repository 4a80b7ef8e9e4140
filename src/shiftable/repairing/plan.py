"""What is done to a model so that its answers hold still: a plain record, and the model with all of it done."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib import import_module
from importlib.util import find_spec
from math import inf
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8

from shiftable.auditing.feeding.variants import fed
from shiftable.errors import InputError, missing_extra, unknown
from shiftable.models import Model, Preprocessing
from shiftable.models.preprocessing import CropSelection, Size
from shiftable.models.protocol import Scores, Task
from shiftable.repairing.crop_selection import with_stable_crop
from shiftable.repairing.phase_average import with_phase_average

if TYPE_CHECKING:
    from torch import nn

    from shiftable.repairing.finetune import Finetune
    from shiftable.surgery.editing import Edit

REPAIR_AGAIN = "take it as it was written, or repair again"

SCHEMA = 1
"""Of ``plan.json``. Goes up when what is written can't be read by what came before."""


@dataclass(frozen=True)
class Source:
    """What a model was opened from, and how: enough to open it again.

    Args:
        spec: As given to `open_model`.
        weights_sha256: The fingerprint of its weights, before anything was done to them.
        model_args: Arguments for the function that builds the net.
        view_size: (height, width) in px.
        preprocessing: All of it, as resolved.
        scores: What its answers are.
        class_names: A name per class.
        class_offset: How many of the first outputs are no classes.
        task: What it does.
        decoder: What makes boxes, points or masks of its outputs, by name.
        remarks: What was assumed when it was opened, a sentence each.
    """

    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    scores: Scores
    model_args: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = field(default=None, repr=False)
    class_offset: int | None = None
    task: Task = "classify"
    decoder: str | None = None
    remarks: tuple[str, ...] = ()


def source_of(model: Model) -> Source:
    """What an opened model says of where it is from. Of a model's decoder it has the name alone."""
    decoder = getattr(model, "settings", {}).get("decoder")
    return Source(
        model.spec,
        model.weights_sha256,
        (model.view_size[0], model.view_size[1]),
        model.preprocessing,
        model.scores,
        dict(getattr(model, "model_args", {})),
        model.class_names,
        getattr(model, "class_offset", None),
        model.task,
        decoder if isinstance(decoder, str) else None,
        tuple(getattr(model, "remarks", ())),
    )


@dataclass(frozen=True)
class Phases:
    """How answers are averaged over windows of a view: what `with_phase_average` is given.

    Args:
        offsets_px: Where the windows lie, (down, right) of the plain view.
        around: Windows of a larger view (``"picture"``), or the view itself, rolled (``"circle"``).
        room_px: How much larger than the model's the view is at least.
        only_below: The margin below which more than the plain view is asked about; None always asks.
    """

    offsets_px: tuple[tuple[int, int], ...]
    around: Literal["picture", "circle"] = "picture"
    room_px: int = 0
    only_below: float | None = None


@dataclass(frozen=True)
class Plan:
    """What is done to a model. Written as ``plan.json``; without anything to do, the model stays as it is.

    Args:
        source: The model; None until it is written.
        crop: Its crop is chosen by the picture's content.
        phases: Its answers are averaged over shifted views.
        edits: Surgery on its net.
        finetune: With which settings its net was tuned afterwards: a record, it can't be done again from this alone.
        measured: What the choice was made by: plain JSON values.
    """

    source: Source | None = None
    crop: CropSelection | None = None
    phases: Phases | None = None
    edits: "tuple[Edit, ...]" = ()
    finetune: "Finetune | None" = None
    measured: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the schema's number."""
        return {"schema": SCHEMA, **json.loads(json.dumps(asdict(self), allow_nan=False))}

    @classmethod
    def from_json(cls, found: object, where: object = "plan.json") -> "Plan":
        """What `to_json` gave.

        Args:
            found: Plain JSON values.
            where: Named in errors.

        Raises:
            InputError: If it is anything else, of another schema, or has edits and torch is not installed.
        """
        if not isinstance(found, dict) or "schema" not in found:
            raise InputError("is no plan", where=where, todo="give what shiftable repair wrote")
        if found["schema"] != SCHEMA:
            todo = "install the version of shiftable that wrote it, or repair again"
            raise InputError(f"has schema {found['schema']!r}, this version reads {SCHEMA}", where=where, todo=todo)
        named = {name: value for name, value in found.items() if name != "schema"}
        _check_names(cls, named, "plan", where)
        for name, kind in PARTS.items():
            if named.get(name) is not None:
                named[name] = _read(kind(), named[name], name, where)
        edits = named.get("edits", [])
        if not isinstance(edits, list):
            raise InputError("its edits are no list", where=where, todo=REPAIR_AGAIN)
        named["edits"] = tuple(_read(_edit(), each, "edits", where) for each in edits)
        return cls(**named)


def together(first: Plan, second: Plan) -> Plan:
    """Both plans in one. Where they differ in the same thing, the first one's stays; nothing is measured of it yet."""
    edited = {edit.site for edit in first.edits}
    return Plan(
        first.source or second.source,
        first.crop or second.crop,
        first.phases or second.phases,
        first.edits + tuple(edit for edit in second.edits if edit.site not in edited),
        first.finetune or second.finetune,
    )


def repaired(model: Model, plan: Plan, net: "nn.Module | None" = None) -> Model:
    """The model with all of a plan done. The model and its net stay as they are.

    Args:
        model: As it was opened.
        plan: What to do.
        net: Its net with the plan's edits, where more was done to it than the plan can say (moments matched, weights
            tuned); None carries out the edits on the net as its source gives it.

    Raises:
        InputError: If the plan can't be carried out: edits on what is no PyTorch net, a crop where nothing is cropped.
    """
    if plan.edits or net is not None:
        model = _operated(model, plan.edits, net)
    if plan.crop is not None:
        how = {name: value for name, value in asdict(plan.crop).items() if name != "width_px"}
        model = with_stable_crop(model, **how)
        model = fed(model, replace(model.preprocessing, crop=plan.crop))  # its width, too
    if plan.phases is not None:
        only_below = inf if plan.phases.only_below is None else plan.phases.only_below
        model = with_phase_average(model, **{**vars(plan.phases), "only_below": only_below})
    return model


def _operated(model: Model, edits: "tuple[Edit, ...]", net: "nn.Module | None") -> Model:
    if not hasattr(model, "net") or model.task not in ("classify", "embed"):
        raise InputError("surgery is for classifiers that PyTorch answers for", where=model.spec,
                         todo="leave the edits out, or open the net itself, with runtime torch")  # fmt: skip
    from shiftable.models.other_net import plain, with_net
    from shiftable.models.torch_model import TorchModel
    from shiftable.surgery.editing import operate

    assert isinstance(model, TorchModel), "of those that classify or embed, only these have a net"
    if net is None:
        given = plain(model)
        net = operate(given.net, edits, given.inputs(grey_view(model.view_size)))
    return with_net(model, net)


def grey_view(size: Size) -> UInt8[np.ndarray, "1 height width 3"]:
    """What a net is shown so that its operations are seen."""
    return np.full((1, *size, 3), 128, np.uint8)


PARTS: Mapping[str, Callable[[], Any]] = {
    "crop": lambda: CropSelection,
    "phases": lambda: Phases,
    "finetune": lambda: _torch("shiftable.repairing.finetune", "Finetune"),
    "source": lambda: Source,
}
"""The parts of a plan that may be null, and what they are."""


def _edit() -> Any:
    return _torch("shiftable.surgery.editing", "Edit")


def _torch(module: str, name: str) -> Any:
    """What is only to be had with torch."""
    if find_spec("torch") is None:
        raise missing_extra("torch", "torch")
    return getattr(import_module(module), name)


def _read(kind: Any, found: Any, name: str, where: object) -> Any:
    """A frozen value of plain JSON ones, every name known and every value of its kind.

    Raises:
        InputError: If it is not.
    """
    from pydantic import TypeAdapter, ValidationError

    _check_names(kind, found, name, where)
    try:
        return TypeAdapter(kind).validate_python(found)
    except InputError as error:
        raise InputError(f"its {name}: {error.what}", where=where, todo=error.todo) from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"])) or name
        what = (
            f"its {name}: {at} can't be {first['input']!r}" if first["type"] != "missing" else f"its {name} has no {at}"
        )
        raise InputError(what, where=where, todo=REPAIR_AGAIN) from None


def _check_names(kind: Any, found: Any, name: str, where: object) -> None:
    if not isinstance(found, dict):
        raise InputError(f"its {name} is no JSON object", where=where, todo=REPAIR_AGAIN)
    menu = [each.name for each in fields(kind)]
    for key in found:
        if key not in menu:
            raise InputError(f"its {name}: {unknown('field', key, menu).what}", where=where, todo=REPAIR_AGAIN)
