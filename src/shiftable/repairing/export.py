"""A repaired model as a folder: all that it takes to deploy it, and to open it again.

``plan.json`` says what the model is and what was done to it. Beside it lie the net's weights and ``model.py``, which
rebuilds it; or the model's own file; and ``crop.json``, where the crop is chosen by the picture's content.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from shiftable.auditing.record import AUDIT, write_json
from shiftable.errors import InputError
from shiftable.models import Model
from shiftable.models.artefacts import existing, sha256_of
from shiftable.models.opening import NETS, source_form
from shiftable.models.protocol import DENSE
from shiftable.models.repaired_folder import PLAN
from shiftable.repairing.opening import RUNS_CODE, SENDS, WEIGHTS, open_repaired
from shiftable.repairing.plan import Plan, grey_view, repaired, source_of
from shiftable.repairing.rebuilding import rebuilding
from shiftable.repairing.stable_crop import stable_crop_of

if TYPE_CHECKING:
    from torch import nn

CODE, CROP = "model.py", "crop.json"

OWN = (WEIGHTS, CODE, "model.onnx", "model.tflite", "model.pt2", CROP, PLAN)
"""What a repair writes, but for the files that an ONNX model keeps its weights in."""

TOLERANCE = 1e-3
"""How much answers may differ that are the same, as a share of their range: a device's last bits. On a CPU it is 0, but
for nets that are written as their operations, whose norms stay folded."""


def write_repaired(
    model: Model, plan: Plan, folder: str | Path, *, net: "nn.Module | None" = None, overwrite: bool = False
) -> Model:
    """Write a repaired model into a folder, and open it from there.

    It is written aside, opened and asked; only a model that answers as it did here gets its place. Of a model behind a
    server there is nothing to be written but how it is fed.

    Args:
        model: As it was opened, before the repair.
        plan: What to do; its source is taken from the model.
        folder: Gets ``plan.json``; of a PyTorch net ``model.safetensors`` and ``model.py`` (``model.pt2`` where it was
            given as an object, which no name builds again), of other models their own file; ``crop.json`` with a chosen
            crop. Other files there, as the audits of a repair, stay as they are.
        net: Its net with the plan's edits, as for `repaired`.
        overwrite: Whether an earlier repair may be replaced.

    Returns:
        The repaired model, as `repaired` gives it.

    Raises:
        InputError: If the plan can't be carried out, the folder holds something else, or no name says how the net is
            built again.
    """
    folder = Path(folder)
    claim(folder, overwrite)
    source = source_of(model)
    source = replace(source, model_args={k: v for k, v in source.model_args.items() if k != "pretrained"})
    plan = replace(plan, source=source)
    write = _writer(model, plan, net)
    made = repaired(model, plan, net)
    with aside(folder) as draft:
        write(made, draft)
        if plan.crop is not None:
            stable_crop_of(made).write(draft / CROP)
        names = sorted(path.name for path in draft.iterdir())
        files = {name: sha256_of(draft / name) for name in names}
        write_json(draft / PLAN, {**plan.to_json(), "files": files})
        _check(made, model, plan, draft)
        before = {*OWN, *(_files(folder) or ())}
        if taken := [name for name in names if name not in before and (folder / name).exists()]:
            raise InputError(f"holds a {taken[0]} that is no repair's", where=folder, todo="give another folder")
        for name in (PLAN, *sorted(before)):  # first the plan: without it, a folder is no repair's
            (folder / name).unlink(missing_ok=True)
        for name in (*names, PLAN):  # and last
            os.replace(draft / name, folder / name)
    return made


def claim(folder: str | Path, overwrite: bool = False) -> None:
    """Make sure, before the work, that a repair may be written into a folder.

    Args:
        folder: Where it goes.
        overwrite: Whether an earlier repair may be replaced.

    Raises:
        InputError: If it is a file, or holds an audit, another repair that may not be replaced, or files of the same
            names that are no repair's.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise InputError("is a file", where=folder, todo="give a folder")
    if (folder / AUDIT).exists():
        raise InputError("holds an audit", where=folder, todo="give another folder")
    there = [name for name in OWN if (folder / name).exists()]
    if PLAN in there and _files(folder) is None:
        raise InputError("is no repair's", where=folder / PLAN, todo="give another folder")
    if PLAN in there and not overwrite:
        raise InputError("holds another repair", where=folder, todo="give another folder, or overwrite it")
    if there and PLAN not in there:
        raise InputError(f"holds a {there[0]} that is no repair's", where=folder, todo="give another folder")


def _files(folder: Path) -> list[str] | None:
    """The files of the repair in a folder; None where there is no repair."""
    try:
        found = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        return [name for name in found["files"] if Path(name).name == name]
    except (OSError, ValueError, LookupError, TypeError):
        return None


Writer = Callable[[Model, Path], None]


