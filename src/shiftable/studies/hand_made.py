"""Invariance by design: features made by hand (SIFT words, gradient histograms) beside a small net."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

from shiftable.data.shapes import Scene, scenes
from shiftable.errors import missing_extra
from shiftable.studies.photographers import CANVAS_PX, VIEW_PX, picture_of, placed
from shiftable.studies.rows import differ, estimate, grouped, said
from shiftable.studies.study import Arm, Bars, Figure, Row, Setting, Study, Table, Told

WORDS = 128
"""Of the vocabulary."""

Views: TypeAlias = UInt8[np.ndarray, "view 64 64 3"]
Described: TypeAlias = Callable[[Views], Float[np.ndarray, "view feature"]]


def _arms(setting: Setting) -> Sequence[Arm]:
    kinds = setting.pick(("HOG",), tuple(KINDS))
    return [{"features": kind, "seed": seed} for seed in range(setting.pick(1, 3, 5)) for kind in kinds]


def _measure(arm: Arm, setting: Setting) -> Iterable[Row]:
    for module, extra in (("sklearn", "studies"), ("cv2", "studies")):
        if find_spec(module) is None:
            raise missing_extra(module, extra)
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    seed = int(arm["seed"] or 0)
    learned = _scenes(setting.pick(100, 3000), 300 + seed)
    tested = _scenes(setting.pick(20, 500), 9)
    views, labels = _views(learned), np.array([scene.label for scene in learned])
    truth = np.array([scene.label for scene in tested])
    still, moved = _views(tested), _views(tested, 1)
    kind = str(arm["features"])
    if kind == "net":
        answers = [_net(views, labels, seed, setting)(shown) for shown in (still, moved)]
    else:
        describe = KINDS[kind](views, seed)
        linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
        linear.fit(describe(views), labels)
        answers = [linear.predict_proba(describe(shown)) for shown in (still, moved)]
    first, second = (found.argmax(1) for found in answers)
    number = np.arange(len(tested))
    yield {
        "accuracy": float((first == truth).mean()),
        "p_top1_change": float((first != second).mean()),
        "mac": float(np.abs(answers[0][number, first] - answers[1][number, first]).mean()),
        "change_if_right": float((first != second)[first == truth].mean()) if (first == truth).any() else None,
    }


def _scenes(count: int, seed: int) -> list[Scene]:
    """Objects of typical sizes, anywhere in the view."""
    rng = np.random.default_rng(seed)
    typical = scenes(count, seed, (CANVAS_PX, CANVAS_PX), "photographer")
    return [placed(scene, "uniform places", rng) for scene in typical]


def _views(chosen: Sequence[Scene], right: int = 0) -> Views:
    return np.stack([picture_of(scene, 0, right) for scene in chosen])


def _sift_words(step_px: int | None, views: Views, seed: int) -> Described:
    """Histograms of SIFT's words (Lowe 2004; Csurka et al. 2004), at its own key points or on a grid."""
    import cv2
    from sklearn.cluster import MiniBatchKMeans

    sift = cv2.SIFT_create(contrastThreshold=0.01)  # type: ignore[attr-defined]

    def described(view: UInt8[np.ndarray, "64 64 3"]) -> np.ndarray:
        grey = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
        if step_px is None:
            points = sift.detect(grey, None)
        else:
            grid = range(step_px // 2, VIEW_PX, step_px)
            points = [cv2.KeyPoint(float(x), float(y), 2.0 * step_px) for y in grid for x in grid]
        found = sift.compute(grey, points)[1]
        return (
            np.zeros((0, 128), np.float32) if found is None else np.sqrt(found / (found.sum(1, keepdims=True) + 1e-7))
        )

    some = np.concatenate([described(view) for view in views[:600]])
    words = MiniBatchKMeans(min(WORDS, len(some)), random_state=seed, n_init=1, batch_size=2048).fit(some)

    def histograms(shown: Views) -> Float[np.ndarray, "view feature"]:
        rows = []
        for view in shown:
            found = described(view)
            counts = np.bincount(words.predict(found) if len(found) else [], minlength=words.n_clusters)
            rows.append(counts / max(len(found), 1))
        return np.sqrt(np.array(rows))

    return histograms


def _hog(views: Views, seed: int) -> Described:
    """Histograms of oriented gradients (Dalal & Triggs 2005, section 6): cells of 8 px, blocks of 2 × 2 cells."""
    cell, bins = 8, 9

    def histograms(shown: Views) -> Float[np.ndarray, "view feature"]:
        grey = shown.mean(3)
        dy, dx = np.gradient(grey, axis=(1, 2))
        turn = np.arctan2(dy, dx) % np.pi / np.pi * bins
        low = np.floor(turn).astype(int)
        size, side = np.hypot(dy, dx), VIEW_PX // cell
        cells = np.zeros((len(shown), side, side, bins))
        for number, weight in ((low % bins, size * (low + 1 - turn)), ((low + 1) % bins, size * (turn - low))):
            for at in range(bins):  # a gradient between two directions counts for both
                inside = np.where(number == at, weight, 0).reshape(len(shown), side, cell, side, cell)
                cells[..., at] += inside.sum((2, 4))
        blocks = np.concatenate([cells[:, y : y + side - 1, x : x + side - 1] for y in (0, 1) for x in (0, 1)], -1)
        sizes = np.sqrt((blocks**2).sum(-1, keepdims=True) + 1)
        return np.asarray((blocks / sizes).reshape(len(shown), -1))

    return histograms


SCALES, TURNS = 4, 4
"""Of the wavelets: octaves, and directions over half a turn."""


def wavelets(side_px: int) -> Float[np.ndarray, "scale turn y x"]:
    """Morlet wavelets of `SCALES` octaves and `TURNS` directions, as their (real) spectra; none passes a constant.

    Bruna & Mallat, "Invariant scattering convolution networks", TPAMI 2013, section 2.1, with their ξ = 3π/4, σ = 0.85
    at the finest scale and an envelope twice as long as wide.
    """
    frequency = 2 * np.pi * np.fft.fftfreq(side_px)
    aliases = 2 * np.pi * np.arange(-2, 3)  # what lies beyond the limit of pixels is folded back
    places = (frequency[:, None] + aliases).ravel()
    found = np.zeros((SCALES, TURNS, side_px, side_px))
    for scale, turn in np.ndindex(SCALES, TURNS):
        middle, spread, angle = 0.75 * np.pi / 2**scale, 0.85 * 2**scale, np.pi * turn / TURNS
        along = places * np.cos(angle) + places[:, None] * np.sin(angle)
        across = places[:, None] * np.cos(angle) - places * np.sin(angle)
        wave, bell = (
            np.exp(-(spread**2) / 2 * ((along - around) ** 2 + 4 * across**2))
            .reshape(side_px, len(aliases), side_px, len(aliases))
            .sum((1, 3))
            for around in (middle, 0.0)
        )
        found[scale, turn] = wave - wave[0, 0] / bell[0, 0] * bell
    return found


def _scattering(views: Views, seed: int) -> Described:
    """Scattering of two orders, averaged over the whole view, in logarithms."""
    import torch

    bank = torch.from_numpy(wavelets(VIEW_PX)).float()

    def moduli(maps: Any, filters: Any) -> Any:
        """|map ⋆ wavelet|, of (view, …, y, x) and (wavelet, y, x)."""
        return torch.fft.ifft2(torch.fft.fft2(maps)[..., None, :, :] * filters).abs()

    def scattered(part: Any) -> Any:
        first = [moduli(part, bank[scale]) for scale in range(SCALES)]
        second = [
            moduli(first[scale], bank[scale + 1 :].flatten(0, 1)).mean((-2, -1)).flatten(1)
            for scale in range(SCALES - 1)
        ]
        found = [part.mean((1, 2))[:, None], *(each.mean((-2, -1)) for each in first), *second]
        return torch.log(torch.cat(found, 1) + 1e-3)

    def coefficients(shown: Views) -> Float[np.ndarray, "view feature"]:
        grey = torch.from_numpy(shown).float().mean(3) / 255
        with torch.inference_mode():
            return torch.cat([scattered(part) for part in torch.split(grey, 20)]).double().numpy()

    return coefficients


def _net(views: Views, labels: np.ndarray, seed: int, setting: Setting) -> Any:
    import torch

    from shiftable.models.demo import PREPROCESSING, demo_net
    from shiftable.training import shuffled_batches, train

    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)

    def fed(shown: Any) -> Any:
        return ((torch.as_tensor(shown) / 255 - mean) / std).permute(0, 3, 1, 2)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = demo_net(pretrained=False)
    batches = shuffled_batches(torch.from_numpy(views), torch.from_numpy(labels), min(128, len(views)), seed)
    train(net, ((fed(part), right) for part, right in batches), setting.pick(5, 600), learning_rate=5e-3,
          weight_decay=0.02, precision="bfloat16", seed=seed)  # fmt: skip
    net.eval()

    def answers(shown: Views) -> Float[np.ndarray, "view class"]:
        with torch.inference_mode():
            return torch.cat([net(fed(part)).softmax(1) for part in np.array_split(shown, 4)]).numpy()

    return answers


