"""Models behind a server, by the small protocol of docs/http.md: GET describes the model, POST answers views."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import Float32, UInt8

from shiftable.errors import InputError
from shiftable.models.artefacts import Options
from shiftable.models.http_client import Connection
from shiftable.models.http_settings import Client, read_client, read_headers, without_secrets
from shiftable.models.outputs import check_offset, fit_names, scores_by_range
from shiftable.models.preprocessing import MOST_PIXELS, Preprocessing, Size, for_view, override, prepare
from shiftable.models.protocol import DENSE, Scores, Task
from shiftable.models.wire import as_npy, read_scores

PROTOCOL = 1
"""The version of docs/http.md."""

AS_THEY_ARE: Mapping[str, Any] = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
"""The mean and std of pixels of 0 to 255 that are neither scaled nor normalised."""

MOST_DESCRIPTION, MOST_ANSWER = 2**20, 2**26
"""Bytes that a description and an answer may have."""

PLACED = ("resize_px", "resampler", "antialias", "crop", "library")
"""The fields of `Preprocessing` that make a view of a photograph. What its pixels become is the server's business."""

BELOW = 1000.0
"""How far a class that the server leaves out, by the logit -inf, is put below the others: its probability is 0."""

HEADERS = {"Content-Type": "application/x-npy", "Accept": "application/x-npy, application/json"}
GOES_ON = "then the same audit command goes on from here"


@dataclass(frozen=True)
class HttpModel:
    """Answers views by asking a server. Made by `from_http`; attributes as in `Model`.

    ``client`` is how it is asked where that can't change an answer. It is not among the ``settings``, for a stopped
    audit must be able to go on with more patience. ``outputs`` is the length of every row the server answers with.
    ``as_pixels`` says that it is shown views as they are, whatever its preprocessing says of numbers.

    When a request has failed for good, those under way in other threads end with its failure, at the latest when their
    answers are there or ``timeout_s`` is over. So they do after Ctrl-C, where they wait in this object; threads of
    others that ask (those of an audit) are not told, and may try as often as ``retries`` says.
    """

    connection: Connection = field(repr=False, compare=False)
    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    scores: Scores
    class_names: tuple[str, ...] | None = field(repr=False)
    batch_size: int
    settings: dict[str, object]
    views_per_request: int
    outputs: int
    at_once: int
    task: Task = "classify"
    class_offset: int | None = None
    size: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()
    client: Mapping[str, object] = field(default_factory=dict, repr=False)
    as_pixels: bool = True

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view class"]:
        """One row of scores per view.

        Raises:
            InputError: If the server can't be reached, or answers anything but such rows.
        """
        try:
            rows = _ask(self.connection, views, self.views_per_request, self.outputs, self.task)
        except InputError as error:
            raise InputError(error.what, where=error.where, todo=f"{error.todo}; {GOES_ON}") from None
        return rows[:, self.class_offset or 0 :]


def _ask(
    connection: Connection,
    views: UInt8[np.ndarray, "view height width 3"],
    per_request: int,
    outputs: int | None,
    task: Task,
) -> Float32[np.ndarray, "view output"]:
    """The rows for some views. ``outputs`` is how long they must be; None where it is not known yet."""
    parts = [views[at : at + per_request] for at in range(0, len(views), per_request)]

    def read(number: int, body: bytes) -> Float32[np.ndarray, "view output"]:
        try:
            rows = read_scores(body)
        except ValueError as error:
            raise connection.error(f"answers with {error}", "see docs/http.md for what it must answer") from None
        want = len(parts[number]), rows.shape[1] if outputs is None else outputs
        if rows.shape != want:
            what = f"answers {len(parts[number])} views with the shape {rows.shape}, not {want}"
            raise connection.error(what, "it must give a row per view, and as many scores in every row")
        with np.errstate(over="ignore"):
            single = rows.astype(np.float32)
        return _finite(single, connection, task)

    found = connection.post_all([partial(as_npy, part) for part in parts], HEADERS, MOST_ANSWER, read)
    return np.concatenate(found) if found else np.empty((0, outputs or 0), np.float32)


