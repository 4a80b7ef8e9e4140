"""From the bytes of an image file to pixels, as a viewer would show them."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import TypeAlias

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from shiftable.errors import InputError

Picture: TypeAlias = UInt8[np.ndarray, "height width 3"]

BACKDROP = (255, 255, 255)
"""What transparent pixels are shown on: white, as on a page."""


def read_file(path: str | Path) -> Picture:
    """The pixels of an image file, as a viewer would show them: RGB, uint8.

    Raises:
        InputError: If the file is missing, empty, cut short, or no image.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(error.strerror or "can't be read", where=path) from None
    return decode(content, path)


def decode(content: bytes, where: object) -> Picture:
    """The pixels of an encoded image.

    The EXIF orientation is applied, transparency is laid on white, 16 bits are scaled to 8, grey, palette and CMYK
    become RGB, and of an animation the first frame is taken.

    Raises:
        InputError: If the bytes are no whole image.
    """
    if not content:
        raise InputError("the file is empty", where=where)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata are not the user's concern
            with Image.open(BytesIO(content)) as image:
                image.load()
                return np.array(_as_shown(image))
    except Image.DecompressionBombError:
        raise InputError("the image is too large to decode safely", where=where) from None
    except Exception as error:  # Pillow's decoders raise whatever their formats provoke
        what = str(error).partition(" <")[0] or type(error).__name__
        raise InputError(f"no readable image ({what})", where=where) from None


def _as_shown(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        # Pillow opens 16-bit PGM as 32 bits wide
        top = 65535 if image.mode.startswith("I;16") or image.format == "PPM" else None
        return _opaque(Image.fromarray(_eight_bits(np.asarray(_upright(image)), top)))
    return _opaque(_upright(image))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # broken EXIF: a viewer shows the picture as it lies
        return image


def _opaque(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # grey, already multiplied by its alpha
        image = image.convert("LA")
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, (*BACKDROP, 255)), shown).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray, top: int | None) -> UInt8[np.ndarray, "height width"]:
    """Wider and floating values, white being ``top``, else the least that covers them of 1 (fractions), 255, 65535."""
    values = np.nan_to_num(values)
    most = values.max(initial=0)
    if top is None:
        top = 1 if most <= 1 and values.dtype.kind == "f" else 255 if most <= 255 else 65535
    return np.clip(np.rint(values * (255 / top)), 0, 255).astype(np.uint8)
