"""From what was typed to an open model."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shiftable.errors import InputError

if TYPE_CHECKING:
    from shiftable.models import Model

TASKS = ("classify", "embed", "detect", "segment", "keypoints")


def open_asked(
    model: str,
    folder: Path | None,
    *,
    model_args: list[str] | None = None,
    preprocessing: str | None = None,
    scores: str | None = None,
    class_names: Path | None = None,
    device: str | None = None,
    threads: int | None = None,
    task: str = "classify",
    runtime: str = "torch",
    precision: str = "fp32",
    overwrite: bool = False,
    **options: Any,
) -> "Model":
    """The model, opened as the command line asks.

    Args:
        model: Its name.
        folder: Where the results go; a run that was begun there goes on with its settings.
        model_args: ``key=value`` each.
        preprocessing: As typed.
        scores: As typed.
        class_names: A file, one name per line.
        device: As typed.
        threads: As typed.
        task: As typed.
        runtime: As typed.
        precision: As typed.
        overwrite: Whether the folder's run is to be forgotten.
        options: Others of `open_model`.
    """
    from shiftable.auditing.record import read_run
    from shiftable.models import open_model
    from shiftable.models.opening import ARTEFACTS
    from shiftable.models.preprocessing import parse_changes, parse_value

    # a run that goes on keeps to what it was begun with
    begun = {} if overwrite or folder is None else (read_run(folder) or {}).get("settings", {})
    threads = threads or begun.get("threads")
    if not any(re.fullmatch(pattern, model) for pattern, _ in ARTEFACTS.values()):
        _use_threads(threads)  # PyTorch's are the process's
    pairs = [argument.partition("=") for argument in model_args or []]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise InputError(f"{wrong[0]!r} has no value", where="--model-arg", todo="write key=value")
    one_of("--runtime", runtime, ("torch", "onnx", "openvino", "auto"))
    return open_model(
        model,
        model_args={name: parse_value(value) for name, _, value in pairs},
        preprocessing=parse_changes(preprocessing) if preprocessing else None,
        scores=one_of("--scores", scores, (None, "logits", "probabilities", "sigmoid")),
        class_names=_lines(class_names) if class_names else None,
        device=device or begun.get("device"),
        threads=threads,
        task=one_of("--task", task, TASKS),
        runtime=begun.get("runtime", runtime) if runtime == "auto" else runtime,  # type: ignore[arg-type]
        precision=one_of("--precision", precision, ("fp32", "bf16")),
        **options,
    )


def one_of(flag: str, value: str | None, choices: tuple[str | None, ...]) -> Any:
    """The value, if it is on the list."""
    if value not in choices:
        menu = " or ".join(choice for choice in choices if choice)
        raise InputError(f"unknown {flag.removeprefix('--')} {value!r}", where=flag, todo=f"take {menu}")
    return value


def short_name(model: str) -> str:
    """A model's name as a folder may be called; of an address neither the user nor the query, which may be secret."""
    if "://" in model:
        from shiftable.models.http_settings import without_secrets

        model = without_secrets(model).partition("://")[2].partition("?")[0].rstrip("/")
    return re.sub(r"\W+", "_", model if "/" not in model else model.rpartition("/")[2] or model)


def _use_threads(threads: int | None) -> None:
    from importlib.util import find_spec

    if threads and find_spec("torch"):
        import torch

        torch.set_num_threads(threads)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't be read ({error})", where=path, todo="give a text file, one name per line") from None
