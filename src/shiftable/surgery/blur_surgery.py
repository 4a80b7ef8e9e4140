"""Sites of a net blurred for good: by layers in the place of layers, and by steps in the graph of a ``forward``."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from shiftable.errors import InputError
from shiftable.layers.blur_pool import BlurPool2d
from shiftable.layers.channel_affine import ChannelAffine
from shiftable.layers.replacing import antialiased, kind_of
from shiftable.surgery.calls import Call
from shiftable.surgery.edits import Edit
from shiftable.surgery.sites import Site
from shiftable.surgery.tracing import Traced, nodes_of, put, traced
from shiftable.surgery.windows import NCHW, Kind

FUNCTIONS: Mapping[Kind, Sequence[Any]] = {
    "convolution": (functional.conv2d,),
    "max pooling": (functional.max_pool2d, torch.max_pool2d),
    "average pooling": (functional.avg_pool2d, functional.adaptive_avg_pool2d),
    "slice": (operator.getitem, "torchvision.models.swin_transformer._patch_merging_pad"),
    "merging": (functional.pixel_unshuffle, functional.unfold, "view", "reshape"),
    "interpolation": (functional.interpolate, functional.adaptive_avg_pool2d),
}
"""What a ``forward`` may call to be known: a function, or the name of a map's method or of a function."""

MATCHED = "_matched"
"""What a step's name ends with that sets channels back."""


def with_blur(net: nn.Module, targets: Mapping[Site, Edit], inputs: Tensor) -> nn.Module:
    """The net with sites blurred; its weights are where they were.

    Args:
        net: A copy: it is changed in place, and is not to be used if this fails.
        targets: The sites, from `find_sites` of this net, and what is to become of each.
        inputs: What the net is shown; one image will do.

    Raises:
        InputError: If a site's type is not known.
    """
    by_module: dict[str, dict[Site, Edit]] = {}
    for site, edit in targets.items():
        by_module.setdefault(site.keys[0].module, {})[site] = edit
    for path, group in by_module.items():
        module, (site, edit) = net.get_submodule(path), next(iter(group.items()))
        if type(module).__module__.startswith("shiftable.layers."):
            raise InputError(f"{type(module).__name__} takes care of aliasing already", where=site.name)
        if kind_of(module) is None:
            net = _by_graph(net, path, group, inputs)
        else:  # passed several times, it is edited alike
            net = put(net, path, _layer(module, site, edit, inputs))
    return net


def corrected_by(net: nn.Module, name: str) -> nn.Module | None:
    """The convolution or the `ChannelAffine` that sets the channels of a site back; None where nothing does.

    Args:
        net: From `with_blur`.
        name: The site's.
    """
    path, _, step = name.partition(":")
    modules = dict(net.named_modules())
    module = modules.get(path)
    if isinstance(module, Traced):
        steps = [child for child in module._modules if child.endswith(MATCHED)]
        return modules.get(".".join(filter(None, (path, step + MATCHED if step else "".join(steps[:1])))))
    if isinstance(module, nn.Sequential) and len(module) and isinstance(module[-1], ChannelAffine):
        return module[-1]
    return module if isinstance(module, nn.Conv2d) and module.bias is not None else None


def _layer(module: nn.Module, site: Site, edit: Edit, inputs: Tensor) -> nn.Module:
    """What stands for a layer of a known type."""
    held = {*module._parameters, *module._buffers}
    if held - {"weight", "bias"} or module._forward_pre_hooks:
        raise InputError(f"a {site.type} with weights calculated anew each time, or hooks that run before it",
                         where=site.name, todo="take its parametrisation or its hooks away first")  # fmt: skip
    if getattr(module, "return_indices", False):
        raise InputError(f"a {site.type} that gives the places of its maxima, too", where=site.name,
                         todo="leave it out")  # fmt: skip
    made = antialiased(module, filter=edit.filter, taps=edit.taps, padding_mode=edit.padding).to(inputs.device)
    made._forward_hooks.update(module._forward_hooks)
    if not edit.match:
        return made
    if isinstance(made, nn.Conv2d):
        if made.bias is None:
            made.bias = nn.Parameter(made.weight.new_zeros(made.out_channels))
        return made
    return nn.Sequential(made, _affine(site.window.channels, inputs)).train(module.training)


def _affine(channels: int, inputs: Tensor) -> ChannelAffine:
    return ChannelAffine(channels, device=inputs.device, dtype=inputs.dtype)


