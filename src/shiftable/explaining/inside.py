"""All that is measured inside a PyTorch net, in one pass over the images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from shiftable.data import Sample
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import Interaction, Intervention, Response, Sampling, Spectrum, Structure
from shiftable.explaining.following import Sweep, follow
from shiftable.explaining.interventions import intervene
from shiftable.explaining.maps import Layer, layers_of
from shiftable.explaining.prediction import predict
from shiftable.explaining.responses import responses
from shiftable.explaining.spectra import spectra
from shiftable.explaining.structure import structure
from shiftable.explaining.views import Swept, rolled, swept
from shiftable.models.torch_model import TorchModel, as_scores
from shiftable.surgery.dilating import circular
from shiftable.surgery.phases import NotDilatable
from shiftable.surgery.sites import find_sites

CIRCLE_STEPS = 17
"""Views of an image that moves in a circle: 8 px either way. Every map's phases are seen up to stride 16."""


@dataclass(frozen=True)
class Inside:
    """What was measured; the parts as in `shiftable.explaining.diagnosis.Diagnosis`.

    Args:
        scores: The model's own, along the real sweeps of the images that could be used.
    """

    scores: Float[np.ndarray, "image step class"]
    structure: Structure
    responses: tuple[Response, ...]
    spectra: tuple[Spectrum, ...]
    sampling: Sampling | None
    interventions: tuple[Intervention, ...]
    interactions: tuple[Interaction, ...]
    remarks: tuple[str, ...]


def look_inside(
    opened: Any,
    samples: Sequence[Sample],
    *,
    steps: int,
    direction: str,
    layers: Sequence[str] | None,
    dense: int,
    interventions: bool,
    pairs: int,
    seed: int,
    skipped: list[InputError],
    progress: Callable[[int, int], None] | None = None,
) -> Inside:
    """Measure a net on images that move.

    All arguments are those of `shiftable.explaining.explain`, but for ``skipped``, which gets what is wrong with images
    that can't be used.

    Raises:
        InputError: If none can be used, the net can't take them, or a layer does not exist.
    """
    model: TorchModel = getattr(opened, "exact", None) or opened  # in 32 bits, uncompiled
    found = structure(model)
    home = model.inputs(np.full((1, *model.view_size, 3), 128, np.uint8))
    looked = layers_of(model.net, home, layers)
    sites = find_sites(model.net, home)
    together = 0 if len(sites) == 2 else comb(min(pairs, len(sites)), 2)
    passes = 3 + (len(sites) + 2 + together if interventions and sites else 0)
    done = 0

    def tick(more: int = 1) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(min(done, in_all), in_all)

    in_all = passes * len(samples) + dense
    tick(0)
    real: list[Sweep] = []
    circle: list[Sweep] = []
    scores: list[np.ndarray] = []
    views: list[np.ndarray] = []
    kept: list[Swept] = []
    offsets: np.ndarray = np.empty((0, 2), int)
    no_circle: str | None = None
    for each in swept(model, samples, steps, direction=direction, skipped=skipped):
        first, offsets = not real, each.offsets_px
        answer, sweep = follow(model.net, looked, model.inputs(each.views), offsets, periodic=False, figures=first)
        real.append(sweep)
        scores.append(as_scores(answer)[:, model.class_offset or 0 :].float().cpu().numpy())
        views.append(each.views[each.home].copy())
        if interventions:
            kept.append(each)
        tick()
        if no_circle is None:
            try:
                circle.append(_in_a_circle(model, looked, model.inputs(views[-1][None]), direction, first))
            except (NotDilatable, InputError) as forbids:
                no_circle = str(forbids)
        tick()
    if not scores:
        why = f": {skipped[0].what}" if skipped else ""
        raise InputError(f"none of {len(samples)} images can be used{why}", todo="give other images, or fewer steps")
    measured = np.stack(scores)
    sampling = None
    if found.sites:
        sampling = predict(
            model, np.stack(views), measured, offsets, found.stride_px, dense=dense, seed=seed, tick=tick
        )
    blurred: tuple[Intervention, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    if interventions:
        blurred, interactions = intervene(model, kept, pairs_of=pairs, seed=seed, progress=lambda now, whole: tick())
    remarks = [*found.remarks]
    if no_circle:
        remarks.append(
            f"Nothing was measured in a circle ({no_circle}): sampling and border can't be told apart there."
        )
    return Inside(
        scores=measured,
        structure=found,
        responses=responses(looked, {"circular": circle if not no_circle else [], "real": real}, seed=seed),
        spectra=spectra(model.net, sites, (model.inputs(view[None]) for view in views), seed=seed),
        sampling=sampling,
        interventions=blurred,
        interactions=interactions,
        remarks=tuple(remarks),
    )


def _in_a_circle(model: TorchModel, layers: Sequence[Layer], still: Tensor, direction: str, first: bool) -> Sweep:
    """One view that leaves at one edge and comes in at the other, shown to a net without edges."""
    along = np.arange(CIRCLE_STEPS) - CIRCLE_STEPS // 2
    none = np.zeros_like(along)
    offsets = np.stack([along, none] if direction == "vertical" else [none, along], axis=1)
    inputs = torch.cat([rolled(still, (down, right)) for down, right in offsets.tolist()])
    with torch.no_grad(), circular(model.net):
        return follow(model.net, layers, inputs, offsets, periodic=True, figures=first)[1]
