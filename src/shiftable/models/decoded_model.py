"""Model files whose answers say where in the view something is: raw outputs, one view at a time, and a decoder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from shiftable.errors import InputError
from shiftable.models.answers import Detections, Poses, SegmentAnswers
from shiftable.models.checked_answers import together
from shiftable.models.decoder import Decoder
from shiftable.models.preprocessing import Preprocessing, Size
from shiftable.models.protocol import Scores, Task

BATCH_SIZE = 8
"""Views that an audit hands in at once; each is answered alone."""

GREY = 128


@dataclass(frozen=True)
class DecodedModel:
    """Answers views by a file's raw outputs and a decoder. Made by `decoded_model`; attributes as in `Model`.

    ``dataclasses.replace`` with another ``preprocessing`` gives the same file fed otherwise.

    Args:
        run: Gives all outputs for every view alone.
        feed: What it is fed for some views, by the preprocessing.
        decoder: Makes the answer to a view of the outputs for it.
    """

    run: Callable[[Shaped[np.ndarray, "view *axes"]], Sequence[Sequence[np.ndarray]]] = field(repr=False)
    feed: Callable[[UInt8[np.ndarray, "view height width 3"], Preprocessing], Shaped[np.ndarray, "view *axes"]] = field(
        repr=False
    )
    decoder: Decoder = field(repr=False)
    spec: str
    weights_sha256: str | None
    view_size: Size
    preprocessing: Preprocessing
    task: Task
    class_names: tuple[str, ...] | None = field(repr=False)
    settings: dict[str, object]
    size: Mapping[str, int | None] = field(default_factory=dict, repr=False)
    remarks: tuple[str, ...] = ()
    batch_size: int = BATCH_SIZE
    scores: Scores = "probabilities"

    def __call__(
        self, views: UInt8[np.ndarray, "view height width 3"]
    ) -> list[Detections] | list[Poses] | SegmentAnswers:
        """The answer to each view, as its task has it."""
        outputs = self.run(self.inputs(views))
        return together([self.decoder(each, self.view_size, self.task) for each in outputs], self.task)

    def inputs(self, views: UInt8[np.ndarray, "view height width 3"]) -> Shaped[np.ndarray, "view *axes"]:
        """What the file is fed for these views."""
        return self.feed(views, self.preprocessing)


def tried_once(model: DecodedModel) -> DecodedModel:
    """The model, after it answered a grey view and one of noise: a decoder's mistakes show before an audit starts.

    Where there is no decoder, what its outputs were taken for is added to the remarks.

    Raises:
        InputError: If the file or its decoder can't answer them.
    """
    views = np.full((2, *model.view_size, 3), GREY, np.uint8)
    views[1] = np.random.default_rng(0).integers(0, 256, views[1].shape, np.uint8)
    outputs = model.run(model.inputs(views))
    for each in outputs:
        model.decoder(each, model.view_size, model.task)
    if model.decoder.assumes is None:
        return model
    assumed = model.decoder.assumes(outputs, model.view_size)
    return replace(model, remarks=(*model.remarks, *assumed))


def check_batch(batch: int | None, spec: object) -> None:
    """Raises InputError if a file takes several views at once and no others."""
    if batch not in (None, 1):
        raise InputError(
            f"it takes {batch} views at once, and decoders see one", where=spec, todo="export it with a batch of 1"
        )


def real_numbers(output: Any, spec: object) -> Shaped[np.ndarray, "..."]:
    """An output as decoders are given it: floats in 32 bits, whole numbers as they are.

    Raises:
        InputError: If it is no array.
    """
    if not isinstance(output, np.ndarray) or output.dtype.kind not in "fiub":
        raise InputError(
            f"an output of it is a {type(output).__name__}", where=spec, todo="export it with arrays of numbers"
        )
    return output.astype(np.float32, copy=False) if output.dtype.kind == "f" else output