def _writer(model: Model, plan: Plan, net: "nn.Module | None") -> Writer:
    """What writes the model itself, given the repaired one and a folder.

    Raises:
        InputError: If it can't be written so that it can be opened again.
    """
    spec, form = model.spec, source_form(model.spec)
    if (Path(spec) / PLAN).is_file():
        raise InputError("is repaired already", where=spec, todo="repair the original with all that is to be done")
    if form == SENDS:
        return lambda made, draft: None
    if form is not None and (form not in NETS or form == "FILE.pt2"):
        if plan.edits or net is not None:
            raise InputError("the net of an exported file can't be written anew", where=spec,
                             todo="repair the net it was exported from, or leave the edits out")  # fmt: skip
        return lambda made, draft: _copy(spec, model.weights_sha256, draft)
    if not hasattr(model, "net"):
        raise InputError("PyTorch does not answer for it", where=spec, todo="open it by name, with runtime torch")
    return _write_program if form is None else lambda made, draft: _write_net(made, plan, draft)


def _copy(spec: str, sha256: str | None, draft: Path) -> None:
    file = existing(spec)
    shutil.copyfile(file, draft / f"model{file.suffix}")
    if file.suffix == ".onnx":
        from shiftable.models.onnx_graph import fingerprint_and_bytes, read_onnx

        graph = read_onnx(file)
        for name in graph.other_files if graph else ():
            if Path(name).name != name:
                raise InputError(f"keeps weights in {name}, outside its folder", where=spec,
                                 todo="save it with its weights beside it")  # fmt: skip
            shutil.copyfile(file.parent / name, draft / name)
        same = fingerprint_and_bytes(draft / "model.onnx", graph)[0] == sha256
    else:
        same = sha256_of(draft / f"model{file.suffix}") == sha256
    if not same:
        raise InputError("was changed since it was opened", where=spec, todo="open it again")


def _write_net(made: Model, plan: Plan, draft: Path) -> None:
    from safetensors.torch import save

    from shiftable.models.torch_inputs import as_tensor, scale_and_offset

    source = plan.source
    assert source is not None
    net = net_of(made)
    weights = {name: each.detach().cpu().contiguous().clone() for name, each in net.state_dict().items()}
    (draft / WEIGHTS).write_bytes(save(weights))
    normalising = scale_and_offset(source.preprocessing, "cpu")
    inputs = as_tensor(grey_view(source.view_size), source.preprocessing, normalising, "contiguous")
    dtype = str(inputs.dtype).removeprefix("torch.")
    text = rebuilding(plan, net, tuple(inputs.shape), dtype)
    (draft / CODE).write_text(text, encoding="utf-8")


def _write_program(made: Any, draft: Path) -> None:
    """The operations themselves, of a net that was given as an object: no name says how it is built."""
    from shiftable.models.torch_model import TorchModel
    from shiftable.repairing.graphs import program_of

    inner = getattr(made, "model", made)  # of an average
    inner = getattr(inner, "exact", None) or inner
    if not isinstance(inner, TorchModel):
        raise InputError("no name says how it is built", where=made.spec,
                         todo="open it as package.module:factory")  # fmt: skip
    (draft / "model.pt2").write_bytes(program_of(inner))


def net_of(model: Any) -> "nn.Module":
    """The net of a PyTorch model as its source gives it, whatever was done to its views."""
    from shiftable.models.other_net import plain
    from shiftable.models.torch_model import TorchModel

    inner = getattr(model, "model", model)  # of an average
    net: nn.Module = plain(inner).net if isinstance(inner, TorchModel) else inner.net
    return net


def _check(made: Any, model: Any, plan: Plan, draft: Path) -> None:
    """Raises InputError if the model in the draft does not answer as it does here."""
    source = plan.source
    assert source is not None
    form = source_form(source.spec)
    if form == SENDS:
        return
    how: dict[str, Any] = {"model_args": {"source": source.spec} if form == RUNS_CODE else {},
                           "decoder": source.decoder}  # fmt: skip
    if form in NETS:
        how |= {"device": str(model.settings["device"]), "fast": getattr(model, "plain_net", model) is not None}
    again: Any = open_repaired(draft, **how)
    if source.task in DENSE:
        return
    views = np.random.default_rng(0).integers(0, 256, (4, *made.view_size, 3), dtype=np.uint8)
    want, got = (getattr(each, "exact", None) or each for each in (made, again))
    rows, others = want(views), got(views)
    if rows.shape != others.shape or not np.allclose(rows, others, rtol=0, atol=TOLERANCE * float(np.ptp(rows))):
        raise InputError(
            "opened again, it answers otherwise: its name, arguments and edits do not build this net",
            where=source.spec,
            todo="give all that it is built with by model_args, or write it by to_pt2 or to_onnx",
        )


@contextmanager
def aside(folder: Path) -> Iterator[Path]:
    """A folder inside another, which is made if need be; it is gone afterwards.

    Raises:
        InputError: If it can't be made.
    """
    draft = folder / f".repaired.{os.getpid()}"
    try:
        draft.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another folder") from None
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)
