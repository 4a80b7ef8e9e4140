"""TFLite files as models, answered by LiteRT as on the device: quantised, one view at a time. No torch needed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped, UInt8

from shiftable.errors import InputError
from shiftable.models.artefacts import WHOLE, Options, check_options, cores, model_file, prepared_for_file, sha256_of
from shiftable.models.decoded_model import DecodedModel, check_batch, tried_once
from shiftable.models.decoder import file_decoder
from shiftable.models.numbers import as_levels, as_numbers, levels_stand_for
from shiftable.models.outputs import check_offset, fit_names, scores_by_range
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import DENSE, Scores, Task
from shiftable.models.tflite_graph import read_tflite
from shiftable.models.tflite_session import (
    Runner,
    Taken,
    litert_version,
    only_rows,
    open_interpreter,
    start,
    what_it_takes,
)

BATCH_SIZE = 32
"""Views that an audit hands in at once, shared out among the interpreters; more of these than views are idle."""

UNUSUAL = 0.1
"""How far an input's range may be from a usual one before that is said, as a share of its width."""


@dataclass(frozen=True)
class TfliteModel:
    """Answers views with LiteRT. Made by `from_tflite`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same interpreters fed otherwise.
    """

    runner: Runner = field(repr=False)
    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    scores: Scores
    class_names: tuple[str, ...] | None = field(repr=False)
    batch_size: int
    settings: dict[str, object]
    task: Task = "classify"
    class_offset: int | None = None
    size: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Float32[np.ndarray, "view class"]:
        """One row of scores per view."""
        return self.runner(self.inputs(views))[:, self.class_offset or 0 :]

    @property
    def at_once(self) -> int:
        """Two batches, so that no interpreter is idle while views are made and answers put down."""
        return 2

    @property
    def score_step(self) -> float | None:
        """How far neighbouring scores lie apart, where the output is of 8 bits."""
        return None if (levels := self.runner.given[0].quantisation) is None else levels[0]

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Shaped[np.ndarray, "view *axes"]:
        """What the file is fed for these views."""
        return _fed(views, self.preprocessing, self.runner.taken)


def _fed(
    views: UInt8[np.ndarray, "view height width 3"], preprocessing: Preprocessing, taken: Taken
) -> Shaped[np.ndarray, "view *axes"]:
    if taken.quantisation is None:
        return as_numbers(views, preprocessing)
    return as_levels(views, preprocessing, taken.quantisation)


def from_tflite(path: str, options: Options) -> TfliteModel | DecodedModel:
    """A TFLite file, ready to be audited. Outputs that are no scores have a decoder.

    An 8-bit input's scale and zero point say which numbers it stands for, and so what mean and std the net was trained
    with (`levels_stand_for`). An 8-bit output is given as the numbers that it stands for, of which many are equal.

    Args:
        path: The file. ``NAME.json`` beside it says how photographs become its input.
        options: The user's.

    Raises:
        InputError: If the file can't be used.
    """
    check_options(options, path)
    if options.device not in (None, "cpu"):
        raise InputError(f"device {options.device!r} can't be used (LiteRT runs on cpu here)", where="--device",
                         todo="try cpu")  # fmt: skip
    file = model_file(path, "a TFLite model")
    first = open_interpreter(file, path)
    taken = what_it_takes(first, path)
    fields, remarks = _fields(taken, options.task)
    view_size, preprocessing, assumed = prepared_for_file(
        file, taken.image.view_size, fields, options.preprocessing, any_size=taken.image.any_size
    )
    threads = min(options.threads or cores(), BATCH_SIZE)
    probe = np.random.default_rng(0).integers(0, 256, (taken.image.batch or 1, *view_size, 3), np.uint8)
    numbers = _fed(probe, preprocessing, taken)
    runner, graph = start(file, path, first, taken, numbers, threads), read_tflite(file.read_bytes())
    size = {"parameters": graph.parameters, "bytes": file.stat().st_size, "layers": graph.layers}
    if options.task in DENSE:
        check_batch(taken.image.batch, path)
        decoder = file_decoder(options.decoder, options.task, taken.image.layout or "NHWC", path)
        decoded = DecodedModel(
            runner.each, partial(_fed, taken=taken), decoder, path, sha256_of(file), view_size, preprocessing,
            options.task, options.class_names, {**_settings(runner), **decoder.record}, size, (*remarks, *assumed),
        )  # fmt: skip
        return tried_once(decoded)
    runner, rows = only_rows(runner, path, numbers)
    if np.isnan(rows).any():
        raise InputError("the model answers with NaN", where=path, todo="check its weights")
    check_offset(rows.shape[1], options.class_offset, path)
    return TfliteModel(
        runner=runner,
        spec=path,
        weights_sha256=sha256_of(file),
        view_size=view_size,
        preprocessing=preprocessing,
        scores=options.scores or graph.scores(runner.given[0].number) or scores_by_range(rows),
        class_names=fit_names(options.class_names, rows.shape[1], options.class_offset, path),
        batch_size=BATCH_SIZE,
        settings=_settings(runner),
        task=options.task,
        class_offset=options.class_offset,
        size=size,
        remarks=(*remarks, *assumed),
    )


def _fields(taken: Taken, task: Task) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the graph says of `Preprocessing`, and what was assumed."""
    fields: dict[str, Any] = {**WHOLE.get(task, {}), **taken.image.fields, "dtype": taken.dtype}
    if taken.quantisation is None:
        return fields, ()
    numbers, off = levels_stand_for(taken.quantisation, taken.dtype)
    if off <= UNUSUAL:
        return {**fields, **numbers}, ()
    scale, zero_point = taken.quantisation
    remark = (
        f"its input's quantisation (scale {scale:.4g}, zero point {zero_point}) is of no usual range of numbers; mean "
        f"{numbers['mean'][0]:.3g}, std {numbers['std'][0]:.3g} were assumed; say otherwise by --preprocessing"
    )
    return {**fields, **numbers}, (remark,)


def _settings(runner: Runner) -> dict[str, object]:
    """What the speed of its answers, and the answers themselves, depend on."""
    return {
        "backend": "litert",
        "version": litert_version(),
        "device": "cpu",
        "threads": runner.threads,
        "delegate": runner.delegate,
        "layout": runner.taken.image.layout,
        "precision": runner.taken.dtype,
        "views_per_call": runner.taken.image.batch or 1,
    }
