"""A net converted to adaptive polyphase sampling: in a circle its answer stays the same wherever the picture moves.

A strided layer is carried out at every position, and of its stride × stride phases the strongest is kept (Chaman &
Dokmanić, "Truly shift-invariant convolutional neural networks", CVPR 2021). Branches that meet again take one phase,
which the first of them picks. What holds exactly holds in a circle only: so every window of the net goes round it.
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
from torch import Tensor, fx, nn

from shiftable.errors import InputError
from shiftable.layers.filtering import per_axis
from shiftable.layers.polyphase_conv import PolyphaseConv2d
from shiftable.layers.polyphase_pool import CircularAvgPool2d, CircularMaxPool2d, PolyphasePool2d
from shiftable.layers.replacing import kind_of
from shiftable.layers.same_padding import same_margin
from shiftable.models.torch_model import as_scores
from shiftable.surgery.calls import run
from shiftable.surgery.edits import Edit
from shiftable.surgery.polyphase_grids import Grids, Passed, grids_of
from shiftable.surgery.sites import Site
from shiftable.surgery.tracing import put, traced
from shiftable.surgery.windows import Pair

TOLERANCE = 1e-3
"""By what share of their size answers may differ that should be the same: rounding, through many layers."""


@dataclass(frozen=True)
class PolyphasePlan:
    """What converting sites would do.

    Args:
        stands: What will stand there, by site.
        refused: Why a site can't be converted, by site; none of them is, then.
        circular: The other layers whose windows will go round in a circle.
        stay: The sites that will subsample as they do.
        exact_px: By multiples of how many px a picture in a circle can move without the answer changing, (y, x).
    """

    stands: Mapping[str, str]
    refused: Mapping[str, str]
    circular: tuple[str, ...]
    stay: tuple[str, ...]
    exact_px: Pair

    def __str__(self) -> str:
        """What holds then, in a sentence or two."""
        if self.refused:
            return "; ".join(f"{site}: {why}" for site, why in self.refused.items())
        borders = (
            f"{len(self.circular)} other layers get circular padding in place of their own. " if self.circular else ""
        )
        if not self.stay:
            return f"{borders}Circular shifts of any size change nothing."
        y, x = self.exact_px
        return (
            f"{borders}{len(self.stay)} sites keep their phase ({', '.join(self.stay)}), so only circular shifts by "
            f"multiples of {y if y == x else f'{y} (y) and {x} (x)'} px change nothing."
        )


def with_polyphase(net: nn.Module, targets: Mapping[Site, Edit], inputs: Tensor) -> nn.Module:
    """The net with sites converted, all its windows going round in a circle, and the weights and keys that it had.

    Args:
        net: A copy: it is changed in place, and is not to be used if this fails.
        targets: The sites, from `find_sites` of this net, and what is to become of each: ``taps`` is the length of the
            blur before positions are dropped, by default none.
        inputs: What the net is shown, ``(image, channel, y, x)``; one image will do.

    Raises:
        InputError: If a site can't be converted, or the net's answer depends on where in the circle the picture lies.

    Example:
        >>> from shiftable.surgery.sites import find_sites
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        >>> picture = torch.randn(1, 3, 16, 16)
        >>> (site,) = find_sites(net, picture)
        >>> net = with_polyphase(net, {site: Edit("0", "polyphase")}, picture)
        >>> torch.allclose(net(picture), net(picture.roll((1, 5), dims=(2, 3))), atol=1e-5)
        True
    """
    taps = _taps(targets)
    with _evaluating(net):
        grids = grids_of(net, inputs[:1])
    if refused := _refused(net, taps, grids):
        site, why = next(iter(refused.items()))
        raise InputError(why, where=site, todo="leave it out, or choose another remedy")
    for name in _circular(net, taps, grids):
        net = put(net, name, _in_a_circle(net.get_submodule(name)))
    for name, length in taps.items():
        net = put(net, name, _polyphase(net.get_submodule(name), length))
    net = _with_shared_phases(net, [[site.name for site in group] for group in grids.groups if group[0].name in taps])
    with _evaluating(net):
        _check(net, inputs[:1], grids.total_px, _exact_px(taps, grids))
    return net


def planned_polyphase(net: nn.Module, targets: Mapping[Site, Edit], inputs: Tensor) -> PolyphasePlan:
    """What `with_polyphase` would do, without doing it. What only shows when it is done is not seen yet.

    Args:
        net: Is run once, and not changed.
        targets: As for `with_polyphase`.
        inputs: Likewise.
    """
    taps = _taps(targets)
    with _evaluating(net):
        grids = grids_of(net, inputs[:1])
    refused = _refused(net, taps, grids)
    stands = {}
    for group in grids.groups:
        for site in group:
            if site.name in taps and site.name not in refused:
                named = "PolyphaseConv2d" if site.window.kind == "convolution" else "PolyphasePool2d"
                stands[site.name] = named + (f", its phase that of {group[0].name}" if site is not group[0] else "")
    stay = tuple(site.name for site in grids.sites if site.name not in taps)
    circular = () if refused else tuple(_circular(net, taps, grids))
    return PolyphasePlan(stands, refused, circular, stay, _exact_px(taps, grids))


def _taps(targets: Mapping[Site, Edit]) -> dict[str, int]:
    """The length of the blur, by site."""
    return {site.name: edit.taps or 1 for site, edit in targets.items()}


def _refused(net: nn.Module, taps: Mapping[str, int], grids: Grids) -> dict[str, str]:
    """Why not, by site; empty if they can all be converted."""
    sites, found = {site.name: site for site in grids.sites}, {}
    passed = Counter(each.name for each in grids.windows)
    for name in taps:
        site = sites.get(name)
        group = next((group for group in grids.groups if site in group), ())
        others = [each.name for each in group if each.name not in taps]
        if site is None:
            found[name] = "nothing subsamples there"
        elif why := _not_convertible(net, site):
            found[name] = why
        elif others:
            found[name] = f"its map meets that of {' and '.join(others)}, which has to take the same phase: name it too"
        elif len(group) > 1 and passed[name] > 1:
            found[name] = "it is carried out more than once, beside another branch"
    if not found and taps:
        whole = [
            *grids.breaks,
            *(why for each in grids.windows for why in _off_the_circle(net, each)),
            *(
                f"{name} is a {kind}, whose padding depends on the map's size: convert it, too"
                for name in _circular(net, taps, grids)
                if (kind := str(kind_of(net.get_submodule(name)))).endswith("Same")
            ),
        ]
        found = dict.fromkeys(taps, f"the net can't go round in a circle: {whole[0]}") if whole else {}
    return found


def _not_convertible(net: nn.Module, site: Site) -> str | None:
    window, module = site.window, dict(net.named_modules()).get(site.name)
    if window.kind not in ("convolution", "max pooling", "average pooling"):
        return f"{window.kind} keeps the phase that it has: only convolution and pooling can pick theirs"
    if module is None:
        return f"a {window.kind} in the forward of a {site.type}: only that of a layer can pick its phase"
    if kind_of(module) is None:
        return f"a {site.type} is none of Conv2d, MaxPool2d and AvgPool2d, of which it is known what they do"
    if module._forward_hooks or module._forward_pre_hooks:
        return "it has hooks, which would be lost"
    if getattr(module, "return_indices", False):
        return "it gives the places of its maxima, too"
    return None


def _off_the_circle(net: nn.Module, passed: Passed) -> Iterator[str]:
    """Why a layer does not give a map that goes on where it ends."""
    kernel, stride, padding, dilation = _window(net.get_submodule(passed.name))
    (rows, columns), after = passed.before, passed.after
    if after == (1, 1) and all(
        size == edge and not pad for size, edge, pad in zip(kernel, passed.before, padding, strict=True)
    ):
        return  # the whole map
    if rows % stride[0] or columns % stride[1]:
        yield f"{passed.name} gets {rows}×{columns} positions, no multiple of its stride {stride[0]}×{stride[1]}"
    elif (rows // stride[0], columns // stride[1]) != after:
        yield (
            f"{passed.name} makes {after[0]}×{after[1]} positions of {rows}×{columns}, and not "
            f"{rows // stride[0]}×{columns // stride[1]}: its padding is not half its window"
        )
    elif any(
        (size - 1) * apart - pad > edge
        for size, apart, pad, edge in zip(kernel, dilation, padding, passed.before, strict=True)
    ):
        yield f"the window of {passed.name} is larger than its map of {rows}×{columns} positions"


def _window(module: nn.Module) -> tuple[tuple[int, ...], ...]:
    """(kernel, stride, padding, dilation) of a layer, each (y, x)."""
    given = module.__dict__
    kernel = per_axis(given["kernel_size"], 2, "kernel size", 1)
    dilation = per_axis(given.get("dilation", 1), 2, "dilation", 1)
    stride = per_axis(given["stride"] or kernel, 2, "stride", 1)
    if str(kind_of(module)).endswith("Same"):  # of a map whose size is a multiple of the stride
        margins = (same_margin(*each) for each in zip(stride, kernel, stride, dilation, strict=True))
        return kernel, stride, tuple(before for before, _ in margins), dilation
    if given["padding"] == "same":
        return (
            kernel,
            stride,
            tuple((size - 1) * apart // 2 for size, apart in zip(kernel, dilation, strict=True)),
            dilation,
        )
    return kernel, stride, per_axis(0 if given["padding"] == "valid" else given["padding"], 2, "padding", 0), dilation


def _circular(net: nn.Module, taps: Mapping[str, int], grids: Grids) -> list[str]:
    """The other layers that look beyond the map's edge."""
    names = dict.fromkeys(each.name for each in grids.windows if each.name not in taps)
    return [name for name in names if _looks_beyond(net.get_submodule(name))]


