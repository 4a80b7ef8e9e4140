"""Decoders: the user's functions that make boxes, key points or classes of pixels of a file's raw outputs."""

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shiftable.errors import InputError
from shiftable.models.checked_answers import Answer, checked
from shiftable.models.class_maps import cells_assumed, class_map
from shiftable.models.importing import named_function
from shiftable.models.preprocessing import Size
from shiftable.models.protocol import Task
from shiftable.models.reasons import reason

ADVICE = (
    "say --decoder package.module:function or path/to/file.py:function, a function of (outputs, view_size) that "
    "returns {}; examples/{} has one"
)
EXAMPLES = {
    "detect": ("boxes, scores, classes", "fastestdet.py"),
    "keypoints": ("points, scores", "movenet.py"),
    "segment": ("the class of every pixel", "deeplab.py"),
}


@dataclass(frozen=True)
class Decoder:
    """What makes an answer of the raw outputs for one view.

    Args:
        function: Called as ``function(outputs, view_size)``.
        name: As the user gave it, for records and errors.
        file: The name and the fingerprint of the file that it is in, where that can be found: another decoder, other
            answers. What it imports does not count.
        assumes: Of the one that is used where the user gave none: called with the outputs for some views and the view
            size, says what they were taken for, a sentence each.
    """

    function: Callable[..., object]
    name: str
    file: str | None = None
    assumes: Callable[[Sequence[Sequence[np.ndarray]], Size], tuple[str, ...]] | None = None

    def __call__(self, outputs: Sequence[np.ndarray], view_size: Size, task: Task) -> Answer:
        """The answer to one view.

        Args:
            outputs: All raw outputs for a batch of one view, in the model's order. What is quantised comes as the
                float32 numbers that it stands for; whole numbers stay what they are.
            view_size: (height, width) in px.
            task: What the answer is to be.

        Raises:
            InputError: If the function raises, or returns no such answer.
        """
        who = f"decoder {self.name}"
        shown = ", ".join(f"{'×'.join(map(str, each.shape)) or 'one'} {each.dtype}" for each in outputs)
        try:
            found = self.function(list(outputs), view_size)
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # the user's code
            what = f"raises {type(error).__name__} ({reason(error)})"
            raise InputError(what, where=who, todo=f"it is called with ([{shown}], {view_size})") from error
        try:
            return checked(found, task, view_size, who, coarser=True)
        except InputError as error:
            raise InputError(f"{error.what} for the outputs [{shown}]", where=who, todo=error.todo) from None

    @property
    def record(self) -> dict[str, object]:
        """For a model's settings: what to say by --decoder, and the file as it was."""
        return {"decoder": None if self.assumes else self.name, "decoder_file": self.file}


def find_decoder(given: str | Callable[..., object]) -> Decoder:
    """The decoder that the user gave.

    Args:
        given: A function, or ``package.module:function`` or ``path/to/file.py:function``.

    Raises:
        InputError: If there is none of this name.
    """
    if isinstance(given, str):
        function = named_function(given)
        return Decoder(function, given, _fingerprint(function))
    name = getattr(given, "__qualname__", type(given).__name__)
    return Decoder(given, f"{getattr(given, '__module__', None) or '?'}:{name}", _fingerprint(given))


def file_decoder(given: str | Callable[..., object] | None, task: Task, layout: str, spec: object) -> Decoder:
    """What makes answers of a file's outputs: the user's decoder; for maps of classes alone there is one here.

    Args:
        given: As for `find_decoder`, or None.
        task: ``"detect"``, ``"segment"`` or ``"keypoints"``.
        layout: Of the file's input, ``"NCHW"`` or ``"NHWC"``.
        spec: The model's name, for errors.

    Raises:
        InputError: If there is none.
    """
    if given is not None:
        return find_decoder(given)
    todo = ADVICE.format(*EXAMPLES[task])
    if task != "segment":
        raise InputError("nothing says what its outputs mean", where=spec, todo=todo)

    def only_map(outputs: list[np.ndarray], view_size: Size) -> object:
        shown = ", ".join(f"{'×'.join(map(str, each.shape))} {each.dtype}" for each in outputs)
        try:
            (output,) = outputs
            return class_map(output, view_size, layout)
        except ValueError:
            what = f"its outputs ({shown}) are not one map of classes"
            raise InputError(what, where=spec, todo=todo) from None

    def taken_for(outputs: Sequence[Sequence[np.ndarray]], view_size: Size) -> tuple[str, ...]:
        try:
            return cells_assumed(np.concatenate([output for (output,) in outputs]), view_size, layout)
        except ValueError as error:
            raise InputError(str(error), where=spec, todo=todo) from None

    return Decoder(only_map, "class map", assumes=taken_for)


def _fingerprint(function: object) -> str | None:
    try:
        file = inspect.getsourcefile(inspect.unwrap(function))  # type: ignore[arg-type]
        return (
            f"{Path(file).name} (sha256 {hashlib.sha256(Path(file).read_bytes()).hexdigest()[:12]})" if file else None
        )
    except (TypeError, OSError, ValueError):
        return None
