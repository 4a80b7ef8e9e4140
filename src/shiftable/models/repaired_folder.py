"""Folders that ``shiftable repair`` wrote, as models. No torch needed, unless what is in one needs it."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from shiftable.errors import InputError
from shiftable.models.artefacts import Options
from shiftable.models.protocol import Model

PLAN = "plan.json"
"""The file by which such a folder is known."""

OPENER = "shiftable.repairing.opening"
"""By name: the parts of this package that carry out a repair build on this one."""


def from_repaired(folder: str, options: Options, how: Mapping[str, Any], weights: object = None) -> Model:
    """A repaired model, ready to be audited: fed and repaired as its plan says.

    Args:
        folder: Where it is.
        options: The user's. Of what the plan says, nothing can be changed.
        how: ``fast``, ``runtime``, ``precision`` and ``compile``, as for `open_model`.
        weights: The user's; none can be loaded.

    Raises:
        InputError: If the folder is no repair's, something in it is damaged or missing, or too much is asked.
    """
    if not Path(folder, PLAN).is_file():
        todo = "give a folder that shiftable repair wrote; one of Hugging Face's is hf/FOLDER"
        raise InputError(f"a folder without {PLAN}", where=folder, todo=todo)
    asked = {name: getattr(options, name) for name in ("preprocessing", "scores", "class_offset")}
    for name, value in {**asked, "weights": weights}.items():
        if value or value == 0:
            raise InputError(f"--{name.replace('_', '-')} can't be changed in a repaired model", where=folder,
                             todo="leave it out")  # fmt: skip
    opened: Model = import_module(OPENER).open_repaired(
        folder, model_args=options.model_args, class_names=options.class_names, decoder=options.decoder,
        device=options.device, threads=options.threads, **how,
    )  # fmt: skip
    if options.task not in ("classify", opened.task):
        raise InputError(f"its task is {opened.task}, not {options.task}", where=folder, todo="leave --task out")
    return opened
