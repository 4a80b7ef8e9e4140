"""A blurred net's channels set back to the mean and the contrast that they had in the original, site by site.

What follows a site was trained on its contrast, which filtering lowers. A batch norm estimated anew makes up for that
only where it carries statistics; a gain and a shift per channel, folded into what gives the map, always do, and are the
same function where there is such a norm. DESIGN section 8, "Facts that trip".
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.layers.channel_affine import ChannelAffine
from shiftable.surgery.blur_surgery import corrected_by
from shiftable.surgery.blurring import Correction, Moments, Sums, moments
from shiftable.surgery.editing import edits_of
from shiftable.surgery.edits import Edit
from shiftable.surgery.sites import find_sites


def match_moments(
    operated: nn.Module, original: nn.Module, edits: Sequence[Edit], batches: Sequence[Tensor]
) -> nn.Module:
    """A copy of an operated net whose edited sites give every channel the moments that it has in the original.

    The net is run over all batches once per site: what a site gets depends on what became of the sites before it. Gains
    are 1/4 to 4, see `blurring.LARGEST_GAIN`.

    Args:
        operated: From `operate`. Is not changed.
        original: The net that it was made from. Is not changed.
        edits: Those of its edits that are to be matched, made with ``match``; others are left out.
        batches: What is shown to measure moments, each ``(image, channel, y, x)``.

    Returns:
        Convolutions have the gain and shift in weight and bias; what follows poolings has them as such.

    Raises:
        InputError: If nothing is shown, or a site was not operated with ``match``.
    """
    if not batches:
        raise InputError("no images to measure moments on", todo="give one batch or more")
    made, plain = copy.deepcopy(operated), copy.deepcopy(original).eval()
    wanted = {edit.site: edit for edit in edits if edit.match}
    for name, edit in wanted.items():
        if edit not in edits_of(operated):
            raise InputError("was not operated with match", where=name, todo="give operate the same edits")
    sites = [site for site in find_sites(plain, batches[0][:1]) if site.name in wanted]
    originals = moments(plain, batches, {}, sites)
    modes = {module: module.training for module in made.modules()}
    made.eval()
    for site in sites:
        corrects = corrected_by(made, site.name)
        if corrects is None:
            raise InputError("its gain and shift are not found", where=site.name, todo="leave match out")
        found = _moments(made, corrects, batches)
        _set_back(corrects, found.corrected_to(originals[site.keys[-1]]))
    for module, mode in modes.items():
        module.training = mode
    return made


def _moments(net: nn.Module, module: nn.Module, batches: Sequence[Tensor]) -> Moments:
    """Of what a module gives. The rest of the net is not run."""
    sums: Sums | None = None

    def given(module: nn.Module, args: Any, answer: Tensor) -> None:
        nonlocal sums
        sums = Sums.of(answer, 1).with_more(sums)
        raise _Measured

    handle = module.register_forward_hook(given)
    try:
        with torch.no_grad():
            for batch in batches:
                try:
                    net(batch)
                except _Measured:
                    continue
    finally:
        handle.remove()
    assert sums is not None, "the module is at a site, so it is run"
    return sums.moments()


class _Measured(Exception):
    """The forward pass may end here."""


@torch.no_grad()
def _set_back(module: nn.Module, correction: Correction) -> None:
    """Fold a correction into what a module does already."""
    gain, shift = correction
    if isinstance(module, nn.Conv2d):
        assert module.bias is not None
        module.weight.mul_(gain.to(module.weight)[:, None, None, None])
        module.bias.mul_(gain.to(module.bias)).add_(shift.to(module.bias))
    else:
        assert isinstance(module, ChannelAffine)
        module.gain.mul_(gain.to(module.gain))
        module.shift.mul_(gain.to(module.shift)).add_(shift.to(module.shift))
