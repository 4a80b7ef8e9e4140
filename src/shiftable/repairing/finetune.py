"""A short fine-tune without labels: answer as the original did, and alike wherever the picture lies.

After surgery the layers behind a site see maps that they were not trained on. Two things are asked of the net, shown
two places of each picture: to match what the original answers, averaged over several places (distillation, Hinton,
Vinyals and Dean, "Distilling the knowledge in a neural network", 2015), and to answer both places alike (a
regularisation, as in Zheng, Song, Leung and Goodfellow, "Improving the robustness of deep neural networks via stability
training", CVPR 2016). No label is looked at.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil, log
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor, nn

from shiftable.engine.shards import Progress, write_atomically
from shiftable.errors import InputError
from shiftable.models.preprocessing import LETTERBOXES, Size, deployed_view, letterboxed
from shiftable.models.protocol import Scores
from shiftable.models.torch_model import TorchModel, as_scores, device_named, own_copy
from shiftable.models.weights import fingerprint
from shiftable.repairing.crop_selection import enough
from shiftable.training import Precision, train

Views: TypeAlias = Sequence[UInt8[np.ndarray, "_ _ 3"]]
"""RGB, each larger than the model's view along at least one axis: how far it can move. Any sequence will do."""


@dataclass(frozen=True)
class Finetune:
    """How a net is tuned. Plain values: part of a plan, and of its record.

    Args:
        steps: How many times the weights are changed.
        batch_size: Pictures a step; of each, two views.
        learning_rate: The highest; it rises over the first tenth of the steps and falls to 0.
        weight_decay: AdamW's, per step and unit of rate.
        weight_agree: How much the disagreement of a picture's two views counts beside the distance from the original.
        temperature: What logits are divided by before both are taken: above 1, the lesser classes count for more.
        places: Over how many random places of a picture the original's answer is averaged.
        shift_px: How far apart a picture's two views lie at most along each axis, in px; None: anywhere in its room.
        learn_norms: Whether norms learn new statistics and dropout drops. Usually not: the net is tuned as it answers.
        precision: Of the arithmetic; the weights stay in 32 bits.
        seed: Of the order of pictures and of all places.
    """

    steps: int = 400
    batch_size: int = 32
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    weight_agree: float = 1.0
    temperature: float = 2.0
    places: int = 2
    shift_px: int | None = None
    learn_norms: bool = False
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 0, "batch_size": 1, "learning_rate": 0, "weight_decay": 0, "weight_agree": 0, "places": 1}
        for name, smallest in least.items():
            if not getattr(self, name) >= smallest:
                raise InputError(f"{name} can't be {getattr(self, name)}", todo=f"give {smallest} or more")
        if not self.temperature > 0:
            raise InputError(f"temperature can't be {self.temperature}", todo="give a number above 0")
        if self.shift_px is not None and self.shift_px < 1:
            raise InputError(f"shift_px can't be {self.shift_px}", todo="give 1 px or more, or leave it out")

    def to_json(self) -> dict[str, Any]:
        """The fields as plain JSON values; ``Finetune(**values)`` is this again."""
        return asdict(self)


