"""What all pages share: one self-contained file, everything in it escaped, no request to anywhere."""

import base64
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from PIL import Image

from shiftable.report.wording import shorten

JPEG_QUALITY = 80


def render(template: str, content: Mapping[str, Any]) -> str:
    """A page from a template of this package.

    Args:
        template: Its name. It may use the filters ``data_url``, ``short`` and ``pretty``, and ``tojson`` for scripts.
        content: What its names stand for. One that is missing is an error, not an empty place.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("shiftable.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    environment.filters |= {"data_url": data_url, "short": shorten, "pretty": _pretty}
    return environment.get_template(template).render(content)


def data_url(picture: UInt8[np.ndarray, "height width 3"]) -> Markup:
    """A picture inside the page, as JPEG."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Markup("data:image/jpeg;base64,") + base64.b64encode(buffer.getvalue()).decode()


def _pretty(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)
