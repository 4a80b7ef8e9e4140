"""What models that are files or servers have in common: the user's options, and what stands beside a file."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shiftable.errors import InputError
from shiftable.models.preprocessing import (
    IMAGENET_MEAN,
    LETTERBOXES,
    Preprocessing,
    Size,
    for_view,
    parse_changes,
    prepare,
)
from shiftable.models.protocol import DENSE, Scores, Task


@dataclass(frozen=True)
class Options:
    """What the user asks of a model, whatever it is. Fields as the arguments of `open_model`."""

    model_args: Mapping[str, Any] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    class_names: tuple[str, ...] | None = None
    class_offset: int | None = None
    task: Task = "classify"
    device: str | None = None
    threads: int | None = None
    decoder: str | Callable[..., object] | None = None


def existing(path: str) -> Path:
    """The file, if there is one.

    Raises:
        InputError: If there is none.
    """
    if not Path(path).is_file():
        what = "it is a folder" if Path(path).is_dir() else "no such file"
        raise InputError(what, where=path, todo="give the path of the model")
    return Path(path)


BEGINNINGS: tuple[tuple[int, bytes, str], ...] = (
    (4, b"TFL3", "a TFLite model"),
    (0, b"\x89PNG", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"PK\x03\x04", "a zip archive (as torch.save, torch.export and Keras write)"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (0, b"\x89HDF", "an HDF5 file (as Keras writes)"),
    (0, b"\x80\x02", "a Python pickle (as old torch.save writes)"),
    (0, b"version https://git-lfs", "a Git LFS pointer: the file itself was not fetched"),
    (8, b'{"', "a safetensors checkpoint: weights without a graph"),
)
"""(place in bytes, what stands there, what the file is then)."""

MARKUP = (b"<!doctype", b"<html", b"<?xml")


def looks_like(beginning: bytes) -> str | None:
    """What a file seems to be by its first bytes, of which 16 or more should be given; None for what is not known.

    Example:
        >>> looks_like(b"<!DOCTYPE html>"), looks_like(bytes(8)), looks_like(bytes([8, 10, 18, 7]) + b"pytorch")
        ('an HTML or XML page', None, 'an ONNX model')
    """
    for place, mark, what in BEGINNINGS:
        if beginning.startswith(mark, place):
            return what
    if beginning.lstrip().lower().startswith(MARKUP):
        return "an HTML or XML page"
    if len(beginning) >= 3 and beginning[0] == 8 and beginning[1] < 32 and beginning[2] in b"\x12\x1a\x22\x3a\x42":
        return "an ONNX model"  # field 1 (its IR version), then a name, a version or the graph
    return None


def model_file(path: str, kind: str) -> Path:
    """The file, if it may be a model of this kind.

    Args:
        path: The file.
        kind: ``"an ONNX model"`` or ``"a TFLite model"``.

    Raises:
        InputError: If it is missing, empty, or plainly something else.
    """
    file = existing(path)
    with file.open("rb") as opened:
        beginning = opened.read(32)
    if not beginning:
        raise InputError("the file is empty", where=path, todo="fetch or export the model again")
    seems = looks_like(beginning)
    if seems not in (None, kind):
        endings = {"an ONNX model": ".onnx", "a TFLite model": ".tflite"}
        todo = f"let its name end in {endings[seems]}" if seems in endings else f"give {kind}"
        raise InputError(f"it is no {kind.split(maxsplit=1)[1]} but seems to be {seems}", where=path, todo=todo)
    return file


def check_options(options: Options, spec: object) -> None:
    """Raises InputError for what the user asks and a model file can't give."""
    if options.model_args:
        raise InputError("--model-arg is for models that are built here", where=spec, todo="leave it out")


def check_task(options: Options, spec: object) -> None:
    """Raises InputError for options that are not for the task."""
    dense = options.task in DENSE
    if options.decoder is not None and not dense:
        what = f"a decoder is for models that detect, segment or find key points, and the task is {options.task}"
        raise InputError(what, where=spec, todo=f"say --task {', '.join(DENSE[:-1])} or {DENSE[-1]}")
    for name in ("scores", "class_offset"):
        if dense and getattr(options, name) is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option} is for classifiers, and the task is {options.task}", where=spec,
                             todo="leave it out")  # fmt: skip


WHOLE: Mapping[Task, Mapping[str, Any]] = {
    "detect": {"crop": "letterbox", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "keypoints": {"crop": "letterbox", "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
    "segment": {"crop": "letterbox"},
}
"""What is assumed of files that say where something is: they are shown whole pictures."""


def prepared_for_file(
    path: Path, view_size: Size, fields: Mapping[str, Any], changes: Mapping[str, Any], *, any_size: bool = False
) -> tuple[Size, Preprocessing, tuple[str, ...]]:
    """The view and the preprocessing of a model file, and what was assumed.

    A file's own graph says the size, the layout and the type of its input; nothing says how photographs become it. So
    ``NAME.json`` beside it is read, then the user's changes; else the usual ImageNet preprocessing is assumed.

    Args:
        path: The file.
        view_size: (height, width) in px that its graph takes.
        fields: What the graph says of `Preprocessing`: layout, dtype, ….
        changes: The user's.
        any_size: Whether its graph takes other sizes, too.

    Returns:
        View size, preprocessing, remarks: a sentence where something was assumed.

    Raises:
        InputError: For changes that can't be made, or that contradict the graph.
    """
    beside = path.with_suffix(".json")
    own = parse_changes(str(beside)) if beside.is_file() else {}
    base = for_view(view_size, **fields)
    try:
        prepare(base, view_size, own, beside)
    except InputError as error:
        raise InputError(error.what, where=beside, todo=error.todo) from None
    size, preprocessing = prepare(base, view_size, {**own, **changes}, path)
    if size != view_size and not any_size:
        raise InputError(
            f"its input is fixed at {_px(view_size)}, and view_size asks for {_px(size)}",
            where=path,
            todo="leave view_size out",
        )
    for name in ("layout", "dtype"):
        if name in fields and getattr(preprocessing, name) != fields[name]:
            asked = getattr(preprocessing, name)
            raise InputError(f"its graph takes {fields[name]}, not {asked}", where=path, todo=f"leave {name} out")
    remarks = []
    if any_size and "view_size" not in {**own, **changes}:
        remarks.append(f"{path.name} takes views of any size: {_px(size)} were assumed; say otherwise by view_size")
    if not (own or changes):
        remarks.append(
            f"nothing says how {path.name} is fed: {assumed(preprocessing)} were assumed; "
            f"say otherwise in {beside.name} or by --preprocessing"
        )
    return size, preprocessing, tuple(remarks)


def assumed(preprocessing: Preprocessing) -> str:
    """What is done to a photograph where nothing says it, in words."""
    """What is done to a photograph where nothing says it, in words."""
    place = f"short side to {preprocessing.resize_px} px, bilinear, centre crop"
    if preprocessing.crop in LETTERBOXES:
        place = "the whole picture in a letterbox, bilinear"
    if preprocessing.mean == IMAGENET_MEAN:
        return f"{place}, and ImageNet's mean and std"
    plain = preprocessing.dtype == "float32" and preprocessing.crop in LETTERBOXES
    return f"{place}, and pixels from 0 to 1" if plain else place


def _px(size: Size) -> str:
    return f"{size[0]}×{size[1]} px"


def sha256_of(path: Path) -> str:
    """The fingerprint of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cores() -> int:
    """How many CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
