"""Where a net subsamples: every operation in order, seen in one forward pass.

What can't be seen: arithmetic outside of PyTorch (a NumPy round trip), what a custom operator does inside, positions
dropped by an index or by ``Tensor.unfold``, and what a TorchScript net does at all. Each is told in a remark, or, for
TorchScript, an error. A receptive field is that of windows alone: `Structure.mixes` names what looks farther.
"""

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Pair, Structure, Subsampling
from shiftable.explaining.resize_words import resize_words
from shiftable.models.reasons import reason
from shiftable.surgery.calls import Key
from shiftable.surgery.sites import Site, named_sites, travelled
from shiftable.surgery.standing import Crossing, Standing, added
from shiftable.surgery.travelling import Travel

WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
}
"""Classes that only run another net, and where they hold it."""


def structure(model: Any, view_size: Pair | None = None, spec: str | None = None, *, seed: int = 0) -> Structure:
    """Where a net subsamples, and what follows from its total stride.

    It is run twice, on two pictures of noise, and not changed.

    Args:
        model: A PyTorch model as `open_model` returns it, or a net.
        view_size: (height, width) in px; None takes the model's own, for a net 224.
        spec: What to call it; None takes the model's own name, for a net its class.
        seed: Of the noise.

    Raises:
        InputError: If it is no PyTorch net, is TorchScript, or can't take a view of this size.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
        >>> found = structure(net, (32, 32), "two steps")
        >>> [(site.name, site.stride, site.blur) for site in found.sites], found.stride_px, found.copies
        ([('0', (2, 2), None), ('2', (2, 2), None)], (4, 4), 16)
    """
    spec = spec or str(getattr(model, "spec", type(model).__name__))
    height, width = view_size or getattr(model, "view_size", None) or (224, 224)
    size = (int(height), int(width))
    net, remarks = unwrapped(getattr(getattr(model, "exact", None) or model, "net", model), spec)
    feed, travel = _first_way(model, net, size, seed, spec)
    other = _tried(lambda: travelled(net, feed(seed + 1)), spec, size)
    sites = named_sites(net, travel)
    for site in sites:
        if min(site.window.output_size) < 1:
            raise _too_small(f"{site.name} gives a map of no position", spec, size)
    return _found(net, travel, sites, spec, size, _resize(model, size), (*remarks, *_remarks(travel, other)))


def unwrapped(net: Any, spec: str) -> tuple[nn.Module, tuple[str, ...]]:
    """The net inside a wrapper that only runs it, and a remark that says so.

    Raises:
        InputError: If it is no PyTorch net, or TorchScript.
    """
    remarks = []
    while (held := WRAPPERS.get(type(net).__name__)) and isinstance(getattr(net, held, None), nn.Module):
        remarks.append(f"It comes in a {type(net).__name__}; the net inside was looked at, run by PyTorch itself.")
        net = getattr(net, held)
    if isinstance(net, torch.jit.ScriptModule):
        raise InputError("TorchScript nets can't be looked into", where=spec, todo="give the net that it was made from")
    if not isinstance(net, nn.Module):
        raise InputError(
            "only PyTorch nets can be looked into", where=spec, todo="open the net that this model was made from"
        )
    return net, tuple(remarks)


Feed: TypeAlias = Callable[[int], Tensor]
"""A seed → a picture of noise, as the net is fed; every other seed has less contrast."""


def _first_way(model: Any, net: nn.Module, size: Pair, seed: int, spec: str) -> tuple[Feed, Travel]:
    """What the net can be fed, and the way of such a picture through it."""
    if callable(getattr(model, "inputs", None)):
        return (feed := _views(model, size)), _tried(lambda: travelled(net, feed(seed)), spec, size)
    told = (getattr(module, "in_channels", None) for module in net.modules())
    first = next((each for each in told if isinstance(each, int)), 3)
    for channels in {first: None, 3: None}:  # the first convolution may come after patches were merged
        feed = _noise(net, channels, size)
        try:
            return feed, _tried(lambda feed=feed: travelled(net, feed(seed)), spec, size)  # type: ignore[misc]
        except InputError as error:
            refused = error
    raise refused


def _views(model: Any, size: Pair) -> Feed:
    def feed(seed: int) -> Tensor:
        noise = torch.rand((1, *size, 3), generator=torch.Generator().manual_seed(seed)) - 0.5
        found: Tensor = model.inputs((255 * (0.5 + noise / (1 + seed % 2))).to(torch.uint8).numpy())
        return found

    return feed


def _noise(net: nn.Module, channels: int, size: Pair) -> Feed:
    weight = next(net.parameters(), torch.empty(0))
    kind = weight.dtype if weight.is_floating_point() else torch.float32

    def feed(seed: int) -> Tensor:
        noise = torch.randn((1, channels, *size), generator=torch.Generator().manual_seed(seed))
        return (noise / (1 + seed % 2)).to(weight.device, kind)

    return feed


