"""Running a study: arm by arm, each kept as it is done, so that a run that was stopped goes on."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from shiftable.auditing.record import surroundings, write_json
from shiftable.errors import InputError
from shiftable.studies.rows import read_rows, write_rows
from shiftable.studies.study import Arm, Row, Scale, Setting, Study

ARMS, PICTURES, NETS, ROWS, RECORD = "arms", "pictures", "nets", "rows.csv", "study.json"
OWN = (ARMS, PICTURES, NETS, ROWS, RECORD, "kept", "figures", "report.html")
"""All that a study writes into its folder."""


def run_study(
    study: Study,
    out: str | Path,
    *,
    scale: Scale = "usual",
    shared: str | Path | None = None,
    seed: int = 0,
    nets: str | Path | None = None,
    overwrite: bool = False,
    command: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Row]:
    """Measure all arms of a study that are not measured yet.

    Args:
        study: Which.
        out: The folder; ``arms/*.csv``, one an arm, ``rows.csv``, all of them, and ``study.json`` are written to it.
        scale: How much is measured.
        shared: The folder with ``models/`` and ``data/``, for the studies that need it.
        seed: Of what is drawn at random and is no arm's own.
        nets: The folder where trained nets are kept, for other studies as well; None: ``nets/`` of ``out``.
        overwrite: Delete another run that is in the folder; nets kept elsewhere stay.
        command: The line that was typed, for the record.
        progress: Told (arms done, arms in all).

    Returns:
        The rows of all arms, in the order of the arms.

    Raises:
        InputError: If the folder holds something else, or the study needs data that are not there.
    """
    folder = Path(out)
    asked = {"study": study.name, "scale": scale, "seed": seed}
    _claim(folder, asked, overwrite)
    setting = Setting(scale, None if shared is None else Path(shared), seed, folder, Path(nets or folder / NETS))
    arms = study.arms(setting)
    (folder / ARMS).mkdir(exist_ok=True)
    (folder / PICTURES).mkdir(exist_ok=True)
    record = {**asked, "command": command, "date": str(date.today()), **surroundings()}
    if not (folder / RECORD).exists():
        write_json(folder / RECORD, record)
    found: list[Row] = []
    for done, arm in enumerate(arms):
        if progress is not None:
            progress(done, len(arms))
        path = folder / ARMS / f"{arm_name(arm)}.csv"
        if not path.exists():
            write_rows(path, [{**arm, **row} for row in study.measure(arm, setting)])
        found += read_rows(path)
    if progress is not None:
        progress(len(arms), len(arms))
    write_rows(folder / ROWS, found)
    return found


def arm_name(arm: Arm) -> str:
    """An arm's name as a file may be called.

    Example:
        >>> arm_name({"net": "vgg_like", "filter": "binomial", "seed": 0})
        'vgg_like-binomial-0'
        >>> arm_name({})
        'all'
    """
    words = "-".join(str(value) for value in arm.values()) or "all"
    plain = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in words)
    if plain == words and len(plain) <= 80:
        return plain
    return f"{plain[:60]}-{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def read_record(folder: Path) -> dict[str, Any]:
    """What a study's folder says about its run.

    Raises:
        InputError: If it holds none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return found
    except (OSError, ValueError):
        raise InputError("holds no study", where=folder, todo="run shiftable study NAME --out there") from None


def _claim(folder: Path, asked: dict[str, Any], overwrite: bool) -> None:
    """Make the folder ready; what another program wrote there is never touched."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise InputError(f"can't be written ({error.strerror})", where=folder, todo="give another --out") from None
    there = {path.name for path in folder.iterdir()}
    if there and RECORD not in there:
        raise InputError("holds something else", where=folder, todo="give another --out")
    if RECORD not in there:
        return
    before = {name: read_record(folder).get(name) for name in asked}
    if before == asked and not overwrite:
        return
    if not overwrite:
        said = " ".join(f"{name} {value}," for name, value in before.items()).rstrip(",")
        raise InputError(f"holds another run ({said})", where=folder, todo="give another --out, or --overwrite")
    for name in OWN:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def find_shared(given: str | Path | None) -> Path | None:
    """The folder with ``models/`` and ``data/``: the one that was given, ``$SHIFTABLE_SHARED``, or ``../shared``.

    Raises:
        InputError: If the one that was given is no folder.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise InputError("is no folder", where=given, todo="give the folder that holds models/ and data/")
        return Path(given)
    for place in (os.environ.get("SHIFTABLE_SHARED"), "../shared"):
        if place and Path(place).is_dir():
            return Path(place)
    return None
