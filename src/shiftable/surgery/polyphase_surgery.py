"""A net converted to adaptive polyphase sampling: in a circle its answer stays the same wherever the picture moves.

A strided layer is carried out at every position, and of its stride × stride phases the strongest is kept (Chaman &
Dokmanić, "Truly shift-invariant convolutional neural networks", CVPR 2021). Branches that meet again take one phase,
which the first of them picks. What holds exactly holds in a circle only: so every window of the net goes round it.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import lcm

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.layers.replacing import kind_of
from shiftable.models.torch_model import as_scores
from shiftable.surgery.calls import run
from shiftable.surgery.circling import in_a_circle, looks_beyond, off_the_circle, polyphase
from shiftable.surgery.edits import Edit
from shiftable.surgery.phase_sharing import with_shared_phases
from shiftable.surgery.polyphase_grids import Grids, grids_of
from shiftable.surgery.sites import Site
from shiftable.surgery.tracing import put
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
        net = put(net, name, in_a_circle(net.get_submodule(name)))
    for name, length in taps.items():
        net = put(net, name, polyphase(net.get_submodule(name), length))
    net = with_shared_phases(net, [[site.name for site in group] for group in grids.groups if group[0].name in taps])
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
        elif site is not group[0]:
            continue
        elif len(group) > 1 and _all_alike(site):
            found[name] = (
                "its window covers the map, so its phases are alike, and the branches beside it have none to take"
            )
        elif len(group) > 1 and any(passed[each.name] > 1 for each in group):
            found[name] = "it is carried out more than once, beside another branch"
    if not found and taps:
        whole = [
            *grids.breaks,
            *(why for each in grids.windows for why in off_the_circle(net.get_submodule(each.name), each)),
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


def _all_alike(site: Site) -> bool:
    """Whether a pooling's window goes round the whole circle, so that only rounding tells its phases apart."""
    window = site.window
    axes = zip(window.kernel, window.stride, window.input_size, strict=True)
    return window.kind != "convolution" and any(step > 1 and kernel >= size for kernel, step, size in axes)


def _circular(net: nn.Module, taps: Mapping[str, int], grids: Grids) -> list[str]:
    """The other layers that look beyond the map's edge."""
    names = dict.fromkeys(each.name for each in grids.windows if each.name not in taps)
    return [name for name in names if looks_beyond(net.get_submodule(name))]


def _exact_px(taps: Mapping[str, int], grids: Grids) -> Pair:
    staying = [pitch for name, pitch in grids.repeats_px.items() if name not in taps]
    return lcm(*(y for y, _ in staying)), lcm(*(x for _, x in staying))


def _check(net: nn.Module, inputs: Tensor, total_px: Pair, exact_px: Pair) -> None:
    """Raise if noise moved in a circle changes the answer: down by a period of all grids, across by the exact shift."""
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
