"""Invariance by design: features made by hand (SIFT words, gradient histograms) beside a small net."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

from shiftable.data.shapes import Scene, render, scenes
from shiftable.errors import missing_extra
from shiftable.studies.rows import apart, estimate, grouped, said
from shiftable.studies.study import Arm, Bars, Figure, Row, Setting, Study, Table, Told

CANVAS_PX, VIEW_PX = 96, 64
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
    learned = list(scenes(setting.pick(100, 3000), 300 + seed, (CANVAS_PX, CANVAS_PX), "uniform"))
    tested = list(scenes(setting.pick(20, 500), 9, (CANVAS_PX, CANVAS_PX), "uniform"))
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


def _views(chosen: Sequence[Scene], right: int = 0) -> Views:
    start = (CANVAS_PX - VIEW_PX) // 2
    part = slice(start, start + VIEW_PX)
    return np.stack([render(scene, (CANVAS_PX, CANVAS_PX), 0, right)[part, part] for scene in chosen])


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
    "net": None,
}
"""Name → (views to learn from, seed) to what describes views; the net learns its features."""


def _tell(rows: Sequence[Row]) -> Told:
    found = {str(key[0]): same for key, same in grouped(rows, "features").items()}

    def line(name: str) -> str:
        return ", ".join(f"{kind} {said(estimate(same, name), True)}" for kind, same in found.items())

    words = ""
    if "net" in found:
        net = estimate(found["net"], "p_top1_change")
        unlike = [kind for kind, same in found.items() if apart(estimate(same, "p_top1_change"), net)]
        words = f" Told apart from the net by its seeds: {', '.join(unlike) or 'none'}."
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
        "key points, and on a grid), and from histograms of oriented gradients, by logistic regression; beside them "
        "the embedded net's architecture, which learns from the same pictures. The test pictures move by one pixel.",
    ),
    "Lowe 2004 measures how repeatable SIFT's key points and descriptors are, not how steady a classifier of them is.",
    _arms,
    _measure,
    _tell,
    ("Drawn shapes, not photographs.", "A scattering transform is not in it."),
)
