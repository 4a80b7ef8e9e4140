"""Interpreters of LiteRT that answer batches of numbers, and what is said of files that it can't run."""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from shiftable.errors import InputError, missing_extra
from shiftable.models.image_input import ImageInput, image_input, only_input
from shiftable.models.numbers import AS_PIXELS, Quantisation
from shiftable.models.outputs import as_rows, choose_output
from shiftable.models.parts import filled_up
from shiftable.models.reasons import reason

TYPES = ("float32", "uint8", "int8")
"""Of images, as these files take them."""


@dataclass(frozen=True)
class Taken:
    """What a file takes.

    Args:
        number: Of the tensor.
        image: What it looks like.
        dtype: One of ``TYPES``.
        quantisation: What its levels stand for; None for float32.
    """

    number: int
    image: ImageInput
    dtype: str
    quantisation: Quantisation | None


@dataclass(frozen=True)
class Given:
    """An output that is asked for.

    Args:
        number: Of the tensor.
        quantisation: What its levels stand for; None for floats.
        name: The tensor's.
    """

    number: int
    quantisation: Quantisation | None
    name: str


@dataclass(frozen=True)
class Runner:
    """Interpreters of one file, one thread each: two of them are faster than one with two threads.

    Which of them answers a view makes no difference to the answer. Most files are fixed at one view, and where they are
    not there is nothing to gain from more (measured), so views go in one by one, or as many as the file is fixed at.

    Args:
        idle: The interpreters that answer nothing now.
        pool: Whose threads wait for them.
        threads: How many interpreters there are.
        taken: What they are fed.
        given: What they are asked for: the one output that is rows of scores, or all in the file's order.
        delegate: ``"xnnpack"``, or ``"none"``: then the same file gives other numbers.
    """

    idle: "SimpleQueue[Any]"
    pool: ThreadPoolExecutor
    threads: int
    taken: Taken
    given: tuple[Given, ...]
    delegate: str

    def __call__(self, numbers: Shaped[np.ndarray, "view *axes"]) -> Float32[np.ndarray, "view output"]:
        """One row per view."""
        rows = [as_rows(output) for (output,) in self.each(filled_up(numbers, self.taken.image.batch or 1))]
        assert all(row is not None for row in rows), "the output was chosen for its shape"
        return np.concatenate(rows)[: len(numbers)].astype(np.float32, copy=False)  # type: ignore[arg-type]

    def each(self, numbers: Shaped[np.ndarray, "view *axes"]) -> list[list[np.ndarray]]:
        """The outputs for every view alone, or for every batch where the file is fixed at one.

        Args:
            numbers: Whole batches.
        """
        batch = self.taken.image.batch or 1
        begins, answers = count(0, batch), [list[np.ndarray]()] * (len(numbers) // batch)

        def work(_: int) -> None:
            interpreter = self.idle.get()
            try:
                while (begin := next(begins)) < len(numbers):
                    answers[begin // batch] = self._answer(interpreter, numbers[begin : begin + batch])
            finally:
                self.idle.put(interpreter)

        list(self.pool.map(work, range(min(self.threads, len(answers)))))
        return answers

    def _answer(self, interpreter: Any, numbers: Shaped[np.ndarray, "view *axes"]) -> list[np.ndarray]:
        interpreter.set_tensor(self.taken.number, numbers)
        interpreter.invoke()
        return [_real(interpreter.get_tensor(each.number), each.quantisation) for each in self.given]


def _real(output: Shaped[np.ndarray, "..."], quantisation: Quantisation | None) -> Shaped[np.ndarray, "..."]:
    """What an output's levels stand for. Equal levels give equal numbers: ties stay ties."""
    if quantisation is None:
        return output
    scale, zero_point = quantisation
    return (output.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def open_interpreter(file: Path, spec: str) -> Any:
    """One interpreter of a file, with one thread, not yet allocated.

    Raises:
        InputError: If LiteRT is missing, or can't run the file.
    """
    if find_spec("ai_edge_litert") is None:
        raise missing_extra("ai-edge-litert", "litert")
    from ai_edge_litert.interpreter import Interpreter

    with _no_log(), _refused(spec):
        return Interpreter(str(file), num_threads=1)


def what_it_takes(interpreter: Any, spec: str) -> Taken:
    """An interpreter's input.

    Raises:
        InputError: If it is no image, or there are several.
    """
    with _refused(spec):
        inputs = {each["name"]: each for each in interpreter.get_input_details()}
    detail = inputs[only_input(inputs, spec)]
    dtype = np.dtype(detail["dtype"]).name
    if dtype not in TYPES:
        raise InputError(f"its input is {dtype}", where=spec, todo=f"export it with one of {', '.join(TYPES)}")
    signature = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    image = image_input([int(side) for side in signature], spec)
    return Taken(detail["index"], image, dtype, _quantisation(detail) or AS_PIXELS.get(dtype))


def _quantisation(detail: Mapping[str, Any]) -> Quantisation | None:
    scale, zero_point = detail["quantization"]
    return (float(scale), int(zero_point)) if scale else None


def start(
    file: Path, spec: str, first: Any, taken: Taken, numbers: Shaped[np.ndarray, "view *axes"], threads: int
) -> Runner:
    """Interpreters, ready to be asked for all outputs.

    Args:
        file: What they run.
        spec: The model's name, for errors.
        first: An interpreter of the file.
        taken: What it takes.
        numbers: What it is fed first: as many views as it takes at once.
        threads: How many interpreters there are to be.

    Raises:
        InputError: If they can't take such views.
    """
    interpreters = [first, *(open_interpreter(file, spec) for _ in range(threads - 1))]
    with _no_log(), _refused(spec):
        for interpreter in interpreters:
            if taken.image.any_size:
                interpreter.resize_tensor_input(taken.number, numbers.shape)
            interpreter.allocate_tensors()
        first.set_tensor(taken.number, numbers)
        first.invoke()
        given = tuple(Given(each["index"], _quantisation(each), each["name"]) for each in first.get_output_details())
    idle: SimpleQueue[Any] = SimpleQueue()
    for interpreter in interpreters:
        idle.put(interpreter)
    return Runner(idle, ThreadPoolExecutor(threads), threads, taken, given, _delegate(first))


def only_rows(
    runner: Runner, spec: str, numbers: Shaped[np.ndarray, "view *axes"]
) -> tuple[Runner, Float32[np.ndarray, "view output"]]:
    """The same, asked for the one output that is rows, and these rows.

    Args:
        runner: Asks for all outputs.
        spec: The model's name, for errors.
        numbers: As many views as it takes at once.

    Raises:
        InputError: If there is no such output, or it does not give a row for each.
    """
    outputs = dict(zip((each.name for each in runner.given), runner.each(numbers)[0], strict=True))
    chosen = choose_output(outputs, spec)
    rows = as_rows(outputs[chosen])
    if rows is None or len(rows) != len(numbers):
        raise InputError(
            f"{len(numbers)} views got {0 if rows is None else len(rows)} answers",
            where=spec,
            todo="let it give one per view",
        )
    given = tuple(each for each in runner.given if each.name == chosen)[-1:]
    return replace(runner, given=given), rows.astype(np.float32, copy=False)


def _delegate(interpreter: Any) -> str:
    try:
        operations = interpreter._get_ops_details()  # LiteRT has no public way to ask
    except (AttributeError, ValueError):
        return "unknown"
    return "xnnpack" if any(each["op_name"] == "DELEGATE" for each in operations) else "none"


REFUSALS: tuple[tuple[str, str, str], ...] = (
    (
        r"unresolved custom op: (?P<name>\S+?)\.?\s",
        "LiteRT {version} has no operator {name}",
        "export it without operators of your own",
    ),
    (
        r"Select TensorFlow op.*\(Flex(?P<name>\w+)\)",
        "it needs TensorFlow's operator {name}, which LiteRT {version} has not",
        "convert it with TFLite's own operators only (TFLITE_BUILTINS)",
    ),
    (
        r"Didn't find op for builtin opcode '(?P<name>\w+)' version '(?P<n>\d+)'",
        "LiteRT {version} has no operator {name} in version {n}",
        "update ai-edge-litert",
    ),
    (
        r"builtin_code out of range: (?P<n>\d+)",
        "LiteRT {version} has no operator with the number {n}",
        "update ai-edge-litert",
    ),
    (r"not a valid Flatbuffer|schema version", "it is no TFLite model, or a damaged one", "fetch or export it again"),
)
"""What LiteRT's errors say, and what we make of it."""


def refusal(message: str, version: str) -> tuple[str, str]:
    """What is wrong, and what to do, from an error of LiteRT.

    Example:
        >>> refusal("Encountered unresolved custom op: Wobble.\\nSee instructions", "2.3.0")
        ('LiteRT 2.3.0 has no operator Wobble', 'export it without operators of your own')
    """
    for pattern, what, todo in REFUSALS:
        if found := re.search(pattern, message, re.DOTALL):
            return what.format(version=version, **found.groupdict()), todo
    return f"LiteRT {version} can't run it ({reason(Exception(message))})", "convert it again, or update ai-edge-litert"


@contextmanager
def _refused(spec: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as error:
        what, todo = refusal(str(error), litert_version())
        raise InputError(what, where=spec, todo=todo) from None


def litert_version() -> str:
    """LiteRT's."""
    from importlib.metadata import version

    return version("ai-edge-litert")


STDERR = Lock()
"""Of two threads that put stderr aside and back, one could put back what the other put aside."""


@contextmanager
def _no_log() -> Iterator[None]:
    """LiteRT writes to the process's stderr that it made a delegate, and can't be told not to; errors are raised."""
    with STDERR:
        try:
            stderr = os.dup(2)
        except OSError:  # a process without one
            yield
            return
        try:
            with open(os.devnull, "wb") as nothing:
                os.dup2(nothing.fileno(), 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
