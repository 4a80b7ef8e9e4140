"""The page of a diagnosis says what the diagnosis says, whole and offline, also where parts of it are missing."""

import json
import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from PIL import Image

from shiftable.auditing.intervals import magnitude, rate
from shiftable.errors import InputError
from shiftable.explaining.diagnosis import (
    Diagnosis,
    Finding,
    Interaction,
    Intervention,
    Response,
    Sampling,
    Spectrum,
    Structure,
    Subsampling,
)
from shiftable.explaining.margins import measure_margins
from shiftable.explaining.outside import reveal_stride
from shiftable.explaining.risk import fit_risk, views_at_risk
from shiftable.report import explain_drawings, explain_plots, explain_words
from shiftable.report.explain_page import DRAWN, read_beside, write_diagnosis
from shiftable.report.explain_text import show_diagnosis

MOST_BYTES = 5_000_000
HOSTILE = ('</script><script>alert("a")</script>', "<img src=x onerror=alert(1)>", "$x^$ & {{7*7}} `", "猫 עברית")
SITES = ("features.3.conv", "features.6.pool", "features.12.expand.downsample", "features.15.pool")
IMAGES, STEPS, CLASSES, STRIDE = 24, 65, 8, 16


def _scores(seed=0):
    """Logits along walks: each image's own class, a dependence on the offset modulo ``STRIDE``, a drift."""
    rng = np.random.default_rng(seed)
    at = np.arange(STEPS)
    scores = rng.normal(0, 0.5, (IMAGES, 1, CLASSES)).repeat(STEPS, axis=1)
    scores[np.arange(IMAGES), :, rng.integers(0, CLASSES, IMAGES)] += rng.gamma(1.5, 1.5, (IMAGES, 1))
    for order in (1, 2, 4):
        phase, size = rng.uniform(0, 2 * np.pi, (2, IMAGES, 1, CLASSES))
        scores += 0.06 * size * np.cos(2 * np.pi * order * at[:, None] / STRIDE + phase)
    return scores + np.cumsum(rng.normal(0, 0.04, scores.shape), axis=1)


def _rate(value, rng):
    hits = rng.binomial(STEPS - 1, np.clip(value * rng.gamma(1, 1, IMAGES), 0, 1)).astype(float)
    return rate(hits, np.full(IMAGES, STEPS - 1.0))


def _size(value, rng):
    return magnitude(value * rng.gamma(8, 1 / 8, IMAGES), np.ones(IMAGES))


def _response(number, rng):
    side, offsets = (56, 28, 14, 7)[number % 4], np.arange(-STRIDE, STRIDE + 1, dtype=float)
    y, x = np.mgrid[:side, :side] / side
    maps = np.stack([np.exp(-(((y - 0.5) ** 2 + (x - 0.5 - at / 224) ** 2) * 30)) for at in (-16, -8, 0, 8, 16)])
    wave = np.cos(2 * np.pi * offsets / 2 ** (number + 1) + rng.uniform(0, 6, (3, 1)))
    both = {"circular": 0.02 * (number + 1), "real": 0.03 * (number + 1)}
    return Response(
        layer=SITES[number % 4] if number < 4 else f"late.{number}",
        depth=(number + 1) / 5,
        stride_px=(2 ** (number + 1),) * 2,
        channels=32 * 2**number,
        size=(side, side),
        sums_vary={kind: _size(value, rng) for kind, value in both.items()},
        equivariance_error={kind: _size(5 * value, rng) for kind, value in both.items()},
        map_change={kind: _size(0.3 + 0.1 * number + value, rng) for kind, value in both.items()},
        pooled_change={kind: _size(2 * value, rng) for kind, value in both.items()},
        sharpness=_size(0.1 + 0.05 * number, rng),
        offsets_px=offsets,
        sums={kind: 1 + value * wave for kind, value in both.items()},
        maps=maps + rng.normal(0, 0.02, maps.shape),
        maps_at_px=np.array([-16.0, -8, 0, 8, 16]),
    )


def _spectrum(number, rng):
    frequency = np.linspace(0.01, 0.7, 32)
    share = frequency / frequency.sum()
    power, noise = (each / (each * share).sum() for each in (np.exp(-frequency * (14 - 3 * number)) + 1e-4,
                                                             np.exp(-frequency * 2)))  # fmt: skip
    return Spectrum(SITES[number], (2, 2), _rate(0.1 + 0.1 * number, rng), 0.5, frequency,
                    power, noise, share)  # fmt: skip


def _intervention(sites, removed, rng):
    before, after = _rate(0.09, rng), _rate(0.09 - removed, rng)
    gone = replace(before, value=before.value - after.value, low=removed - 0.02, high=removed + 0.025)
    mac = _size(0.05, rng)
    return Intervention(sites, after, before, gone, mac, replace(mac, value=removed / 2), _rate(0.9, rng),
                        replace(gone, value=-0.01, low=-0.02, high=0.001), 1.04)  # fmt: skip