KINDS: Mapping[str, Any] = {
    "SIFT words, key points": partial(_sift_words, None),
    "SIFT words, grid of 4 px": partial(_sift_words, 4),
    "HOG": _hog,
    "scattering": _scattering,
    "net": None,
}
"""Name → (views to learn from, seed) to what describes views; the net learns its features."""


def _tell(rows: Sequence[Row]) -> Told:
    found = {str(key[0]): same for key, same in grouped(rows, "features").items()}

    def line(name: str) -> str:
        return ", ".join(f"{kind} {said(estimate(same, name), True)}" for kind, same in found.items())

    words = ""
    if "net" in found:
        unlike = [kind for kind, same in found.items() if differ(same, found["net"], "p_top1_change")]
        words = f" Seed by seed these differ from the net: {', '.join(unlike) or 'none'}."
    return Told(
        f"One pixel changes the answer: {line('p_top1_change')}.{words}",
        (f"Accuracy: {line('accuracy')}.", f"Changed answers among those that were right: {line('change_if_right')}."),
        (
            Figure("features", "Accuracy and stability", (
                Bars("Changed answers", "p_top1_change", "features", {}, "P(top-1 change)", True),
                Bars("Accuracy", "accuracy", "features", {}, "accuracy", True),
                Bars("Change of probability", "mac", "features", {}, "MAC"),
                Bars("Changed answers, if right", "change_if_right", "features", {}, "P", True),
            )),
        ),
        (Table("All features", ("features",), {"accuracy": "accuracy", "p_top1_change": "P", "mac": "MAC",
               "change_if_right": "P, if right"}, percent=("accuracy", "p_top1_change", "change_if_right")),),
    )  # fmt: skip


FEATURES = Study(
    "features",
    "Invariance by design",
    "Do features made by hand hold stiller than learned ones, and at what accuracy?",
    (
        "Drawn shapes anywhere in views of 64 px are classified from SIFT descriptors as bags of words (at SIFT's own "
        "key points, and on a grid), from histograms of oriented gradients, and from a scattering transform (wavelets' "
        "moduli, averaged over the view), by logistic regression; beside them "
        "the embedded net's architecture, which learns from the same pictures. The test pictures move by one pixel.",
    ),
    "Lowe 2004 measures how repeatable SIFT's key points and descriptors are, not how steady a classifier of them is.",
    _arms,
    _measure,
    _tell,
    (
        "Drawn shapes, not photographs.",
        "From 3,000 pictures of objects that may be anywhere and turned anyhow nobody learns this well: unsure answers "
        "change often, so P says how steady each is at its own accuracy.",
    ),
)
