"""What an audit's folder says about itself: what was asked, how it was run, whether a run goes on or begins anew."""

import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from shiftable.engine import write_atomically
from shiftable.errors import InputError
from shiftable.models import Model

SCHEMA = 1
AUDIT, RUN = "audit.json", "run.json"
OWN = (AUDIT, RUN, "smoothing.json", "references", "predictions", "objects", "report.html", "figures")
"""All that an audit writes into its folder."""

PACKAGES = ("shiftable", "numpy", "pillow", "torch", "torchvision", "timm", "transformers", "onnx", "onnxruntime",
            "openvino", "ai-edge-litert", "httpx", "opencv-python-headless", "av")  # fmt: skip


def open_folder(folder: Path, asked: Mapping[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Make the folder ready for an audit.

    Args:
        folder: Where it goes.
        asked: What the audit is a function of.
        overwrite: Whether another audit may be deleted.

    Returns:
        The record of the same audit, begun before; None where it begins.

    Raises:
        InputError: If the folder can't be written, or holds another audit.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another --out") from None
    record = read_run(folder)
    if record is None and not any((folder / name).exists() for name in ("references", "predictions")):
        return None
    difference = _difference(record.get("asked", {}) if record else {}, json.loads(json.dumps(asked)))
    if difference is None and not overwrite:
        return record
    if not overwrite:
        raise InputError(
            f"holds another audit ({difference})", where=folder, todo="give another --out, or --overwrite to delete it"
        )
    discard(folder)
    return None


def start_run(
    folder: Path, asked: Mapping[str, Any], model: Model, batch_size: int | None, overwrite: bool, **plan: Any
) -> dict[str, Any]:
    """The record of the run: the one that was begun before, else a new one.

    Args:
        folder: The audit's.
        asked: What the audit is a function of.
        model: Who answers.
        batch_size: The user's; None takes the model's, or what the run was begun with.
        overwrite: Whether another audit may be deleted.
        plan: What else must stay as it is when the run goes on.

    Raises:
        InputError: If the folder can't be written, holds another audit, or the run was begun with other settings.
    """
    before = open_folder(folder, asked, overwrite)
    settings = {**model.settings, "batch_size": batch_size or model.batch_size}
    if before is None:
        run = {
            "asked": asked,
            "settings": settings,
            **plan,
            "client": dict(getattr(model, "client", {})),
            "checks": dict(getattr(model, "checks", {})),
            **surroundings(),
        }
        write_json(folder / RUN, run)
        return run
    kept = before["settings"]
    for name, value in settings.items():
        if name != "batch_size" and kept.get(name) != value:
            raise InputError(
                f"was begun with {name} {kept.get(name)}, this is {value}",
                where=folder,
                todo=f"go on with {name} {kept.get(name)}, or --overwrite to begin anew",
            )
    if batch_size not in (None, kept["batch_size"]):
        raise InputError(f"was begun with batch size {kept['batch_size']}", where=folder, todo="leave --batch-size out")
    return before


def describe_model(model: Model, classes: int, **more: Any) -> dict[str, Any]:
    """What an audit says of its model.

    Args:
        model: Who answers.
        classes: How many it tells apart.
        more: What else is to be said; left out where it is None.
    """
    return {
        "spec": model.spec,
        "weights_sha256": model.weights_sha256,
        "task": model.task,
        "view_size": list(model.view_size),
        "preprocessing": model.preprocessing.to_json(),
        "scores": model.scores,
        "classes": classes,
        "class_offset": getattr(model, "class_offset", None) or 0,
        "size": dict(getattr(model, "size", {})),
        **{name: value for name, value in more.items() if value is not None},
    }


def discard(folder: Path) -> None:
    """Delete all that an audit has written into its folder."""
    for name in OWN:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def read_run(folder: str | Path) -> dict[str, Any] | None:
    """The record of how an audit was run, or None where there is none."""
    try:
        return json.loads(Path(folder, RUN).read_text())  # type: ignore[no-any-return]
    except (OSError, ValueError):
        return None


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def surroundings() -> dict[str, Any]:
    """The machine and the versions of what the answers depend on."""
    return {
        "machine": {"system": platform.system(), "processor": platform.machine(), "python": platform.python_version()},
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _difference(before: Any, now: Any, name: str = "audit") -> str | None:
    """The first thing in which two records differ, in words."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*now, *(key for key in before if key not in now)]:
            if found := _difference(before.get(key), now.get(key), key):
                return found
        return None
    return None if before == now else f"its {name} is {_short(before)}, not {_short(now)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"
