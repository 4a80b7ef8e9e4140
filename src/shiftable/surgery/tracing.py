"""One module's ``forward`` as a graph that can be edited: functional poolings and residual blocks are changed in it.

A net as a whole can seldom be traced, and need not be: only the module that carries the operation out itself. Its
children stay as they are, with their names, so that the state dict keeps its keys. Reed et al., "torch.fx: practical
program capture and transformation for deep learning in Python", MLSys 2022.
"""

import copy
import inspect
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, fx, nn

from shiftable.errors import InputError
from shiftable.models.reasons import reason
from shiftable.surgery.calls import Call, Key, run

Into: TypeAlias = Callable[[str, nn.Module], bool]
"""Whether a child's own ``forward`` is to be part of the graph, given its path from the traced module and itself."""

KEPT = ("_parameters", "_buffers", "_modules", "_non_persistent_buffers_set")


def no_child(path: str, module: nn.Module) -> bool:
    """Every child is one step of the graph."""
    return False


def containers(path: str, module: nn.Module) -> bool:
    """``nn.Sequential``, exactly, is looked into; its children keep their names, as ``downsample.0``."""
    return type(module) is nn.Sequential


class Traced(fx.GraphModule):
    """A module whose ``forward`` is a graph. It holds what the module holds, used or not, in the same order."""

    def __init__(self, module: nn.Module, graph: fx.Graph) -> None:
        super().__init__(module, graph, type(module).__name__)
        # an fx module has only what its graph uses, and knows nothing of the settings that others may ask it for
        for name in KEPT:
            self.__dict__[name] = copy.copy(module.__dict__[name])
        for name, value in module.__dict__.items():
            if name not in self.__dict__:
                self.__dict__[name] = value
        for name in ("_forward_hooks", "_forward_pre_hooks"):
            self.__dict__[name] = copy.copy(module.__dict__[name])

    def __deepcopy__(self, memo: dict[int, Any]) -> fx.GraphModule:
        made = super().__deepcopy__(memo)
        for name, value in self.__dict__.items():
            if name in KEPT or name not in made.__dict__ or name in ("_forward_hooks", "_forward_pre_hooks"):
                made.__dict__[name] = copy.deepcopy(value, memo)
        return made


def traced(net: nn.Module, path: str, into: Into = no_child) -> Traced:
    """The module at a path with its ``forward`` as a graph, ``.graph``. It shares the module's weights and children.

    What depends on whether the net is in training is as it is now. Call ``recompile()`` when the graph has changed, and
    put it in the module's place by `put`.

    Args:
        net: Is not changed.
        path: Of the module; "" is the net itself.
        into: Which children are part of the graph: `no_child`, `containers`, or a function of your own.

    Raises:
        InputError: If what its ``forward`` does depends on what it is given, so that there is no one graph of it.

    Example:
        >>> class Pooled(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = nn.Conv2d(3, 8, 3)
        ...     def forward(self, map):
        ...         return nn.functional.max_pool2d(self.conv(map), 2)
        >>> [node.name for node in traced(nn.Sequential(Pooled()), "0").graph.nodes]
        ['map_1', 'conv', 'max_pool2d', 'output']
    """
    module = net.get_submodule(path)
    if isinstance(module, Traced):
        return Traced(module, copy.deepcopy(module.graph))
    try:
        with warnings.catch_warnings():  # fx's own, of no use to the user
            warnings.simplefilter("ignore")
            graph = _Tracer(into).trace(module, _settings(module))
            return Traced(module, graph)
    except Exception as error:  # whatever a forward raises when it is given no numbers
        raise InputError(
            f"the forward of {type(module).__name__} can't be traced ({reason(error)})",
            where=path or "the net",
            todo="leave its own operations out",
        ) from error


def put(net: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """The net with a module at a path, and wherever else the module that was there stands. It is changed in place.

    Args:
        net: A copy.
        path: "" gives the module itself back.
        module: What is to be there.
    """
    if not path:
        return module
    old = net.get_submodule(path)
    for parent in list(net.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = module
    return net


def nodes_of(net: nn.Module, path: str, inputs: Tensor) -> dict[Key, tuple[fx.Node, Call]]:
    """Which nodes of a traced module carry out which operations, by running the net. A slice along y and x is two.

    Args:
        net: With the traced module at the path, from `traced`.
        path: Of the traced module.
        inputs: What the net is shown.
    """
    module: Any = net.get_submodule(path)
    found: dict[Key, tuple[fx.Node, Call]] = {}
    watched = _Watched(module)

    def visit(call: Call) -> Any:
        if call.key.module == path and watched.node is not None:
            found[call.key] = watched.node, call
        return call()

    def forward(*args: Any, **kwargs: Any) -> Any:
        return watched.run(*inspect.signature(type(module).forward).bind(module, *args, **kwargs).args[1:])

    module.forward = forward
    try:
        run(net, inputs, visit)
    finally:
        del module.forward
    return found


class _Watched(fx.Interpreter):
    """Knows which node is being carried out."""

    node: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.node = n
        try:
            return super().run_node(n)
        finally:
            self.node = None


class _Tracer(fx.Tracer):
    """Children are leaves, but those into which it is to look."""

    def __init__(self, into: Into) -> None:
        super().__init__(param_shapes_constant=True)
        self.into = into

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not self.into(module_qualified_name, m)


def _settings(module: nn.Module) -> dict[str, Any] | None:
    """Arguments that have a default are taken to be left at it: a graph can't branch on them."""
    given = {
        name: each.default
        for name, each in inspect.signature(module.forward).parameters.items()
        if each.default is not inspect.Parameter.empty
    }
    return given or None