def _looks_beyond(module: nn.Module) -> bool:
    kernel, stride, padding, _ = _window(module)
    if isinstance(module, nn.Conv2d):
        return any(padding) and module.padding_mode != "circular"
    return any(padding) or any(size > step for size, step in zip(kernel, stride, strict=True))


def _in_a_circle(module: Any) -> nn.Module:
    """A layer with circular padding, everything else as it was."""
    if isinstance(module, nn.Conv2d):
        module.padding_mode = "circular"
        return module
    made: nn.Module
    if isinstance(module, nn.MaxPool2d):
        made = CircularMaxPool2d(module.kernel_size, module.stride, module.padding, module.dilation)
    else:
        made = CircularAvgPool2d(
            module.kernel_size, module.stride, module.padding, divisor_override=module.divisor_override
        )
    return made.train(module.training)


def _polyphase(module: Any, taps: int) -> nn.Module:
    """What stands for a strided layer, with its weights."""
    kernel, stride, padding, dilation = _window(module)
    made: Any
    if isinstance(module, nn.Conv2d):
        made = PolyphaseConv2d(
            module.in_channels, module.out_channels, kernel, stride, padding, dilation, module.groups,
            module.bias is not None, device="meta", dtype=module.weight.dtype, taps=taps,
        )  # fmt: skip
        # weights that are never made draw no random numbers
        made.weight, made.bias = module.weight, module.bias
    elif isinstance(module, nn.MaxPool2d):
        made = PolyphasePool2d(CircularMaxPool2d(kernel, 1, padding, dilation), stride, taps=taps)
    else:
        averaging = CircularAvgPool2d(kernel, 1, padding, divisor_override=module.divisor_override)
        made = PolyphasePool2d(averaging, stride, taps=taps)
    return made.train(module.training)


