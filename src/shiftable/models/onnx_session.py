"""A session of onnxruntime that answers batches of numbers, and what it says of files that it can't run."""

import re
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from shiftable.errors import InputError, missing_extra
from shiftable.models.artefacts import cores
from shiftable.models.decoded_model import real_numbers
from shiftable.models.image_input import ImageInput, image_input, only_input
from shiftable.models.outputs import as_rows, choose_output
from shiftable.models.parts import in_parts
from shiftable.models.reasons import reason

INPUT_TYPES = {
    "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64", "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
}  # fmt: skip
"""onnxruntime's names of the types that images come in, and NumPy's."""


@dataclass(frozen=True)
class Runner:
    """A session, and how it is asked. Shared by all models that differ in their preprocessing alone.

    Args:
        session: onnxruntime's.
        spec: The model's name, for errors.
        image: What its input looks like; its batch is None where any number of views may be given at once.
        input: The input's name.
        dtype: The input's type.
        threads: On a CPU.
        device: ``"cpu"``, ``"cuda"``, ….
        output: The name of the output that is asked for; empty for all of them.
    """

    session: Any
    spec: str
    image: ImageInput
    input: str
    dtype: str
    threads: int
    device: str
    output: str = ""

    def __call__(self, numbers: Shaped[np.ndarray, "view *axes"]) -> Float32[np.ndarray, "view output"]:
        """One row per view."""
        return in_parts(self._rows, numbers, self.image.batch or len(numbers))

    def outputs(self, numbers: Shaped[np.ndarray, "view *axes"]) -> dict[str, np.ndarray]:
        """The chosen output for one batch, or all of them."""
        names = [self.output] if self.output else [each.name for each in self.session.get_outputs()]
        fed = numbers.astype(self.dtype, copy=False)
        return dict(zip(names, self.session.run(names, {self.input: fed}), strict=True))

    def each(self, numbers: Shaped[np.ndarray, "view *axes"]) -> list[list[np.ndarray]]:
        """All outputs for every view alone, in the file's order: floats in 32 bits, whole numbers as they are.

        Raises:
            InputError: If the graph can't take such views, or gives something else.
        """
        answers = []
        for at in range(len(numbers)):
            try:
                outputs = self.outputs(numbers[at : at + 1])
            except Exception as error:  # onnxruntime's have no common type of their own
                raise _can_not_take(numbers[at : at + 1], self.spec, error) from None
            answers.append([real_numbers(output, self.spec) for output in outputs.values()])
        return answers

    def _rows(self, numbers: Shaped[np.ndarray, "view *axes"]) -> Float32[np.ndarray, "view output"]:
        rows = as_rows(self.outputs(numbers)[self.output])
        assert rows is not None, "the output was chosen for its shape"
        return rows.astype(np.float32, copy=False)


def open_session(content: bytes | Path, spec: str, threads: int | None, device: str | None) -> Runner:
    """A graph, ready to be asked.

    Args:
        content: The file, or what is in it.
        spec: The model's name, for errors.
        threads: On a CPU; None takes all cores.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``; None is the CPU.

    Raises:
        InputError: If onnxruntime or the device is missing, or it can't run the graph, or that takes no images.
    """
    if find_spec("onnxruntime") is None:
        raise missing_extra("onnxruntime", "onnx")
    import onnxruntime

    threads = threads or cores()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it would print comes as an error, too
    # between two calls its threads would spin on the cores on which the next images are decoded
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    provider = _provider(device, onnxruntime.get_available_providers())
    try:
        session = onnxruntime.InferenceSession(
            content if isinstance(content, bytes) else str(content),
            options,
            providers=[provider],
            enable_fallback=False,
        )
    except Exception as error:  # its errors have no common type of their own
        what, todo = refusal(str(error), onnxruntime.__version__)
        raise InputError(what, where=spec, todo=todo) from None
    if (running := session.get_providers()[0]) not in provider:
        raise InputError(
            f"device {device!r} can't be used (onnxruntime fell back to {running})", where="--device", todo="try cpu"
        )
    inputs = {each.name: each for each in session.get_inputs()}
    taken = inputs[only_input(inputs, spec)]
    if taken.type not in INPUT_TYPES:
        known = ", ".join(INPUT_TYPES.values())
        raise InputError(f"its input is a {taken.type}", where=spec, todo=f"export it with one of {known}")
    image = image_input(taken.shape, spec)
    return Runner(session, spec, image, taken.name, INPUT_TYPES[taken.type], threads, device or "cpu")


