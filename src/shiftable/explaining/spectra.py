"""What each site's response holds above the frequency that its stride can carry: the sampling theorem, looked at.

Keeping each s-th position carries frequencies |f| < 1 / (2 s) along that axis; all power beyond folds into them. So the
response at stride 1 is taken (of max pooling, after its maximum: what is then sampled), and the share of its power that
lies outside that square told. Beside it stands the same for white noise, which shows what the site's own weights hold
back, whatever comes into it. These are descriptions: what a site does to the answer, only an intervention tells.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shiftable.auditing.intervals import magnitude
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Spectrum
from shiftable.explaining.fourier import Pair, carried, power_spectrum, rings
from shiftable.surgery.sites import Operation, Site, intercepted


def spectra(
    net: nn.Module, sites: Sequence[Site], batches: Iterable[Tensor], *, periodic: bool = False, seed: int = 0
) -> tuple[Spectrum, ...]:
    """The spectra of sites' stride-1 responses, over images.

    Args:
        net: Is run once per batch, and not changed. For a circular run, enter what makes it circular around this.
        sites: Of `find_sites`. Interpolations have no response at stride 1 and are left out, as are sites that
            no image comes by, or whose response never varies.
        batches: The net's inputs, ``(image, channel, y, x)``; memory is that of the net's own pass, and one image's
            response at stride 1.
        periodic: Whether the net is circular: no window is needed.
        seed: Of the white noise, and of the resampling of images.

    Raises:
        InputError: If there are no images.
    """
    powers: dict[Site, Tensor] = {}
    noises: dict[Site, Tensor] = {}
    sizes: dict[Site, Pair] = {}
    shares: dict[Site, list[float]] = {site: [] for site in sites}

    def measure(operation: Operation) -> Any:
        site = operation.site
        if not operation.first:
            return operation()
        for image in torch.split(operation.input, 1):
            response = operation.dense(image)
            size = sizes.setdefault(site, (int(response.shape[-2]), int(response.shape[-1])))
            power = power_spectrum(response, windowed=not periodic)
            if total := float(power.sum()):
                shares[site].append(1 - float((power * carried(size, site.window.stride)).sum()) / total)
                powers[site] = powers.get(site, 0) + power / total
        if site not in noises:
            made = torch.Generator().manual_seed(seed + sites.index(site))
            noise = torch.randn(operation.input[:1].shape, generator=made).to(operation.input)
            noises[site] = power_spectrum(operation.dense(noise), windowed=not periodic)
        return operation()

    images = 0
    with torch.no_grad(), intercepted(net, {site: measure for site in sites if site.has_dense}):
        for batch in batches:
            net(batch)
            images += len(batch)
    if not images:
        raise InputError("no images to take spectra of", todo="give an image or more")
    return tuple(
        _spectrum(site, sizes[site], shares[site], powers[site], noises[site], seed) for site in sites if site in powers
    )


def _spectrum(site: Site, size: Pair, shares: Sequence[float], power: Tensor, noise: Tensor, seed: int) -> Spectrum:
    stride = site.window.stride
    picture, white = rings(power, size), rings(noise, size)
    outside = 1 - float((noise * carried(size, stride)).sum() / noise.sum())
    return Spectrum(
        site.name,
        stride,
        magnitude(np.array(shares), np.ones(len(shares)), seed=seed),
        outside,
        picture.frequency.numpy(),
        picture.density.numpy(),
        white.density.numpy(),
        picture.share.numpy(),
    )
