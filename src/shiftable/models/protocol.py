"""What a model is to the rest of the package: one callable that answers views."""

from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from shiftable.models.answers import Detections, Poses, SegmentAnswers
from shiftable.models.preprocessing import Preprocessing, Size

Task: TypeAlias = Literal["classify", "embed", "detect", "segment", "keypoints"]

DENSE: tuple[Task, ...] = ("detect", "segment", "keypoints")
"""The tasks whose answers say where in the view something is."""

Answers: TypeAlias = Float32[np.ndarray, "view class"] | list[Detections] | list[Poses] | SegmentAnswers
"""To some views. By task: a row of scores (``classify``) or an embedding (``embed``) for each; a list of `Detections`
(``detect``) or of `Poses` (``keypoints``), one for each; the class of every pixel of each (``segment``).

Coordinates are px of the view, from its top-left corner: the first pixel covers 0 to 1, its centre is at 0.5. A map of
classes is of the view's size, though the net's own may be coarser: class maps are enlarged by the nearest cell, logits
bilinearly before the largest is taken, as the libraries do."""

Scores: TypeAlias = Literal["logits", "probabilities", "sigmoid"]


@runtime_checkable
class Model(Protocol):
    """Whatever answers views. Adapters are in this package; any object of this form may be audited.

    Attributes:
        spec: What it was opened from, as recorded in an audit.
        weights_sha256: A fingerprint of its weights, or None where they can't be seen.
        task: What kind of answer it gives.
        view_size: (height, width) in px of what it must be shown.
        preprocessing: How a photograph becomes a view and a view the model's numbers.
        scores: What its answers are: ``"logits"``, ``"probabilities"`` (softmax already applied) or ``"sigmoid"``.
            Those of boxes and key points are ``"probabilities"``: each is from 0 to 1.
        class_names: A name per class, or None. Where boxes or pixels have classes they may be fewer or more than these.
        batch_size: How many views it is best shown at once.
        settings: What the speed of its answers depends on (device, threads, layout, …), recorded in ``run.json``.

    It may also have:
        class_offset: How many of its first outputs were no classes and are left out; None where nobody said.
        size: ``parameters``, ``bytes`` and ``layers`` (those that multiply by weights), each a number or None.
        score_step: How far neighbouring probabilities lie apart that it can tell from one another (8 bits: 1/256).
        at_once: How many batches it is best shown at once, from as many threads. 1 if it has none.
        as_pixels: Whether it is shown views as they are, and makes numbers of them itself.
        exact: The model that is asked again where its own answers are close, if it is a faster, less exact one.
        checks: What was measured when it was opened, recorded in ``run.json``.
        remarks: What a reader of its audit must know, a sentence each.
    """

    @property
    def spec(self) -> str: ...
    @property
    def weights_sha256(self) -> str | None: ...
    @property
    def task(self) -> Task: ...
    @property
    def view_size(self) -> Size: ...
    @property
    def preprocessing(self) -> Preprocessing: ...
    @property
    def scores(self) -> Scores: ...
    @property
    def class_names(self) -> tuple[str, ...] | None: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def settings(self) -> dict[str, object]: ...

    def __call__(self, views: UInt8[np.ndarray, "view height width 3"]) -> Any:
        """``Answers``, in the form of its task. Views are RGB, 0 to 255, of ``view_size``."""
        ...