def _structure():
    sites, stride, size = [], 1, 224
    for number, name in enumerate(SITES):
        sites.append(
            Subsampling(name, *(("convolution", "Conv2d"), ("max_pool", "MaxPool2d"))[number % 2],
                        (3, 3), (2, 2), ((0, 1), (0, 1)) if number == 1 else ((1, 1), (1, 1)), (1, 1), (size, size),
                        (size // 2, size // 2), 16 * 2**number, (stride, stride), (7 * stride, 7 * stride),
                        "average 2×2" if number == 2 else None, number != 3)
        )  # fmt: skip
        stride, size = 2 * stride, size // 2
    return Structure("torchvision/example", (224, 224), "short side to 256 px, bilinear, antialiased; centre crop",
                     tuple(sites), 16, 18, (16, 16), (211, 211), "features.18", ("global_pool (AdaptiveAvgPool2d)",),
                     ("One operation could not be followed: `roll`.",))  # fmt: skip


def _sampling(rng):
    offsets = np.arange(-STRIDE, STRIDE + 1, dtype=float)
    wave = np.cumsum(rng.normal(0, 1, (3, STRIDE)), axis=1)
    predicted = np.array([9.0, 8.4, 6.0])[:, None] + 0.3 * wave[:, offsets.astype(int) % STRIDE]
    measured = predicted + np.cumsum(rng.normal(0, 0.08, predicted.shape), axis=1)
    ring = np.minimum(np.arange(STRIDE), STRIDE - np.arange(STRIDE))
    harmonics = 1 / (1 + ring[:, None] ** 2 + ring**2) ** 2
    harmonics[0, 0] = 0
    return Sampling("dilated", None, (STRIDE, STRIDE), _size(0.81, rng), _size(0.9, rng), _rate(0.64, rng),
                    _rate(0.07, rng), _rate(0.094, rng), harmonics, predicted, measured, offsets)  # fmt: skip


def example_diagnosis():
    """A diagnosis with all parts, its numbers drawn at random, and consistent."""
    rng = np.random.default_rng(5)
    scores, sampling = _scores(), _sampling(rng)
    interventions = tuple(_intervention((site,), 0.01 + 0.015 * at, rng) for at, site in enumerate(SITES))
    interventions += (_intervention((SITES[2], SITES[3]), 0.06, rng),)
    share = sampling.sampling_share
    single = [each.flips_removed for each in interventions]
    beyond = replace(single[0], value=-0.04, low=-0.07, high=-0.005)
    interactions = (Interaction((SITES[2], SITES[3]), single[2], single[3], single[4], beyond),)
    findings = (
        Finding(None, "aliasing", "Most of the change of the answer is foretold from the still picture.", share.value,
                share.low, share.high, "%", share.value, "Blur before the sites that subsample.", "sampling"),
        Finding(SITES[3], "aliasing", f"Blurring `{SITES[3]}` alone takes away half of the changed answers.", 0.0553,
                0.0352, 0.0812, "%", 0.5, "Put a blur there and tune the net a little to it.", "interventions"),
        Finding(None, "margin", "The lead moves by 0.4 a pixel, where it is 2.1 in the typical picture.", 0.19, 0.11,
                0.33, "", 0.3, "Don’t show an answer whose margin is so small.", "margins"),
        Finding(None, "stride", "After 4 subsamplings the net looks at one place in 16 × 16 pixels.", 1 / 256, None,
                None, "%", 0.02, "Don’t hope that shifted copies in training cover it.", "structure"),
    )  # fmt: skip
    return Diagnosis(
        spec="torchvision/example",
        model={"spec": "torchvision/example", "weights_sha256": "0123456789abcdef" * 4, "view_size": [224, 224],
               "scores": "logits", "classes": CLASSES},
        images={"source": "photos/", "listed": IMAGES, "count": IMAGES, "sha256": "ab" * 32, "labelled": 0},
        settings={"offsets": STEPS, "seed": 5, "layers": list(SITES), "interventions": True, "dense": None},
        structure=_structure(),
        responses=tuple(_response(number, rng) for number in range(4)),
        spectra=tuple(_spectrum(number, rng) for number in range(4)),
        sampling=sampling,
        interventions=interventions,
        margins=measure_margins(scores),
        risk=fit_risk(*views_at_risk(scores)),
        outside=reveal_stride(np.exp(scores) / np.exp(scores).sum(axis=2, keepdims=True), moduli=(2, 4, 8, 16)),
        findings=findings,
        remarks=("Two images were smaller than the view and left out.",),
        interactions=interactions,
    )  # fmt: skip
