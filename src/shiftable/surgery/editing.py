"""Surgery: a copy of a net in which some sites are carried out otherwise, the weights under the names that they had."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

from torch import Tensor, nn

from shiftable.errors import InputError, unknown
from shiftable.layers.replacing import kind_of
from shiftable.models.reasons import reason
from shiftable.surgery.blur_surgery import with_blur
from shiftable.surgery.dense_surgery import with_dense
from shiftable.surgery.edits import Edit, Remedy
from shiftable.surgery.polyphase_surgery import with_polyphase
from shiftable.surgery.sites import Site, find_sites
from shiftable.surgery.tracing import Traced

__all__ = ["Edit", "Planned", "Remedy", "edits_of", "inspected", "operate"]

CarryOut: TypeAlias = Callable[[nn.Module, Mapping[Site, Edit], Tensor], nn.Module]
"""Gets a copy that it may change, the sites with what is to become of them, and what the net is shown."""

REMEDIES: Mapping[Remedy, CarryOut] = {"polyphase": with_polyphase, "blur": with_blur, "dense": with_dense}
"""In the order in which they are carried out."""


@dataclass(frozen=True)
class Planned:
    """What is to become of a site: a line of the plan that is shown before anything is done.

    Args:
        site: The site: its name, type, and how its window goes over the map.
        edit: What was asked for; None leaves it as it is.
        becomes: What will stand there; "" where it stays.
        refused: Why that can't be done; None if it can, or is not asked for.
    """

    site: Site
    edit: Edit | None = None
    becomes: str = ""
    refused: str | None = None

    @property
    def phase(self) -> tuple[float, float]:
        """Where the middle of the first window lies, in positions of the map before, (y, x). It stays there."""
        window = self.site.window
        y, x = (
            spread * (size - 1) / 2 - before
            for size, spread, (before, _) in zip(window.kernel, window.dilation, window.padding, strict=True)
        )
        return y, x

    def __str__(self) -> str:
        window, (y, x) = self.site.window, self.phase
        kernel, stride, before, after = (
            "×".join(map(str, each)) for each in (window.kernel, window.stride, window.input_size, window.output_size)
        )
        what = f"refused: {self.refused}" if self.refused else self.becomes or "stays"
        return (
            f"{self.site.name} ({self.site.type}, {window.kind} {kernel}, stride {stride}, {before} → {after}, "
            f"from ({y:g}, {x:g})): {what}"
        )


def operate(net: nn.Module, edits: Sequence[Edit], inputs: Tensor) -> nn.Module:
    """A copy of the net with the edits carried out. Sizes and phases stay, and weights keep their names.

    An edit that was carried out on this net before is not carried out again. The copy's answers are those of a net that
    is not in training where its ``forward`` had to be traced.

    Args:
        net: Is not changed.
        edits: One for each site that is to be changed, in any order; none gives a plain copy.
        inputs: What the net is shown, ``(image, channel, y, x)``; one image will do.

    Returns:
        The state dict has the keys of the net's; a matched convolution without a bias gets one, other matched sites
        have their gain and shift there.

    Raises:
        InputError: For sites that do not exist or that are edited otherwise already, and for what can't be done, with
            the reason.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.MaxPool2d(2))
        >>> blurred = operate(net, [Edit("2")], torch.zeros(1, 3, 32, 32))
        >>> type(net[2]).__name__, type(blurred[2]).__name__
        ('MaxPool2d', 'MaxBlurPool2d')
    """
    made = _copied(net)
    before = edits_of(made)
    new = _new(before, edits)
    if not new:
        return made
    modes = {name: module.training for name, module in made.named_modules()}
    made.eval()
    targets = _targets(made, new, find_sites(made, inputs[:1]))
    for remedy, carry_out in REMEDIES.items():
        chosen = {site: edit for site, edit in targets.items() if edit.remedy == remedy}
        if chosen:
            made = carry_out(made, chosen, inputs[:1])
    for name, module in made.named_modules():
        while name not in modes:  # new ones are in the mode of what they stand for
            name = name.rpartition(".")[0]
        module.training = modes[name]
    made.shiftable_edits = (*before, *new)  # type: ignore[assignment]
    return made


def edits_of(net: nn.Module) -> tuple[Edit, ...]:
    """What was done to a net by `operate`.

    Args:
        net: Any net.
    """
    return cast(tuple[Edit, ...], getattr(net, "shiftable_edits", ()))


def inspected(net: nn.Module, edits: Sequence[Edit], inputs: Tensor) -> tuple[Planned, ...]:
    """What `operate` would do, site by site in the order in which they are carried out. What it would refuse says why.

    Args:
        net: Is not changed.
        edits: As for `operate`.
        inputs: Likewise.

    Raises:
        InputError: For sites that do not exist, or two edits of one.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        >>> print(*inspected(net, [Edit("2")], torch.zeros(1, 3, 32, 32)), sep="\\n")
        0 (Conv2d, convolution 3×3, stride 2×2, 32×32 → 16×16, from (0, 0)): stays
        2 (MaxPool2d, max pooling 2×2, stride 2×2, 16×16 → 8×8, from (0.5, 0.5)): MaxBlurPool2d
    """
    sites = find_sites(_copied(net).eval(), inputs[:1])
    new = _new(edits_of(net), edits)
    named = {edit.site: edit for edit in new}
    for name in named:
        if name not in {site.name for site in sites}:
            raise unknown("site", name, [site.name for site in sites])
    made, refused = _as_far_as_possible(net, new, inputs)
    return tuple(
        Planned(
            site,
            named.get(site.name),
            "" if site.name in refused or site.name not in named else _becomes(made, named[site.name]),
            refused.get(site.name),
        )
        for site in sites
    )


def _as_far_as_possible(net: nn.Module, edits: Sequence[Edit], inputs: Tensor) -> tuple[nn.Module, dict[str, str]]:
    """The net with what can be done, and the reasons for the rest."""
    refused: dict[str, str] = {}
    for remedy in REMEDIES:
        chosen = [edit for edit in edits if edit.remedy == remedy]
        while chosen:
            why = _reasons(net, chosen, inputs)
            if not why:
                net = operate(net, chosen, inputs)
                break
            refused |= why
            chosen = [edit for edit in chosen if edit.site not in why]
    return net, refused


def _reasons(net: nn.Module, edits: Sequence[Edit], inputs: Tensor) -> dict[str, str]:
    """Why edits of one remedy can't be carried out, by site; empty if they can."""
    together = _reason(net, edits, inputs)
    if together is None:
        return {}
    if edits[0].remedy != "blur":  # these are done together or not at all
        return {edit.site: together for edit in edits}
    alone = {edit.site: _reason(net, [edit], inputs) for edit in edits}
    return {site: why for site, why in alone.items() if why} or {edit.site: together for edit in edits}


