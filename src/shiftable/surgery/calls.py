"""Every operation that a net carries out, with the module it is in: seen, and replaced where asked.

PyTorch hands each operation to a dispatch mode before it runs. So a functional pooling in a ``forward``, a layer, and
an exported graph are all the same here, and no tracer has to understand the net's control flow.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from shiftable.errors import InputError


class Key(NamedTuple):
    """What tells an operation of a net from its others, in every forward pass that takes the same way.

    Args:
        module: The path of the innermost module that was running; "" is the net's own ``forward``.
        operation: The operation's name in ATen, as ``"convolution"``.
        nth: How many of that name this module had carried out before, in this pass.
    """

    module: str
    operation: str
    nth: int


@dataclass(frozen=True)
class Call:
    """An operation about to be carried out."""

    key: Key
    function: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self, *args: Any) -> Any:
        """Carry it out, with other leading arguments if any are given."""
        return self.function(*args, *self.args[len(args) :], **self.kwargs)

    def argument(self, place: int, default: Any = None) -> Any:
        """A positional argument, or what it is where the caller left it out."""
        return self.args[place] if place < len(self.args) else default


Visit = Callable[[Call], Any]
"""Gets each operation and returns its result: ``call()``, or something else."""

Left = Callable[[str, nn.Module, Sequence[Tensor]], None]
"""Told a module's path, the module, and the tensors that it gives back."""


@contextmanager
def visited(net: nn.Module, visit: Visit, left: Left | None = None) -> Iterator[None]:
    """While this is entered, every operation of the net's forward passes goes through ``visit``.

    Args:
        net: Its weights, mode and hooks are as found afterwards, also after an exception.
        visit: Gets every operation. What it does itself is not visited.
        left: Told of every module that has run.

    Raises:
        InputError: If it is a TorchScript net, which lets nobody look on. What is scripted inside another net is seen
            operation by operation, as if they were its surrounding module's.
    """
    if isinstance(net, torch.jit.ScriptModule):
        raise InputError("TorchScript nets can't be looked into", todo="give the net that it was made from")
    running: list[str] = []
    done: Counter[tuple[str, str]] = Counter()
    handles = []

    def before(name: str, module: nn.Module, args: Any) -> None:
        if not running:  # a new pass
            done.clear()
        running.append(name)

    def after(name: str, module: nn.Module, args: Any, answer: Any) -> None:
        running.pop()
        if left is None or answer is None:
            return
        outer, running[:] = running[:], []  # what it does itself is not the net's
        try:
            left(name, module, [each for each in flat(answer) if isinstance(each, Tensor)])
        finally:
            running[:] = outer

    try:
        for name, module in net.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue
            handles.append(module.register_forward_pre_hook(partial(before, name)))
            handles.append(module.register_forward_hook(partial(after, name), always_call=True))
        with _Visited(visit, running, done):
            yield
    finally:
        for handle in handles:
            handle.remove()


def flat(answer: Any) -> Iterator[Any]:
    """What lists, tuples, mappings and dataclasses hold, one after the other."""
    if isinstance(answer, Mapping):
        for each in answer.values():
            yield from flat(each)
    elif isinstance(answer, list | tuple):
        for each in answer:
            yield from flat(each)
    elif is_dataclass(answer) and not isinstance(answer, type):
        for each in fields(answer):
            yield from flat(getattr(answer, each.name))
    else:
        yield answer


class _Visited(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers the operations and hands them on."""

    def __init__(self, visit: Visit, running: list[str], done: Counter[tuple[str, str]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.visit, self.running, self.done = visit, running, done

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.running:  # between two passes: it is not the net's
            return func(*args, **(kwargs or {}))
        if torch.is_inference_mode_enabled():  # there, PyTorch does not take operations apart before they come here
            with self:
                taken_apart = func.decompose(*args, **(kwargs or {}))
            if taken_apart is not NotImplemented:
                return taken_apart
        module, name = self.running[-1], func.overloadpacket.__name__
        key = Key(module, name, self.done[module, name])
        self.done[module, name] += 1
        return self.visit(Call(key, func, args, kwargs or {}))


@contextmanager
def answering(net: nn.Module) -> Iterator[None]:
    """While this is entered, the net only answers: in training its norms would learn from what it is shown."""
    modes = [(module, module.training) for module in net.modules()]
    for module, _ in modes:  # and not eval(), which exported graphs refuse
        module.training = False
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def run(net: nn.Module, inputs: Tensor, visit: Visit, left: Left | None = None) -> Any:
    """The net's answer, every operation going through ``visit``. No gradients, and no norm learns."""
    with torch.no_grad(), answering(net), visited(net, visit, left):
        return net(inputs)
