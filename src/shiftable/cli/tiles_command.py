"""``shiftable tiles``."""

import re
from typing import Annotated

import typer

from shiftable.cli import options
from shiftable.cli.opening import TASKS, one_of, open_asked
from shiftable.cli.telling import tell
from shiftable.errors import InputError


def tiles(
    model: options.Model,
    image_size: Annotated[
        str | None, typer.Option(help="Plan the tiles of an image of HEIGHTxWIDTH px.", metavar="HEIGHTxWIDTH")
    ] = None,
    tile_size: Annotated[int | None, typer.Option(min=1, help="Side of a tile in px; the nearest that works.")] = None,
    weights: options.Weights = None,
    model_arg: options.ModelArg = None,
    preprocessing: options.Preprocessing = None,
    task: Annotated[str, typer.Option(help="What the model does: classify, detect, segment, …")] = "classify",
    device: options.Device = None,
    seed: options.Seed = 0,
    format: options.Format = "text",
) -> None:
    """At which sizes, overlaps and offsets a large image may be cut into tiles without a net noticing."""
    one_of("--format", format, ("text", "json"))
    one_of("--task", task, TASKS)
    from shiftable import explaining, report
    from shiftable.models.opening import ARTEFACTS

    if any(re.fullmatch(pattern, model) for pattern, _ in ARTEFACTS.values()):  # better told before it is opened
        raise InputError("only PyTorch nets can be looked into", where=model, todo="give the net it was exported from")
    opened = open_asked(
        model, None, model_args=model_arg, preprocessing=preprocessing, weights=weights, task=task, device="cpu"
    )
    found = explaining.tiles(
        opened, image_px=_size(image_size) if image_size else None, tile_px=tile_size, device=device, seed=seed
    )
    tell(found, format, lambda console: report.show_tiles(console, found))


def _size(text: str) -> tuple[int, int]:
    """Height and width of ``HEIGHTxWIDTH``, or of one number for both."""
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) not in (1, 2) or not all(side.strip().isdecimal() and int(side) for side in sides):
        raise InputError(f"{text!r} is no size", where="--image-size", todo="write HEIGHTxWIDTH in px, as 2160x3840")
    return int(sides[0]), int(sides[-1])