def _finite(
    rows: Float32[np.ndarray, "view output"], connection: Connection, task: Task
) -> Float32[np.ndarray, "view output"]:
    """The rows, with a number for the logit -inf, by which a server leaves a class out: classes must have ranks."""
    left_out = rows == -np.inf
    if not (rows < np.inf).all() or left_out.all(axis=1).any() or (task == "embed" and left_out.any()):
        raise connection.error("answers NaN or infinity", "look at its weights")  # NaN is not less, either
    if not left_out.any():
        return rows
    least = np.where(left_out, np.inf, rows).min(axis=1, keepdims=True)
    return np.where(left_out, least - np.float32(BELOW), rows)


def from_http(url: str, options: Options) -> HttpModel:
    """A model behind a server.

    Args:
        url: Its address. User, password and query may hold secrets; they are sent, and neither shown nor recorded.
        options: What the user asks. ``model_args`` are the fields of `Client`.

    Raises:
        InputError: If the address or an option can't be used, the server does not answer, or answers nonsense.
    """
    spec = _checked_address(url)
    if options.task in DENSE:
        raise InputError(
            f"the task {options.task} is for models that run here", where=spec, todo="servers classify or embed"
        )
    for name in ("device", "threads"):
        if getattr(options, name) is not None:
            raise InputError(f"--{name} is for models that run here", where=spec, todo="leave it out")
    client = read_client(options.model_args, spec)
    connection = Connection(url, client, read_headers(client.header_env, spec))
    told = _describe(connection, described_by_user="view_size" in options.preprocessing)
    size = told.view_size or (224, 224)  # without a description the user's own, in the changes, replaces it
    usual = for_view(size, layout="NHWC", dtype="uint8", **AS_THEY_ARE)
    base = override(usual, told.preprocessing, where=f"{spec} (its description)")
    base = replace(base, **{name: getattr(usual, name) for name in set(told.preprocessing) - set(PLACED)})
    _refuse_numbers(options.preprocessing, spec)
    view_size, preprocessing = prepare(base, size, options.preprocessing, spec)
    per_request = min(client.views_per_request, told.batch_size or client.views_per_request)

    probe = np.random.default_rng(0).integers(0, 256, (2, *view_size, 3), dtype=np.uint8)
    task: Task = "embed" if "embed" in (options.task, told.task) else options.task
    answer = _ask(connection, probe, per_request, None, task)
    outputs = answer.shape[1]
    if outputs < 2:
        raise connection.error(f"answers with {outputs} scores per view", "give two classes or more")
    check_offset(outputs, options.class_offset, spec)
    asked = options.class_names is not None
    names = fit_names(options.class_names or told.class_names, outputs, options.class_offset, spec, asked=asked)
    settings: dict[str, object] = {"views_per_request": per_request}
    if told.version is not None:
        settings["version"] = told.version  # of the model: an audit does not go on with another
    return HttpModel(
        connection=connection,
        spec=spec,
        weights_sha256=told.weights_sha256,
        view_size=view_size,
        preprocessing=preprocessing,
        scores=options.scores or _believed(told.scores, answer, connection),
        class_names=names,
        batch_size=per_request,
        at_once=client.requests,
        settings=settings,
        views_per_request=per_request,
        outputs=outputs,
        task=task,
        class_offset=options.class_offset,
        size=told.size,
        remarks=_remarks(told, options, preprocessing),
        client=_pace(client),
    )


def _refuse_numbers(changes: Mapping[str, Any], spec: str) -> None:
    """Raises InputError where the user says what a server's pixels become."""
    for name in changes:
        if name in {each.name for each in fields(Preprocessing)} - set(PLACED):
            raise InputError(
                f"it is sent RGB pixels, and makes numbers of them itself: {name} is not for servers",
                where=spec,
                todo=f"leave it out of --preprocessing, which may say view_size, {', '.join(PLACED)}",
            )