def finetune(
    net: nn.Module,
    original: TorchModel,
    views: Views,
    settings: Finetune | None = None,
    *,
    folder: str | Path | None = None,
    save_every: int = 100,
    progress: Progress | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> nn.Module:
    """A copy of a net, tuned on pictures without labels. The net handed in is left as it is, and so is the original.

    What is trained is what answers: ``original.net`` as `open_model` made it, batch norms folded into convolutions
    where that could be done, after surgery. All its parameters are tuned.

    The loss is T² · KL(original ‖ net), the mean over both views of a picture, plus ``weight_agree`` · T² times the
    Jensen–Shannon divergence between them, all of probabilities at temperature T.

    Args:
        net: Takes what ``original.net`` takes, and answers with as many scores of the same kind: an operated copy.
        original: Whose answers are matched. Each picture's is asked for once, and kept: ``steps`` × ``batch_size`` rows
            of one number per class at most, in 32 bits.
        views: Of the user's pictures, with room to move. See `views_with_room`.
        settings: How; None takes those of `Finetune`.
        folder: Keeps the original's answers and the state of the run, so that one that was killed goes on when it is
            started again with the same arguments, and ends in the same weights (see `training.train`).
        save_every: How many steps lie between two writings of the state.
        progress: Told (views shown, in all), those shown to the original first.
        on_step: Told the number of steps done, and the loss.

    Returns:
        The tuned copy: in evaluation mode, without gradients.

    Raises:
        InputError: If the views have no room to move or are smaller than the model's, it is no classifier of one class
            per view, there are no weights, the loss stops being a number, or the folder holds another run.
    """
    settings = settings or Finetune()
    original = original.exact or original
    _check(net, original, views)
    tuned = own_copy(net, device_named(str(original.settings["device"])), original.spec)
    if settings.steps == 0:
        return tuned
    kept = None if folder is None else _opened(Path(folder), original, tuned, len(views), settings)
    order = _order(len(views), settings)
    seen = sorted(set(order.flatten().tolist()))
    asked, in_all = len(seen) * settings.places, len(seen) * settings.places + 2 * order.numel()

    def shown(count: int) -> None:
        if progress is not None:
            progress(count, in_all)

    answers = _answers(original, views, seen, settings, kept, shown)
    batches = _batches(original, views, order, dict(zip(seen, answers, strict=True)), settings)

    def stepped(step: int, loss: float) -> None:
        shown(asked + 2 * step * settings.batch_size)
        if on_step is not None:
            on_step(step, loss)

    try:
        train(
            tuned.requires_grad_(True),
            batches,
            settings.steps,
            learning_rate=settings.learning_rate,
            weight_decay=settings.weight_decay,
            loss=partial(disagreement, original=original, settings=settings),
            mode="train" if settings.learn_norms else "eval",
            precision=settings.precision,
            seed=settings.seed,
            checkpoint=kept and kept / "checkpoint.pt",
            save_every=save_every,
            progress=stepped,
        )
    except ValueError as error:
        raise InputError(str(error), where="fine-tuning") from None
    return tuned.requires_grad_(False)


def views_with_room(
    model: TorchModel, images: Iterable[UInt8[np.ndarray, "_ _ 3"]], room_px: int = 32
) -> list[UInt8[np.ndarray, "_ _ 3"]]:
    """The middle of each image as the model resizes it, larger than its view: what `finetune` takes.

    Args:
        model: Whose view and preprocessing.
        images: RGB, of any size.
        room_px: How far a view can move in all along each axis. Where the model's resize leaves less, the image is
            made larger, and objects with it, as under the motion ``crop``. Of a letterboxed image, grey comes in.
    """
    fields, (height, width) = model.preprocessing, model.view_size
    if fields.crop in LETTERBOXES:
        margin = (room_px + 1) // 2
        return [letterboxed(image, fields, model.view_size, (margin, margin)) for image in images]
    larger = height + room_px, width + room_px
    with_room = replace(fields, crop="center", resize_px=enough(fields.resize_px, larger))
    return [deployed_view(image, with_room, larger) for image in images]


def disagreement(
    scores: Any, targets: Float[Tensor, "picture class"], original: TorchModel, settings: Finetune
) -> Float[Tensor, ""]:
    """The loss of `finetune`, in nats: 0 where all is as the original has it, wherever the picture lies.

    Args:
        scores: The net's, of the first view of every picture and then of the second of every picture.
        targets: The original's probabilities at this temperature.
        original: Says what scores are, and how many of the first are no classes.
        settings: The temperature and the weight.
    """
    rows = as_scores(scores)[:, original.class_offset or 0 :].float()
    first, second = log_probabilities(rows, original.scores, settings.temperature).chunk(2)
    middle = torch.logaddexp(first, second) - log(2)
    away = (_divergence(targets.log(), first) + _divergence(targets.log(), second)) / 2
    apart = (_divergence(first, middle) + _divergence(second, middle)) / 2
    return settings.temperature**2 * (away + settings.weight_agree * apart).mean()


def log_probabilities(
    rows: Float[Tensor, "view class"], scores: Scores, temperature: float
) -> Float[Tensor, "view class"]:
    """At a temperature: logits are divided by it, and probabilities raised to its inverse, which is the same."""
    logits = rows if scores == "logits" else rows.clamp_min(torch.finfo(rows.dtype).tiny).log()
    return (logits / temperature).log_softmax(1)


def _divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(first ‖ second) of each row, of logarithms; what has no probability adds nothing."""
    return torch.where(first.isneginf(), 0, first.exp() * (first - second)).sum(1)


def _check(net: nn.Module, original: TorchModel, views: Views) -> None:
    if original.task != "classify" or original.scores not in ("logits", "probabilities"):
        raise InputError(
            f"its answers are no probabilities of classes ({original.task}, {original.scores})",
            where=original.spec,
            todo="fine-tune a classifier whose scores are logits or probabilities",
        )
    if not any(weight.is_floating_point() for weight in net.parameters()):
        raise InputError("has no weights that can be tuned", where=original.spec, todo="open the net it was made from")
    if not len(views):
        raise InputError("no views to learn from", todo="give some")


def _room(view: np.ndarray, view_size: Size) -> tuple[int, int]:
    """How far the view can move along each axis, in px."""
    down, across = view.shape[0] - view_size[0], view.shape[1] - view_size[1]
    if min(down, across) < 0 or down == across == 0:
        raise InputError(
            f"a view of {view.shape[0]}×{view.shape[1]} px leaves no room for one of {view_size[0]}×{view_size[1]} px",
            todo="give larger ones: views_with_room makes them",
        )
    return down, across


def _opened(folder: Path, original: TorchModel, net: nn.Module, count: int, settings: Finetune) -> Path:
    """The folder, which is this run's."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "settings": settings.to_json(),
        "original": fingerprint(original.net),
        "net": fingerprint(net),
        "views": count,
    }
    path = folder / "finetune.json"
    if not path.exists():
        write_atomically(path, lambda draft: draft.write_text(json.dumps(record, indent=1) + "\n"))
    elif json.loads(path.read_text()) != record:
        raise InputError(
            "holds another run: other settings, nets or views", where=folder, todo="give another folder, or delete it"
        )
    return folder


