"""Whether audits can be compared, what to call them, and what a reader must then know."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from shiftable.auditing.predictions import read_parts
from shiftable.auditing.results import TIES_WORTH_A_WARNING, Audit
from shiftable.errors import InputError

OTHERS: Mapping[str, str] = {
    "detect": "a detector",
    "segment": "a segmenter",
    "keypoints": "a key-point model",
}
"""Tasks whose audits are not compared, in words."""


OWN = ("enlarged", "floor")
"""What of a motion's record is found on the way, each model having its own."""

FLOORS_APART = 0.05
"""From what difference on, in shares of a step, the floors of interpolation are worth a note."""


def check_comparable(audits: Sequence[Audit]) -> None:
    """Refuse audits that did not ask their models the same.

    Models may differ in everything but their task: classes, views, preprocessing. So may the factor by which objects
    were enlarged to make room, the floor of the motion's interpolation, the images that could not be used, and the
    labels.

    Raises:
        InputError: If there are fewer than two, one is given twice, one is of a video or of a model that is no
            classifier or embedder, or they differ in task, motion, walk, seed, images.
    """
    if len(audits) < 2:
        raise InputError(f"{len(audits)} audits to compare", todo="give the folders of two or more")
    seen = set()
    for audit in audits:
        kind = "videos" if audit.motion["name"] == "video" else OTHERS.get(audit.model["task"])
        if kind:
            raise InputError(
                f"is of {kind}, and what is compared is classifiers and embedders on images",
                where=audit.folder,
                todo="read the reports side by side",
            )
        if audit.folder.resolve() in seen:
            raise InputError("given twice", where=audit.folder, todo="give every audit once")
        seen.add(audit.folder.resolve())
    first = audits[0]
    for audit in audits[1:]:
        for what, now, before in _asked_of(audit, first):
            if now != before:
                raise InputError(
                    f"can't be compared with {first.folder}: its {what} is {now}, not {before}",
                    where=audit.folder,
                    todo=f"audit both with the same {what}",
                )
        _check_images(audit, first)


def short_names(audits: Sequence[Audit]) -> list[str]:
    """A name for each, no two alike: the model's without the way there, and where that is not enough, its folder's.

    Of ``runs/a/out`` and ``runs/b/out`` the folders are called ``a`` and ``b``, which is the part that differs.
    """
    plain = [audit.model_name for audit in audits]
    names = list(plain)
    for name in plain:
        alike = [at for at, other in enumerate(plain) if other == name]
        if len(alike) > 1:
            for at, folder in zip(alike, _differing([audits[at].folder.resolve().parts for at in alike]), strict=True):
                names[at] = f"{name} ({folder})"
    return names


def notes_on(audits: Sequence[Audit], names: Sequence[str], common: int) -> list[str]:
    """What a reader must know of what these audits do not have in common, a sentence each.

    Args:
        audits: Comparable ones.
        names: Theirs.
        common: How many images all could use.
    """
    notes = []
    listed = audits[0].images["listed"]
    if common < listed:
        notes.append(f"Compared on {common:,} of {listed:,} images, those that every audit could use.")
    seen = [_seen(audit) for audit in audits]
    if len(set(seen)) > 1:
        notes.append(
            f"The models look at differently large pictures: {_each(names, seen)}. "
            "One pixel is then another share of the object."
        )
    enlarged = [f"{audit.motion['enlarged']:.2f} times" for audit in audits]
    if len(set(enlarged)) > 1:
        notes.append(
            "To make room for the walk, objects were enlarged by different factors: "
            f"{_each(names, enlarged)}. Larger objects move by a smaller share of their size."
        )
    floors = [(audit.motion.get("floor") or {}).get("share") for audit in audits]
    known = [share for share in floors if share is not None]
    if known and max(known) - min(known) > FLOORS_APART:
        shares = ["not measured" if share is None else f"{share:.0%}" for share in floors]
        notes.append(
            f"Interpolation's own share of the change from one step to the next differs: {_each(names, shares)}."
        )
    classes = [f"{audit.model['classes']:,}" for audit in audits]
    if audits[0].model["task"] == "classify" and len(set(classes)) > 1:
        notes.append(
            f"The models choose among different numbers of classes: {_each(names, classes)}. "
            "The finer the classes, the more easily a choice changes."
        )
    scores = [str(audit.model["scores"]) for audit in audits]
    if len(set(scores)) > 1 and "sigmoid" in scores:
        notes.append(f"Scores of different kinds have margins of different kinds: {_each(names, scores)}.")
    elif audits[0].model["task"] == "embed":
        notes.append("Margins are differences of cosine similarity, and every embedder has its own scale of those.")
    return notes + _doubles(audits, names) + _oddities(audits, names)