def _reason(net: nn.Module, edits: Sequence[Edit], inputs: Tensor) -> str | None:
    try:
        operate(net, edits, inputs)
    except InputError as error:
        return str(error)
    return None


def _becomes(net: nn.Module, edit: Edit) -> str:
    """What stands at an edited site."""
    path, _, step = edit.site.partition(":")
    module = net.get_submodule(path)
    if isinstance(module, Traced) and step and step in module._modules:
        module = module.get_submodule(step)
    first = module[0] if edit.match and isinstance(module, nn.Sequential) else module
    name = {"Traced": f"{edit.remedy} in its forward"}.get(type(first).__mro__[1].__name__, type(first).__name__)
    if edit.remedy == "dense":
        name = f"{name}, stride 1"
    return f"{name}, matched" if edit.match else name


def _copied(net: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(net)
    except (RuntimeError, TypeError) as error:  # it holds what PyTorch or Python can't copy
        raise InputError(
            f"the net can't be copied ({reason(error)})", todo="give one that copy.deepcopy copies"
        ) from error


def _new(before: Sequence[Edit], edits: Sequence[Edit]) -> list[Edit]:
    """Those that are not carried out yet."""
    known = {edit.site: edit for edit in before}
    named: dict[str, Edit] = {}
    for edit in edits:
        if named.setdefault(edit.site, edit) != edit:
            raise InputError("two different edits of one site", where=edit.site, todo="give one")
        if known.get(edit.site, edit) != edit:
            raise InputError("was edited in another way already", where=edit.site, todo="start from the original net")
    return [edit for edit in named.values() if edit.site not in known]


def _targets(net: nn.Module, edits: Sequence[Edit], sites: Sequence[Site]) -> dict[Site, Edit]:
    """Each edit's site. A layer that is passed several times is several sites, and one layer still."""
    by_name = {site.name: site for site in sites}
    targets = {}
    for edit in edits:
        if edit.site not in by_name:
            raise unknown("site", edit.site, by_name)
        targets[by_name[edit.site]] = edit
    for site, edit in targets.items():
        path = site.keys[0].module
        if kind_of(net.get_submodule(path)) is None:
            continue
        same = [other for other in sites if other.keys[0].module == path]
        wanted = {None if other not in targets else _settings(targets[other]) for other in same}
        if len(same) > 1 and (wanted != {_settings(edit)} or edit.match):
            names = ", ".join(other.name for other in same)
            raise InputError(
                f"one {site.type} is passed {len(same)} times", where=path,
                todo=f"edit {names} alike, without match",
            )  # fmt: skip
    return targets


def _settings(edit: Edit) -> tuple[object, ...]:
    return edit.remedy, edit.filter, edit.taps, edit.padding, edit.match