def _order(count: int, settings: Finetune) -> Int64[Tensor, "step picture"]:
    """Which pictures each step is shown: one pass through them after the other, each in another order."""
    generator, wanted = torch.Generator().manual_seed(settings.seed), settings.steps * settings.batch_size
    passes = [torch.randperm(count, generator=generator) for _ in range(ceil(wanted / count))]
    return torch.cat(passes)[:wanted].view(settings.steps, settings.batch_size)


def _batches(
    original: TorchModel, views: Views, order: Tensor, answers: dict[int, Tensor], settings: Finetune
) -> Iterator[tuple[Tensor, Tensor]]:
    """Two views of each picture, all first ones before all second ones, and the original's answers."""
    generator = np.random.default_rng([settings.seed, 1])
    for chosen in order.tolist():
        pairs = [_two_places(views[number], original.view_size, settings.shift_px, generator) for number in chosen]
        cut = np.stack([view for side in zip(*pairs, strict=True) for view in side])
        yield original.inputs(cut), torch.stack([answers[number] for number in chosen])


def _two_places(
    view: np.ndarray, size: Size, shift_px: int | None, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    room = _room(view, size)
    first = [int(generator.integers(each + 1)) for each in room]
    reach = max(room) if shift_px is None else shift_px
    bounds = [(max(place - reach, 0), min(place + reach, each)) for place, each in zip(first, room, strict=True)]
    second = [int(generator.integers(low, high + 1)) for low, high in bounds]
    return _cut(view, first, size), _cut(view, second, size)


def _cut(view: np.ndarray, place: Sequence[int], size: Size) -> np.ndarray:
    return view[place[0] : place[0] + size[0], place[1] : place[1] + size[1]]


def _answers(
    original: TorchModel,
    views: Views,
    seen: list[int],
    settings: Finetune,
    folder: Path | None,
    shown: Callable[[int], None],
) -> Float32[Tensor, "picture class"]:
    """The original's probabilities of the pictures that will be seen, each the mean over several places."""
    path = None if folder is None else folder / "answers.pt"
    if path is not None and path.exists():
        return torch.load(path, weights_only=True)  # type: ignore[no-any-return]
    generator = np.random.default_rng([settings.seed, 2])
    rows, pictures = [], max(1, original.batch_size // settings.places)
    for start in range(0, len(seen), pictures):
        cut = []
        for view in (views[number] for number in seen[start : start + pictures]):
            room = _room(view, original.view_size)
            places = [[int(generator.integers(each + 1)) for each in room] for _ in range(settings.places)]
            cut += [_cut(view, place, original.view_size) for place in places]
        scores = torch.from_numpy(original(np.stack(cut)))
        probabilities = log_probabilities(scores, original.scores, settings.temperature).exp()
        rows.append(probabilities.view(-1, settings.places, probabilities.shape[1]).mean(1))
        shown((start + len(rows[-1])) * settings.places)
    answers = torch.cat(rows)
    if path is not None:
        write_atomically(path, lambda draft: torch.save(answers, draft))
    return answers