def _asked_of(audit: Audit, first: Audit) -> Iterable[tuple[str, Any, Any]]:
    """(what, of the one, of the other), in the order in which a difference matters."""
    yield "task", audit.model["task"], first.model["task"]
    for part in ("motion", "walk"):
        now, before = _options(getattr(audit, part)), _options(getattr(first, part))
        for option in {**before, **now}:
            what = part if option in ("name", "shape") else f"{part}'s {option.removesuffix('_px')}"
            yield what, now.get(option), before.get(option)
    yield "seed", audit.seed, first.seed


def _options(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in OWN}


def _check_images(audit: Audit, first: Audit) -> None:
    """The sha256 is of ids and labels: where it differs, the ids themselves are looked at."""
    if audit.images["sha256"] == first.images["sha256"]:
        return
    own, others = _ids(audit), _ids(first)
    if own != others:
        raise InputError(
            f"can't be compared with {first.folder}: it is of other images ({len(own):,} of {audit.images['source']}; "
            f"{len(own & others):,} of them are among the other's {len(others):,})",
            where=audit.folder,
            todo="audit both on the same images",
        )


def _ids(audit: Audit) -> set[str]:
    used = {image for part in read_parts(audit.folder, ["image"]) for image in part.images}
    return used | {entry["image"] for entry in audit.images["skipped"]}


def _differing(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """Of paths the part between what all begin with and what all end with; the last folder where nothing is left."""
    start = next(at for at in range(len(max(paths, key=len)) + 1) if len({path[: at + 1] for path in paths}) > 1)
    rests = [path[start:] for path in paths]
    while all(len(rest) > 1 for rest in rests) and len({rest[-1] for rest in rests}) == 1:
        rests = [rest[:-1] for rest in rests]
    found = ["/".join(rest) or path[-1] for rest, path in zip(rests, paths, strict=True)]
    return found if len(set(found)) == len(found) else ["/".join(path) for path in paths]


def _seen(audit: Audit) -> str:
    height, width = audit.model["view_size"]
    side = audit.model["preprocessing"]["resize_px"]
    large = f"short side {side}" if isinstance(side, int) else "{} × {}".format(*side)
    return f"{height} × {width} px of {large} px"


def _doubles(audits: Sequence[Audit], names: Sequence[str]) -> list[str]:
    """Audits that found the same to the last digit."""
    notes, records = [], [audit.to_json() for audit in audits]
    for at, record in enumerate(records):
        if record in records[:at]:
            notes.append(f"{names[records.index(record)]} and {names[at]} are the same audit.")
    return notes


def _oddities(audits: Sequence[Audit], names: Sequence[str]) -> list[str]:
    """What makes an audit's changes something else than motion."""
    notes = []
    for name, audit in zip(names, audits, strict=True):
        still = audit.controls.get("still", {}).get("p_top1_change")
        if still is not None and still.value > 0:
            notes.append(
                f"{name} changes its answer to the very same view ({still.value:.1%}), so not all of its changes are "
                "due to motion."
            )
        share = audit.ties.get("flips")
        if share and share > TIES_WORTH_A_WARNING:
            notes.append(f"Equal scores decided {share:.1%} of the changes of {name}.")
    return notes


def _each(names: Sequence[str], values: Sequence[str]) -> str:
    """Who has what; who has the same is named together."""
    holders: dict[str, list[str]] = {}
    for name, value in zip(names, values, strict=True):
        holders.setdefault(value, []).append(name)
    return "; ".join(f"{value} ({', '.join(names)})" for value, names in holders.items())