def _with_shared_phases(net: nn.Module, groups: Sequence[Sequence[str]]) -> nn.Module:
    """In each group, the phase that the first picks handed to the others, within the module that holds them all."""
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


def _exact_px(taps: Mapping[str, int], grids: Grids) -> Pair:
    staying = [pitch for name, pitch in grids.repeats_px.items() if name not in taps]
    return lcm(*(y for y, _ in staying)), lcm(*(x for _, x in staying))


def _check(net: nn.Module, inputs: Tensor, total_px: Pair, exact_px: Pair) -> None:
    """Raise if moving noise in a circle changes the answer: down by a period of all grids, across by as little as may be."""
    noise = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs)
    still, answer = _observed(net, noise)
    moved, other = _observed(net, noise.roll((total_px[0], exact_px[1]), dims=(2, 3)))
    if (answer - other).abs().max() <= TOLERANCE * (answer - answer.mean()).abs().max():
        return
    for name, (mean, rms) in still.items():
        found = moved.get(name, (mean, rms))
        if max(abs(mean - found[0]), abs(rms - found[1])) > TOLERANCE * rms:
            raise InputError(
                "up to here, something depends on where in the picture things are, which no choice of phases mends",
                where=name or "the forward",
                todo="choose another remedy",
            )
    raise InputError("the answer depends on where in the picture things are", todo="choose another remedy")


def _observed(net: nn.Module, inputs: Tensor) -> tuple[dict[str, tuple[float, float]], Tensor]:
    """Mean and RMS of what every module gives, which don't change when a map moves in a circle; and the scores."""
    found: dict[str, tuple[float, float]] = {}

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        if answers and answers[0].is_floating_point():
            one = answers[0].double()
            found.setdefault(name, (float(one.mean()), float(one.square().mean().sqrt())))

    return found, as_scores(run(net, inputs, lambda call: call(), left))


@contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """While this is entered, the net is not in training."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