def _provider(device: str | None, available: list[str]) -> str | tuple[str, dict[str, int]]:
    match re.fullmatch(r"(cpu|cuda)(?::(\d+))?", device or "cpu"):
        case re.Match() as found if found[1] == "cpu":
            return "CPUExecutionProvider"
        case re.Match() as found if "CUDAExecutionProvider" in available:
            return "CUDAExecutionProvider", {"device_id": int(found[2] or 0)}
        case re.Match():
            why = "this onnxruntime has no CUDAExecutionProvider"
        case _:
            why = "onnxruntime runs on cpu or cuda here"
    raise InputError(f"device {device!r} can't be used ({why})", where="--device", todo="try cpu")


REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        r"Opset (?P<n>\d+) is under development",
        "its opset is {n}, which onnxruntime {version} does not know",
        "export it with an older opset, or update onnxruntime",
    ),
    (
        r"Unsupported model IR version: (?P<n>\d+), max supported IR version: (?P<most>\d+)",
        "its format (IR) is version {n}, and onnxruntime {version} knows up to {most}",
        "export it with an older onnx, or update onnxruntime",
    ),
    (
        r"No Op registered for (?P<name>\S+) with domain_version of (?P<n>\d+)",
        "onnxruntime {version} has no operator {name} (opset {n})",
        "export it without that operator, or with another opset",
    ),
    (
        r"(?P<name>[\w.]+:\w+)\(-?\d+\) is not a registered function/op",
        "onnxruntime {version} has no operator {name}",
        "export it without operators of your own",
    ),
    (
        r"Could not find an implementation for (?P<name>\w+)\((?P<n>\d+)\)",
        "onnxruntime {version} can't run the operator {name} (opset {n}) on these types",
        "export it without that operator, or in float32",
    ),
    (
        r"External data path does not exist: \"?(?P<name>[^\"]+)",
        "its weights are in {name}, which is not there",
        "put that file beside it, or export into one file",
    ),
    (
        r"[Pp]rotobuf parsing failed|No graph was found|codec can't decode",
        "it is no ONNX model, or a damaged one",
        "fetch or export it again",
    ),
)
"""What onnxruntime's errors say, and what we make of it."""


def refusal(message: str, version: str) -> tuple[str, str]:
    """What is wrong, and what to do, from an error of onnxruntime.

    Example:
        >>> refusal("Fatal error: com.example:Wobble(-1) is not a registered function/op", "1.32")
        ('onnxruntime 1.32 has no operator com.example:Wobble', 'export it without operators of your own')
    """
    for pattern, what, todo in REFUSALS:
        if found := re.search(pattern, message):
            return what.format(version=version, **found.groupdict()), todo
    return f"onnxruntime {version} can't run it ({_plain(message)})", "check the file with onnx.checker"


def _plain(message: str) -> str:
    """Its first line without the codes and the path in front."""
    return reason(
        Exception(re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed: ?)?", "", message))
    )


def _can_not_take(numbers: Shaped[np.ndarray, "view *axes"], spec: str, error: Exception) -> InputError:
    shape = "×".join(map(str, numbers.shape))
    return InputError(
        f"it can't take an input of {shape} ({_plain(str(error))})",
        where=spec,
        todo="give its size by --preprocessing 'view_size=[H,W]'",
    )


def tried(
    runner: Runner, numbers: Shaped[np.ndarray, "view *axes"]
) -> tuple[Runner, Shaped[np.ndarray, "rows output"], tuple[str, ...]]:
    """A runner that asks for the one output that is rows, these rows, and a remark where views go in one by one.

    A graph may leave its batch open and yet have it fixed inside, by a reshape to constants.

    Args:
        runner: Asks for all outputs.
        numbers: Two views, or a whole batch where that is fixed.

    Raises:
        InputError: If the graph can't take them, or does not give a row for each.
    """
    found = _attempt(runner, numbers)
    if not isinstance(found, InputError):
        return *found, ()
    if runner.image.batch is None:
        alone = _attempt(replace(runner, image=replace(runner.image, batch=1)), numbers[:1])
        if not isinstance(alone, InputError):
            return *alone, ("it leaves the size of its batch open but takes views one by one only",)
    raise found


def _attempt(
    runner: Runner, numbers: Shaped[np.ndarray, "view *axes"]
) -> tuple[Runner, Shaped[np.ndarray, "rows output"]] | InputError:
    try:
        outputs = runner.outputs(numbers)
        runner = replace(runner, output=choose_output(outputs, runner.spec))
    except InputError as error:
        return error
    except Exception as error:
        return _can_not_take(numbers, runner.spec, error)
    rows = as_rows(outputs[runner.output])
    if rows is None or len(rows) != len(numbers):
        what = f"{len(numbers)} views got {0 if rows is None else len(rows)} answers"
        return InputError(what, where=runner.spec, todo="let it give one row per view")
    return runner, rows
