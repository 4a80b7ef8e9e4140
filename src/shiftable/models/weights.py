"""Load weights from a file, safely: safetensors, or PyTorch's own format without running code."""

import hashlib
import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.errors import InputError

NESTED = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the weights among other things."""

MISFIT = "check the model's name and --model-arg"
SAVE_ALONE = "where you trust it, save the tensors alone: safetensors.torch.save_file(model.state_dict(), FILE)"
GIVE_OTHER = "give a .safetensors file, or what torch.save(model.state_dict(), FILE) wrote"


def load_weights(net: nn.Module, path: str | Path) -> None:
    """Fill ``net``, in place, with the weights of a file. Every name must be matched.

    Args:
        net: The net they belong to.
        path: safetensors, or what ``torch.save(net.state_dict())`` wrote; a checkpoint that holds it under one of
            ``NESTED``, or was saved from DataParallel, will do.

    Raises:
        InputError: If the file is missing, is no weights file, would need to run code, or does not fit.
    """
    state = _plain(read_weights(path))
    if not state:
        raise InputError("holds no tensors", where=path, todo=GIVE_OTHER)
    try:
        wrong = net.load_state_dict(state, strict=False)
    except RuntimeError as error:  # same names, other shapes
        first = str(error).partition("\n\t")[2].partition("\n")[0].rstrip(".")
        raise InputError(f"the weights do not fit: {first}", where=path, todo=MISFIT) from None
    problems = [f"{_some(wrong.missing_keys)} missing"] if wrong.missing_keys else []
    problems += [f"{_some(wrong.unexpected_keys)} not in the model"] if wrong.unexpected_keys else []
    if problems:
        raise InputError(f"the weights do not fit: {', '.join(problems)}", where=path, todo=MISFIT)


def read_weights(path: str | Path) -> dict[str, Any]:
    """The tensors of a weights file by name. No code in it is run.

    Raises:
        InputError: If the file is missing, is no weights file, or would need to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("no such file", where=path, todo="give a .safetensors file")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        content = _safetensors(path) if path.suffix == ".safetensors" or head[8:] == b"{" else _pytorch(path)
    except UnpicklingError as error:
        raise _refusal(path, head, str(error)) from None
    except Exception as error:  # safetensors and torch name what is wrong in many types
        raise InputError(f"no weights file ({_what(head, error)})", where=path, todo=GIVE_OTHER) from None
    if not isinstance(content, dict):
        raise InputError(
            f"holds a {type(content).__name__}, not weights by name", where=path, todo="save model.state_dict()"
        )
    return content


def fingerprint(net: nn.Module) -> str:
    """sha256 of all weights: names, types, shapes and bytes, in the order of the names. Only tensors count."""
    digest = hashlib.sha256()
    for name, tensor in sorted(net.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _safetensors(path: Path) -> object:
    from safetensors.torch import load_file

    return load_file(path)


def _pytorch(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about formats that are refused right after
        return torch.load(path, map_location="cpu", weights_only=True)


def _refusal(path: Path, head: bytes, message: str) -> InputError:
    """Why a pickle was not loaded: because it calls something, or because it is none."""
    called = re.search(r"unsupported global:?(?: GLOBAL)? (\S+)", message, re.IGNORECASE)
    if called:
        return InputError(f"loading this pickle would run code (it calls {called[1]})", where=path, todo=SAVE_ALONE)
    if head.startswith(b"\x80"):
        return InputError("loading this pickle could run code", where=path, todo=SAVE_ALONE)
    return InputError(f"no weights file ({_what(head, None)})", where=path, todo=GIVE_OTHER)


def _what(head: bytes, error: Exception | None) -> str:
    """What a file that is no weights file is instead."""
    if not head:
        return "it is empty"
    if head.lstrip().startswith(b"<"):
        return "it is a web page"
    if head.startswith(b"PK") and "TorchScript" in str(error):
        return "it is a TorchScript program"
    if head.startswith((b"PK", b"\x80")) or head[8:] == b"{":
        return "it is cut short or damaged"
    return f"it begins with {head[:8]!r}"


def _plain(state: dict[str, Any]) -> dict[str, Tensor]:
    for key in NESTED:
        if isinstance(state.get(key), dict):
            state = state[key]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if tensors and all(name.startswith("module.") for name in tensors):
        return {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def _some(names: list[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
