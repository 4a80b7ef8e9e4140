"""A subsampling made dense for good: its stride becomes 1, and every layer after it is dilated by what the stride was.

Every s-th position of each later map is then what it was, borders included, and global pooling averages over all phases
of the site. That holds where nothing after it looks at more of a map than through a window; it is measured before a net
is given back. (Holschneider et al., 1989, "algorithme à trous"; DESIGN section 7, "Dense response".)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from shiftable.errors import InputError
from shiftable.layers.replacing import kind_of
from shiftable.layers.same_padding import SameDenseConv2d
from shiftable.models.reasons import reason
from shiftable.surgery.calls import Call, Key, flat, run
from shiftable.surgery.edits import Edit
from shiftable.surgery.mixing import Mix
from shiftable.surgery.sites import Site, travelled
from shiftable.surgery.tracing import put
from shiftable.surgery.windows import Pair, window_of

TOLERANCE = 1e-4
"""Up to which share of their RMS maps count as equal."""


def with_dense(net: nn.Module, targets: Mapping[Site, Edit], inputs: Tensor) -> nn.Module:
    """The net with sites made dense, as one: branches that meet again have to be made dense together.

    Args:
        net: A copy, not in training: it is changed in place, and is not to be used if this fails.
        targets: The sites, from `find_sites` of this net.
        inputs: What the net is shown; one image will do.

    Raises:
        InputError: If a site or a layer after it is of a type that is not known, if something looks at a whole map, or
            if it does not hold.
    """
    (site, *others) = targets
    strides = {each.window.stride for each in targets}
    for each in targets:
        if kind_of(net.get_submodule(each.keys[0].module)) is None:
            raise InputError(f"{each.window.kind} in a {each.type}, which can't be made dense", where=each.name,
                             todo="average the answers to moved views instead")  # fmt: skip
    if len(strides) > 1:
        raise InputError(f"has another stride than {others[0].name}", where=site.name, todo="make one of them dense")
    if inputs.is_floating_point():  # a plain view would hide much
        inputs = torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs)
    before = _maps(net, inputs)
    for name in _windowed_after(net, targets, inputs):
        net = put(net, name, _dilated(net.get_submodule(name), site.window.stride, name, site))
    for each in targets:
        path = each.keys[0].module
        net = put(net, path, _dense(net.get_submodule(path), each))
    try:
        after = _maps(net, inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:  # what a forward raises
        raise InputError(
            f"the net can't go on from a dense map ({reason(error)})", where=site.name,
            todo="make the sites of all branches that meet dense, or choose another remedy",
        ) from error  # fmt: skip
    _check(before, after, site)
    return net


def _windowed_after(net: nn.Module, targets: Mapping[Site, Edit], inputs: Tensor) -> list[str]:
    """The modules after the sites that look through a window of more than one position."""
    travel = travelled(net, inputs)
    given_back = {travel.mixes[number].key for number in travel.given_back}
    after = _After(targets, {mix.key: mix for mix in travel.mixes}, given_back)
    run(net, inputs, after.visit)
    for name in after.windowed:
        if name in after.windowed_before:
            raise InputError("is used before the site and after it", where=name or "the net", todo="leave it out")
    return list(after.windowed)


@dataclass
class _After:
    """Follows what is made from the sites' maps until it is pooled."""

    targets: Mapping[Site, Edit]
    mixes: Mapping[Key, Mix]
    given_back: set[Key]
    windowed: dict[str, None] = field(default_factory=dict)
    windowed_before: set[str] = field(default_factory=set)
    known: Any = field(default_factory=WeakTensorKeyDictionary)

    def visit(self, call: Call) -> Any:
        answer = call()
        is_site = any(call.key in site.keys for site in self.targets)
        from_it = any(isinstance(each, Tensor) and each in self.known for each in flat([call.args, call.kwargs]))
        mix, window = self.mixes.get(call.key), window_of(call, answer)
        looks = window is not None and (window.kernel != (1, 1) or window.padding != ((0, 0), (0, 0)))
        if is_site and from_it:
            raise InputError("comes after another of the sites", where=call.key.module, todo="make one of them dense")
        if not from_it and not is_site:
            if looks:
                self.windowed_before.add(call.key.module)
            return answer
        if mix is not None and not is_site:
            if mix.what == "global pooling" and mix.key not in self.given_back:
                return answer  # the mean of all phases, from here on without positions
            raise InputError(f"comes after the site and looks at its whole map ({mix.what})",
                             where=call.key.module or "the forward",
                             todo="average the answers to moved views instead")  # fmt: skip
        if looks and not is_site:
            self.windowed[call.key.module] = None
        for each in flat(answer):
            if isinstance(each, Tensor):
                self.known[each] = True
        return answer