def _by_graph(net: nn.Module, path: str, group: Mapping[Site, Edit], inputs: Tensor) -> nn.Module:
    """Sites that a module's own ``forward`` carries out."""
    module = traced(net, path)
    net = put(net, path, module)
    nodes = nodes_of(net, path, inputs)
    for site, edit in group.items():
        found = [nodes[key] for key in site.keys if key in nodes]
        steps = list(dict.fromkeys(node for node, _ in found))
        known = FUNCTIONS[site.window.kind]
        strange = [node for node in steps if node.target not in known and _called(node.target) not in known]
        if len(found) < len(site.keys) or strange:
            by = f" by {_called(strange[0].target)}" if strange else ""
            raise InputError(
                f"{site.window.kind} in the forward of {site.type}{by}, which is not known", where=site.name,
                todo="leave it out",
            )  # fmt: skip
        _edit(module, steps, site, edit, found[-1][1], inputs)
    module.graph.lint()
    module.recompile()
    return net


def _edit(module: Traced, steps: Sequence[fx.Node], site: Site, edit: Edit, call: Call, inputs: Tensor) -> None:
    """Have the steps of a site get a filtered map; a maximum, and a mean of windows of one size, is a layer instead."""
    graph, name = module.graph, _free(module, site)
    plain = _pooling(site, call)
    if plain is not None:
        module.add_module(name, _layer(plain, site, Edit(**{**edit.to_json(), "match": False}), inputs))
        with graph.inserting_before(steps[0]):
            given = graph.call_module(name, (_map(steps[0]),))
        steps[0].replace_all_uses_with(given)
        graph.erase_node(steps[0])
    else:
        given = steps[0]
        blur = BlurPool2d(
            1, scaled_to=site.window.stride, filter=edit.filter, taps=edit.taps, padding_mode=edit.padding,
            device=inputs.device,
        )  # fmt: skip
        module.add_module(name, blur.train(module.training))
        for map in dict.fromkeys(_map(step) for step in steps):
            if map not in steps:
                _filter(graph, map, [step for step in steps if _map(step) is map], name, site)
    if edit.match:
        if len(steps) > 1 or site.window.kind == "merging" or site.window.dimensions != NCHW:
            raise InputError(f"the moments of a {site.window.kind} can't be matched", where=site.name,
                             todo="leave match out")  # fmt: skip
        channels = int(call.args[1].shape[0]) if site.window.kind == "convolution" else site.window.channels
        module.add_module(name + MATCHED, _affine(channels, inputs))
        with graph.inserting_after(given):
            back = graph.call_module(name + MATCHED, (given,))
        given.replace_all_uses_with(back, lambda user: user is not back)


def _filter(graph: fx.Graph, map: fx.Node, steps: Sequence[fx.Node], name: str, site: Site) -> None:
    with graph.inserting_before(steps[0]):
        if site.window.dimensions == NCHW:
            filtered = graph.call_module(name, (map,))
        else:
            filtered = graph.call_module(name, (graph.call_method("movedim", (map, 3, 1)),))
            filtered = graph.call_method("contiguous", (graph.call_method("movedim", (filtered, 1, 3)),))
    for step in steps:
        step.replace_input_with(map, filtered)


def _pooling(site: Site, call: Call) -> nn.Module | None:
    """The layer that a function is the call of."""
    window = site.window
    padding = window.padding[0][0], window.padding[1][0]
    if window.kind == "max pooling":
        ceiled = bool(call.argument(5, False))
        return nn.MaxPool2d(window.kernel, window.stride, padding, window.dilation, ceil_mode=ceiled).eval()
    if call.key.operation == "avg_pool2d":
        return nn.AvgPool2d(window.kernel, window.stride, padding, bool(call.argument(4, False))).eval()
    return None


def _map(step: fx.Node) -> fx.Node:
    """What a step is given."""
    found = step.args[0] if step.args else step.kwargs["input"]
    assert isinstance(found, fx.Node)
    return found


def _free(module: nn.Module, site: Site) -> str:
    """A child's name that is not taken."""
    name = site.name.partition(":")[2] or site.keys[0].operation.removesuffix("_with_indices").strip("_")
    while hasattr(module, name):
        name += "_blurred"
    return name


def _called(target: Any) -> str:
    """A method by its name, a function by that and its module's."""
    if isinstance(target, str):
        return target
    return ".".join(filter(None, (getattr(target, "__module__", None), getattr(target, "__name__", str(target)))))
