"""What a model's outputs are: which of them are classes, what these are called, and of what kind the scores are."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from shiftable.errors import InputError
from shiftable.models.protocol import Scores

IMAGENET_CLASSES = 1000


def fit_names(
    names: Sequence[str] | None, outputs: int, class_offset: int | None, spec: object, *, asked: bool = True
) -> tuple[str, ...] | None:
    """A name per class, checked against the number of outputs.

    Args:
        names: The names, in order: of the classes, or of all outputs.
        outputs: How many scores the model gives.
        class_offset: How many of the first ones are no classes (1 for models with a background class).
        spec: The model's name, for errors.
        asked: Whether the user gave the names; a model's own are left out where they do not fit.

    Raises:
        InputError: If the names the user gave are more or fewer than the classes.
    """
    classes = outputs - (class_offset or 0)
    if names is None:
        return None
    if len(names) in (classes, outputs):
        return tuple(names[len(names) - classes :])
    if not asked:
        return None
    if len(names) == classes - 1 and class_offset is None:
        raise InputError(
            f"it gives {outputs} scores, and there are {len(names)} class names",
            where=spec,
            todo="if its first output is a background class, say --class-offset 1",
        )
    raise InputError(f"there are {len(names)} class names but {classes} scores", where=spec, todo="give one per class")


def check_offset(outputs: int, class_offset: int | None, spec: object) -> None:
    """Raises InputError if more of the first outputs are to be left out than there are."""
    if class_offset is not None and not 0 <= class_offset <= outputs - 2:
        raise InputError(
            f"class offset {class_offset} of {outputs} scores", where=spec, todo="leave two classes or more"
        )


def check_background(classes: int, class_offset: int | None, spec: object) -> None:
    """Raises InputError if labels can't be trusted to count as the model does: 1001 outputs, and nothing said."""
    if classes == IMAGENET_CLASSES + 1 and class_offset is None:
        raise InputError(
            f"it gives {classes} scores, as ImageNet models with a background class do; labels count 1000 classes",
            where=spec,
            todo="say --class-offset 1 if its first output is the background, --class-offset 0 if labels count it too",
        )


def scores_by_range(answers: np.ndarray) -> Scores:
    """Answers that are nowhere negative and at most 1 count as probabilities (as sigmoids, where rows do not sum to 1).

    Example:
        >>> scores_by_range(np.array([[0.2, 0.8]])), scores_by_range(np.array([[-1.0, 3.0]]))
        ('probabilities', 'logits')
    """
    if answers.min() < 0 or answers.max() > 1:
        return "logits"
    return "probabilities" if np.allclose(answers.sum(axis=1), 1, atol=0.05) else "sigmoid"


def as_rows(output: np.ndarray) -> np.ndarray | None:
    """One row per view, where an output is one: axes of length 1 beside the classes are left out. Else None.

    Example:
        >>> as_rows(np.zeros((2, 5, 1, 1))).shape, as_rows(np.zeros((2, 1, 1, 5))).shape
        ((2, 5), (2, 5))
        >>> as_rows(np.zeros((1, 17, 3))) is None, as_rows(np.zeros((2, 1))) is None
        (True, True)
    """
    if output.ndim < 2 or max(output.shape[1:]) < 2 or sum(side > 1 for side in output.shape[1:]) > 1:
        return None
    return output.reshape(len(output), -1)


def choose_output(outputs: Mapping[str, np.ndarray], spec: object) -> str:
    """The name of the one output that is a row of numbers per view.

    Args:
        outputs: What the model gave for some views, by name. Whole numbers are no scores (indices, say): quantised
            outputs are to be given as the numbers that they stand for.
        spec: The model's name, for errors.

    Raises:
        InputError: If there is none, or more than one.
    """
    rows = [
        name
        for name, output in outputs.items()
        if as_rows(output) is not None and np.issubdtype(output.dtype, np.floating)
    ]
    if len(rows) == 1:
        return rows[0]
    shown = ", ".join(f"{name} ({_shape(output)} {output.dtype})" for name, output in outputs.items())
    if rows:
        raise InputError(f"it has several outputs: {shown}", where=spec, todo="export it with the scores alone")
    which = f"its outputs are {shown}" if len(outputs) > 1 else f"its output is {shown}"
    raise InputError(
        f"{which}, and not one row of scores per view",
        where=spec,
        todo="if it detects, segments or finds key points, give a --decoder and its --task to shiftable audit; "
        "shiftable trace takes classifiers only",
    )


def _shape(output: np.ndarray) -> str:
    return "×".join(map(str, output.shape))


PASSING = {
    "identity", "reshape", "flatten", "squeeze", "unsqueeze", "expanddims", "transpose", "cast", "castlike", "dropout",
    "slice", "stridedslice", "gather", "split", "clip",
    "quantize", "dequantize", "quantizelinear", "dequantizelinear",
    "mean", "reducemean", "averagepool", "averagepool2d", "globalaveragepool",
}  # fmt: skip
"""Operations after which scores are still what they were."""

KINDS: dict[str, Scores] = {
    "softmax": "probabilities",
    "qlinearsoftmax": "probabilities",
    "sigmoid": "sigmoid",
    "logistic": "sigmoid",
    "hardsigmoid": "sigmoid",
    "qlinearsigmoid": "sigmoid",
    "logsoftmax": "logits",
    "fullyconnected": "logits",
    "batchmatmul": "logits",
    "gemm": "logits",
    "matmul": "logits",
    "fusedmatmul": "logits",
    "fusedgemm": "logits",
    "qgemm": "logits",
    "qlinearmatmul": "logits",
    "matmulinteger": "logits",
    "conv": "logits",
    "conv2d": "logits",
    "fusedconv": "logits",
    "qlinearconv": "logits",
    "convinteger": "logits",
    "relu": "logits",
}
"""What an operation's results are, in ONNX or in TFLite: lower case, without underscores."""

Made = Mapping[Hashable, tuple[str, Sequence[Hashable]]]
"""Of each intermediate result of a graph the operation that made it, and of what."""


def scores_by_graph(output: Hashable, made: Made) -> Scores | None:
    """What scores are, by the last operation that changed more than their form; None where that does not tell.

    Example:
        >>> made = {"y": ("Reshape", ["p", "shape"]), "p": ("Softmax", ["z"]), "z": ("Add", ["m", "bias"])}
        >>> scores_by_graph("y", made), scores_by_graph("z", {**made, "m": ("MatMul", ["x", "w"])})
        ('probabilities', 'logits')
    """
    biased = False
    while output in made:
        operation, inputs = made[output]
        name = operation.replace("_", "").lower()
        if name in KINDS:
            return KINDS[name] if not biased or KINDS[name] == "logits" else None  # a sum of probabilities is none
        if name not in PASSING | {"add"}:
            return None
        biased |= name == "add"
        output = next((source for source in inputs if source in made), None)
    return None