def _dilated(module: Any, by: Pair, name: str, site: Site) -> nn.Module:
    """A layer that looks at every ``by``-th position of a map, its stride as it is."""
    kind = kind_of(module)
    if kind not in ("Conv2d", "MaxPool2d") or getattr(module, "padding_mode", "zeros") != "zeros":
        raise InputError(
            f"after it comes {name or 'the net'}, a {type(module).__name__} that can't be dilated", where=site.name,
            todo="average the answers to moved views instead",
        )  # fmt: skip
    dilation = _times(_pair(module.dilation), by)
    if kind == "Conv2d":
        module.dilation = dilation
        if not isinstance(module.padding, str):  # "same" and "valid" go by the dilation
            module.padding = _times(_pair(module.padding), by)
        return module  # type: ignore[no-any-return]
    if (module.ceil_mode and max(_pair(module.stride)) > 1) or module.return_indices:
        raise InputError(f"after it comes {name}, which rounds sizes up or gives the places of its maxima, too",
                         where=site.name, todo="average the answers to moved views instead")  # fmt: skip
    padding = _times(_pair(module.padding), by)
    return _maximum(_pair(module.kernel_size), _pair(module.stride), dilation, padding, padding)


def _maximum(kernel: Pair, stride: Pair, dilation: Pair, before: Pair, after: Pair) -> nn.Module:
    """Max pooling with (y, x) positions around a map; PyTorch's own pads at most half a window that is not dilated."""
    around = nn.ConstantPad2d((before[1], after[1], before[0], after[0]), -inf)
    return nn.Sequential(around, nn.MaxPool2d(kernel, stride, 0, dilation)).eval()


def _dense(module: Any, site: Site) -> nn.Module:
    """A layer that keeps every position, at least as far as the layer's own last window."""
    kind = kind_of(module)
    if kind == "Conv2d":
        module.stride = (1, 1)
        return module  # type: ignore[no-any-return]
    if kind == "Conv2dSame":
        return SameDenseConv2d.of(module)
    window, more = site.window, (0, 0)
    kernel, dilation, padding = window.kernel, window.dilation, (window.padding[0][0], window.padding[1][0])
    if module.ceil_mode:  # its last windows may begin anywhere inside the map
        down, right = (
            min(step - 1, spread * (size - 1) - pad)
            for step, spread, size, pad in zip(window.stride, dilation, kernel, padding, strict=True)
        )
        more = (down, right)
    if kind == "MaxPool2d" and not module.return_indices:
        return _maximum(kernel, (1, 1), dilation, padding, (padding[0] + more[0], padding[1] + more[1]))
    if kind == "AvgPool2d" and not any(more):
        return nn.AvgPool2d(
            kernel, 1, padding, count_include_pad=module.count_include_pad, divisor_override=module.divisor_override
        ).eval()
    if kind == "AvgPool2d" and not any(padding) and all(2 * by <= size for by, size in zip(more, kernel, strict=True)):
        averaged = nn.AvgPool2d(kernel, 1, more, count_include_pad=False, divisor_override=module.divisor_override)
        return nn.Sequential(
            averaged, nn.ConstantPad2d((-more[1], 0, -more[0], 0), 0.0)
        ).eval()  # the first are cut off
    raise InputError(f"a {site.type} of such settings can't be made dense", where=site.name,
                     todo="choose another remedy")  # fmt: skip


def _maps(net: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """What every module gives, where that may be a map."""
    found: dict[str, Tensor] = {}

    def left(name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        if answers and answers[0].ndim == 4:
            found[name] = answers[0].clone()  # some activations write over what they are given

    run(net, inputs, lambda call: call(), left)
    return found


def _check(before: Mapping[str, Tensor], after: Mapping[str, Tensor], site: Site) -> None:
    """Raise unless every s-th position of what became larger is what it was."""
    strides = [step for step in site.window.stride if step > 1]
    for name, old in before.items():
        new = after.get(name, old)
        larger = [axis for axis, (a, b) in enumerate(zip(old.shape, new.shape, strict=True)) if a != b]
        for axis, step in zip(larger, strides, strict=False):
            kept = torch.arange(0, new.shape[axis], step, device=new.device)
            new = new.index_select(axis, kept).narrow(axis, 0, min(len(kept), old.shape[axis]))
        if larger and (new.shape != old.shape or not _equal(old, new)):
            raise InputError(
                f"the map of {name or 'the net'} is another then at the positions that it had", where=site.name,
                todo="average the answers to moved views instead",
            )  # fmt: skip


def _equal(old: Tensor, new: Tensor) -> bool:
    return bool((old - new).abs().max() <= TOLERANCE * old.float().square().mean().sqrt())


def _pair(value: Any) -> Pair:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _times(pair: Pair, by: Pair) -> Pair:
    return pair[0] * by[0], pair[1] * by[1]