def _checked_address(url: str) -> str:
    """The address as it is recorded."""
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0) and not re.search(r"\s", url)
    except ValueError:  # no number for a port, half an IPv6 address
        usable = False
    if not usable:
        raise InputError("this is no address", where="the model", todo="write http://HOST:PORT/PATH")
    return without_secrets(url)


def _pace(client: Client) -> dict[str, object]:
    """What only the speed depends on, and how patient the client is."""
    import httpx

    numbers = {"requests": client.requests, "timeout_s": client.timeout_s, "retries": client.retries}
    return {**numbers, "httpx": httpx.__version__}


@dataclass(frozen=True)
class Description:
    """What a server says of its model. Fields as in docs/http.md; None or empty where it says nothing."""

    view_size: Size | None = None
    scores: Scores | None = None
    task: Literal["classify", "embed"] = "classify"
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    weights_sha256: str | None = None
    version: str | int | None = None
    batch_size: int | None = None
    size: Mapping[str, int | None] = field(default_factory=dict)


def _describe(connection: Connection, described_by_user: bool) -> Description:
    """What the server says of its model; nothing, where it has no description and the user gives one."""
    answer = connection.get(MOST_DESCRIPTION)
    if answer.status not in (200, 404, 405, 501):
        raise connection.refusal(answer)
    try:
        found = json.loads(answer.body) if answer.status == 200 else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and "shiftable" in found:
        return _read_description(found, connection)
    if described_by_user:
        return Description()
    raise connection.error(
        "GET gives no description of a model",
        "let the server describe it (docs/http.md), or give --preprocessing 'view_size=[H,W]' and --scores",
    )


def _read_description(found: Mapping[str, Any], connection: Connection) -> Description:
    """The fields, checked; those that are not known are left alone, for later versions may add some."""
    from pydantic import TypeAdapter, ValidationError

    if found["shiftable"] != PROTOCOL:
        raise connection.error(
            f"speaks version {found['shiftable']!r} of the protocol, this is version {PROTOCOL}", "update one of them"
        )
    known = {each.name for each in fields(Description)}
    given = {name: value for name, value in found.items() if name in known and value is not None}
    try:
        told = TypeAdapter(Description).validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise connection.error(
            f"its description's {(first['loc'] or ('JSON',))[0]} can't be {str(first['input'])[:80]}",
            first["msg"].lower(),
        ) from None
    size = told.view_size
    if size is None or min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise connection.error(f"its description's view_size can't be {size}", "say [height, width] in px")
    if told.batch_size is not None and told.batch_size < 1:
        raise connection.error(f"its description's batch_size can't be {told.batch_size}", "say 1 or more")
    return told


def _believed(told: Scores | None, answer: Float32[np.ndarray, "view class"], connection: Connection) -> Scores:
    """What the scores are: as the description says, unless they can't be that; by their range where it says nothing."""
    seen = scores_by_range(answer)
    if told in ("probabilities", "sigmoid") and seen == "logits":
        raise connection.error(
            f"its description says {told}, its answers reach from {answer.min():.3g} to {answer.max():.3g}",
            "correct the description, or say --scores logits",
        )
    return told or seen


def _remarks(told: Description, options: Options, preprocessing: Preprocessing) -> tuple[str, ...]:
    remarks = []
    if told.weights_sha256 is None and told.version is None:
        remarks.append("the server does not say which weights it runs: two audits may have asked two models")
    if not set(told.preprocessing) & set(PLACED) and not set(options.preprocessing) - {"view_size"}:
        remarks.append(
            f"the server does not say how photographs become views: short side to {preprocessing.resize_px} px, "
            "bilinear, centre crop were assumed; say otherwise by --preprocessing"
        )
    return tuple(remarks)
