"""Trains the demo net again from nothing, in minutes on two cores: ``make demo-model``.

It learns from centre crops alone, as is usual: what it sees of shifts is that photographers do not aim exactly.
Its instability is whatever comes out; nothing here looks at it before it is reported.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from safetensors.torch import save_file
from torch import Tensor

from shiftable.data.images import Sample
from shiftable.data.shapes import CLASSES, samples
from shiftable.models.demo import PREPROCESSING, VIEW_SIZE, WEIGHTS, demo_net
from shiftable.models.preprocessing import center_place
from shiftable.training import shuffled_batches, train

TRAINING_SEED, HELD_OUT_SEED = 1, 2

Pictures = UInt8[np.ndarray, "image height width 3"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=30_000, help="how many to learn from (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="passes through them (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="CPU cores to use (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the file to write (default: the package's own)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    start = time.perf_counter()
    learned = samples(options.images, TRAINING_SEED)
    views, labels = center_crops(pictures(learned, options.threads)), labels_of(learned)
    print(f"{len(views)} images rendered in {time.perf_counter() - start:.0f} s")

    torch.manual_seed(0)
    net = demo_net(pretrained=False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    batch_size = 128
    steps = options.epochs * (len(views) // batch_size)
    batches = shuffled_batches(torch.from_numpy(views), labels, batch_size)
    train(net, varied(batches), steps, learning_rate=5e-3, weight_decay=0.02, progress=report(steps))
    minutes = (time.perf_counter() - start) / 60

    held_out = samples(2000, HELD_OUT_SEED)
    accuracy, p_top1_change = measure(net.eval(), pictures(held_out, options.threads), labels_of(held_out))
    facts = {
        "classes": ",".join(CLASSES),
        "command": f"python scripts/train_demo.py --images {options.images} --epochs {options.epochs}",
        "accuracy": f"{accuracy:.4f}",
        "p_top1_change": f"{p_top1_change:.4f}",
    }
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, options.out, facts)
    options.out.chmod(0o644)  # safetensors lets nobody else read it
    print(f"trained in {minutes:.1f} min; held-out accuracy at the centre {accuracy:.4f}")
    print(f"P(top-1 change) under 1 px {p_top1_change:.4f}; {options.out.stat().st_size / 1e3:.0f} kB")


def pictures(chosen: list[Sample], processes: int) -> Pictures:
    with ProcessPoolExecutor(processes) as pool:
        return np.stack(list(pool.map(read, chosen, chunksize=64)))


def read(sample: Sample) -> UInt8[np.ndarray, "height width 3"]:
    return sample.read()


def labels_of(chosen: list[Sample]) -> Tensor:
    return torch.tensor([sample.label for sample in chosen])


def center_crops(images: Pictures) -> Pictures:
    top, left = center_place((images.shape[1], images.shape[2]), VIEW_SIZE)
    return np.ascontiguousarray(images[:, top : top + VIEW_SIZE[0], left : left + VIEW_SIZE[1]])


def varied(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The batches as the net wants them; random halves of them mirrored, upside down, transposed, negative.

    The world looks the same in all of these. None moves the view.
    """
    generator = torch.Generator().manual_seed(0)
    for views, labels in batches:
        for change in CHANGES:
            changed = torch.rand(len(views), 1, 1, 1, generator=generator) < 0.5
            views = torch.where(changed, change(views), views)
        yield normalised(views), labels


CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda views: views.flip(2),
    lambda views: views.flip(1),
    lambda views: views.transpose(1, 2),
    lambda views: 255 - views,
)


def normalised(views: Tensor) -> Tensor:
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    return ((views / 255 - mean) / std).permute(0, 3, 1, 2)


def measure(net: torch.nn.Module, images: Pictures, labels: Tensor) -> tuple[float, float]:
    """Accuracy at the centre, and how often the answer changes from a random place to the next pixel on the right."""
    room = (images.shape[1] - VIEW_SIZE[0], images.shape[2] - VIEW_SIZE[1])
    rng = np.random.default_rng(0)
    places = np.stack([rng.integers(0, room[0] + 1, len(images)), rng.integers(0, room[1], len(images))], 1)
    first = answers(net, windows(images, places))
    second = answers(net, windows(images, places + np.array([0, 1])))
    centred = answers(net, center_crops(images))
    return float((centred.argmax(1) == labels.numpy()).mean()), float((first.argmax(1) != second.argmax(1)).mean())


def windows(images: Pictures, places: np.ndarray) -> Pictures:
    height, width = VIEW_SIZE
    return np.stack([image[y : y + height, x : x + width] for image, (y, x) in zip(images, places, strict=True)])


@torch.inference_mode()
def answers(net: torch.nn.Module, views: Pictures) -> Float32[np.ndarray, "view class"]:
    return torch.cat([net(normalised(part)) for part in torch.from_numpy(views).chunk(8)]).numpy()


def report(steps: int, every: int = 200) -> Callable[[int, float], None]:
    def show(step: int, loss: float) -> None:
        if step % every == 0 or step == steps:
            print(f"step {step} of {steps}, loss {loss:.3f}", file=sys.stderr, flush=True)

    return show


if __name__ == "__main__":
    main()
