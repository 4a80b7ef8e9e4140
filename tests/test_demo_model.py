"""The demo net is right at the centre and ordinary elsewhere; on the same pictures a template matcher holds still."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import fft

from shiftable.data.shapes import CLASSES, draw_scene, mask, samples

torch = pytest.importorskip("torch")

from shiftable.models import demo  # noqa: E402

SIDE = demo.VIEW_SIZE[0]
HELD_OUT_SEED = 4  # 1 is what the net learned from


def answer(net, views):
    mean, std = torch.tensor(demo.PREPROCESSING.mean), torch.tensor(demo.PREPROCESSING.std)
    pixels = (torch.from_numpy(np.ascontiguousarray(views)) / 255 - mean) / std
    with torch.inference_mode():
        return net(pixels.permute(0, 3, 1, 2)).argmax(1).numpy()


def pairs(count):
    """Views at a random place of each image, the views one pixel further, and the labels."""
    rng = np.random.default_rng(0)
    first, second, labels = [], [], []
    for sample in samples(count, HELD_OUT_SEED):
        image, y, x = sample.read(), rng.integers(32), rng.integers(32)
        down, right = (1, 0) if sample.label % 2 else (0, 1)
        first.append(image[y : y + SIDE, x : x + SIDE])
        second.append(image[y + down : y + down + SIDE, x + right : x + right + SIDE])
        labels.append(sample.label)
    return np.stack(first), np.stack(second), np.array(labels)


def test_is_right_at_the_centre():
    held_out = samples(500, HELD_OUT_SEED)
    views = np.stack([sample.read()[16:-16, 16:-16] for sample in held_out])
    labels = np.array([sample.label for sample in held_out])
    assert (answer(demo.demo_net(), views) == labels).mean() >= 0.95


def test_is_small():
    assert demo.WEIGHTS.stat().st_size < 1_000_000
    assert sum(parameter.numel() for parameter in demo.demo_net().parameters()) < 250_000


def test_its_file_says_what_it_is():
    assert demo.class_names() == CLASSES
    assert float(demo.metadata()["accuracy"]) >= 0.95
    assert demo.metadata()["command"].startswith("python scripts/train_demo.py")


def test_is_an_ordinary_strided_net():
    """Total stride 16, nothing but convolutions, norms and rectifiers before the pooling."""
    net = demo.demo_net(pretrained=False)
    kinds = {type(module) for module in net.modules() if not list(module.children())}
    assert kinds == {
        torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU,
        torch.nn.AdaptiveAvgPool2d, torch.nn.Flatten, torch.nn.Linear,
    }  # fmt: skip
    assert np.prod([m.stride[0] for m in net.modules() if isinstance(m, torch.nn.Conv2d)]) == 16


def test_missing_weights_name_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(demo, "WEIGHTS", tmp_path / "demo.safetensors")
    with pytest.raises(demo.InputError, match="make demo-model"):
        demo.demo_net()
    with pytest.raises(demo.InputError, match="make demo-model"):
        demo.class_names()


SYMMETRY = {
    "square": 90,
    "frame": 90,
    "triangle": 120,
    "star": 72,
    "cross": 90,
    "pill": 180,
    "arrow": 360,
    "hourglass": 180,
}
"""After how many degrees an outline looks the same; discs and rings always do."""


def gradient(pictures):
    """Differences to the right and down. White on a 1/f background, so that correlation is the matched filter."""
    right = pictures[..., :-1, 1:] - pictures[..., :-1, :-1]
    down = pictures[..., 1:, :-1] - pictures[..., :-1, :-1]
    return np.stack([right, down], -3)


class TemplateMatcher:
    """Names the class whose outline fits best at any place, size and angle: a matched filter for 1/f noise.

    The outline's sign is free, and it must lie within the view whole. Up to what enters and leaves, moving
    the view moves the fits and keeps the best.
    """

    def __init__(self, radii=(8.6, 10.2, 12.0), step=15):
        base = replace(draw_scene(0), y=SIDE / 2 + 0.5, x=SIDE / 2 + 0.5)
        bank = [
            replace(base, label=label, radius=radius, angle=float(angle))
            for radius in radii
            for label, name in enumerate(CLASSES)
            for angle in range(0, SYMMETRY.get(name, 1), step)
        ]
        edges = gradient(np.stack([mask(scene, (SIDE + 1, SIDE + 1)) for scene in bank]))
        edges /= np.sqrt((edges**2).sum((1, 2, 3), keepdims=True))
        centred = np.roll(edges, (-SIDE // 2, -SIDE // 2), (-2, -1))
        self.bank = np.conj(fft.rfft2(centred)).astype(np.complex64)
        self.labels = np.array([scene.label for scene in bank])
        from_centre = abs(np.arange(SIDE) - SIDE / 2 + 0.5)
        outermost = np.maximum(from_centre[:, None], from_centre)
        self.inside = outermost <= SIDE / 2 - 2 - np.array([scene.radius for scene in bank])[:, None, None]

    def __call__(self, view):
        edges = np.zeros((2, SIDE, SIDE), np.float32)
        edges[:, :-1, :-1] = gradient(view.mean(-1))
        fits = fft.irfft2((fft.rfft2(edges) * self.bank).sum(1), (SIDE, SIDE))
        return self.labels[(abs(fits) * self.inside).max((1, 2)).argmax()]


def test_the_net_flickers_and_the_world_does_not():
    """A template matcher is right nearly as often as the net, and one pixel hardly ever changes its mind."""
    first, second, labels = pairs(300)
    matcher, net = TemplateMatcher(), demo.demo_net()
    matched = np.array([matcher(view) for view in first])
    matcher_changes = np.mean([matcher(view) for view in second] != matched)
    net_changes = np.mean(answer(net, first) != answer(net, second))
    assert (matched == labels).mean() > 0.9
    assert matcher_changes <= 0.01
    assert matcher_changes < net_changes / 4
