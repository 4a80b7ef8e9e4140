"""What goes to a model behind a server and what comes back: views as ``.npy``, scores as ``.npy`` or JSON.

Both formats hold numbers and nothing that could be run. Every length is checked before memory is taken for it.
"""

import ast
import json
from math import prod
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

MAGIC = b"\x93NUMPY"
FLOATS = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")
"""The types that scores may have in ``.npy``, as its header calls them."""

LONGEST_HEADER = 10_000
"""Bytes; a real one has 128."""


def as_npy(views: UInt8[np.ndarray, "view height width 3"]) -> bytes:
    """Views as the bytes of a ``.npy`` file, version 1.0: a header that fills a multiple of 64 bytes, then all pixels.

    Example:
        >>> body = as_npy(np.zeros((2, 4, 5, 3), np.uint8))
        >>> body[:10], body[10:70], len(body) - 2 * 4 * 5 * 3
        (b'\\x93NUMPY\\x01\\x00v\\x00', b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 5, ", 128)
    """
    shape = tuple(map(int, views.shape))
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(MAGIC) + 4 + len(header) + 1) % 64) + "\n"
    start = MAGIC + b"\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    return b"".join((start, np.ascontiguousarray(views).data.cast("B")))


def read_scores(body: bytes) -> Float[np.ndarray, "view class"]:
    """The rows of scores in an answer.

    Args:
        body: ``.npy`` of floats, or JSON: ``{"scores": [[…], …]}``, or the rows alone.

    Raises:
        ValueError: If it is anything else; in words for the user.

    Example:
        >>> read_scores(b'{"scores": [[0.25, 0.75]]}')
        array([[0.25, 0.75]])
    """
    rows = _from_npy(body) if body.startswith(MAGIC) else _from_json(body)
    if rows.ndim != 2:
        raise ValueError(f"scores of the shape {rows.shape}, not (view, class)")
    return rows


def first_line(body: bytes) -> str:
    """The beginning of an answer, fit to be printed.

    Example:
        >>> first_line(b"\\n <h1>Not \\x1b[31mFound</h1>\\r\\nno such page")
        '<h1>Not [31mFound</h1>'
    """
    text = body[:2000].decode("utf-8", "replace").strip()
    line = "".join(letter for letter in (text.splitlines() or [""])[0] if letter.isprintable()).strip()
    return line if len(line) <= 120 else line[:119] + "…"


def _from_npy(body: bytes) -> np.ndarray:
    version, short = body[6:8], body[6:7] == b"\x01"
    begin = 10 if short else 12
    end = begin + int.from_bytes(body[8:begin], "little")
    if version not in (b"\x01\x00", b"\x02\x00") or not begin < end <= min(len(body), LONGEST_HEADER):
        raise ValueError("a .npy whose header can't be read")
    header = _literal(body[begin:end].decode("latin-1"))
    try:
        kind, shape, columns = header["descr"], tuple(header["shape"]), bool(header["fortran_order"])
        count = prod(int(length) for length in shape)
    except (KeyError, TypeError, ValueError):
        raise ValueError("a .npy whose header can't be read") from None
    if kind not in FLOATS:
        raise ValueError(f"a .npy of type {kind!r}, not of float32 or float64")
    rows = memoryview(body)[end:]
    if len(rows) != count * int(kind[2]) or min(shape, default=0) < 0:
        raise ValueError(f"a .npy that says {shape} and holds {len(rows)} bytes")
    return np.frombuffer(rows, kind).reshape(shape, order="F" if columns else "C")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("a .npy whose header can't be read") from None


def _from_json(body: bytes) -> np.ndarray:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError(f"neither .npy nor JSON: {first_line(body) or 'nothing'}") from None
    if isinstance(found, dict) and "scores" not in found:
        raise ValueError(f'JSON without "scores": {first_line(body)}')
    try:
        rows = np.array(found["scores"] if isinstance(found, dict) else found)
    except ValueError:  # rows of different lengths
        raise ValueError("JSON scores that are no rows of one length") from None
    if rows.dtype.kind not in "iuf":
        raise ValueError(f"JSON scores that are no numbers: {first_line(body)}")
    return rows.astype(np.float64)