def _tried(look: Callable[[], Any], spec: str, size: Pair) -> Any:
    try:
        return look()
    except InputError as error:
        raise InputError(error.what, where=spec, todo=error.todo) from None
    except Exception as error:  # nets refuse a size in many types
        raise _too_small(f"the net can't take it ({reason(error)})", spec, size) from error


def _too_small(what: str, spec: str, size: Pair) -> InputError:
    return InputError(
        f"a view of {size[0]}×{size[1]} px: {what}",
        where=spec,
        todo="give the size that it takes by --preprocessing 'view_size=[H,W]'",
    )


def _found(
    net: nn.Module,
    travel: Travel,
    sites: Sequence[Site],
    spec: str,
    size: Pair,
    resize: str | None,
    remarks: tuple[str, ...],
) -> Structure:
    last = travel.answer or (travel.crossings[-1].after if travel.crossings else Standing(size, 0))
    if not sites:
        remarks = ("It does not subsample: every map has a position per pixel.", *remarks)
    elif last.positions == 1:
        remarks = (*remarks, "At this size its last map has one position: there is no grid left to sample on.")
    subsamplings = tuple(
        _subsampling(site, crossing, number in last.sites)
        for number, (site, crossing) in enumerate(zip(sites, travel.crossings, strict=True))
    )
    return Structure(
        spec=spec,
        view_size=size,
        resize=resize,
        sites=subsamplings,
        layers=last.depth,
        layers_in_all=len(travel.weighted),
        stride_px=last.repeats_px,
        receptive_field_px=_field(last),
        last_map=last.layer or "the answer",
        mixes=tuple(_mixes(net, travel)),
        remarks=remarks,
    )


def _subsampling(site: Site, crossing: Crossing, on_main_path: bool) -> Subsampling:
    window, before = site.window, crossing.before
    (top, bottom), (left, right) = before.padded
    size = (window.input_size[0] - top - bottom, window.input_size[1] - left - right)
    pitch = tuple(ceil(each) for each in before.pitch_px)
    return Subsampling(
        name=site.name,
        kind=window.kind,
        type=site.type,
        kernel=window.kernel,
        stride=window.stride,
        padding=added(window.padding, before.padded),
        dilation=window.dilation,
        input_size=size,
        output_size=window.output_size,
        channels=window.channels,
        stride_before_px=(pitch[0], pitch[1]),
        receptive_field_px=_field(crossing.after),
        blur=f"its own kernel, {crossing.blur}" if crossing.blur else before.blur,
        on_main_path=on_main_path,
    )


def _field(standing: Standing) -> Pair:
    y, x = (ceil(last - first) + 1 for first, last in zip(standing.first_px, standing.last_px, strict=True))
    return y, x


def _mixes(net: nn.Module, travel: Travel) -> Iterator[str]:
    """What looks at all of a map, a line for each kind: its module, and how many of them there are."""
    types = {name: type(module).__name__ for name, module in net.named_modules()}
    places: dict[str, list[str]] = {}
    for number, mix in enumerate(travel.mixes):
        what = mix.what
        if what == "global pooling" and number in travel.given_back:
            what = "pooled and given back (squeeze and excite)"
        name = mix.key.module
        if types[name] == "Softmax":  # of an attention: that is what to name
            name = name.rpartition(".")[0]
        module = f"{name} ({types[name]})" if name else f"its own forward ({mix.key.operation})"
        if module not in (known := places.setdefault(what, [])):
            known.append(module)
    for what, modules in places.items():
        if len(modules) == 1:
            yield f"{modules[0]}: {what}"
        else:
            yield f"{modules[0]} to {modules[-1]}, {len(modules)} in all: {what}"


def _remarks(travel: Travel, other: Travel) -> Iterator[str]:
    ways = [[(key.module, key.operation) for key in each.keys] for each in (travel, other)]
    if ways[0] != ways[1]:
        yield "Another picture took another way through the net: what is told here is the way of one."
    elif travel.asked:
        yield f"{_where(travel.asked[0])} reads a number of the picture itself: the way may depend on it."
    for key in travel.lost:
        yield (
            f"Where the map before {_where(key)} comes from could not be seen: something was calculated outside of "
            "PyTorch. Its stride is guessed from its size."
        )
    for key in travel.unknown:
        yield f"{_where(key)} drops positions, or follows something that did: that is no site."
    if travel.answer is None:
        yield "The answer could not be followed back to the picture: something was calculated outside of PyTorch."


def _where(key: Key) -> str:
    return f"{key.module or 'its own forward'} ({key.operation})"


def _resize(model: Any, size: Pair) -> str | None:
    fields = getattr(model, "preprocessing", None)
    return None if fields is None else resize_words(fields, size)
