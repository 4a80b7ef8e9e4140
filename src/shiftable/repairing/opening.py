"""A folder that a repair was written to, opened again: the model, fed and repaired as its plan says.

Nothing in the folder is run: the net is built by the library it is from, gets the plan's edits, and is given its
weights. What would run other code, or send pictures away, is not taken from the folder: the user says it again.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from shiftable.errors import InputError
from shiftable.models import Model, open_model
from shiftable.models.artefacts import Options, sha256_of
from shiftable.models.http_model import PLACED
from shiftable.models.opening import open_origin, origin_of, source_form
from shiftable.models.protocol import DENSE
from shiftable.models.repaired_folder import PLAN
from shiftable.models.zoos import Origin, without_head
from shiftable.repairing.plan import Plan, Source, grey_view, repaired

WEIGHTS = "model.safetensors"

UNTRUSTED = re.compile(r"trust_remote_code|code_revision|checkpoint_path|pretrained.*")
"""Arguments that make libraries run others' code, or load other files."""

RUNS_CODE, SENDS = "package.module:factory", "http(s)://…"
"""Sources that a folder may name but not choose."""

WRITE_AGAIN = "write it again, or fetch all of it"


def read_plan(folder: str | Path) -> Plan:
    """The plan in a folder that `write_repaired` wrote.

    Raises:
        InputError: If there is none, or it can't be read.
    """
    return _read(Path(folder))[0]


def open_repaired(
    folder: str | Path,
    *,
    model_args: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    decoder: Any = None,
    **how: Any,
) -> Model:
    """The model in a folder that `write_repaired` wrote. ``open_model("FOLDER")`` is the same.

    Args:
        folder: Where it is.
        model_args: ``source``, the name of the function that builds the net, or the address of the server, which is
            not taken from the folder; and of a server what its client takes.
        class_names: A name per class, if others than its own.
        decoder: As for `open_model`; it is not taken from the folder either.
        how: ``device``, ``threads``, ``fast``, ``runtime``, ``precision`` and ``compile``, as for `open_model`.

    Raises:
        InputError: If the folder is no repair's, something in it is missing or damaged, or its net can't be built.
    """
    folder = Path(folder)
    plan, files = _read(folder)
    source, more = cast(Source, plan.source), dict(model_args or {})
    _check_files(folder, files)
    form, said = source_form(source.spec), more.pop("source", None)
    if form in (RUNS_CODE, SENDS):
        _check_said(source.spec, said, form, folder)
    elif unsafe := next(filter(UNTRUSTED.fullmatch, source.model_args), None):
        raise InputError(f"its net asks for {unsafe}, which a folder can't choose", where=folder,
                         todo="repair a net that needs no code or files of others")  # fmt: skip
    if more and form != SENDS:
        raise InputError(f"--model-arg {next(iter(more))} can't be changed in a repaired model", where=folder,
                         todo="leave it out")  # fmt: skip
    names = tuple(class_names) if class_names else source.class_names
    feeding = {"view_size": list(source.view_size), **source.preprocessing.to_json()}
    dense = source.task in DENSE
    asked: dict[str, Any] = {
        "class_names": names, "task": source.task, "decoder": decoder,
        "scores": None if dense else source.scores, "class_offset": None if dense else source.class_offset,
    }  # fmt: skip
    if WEIGHTS in files:
        device, threads = how.pop("device", None), how.pop("threads", None)
        options = Options(source.model_args, feeding, device=device, threads=threads, **asked)
        model = open_origin(_origin(folder, plan, files[WEIGHTS]), str(folder), options, **how)
    else:
        file = next((name for name in files if name.startswith("model.")), None)
        if form == SENDS:  # it makes numbers of the pixels itself
            feeding = {name: feeding[name] for name in ("view_size", *PLACED)}
        elif file is None:
            raise InputError("there is no model in it", where=folder, todo=WRITE_AGAIN)
        model = open_model(str(folder / file) if file else said, preprocessing=feeding, model_args=more, **asked, **how)
        if file:
            model = _changed(model, spec=str(folder))
    model = _changed(model, remarks=tuple(dict.fromkeys((*source.remarks, *getattr(model, "remarks", ())))))
    return repaired(model, replace(plan, edits=()))


def _origin(folder: Path, plan: Plan, sha256: str) -> Origin:
    """The net with its edits and its weights, and how it is fed."""
    from shiftable.models.torch_inputs import as_tensor, scale_and_offset
    from shiftable.models.weights import load_weights

    source = cast(Source, plan.source)
    options = Options(source.model_args, task=source.task)
    origin = origin_of(source.spec, options, pretrained=False)
    if not isinstance(origin, Origin):
        raise InputError("builds a model that is ready, and no net", where=source.spec, todo=WRITE_AGAIN)
    net = without_head(origin.net) if source.task == "embed" else origin.net
    net = net.float().eval()
    if plan.edits:
        from shiftable.surgery.editing import operate

        normalising = scale_and_offset(source.preprocessing, "cpu")
        inputs = as_tensor(grey_view(source.view_size), source.preprocessing, normalising, "contiguous")
        net = operate(net, plan.edits, inputs)
    load_weights(net, folder / WEIGHTS)
    return replace(origin, net=net, class_names=source.class_names, doubt=None, weights_sha256=sha256, remarks=())


def _read(folder: Path) -> tuple[Plan, dict[str, str]]:
    """The plan, and the fingerprints of the files that belong to it."""
    path = folder / PLAN
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(error.strerror or "can't be read", where=path,
                         todo="give a folder that shiftable repair wrote") from None  # fmt: skip
    except ValueError as error:
        raise InputError(f"is no JSON ({error})", where=path, todo=WRITE_AGAIN) from None
    files = found.pop("files", {}) if isinstance(found, dict) else {}
    plan = Plan.from_json(found, path)
    usable = isinstance(files, dict) and all(Path(name).name == name for name in files)
    if not usable or plan.source is None:
        raise InputError("does not say what model it is of", where=path, todo=WRITE_AGAIN)
    return plan, files


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"lacks {name}", where=folder, todo=WRITE_AGAIN)
        if sha256_of(path) != sha256:
            raise InputError("is not what was written (its sha256 is another)", where=path, todo=WRITE_AGAIN)


def _check_said(spec: str, said: object, form: str, folder: Path) -> None:
    from shiftable.models.http_settings import without_secrets

    does = "its net is built by a function" if form == RUNS_CODE else "it is answered by a server"
    if said is None:
        raise InputError(f"{does}, {spec}, which a folder can't choose", where=folder,
                         todo=f"if you trust it: --model-arg source={spec}")  # fmt: skip
    if (without_secrets(str(said)) if form == SENDS else said) != spec:
        raise InputError(f"{does}, {spec}, not {said}", where=folder, todo=f"say --model-arg source={spec}")


def _changed(model: Model, **fields: Any) -> Model:
    """The model with other fields, those that it has."""
    changed: Any = model
    return cast(Model, replace(changed, **{name: value for name, value in fields.items() if hasattr(model, name)}))
