"""One phase for all branches that meet again: handed on from the first that picks it, in the graph of a ``forward``."""

import operator
from collections.abc import Callable, Sequence

from torch import fx, nn

from shiftable.errors import InputError
from shiftable.surgery.tracing import put, traced


def with_shared_phases(net: nn.Module, groups: Sequence[Sequence[str]]) -> nn.Module:
    """In each group, the phase that the first picks is handed to the others, within the module that holds them all.

    Args:
        net: A copy: it is changed in place. In it stand layers that give their phase if asked and take another's.
        groups: The paths of such layers.

    Raises:
        InputError: If the ``forward`` of that module can't be traced, or carries one of them out twice or not at all.
    """
    blocks: dict[str, list[Sequence[str]]] = {}
    for group in groups:
        if len(group) > 1:
            blocks.setdefault(_common(group), []).append(group)
    for block in sorted(blocks, key=lambda path: path.count("."), reverse=True):  # what is within others first
        start = f"{block}." if block else ""
        inner = [[name.removeprefix(start) for name in group] for group in blocks[block]]
        try:
            module = traced(net, block, _on_the_way([name for group in inner for name in group]))
        except InputError as error:
            names = " and ".join(blocks[block][0])
            raise InputError(
                f"{names} have to take the same phase, but {error.what}", where=error.where, todo="leave them out"
            ) from error
        for group in inner:
            _hand_on(module.graph, group, block)
        module.recompile()
        net = put(net, block, module)
    return net


def _on_the_way(names: Sequence[str]) -> Callable[[str, nn.Module], bool]:
    return lambda path, module: any(name.startswith(f"{path}.") for name in names)


def _common(names: Sequence[str]) -> str:
    """The path of the smallest module that holds these modules."""
    shared = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared)


def _hand_on(graph: fx.Graph, group: Sequence[str], block: str) -> None:
    nodes = [node for node in graph.nodes if node.op == "call_module" and node.target in group]
    if sorted(str(node.target) for node in nodes) != sorted(group):
        raise InputError(f"its forward does not carry out {' and '.join(group)} once each", where=block or "the net")
    first, *others = nodes
    first.kwargs = {**first.kwargs, "with_phase": True}
    with graph.inserting_after(first):
        phase = graph.call_function(operator.getitem, (first, 1))
    with graph.inserting_after(first):
        map = graph.call_function(operator.getitem, (first, 0))
    first.replace_all_uses_with(map, lambda user: user not in (map, phase))
    for node in others:
        node.kwargs = {**node.kwargs, "phase": phase}
