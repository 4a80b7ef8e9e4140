"""Look into a ``.pt2`` file before PyTorch loads it, and refuse what could run code on the way.

``torch.export.load`` is no data reader. In torch 2.13 it falls back from a weights-only load to a full unpickling of
the sample inputs, unpickles tensors and constants that are marked so, loads compiled libraries, evaluates sizes with
SymPy, calls whatever function of ``torch`` or ``operator`` a node names, and compiles the file's own guards. What
``torch.export.save`` writes for an ordinary net needs none of this; so whatever would is refused here, read by the same
reader that the loading uses.
"""

import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch

from shiftable.errors import InputError
from shiftable.models.reasons import reason

EXPORT_AGAIN = "export it again where you trust it: torch.export.save(torch.export.export(net.eval(), …), FILE)"
GIVE_OTHER = "give what torch.export.save(program, FILE) wrote"

TARGETS = re.compile(
    r"torch\.ops\.[a-z]\w*\.(_?[a-z]\w*|__i?(and|or|xor|lshift|rshift)__)(\.[A-Za-z]\w*)?|torch\.sym_\w+|math\.[a-z]\w*|"
    r"_operator\.(add|sub|mul|floordiv|truediv|mod|neg|pos|pow|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
"""What nodes may call: registered operators, and arithmetic on sizes."""

FORBIDDEN = ("from_file", "load_library")
"""Parts of a target that would touch files."""

SIZES = re.compile(
    r"[suz]f?\d+|Symbol|positive|nonnegative|integer|real|True|False|Integer|Rational|Float|Add|Mul|Pow|Min|Max|Abs|Eq|Ne|"
    r"Lt|Le|Gt|Ge|And|Or|Not|Equality|Unequality|\w+Than|FloorDiv|ModularIndexing|Where|PythonMod|Mod|CleanDiv|CeilDiv|"
    r"\w+ToInt|ToFloat|TruncToFloat|PowByNatural|FloatPow|FloatTrueDiv|IntTrueDiv|Identity|precision|int_oo|oo|e\d*"
)
"""The words of which sizes are made; PyTorch evaluates them."""

NAMES = re.compile(r"[\w.\-]*")
"""What a name may be: names become Python code."""


def check_archive(content: bytes, path: Path) -> None:
    """Whether the bytes of a ``.pt2`` file can be loaded without running anything but tensor operations.

    Args:
        content: The file.
        path: Its name, for errors.

    Raises:
        InputError: If it is no such file, is damaged, holds other things than one exported program, or could run code.
    """
    records = _records(content, path)
    try:
        unsafe = next(_unsafe(records), None)
    except Exception as error:  # no JSON, or of another form, or nested too deeply, or of another checksum: many types
        raise InputError(f"it is damaged ({reason(error)})", where=path, todo=GIVE_OTHER) from error
    if unsafe:
        raise InputError(f"loading it could run code ({unsafe})", where=path, todo=EXPORT_AGAIN)
    if "models/model.json" not in records:
        raise InputError("holds no exported program named model", where=path, todo=GIVE_OTHER)


def _records(content: bytes, path: Path) -> "Records":
    if not content:
        raise InputError("it is empty", where=path, todo=GIVE_OTHER)
    try:
        names = ZipFile(io.BytesIO(content)).namelist()
    except (BadZipFile, ValueError, NotImplementedError) as error:
        cut = "it is cut short or damaged" if content[:2] == b"PK" else f"it begins with {content[:8]!r}"
        raise InputError(f"no exported program ({cut})", where=path, todo=GIVE_OTHER) from error
    if "version" in names:  # at the top: the format before torch 2.8, all of it pickles
        raise InputError("exported by an old PyTorch", where=path, todo=EXPORT_AGAIN)
    try:
        records = Records(content)
        program = records["archive_format"] == b"pt2"
    except RuntimeError:  # PyTorch reads no other archives than its own
        program = False
    if not program:
        torchscript = any("/code/" in name for name in names)
        what = "it is a TorchScript program" if torchscript else "it is another kind of archive, or damaged"
        raise InputError(f"no exported program ({what})", where=path, todo=GIVE_OTHER)
    return records


class Records:
    """The files in the archive by name, read as PyTorch's loader reads them."""

    def __init__(self, content: bytes) -> None:
        self.reader = torch._C.PyTorchFileReader(io.BytesIO(content))  # type: ignore[call-overload,unused-ignore]
        self.names: list[str] = self.reader.get_all_records()

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> bytes:
        return self.reader.get_record(name)


def _unsafe(records: Records) -> Iterator[str]:
    """What could run code, in words."""
    for name in records.names:
        if name.startswith("data/aotinductor/"):
            yield "a compiled library"
        elif name.endswith(".pt"):
            yield from _unsafe_pickle(name, records[name])
        elif name.endswith("_config.json"):
            for entry in json.loads(records[name])["config"].values():
                if entry.get("use_pickle") or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                    yield f"{name} says to unpickle {entry['path_name']}"
        elif name.startswith("models/"):
            yield from _unsafe_graph(json.loads(records[name]))


def _unsafe_pickle(name: str, content: bytes) -> Iterator[str]:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # the loader would go on and unpickle all
        called = re.search(r"GLOBAL (\S+)", str(error))
        yield f"{name} calls {called[1]}" if called else f"{name}: {reason(error)}"


def _unsafe_graph(found: Any, key: str = "") -> Iterator[str]:
    """What of a graph's description is no plain graph. ``metadata`` is left out: it is kept as text."""
    if isinstance(found, dict):
        for name, value in found.items():
            if not NAMES.fullmatch(name):
                yield f"a name {name[:40]!r}"
            if name not in ("metadata", "guards_code", "as_string", "as_strings"):
                yield from _unsafe_graph(value, name)
    elif isinstance(found, list):
        for value in found:
            yield from _unsafe_graph(value, key)
    elif isinstance(found, str) and not _plain(key, found):
        yield f"{key} {found[:60]!r}"


def _plain(key: str, text: str) -> bool:
    if key in ("target", "as_operator"):
        return bool(TARGETS.fullmatch(text)) and not any(part in text for part in FORBIDDEN)
    if key in ("expr_str", "min_val", "max_val"):
        words = re.findall(r"[^\W\d]\w*", text)
        return all(map(SIZES.fullmatch, words)) and not re.search(r"[^\w\s+\-*/%(),.<>='|&~]", text)
    if key in ("in_spec", "out_spec"):
        return "__enum__" not in text and "\\u" not in text  # enums are looked up by importing their module
    return key in ("torch_version", "class_fqn") or bool(NAMES.fullmatch(text))
