"""One plain training loop: for the demo net, for fine-tuning a repaired model and for the studies."""

import os
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import cos, pi
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(the net's answers, the targets) to one number."""

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""Of the arithmetic. In 16 bits the weights stay in 32, and PyTorch chooses the operations that bear it (autocast)."""


def train(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    loss: Loss = nn.functional.cross_entropy,
    mode: Literal["train", "eval"] = "train",
    precision: Precision = "float32",
    seed: int = 0,
    checkpoint: str | Path | None = None,
    save_every: int = 100,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Trains a net in place: AdamW; the rate rises over the first tenth of the steps and falls to 0 as a half cosine.

    Parameters that need no gradient stay as they are. The net comes back in the mode, training or not, that it came in.

    With a checkpoint, a run that was killed goes on when it is started again with the same arguments, and ends in the
    same weights: to the last bit where the machine adds in the same order each time, as one CPU thread does.

    Args:
        net: What is trained, on the device it is on.
        batches: (inputs, targets), at least ``steps`` of them; may be endless. Moved to the net's device. A run that
            goes on passes over those that it has learned from.
        steps: How many batches to learn from.
        learning_rate: The highest rate.
        weight_decay: AdamW's, per step and unit of rate.
        loss: What to make small, given the net's answers and the targets: labels, or another net's answers.
        mode: The net's meanwhile. In ``"eval"`` norms keep their statistics and nothing is dropped: what is tuned is
            the net as it answers later.
        precision: Of the forward and backward passes.
        seed: Of what is random inside the net (dropout). The caller's random state is left alone.
        checkpoint: A file for the state of the run: weights, optimiser, losses so far, random state. It is there whole
            or not at all. A run that is complete is read from it.
        save_every: How many steps lie between two writings of it; the last step is written as well.
        progress: Called after each step with the number of steps done and the loss.

    Returns:
        The loss of each step.

    Raises:
        ValueError: If there are fewer than ``steps`` batches, the loss stops being a number, or the checkpoint is of a
            run with other arguments.

    References:
        Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.

    Example:
        >>> line = nn.Linear(1, 1)
        >>> x = torch.linspace(-1, 1, 8)[:, None]
        >>> history = train(line, [(x, 3 * x)] * 200, 200, learning_rate=0.1, loss=nn.functional.mse_loss)
        >>> round(line.weight.item(), 1)
        3.0
    """
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    device, parts = learned[0].device, {"net": net, "optimizer": optimizer, "schedule": schedule}
    arguments = [steps, learning_rate, weight_decay, mode, precision, seed]
    path = None if checkpoint is None else Path(checkpoint)
    was_training = net.training
    net.train(mode == "train")
    try:
        with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
            torch.manual_seed(seed)
            history = _go_on(path, parts, arguments, rest := iter(batches), device)
            for inputs, targets in islice(rest, steps - len(history)):
                with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
                    value = loss(net(inputs.to(device)), targets.to(device))
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                history.append(value.item())
                if not history[-1] < float("inf"):
                    raise ValueError(f"the loss is {history[-1]} at step {len(history)}; lower the learning rate")
                if path is not None and (len(history) % save_every == 0 or len(history) == steps):
                    _save(path, parts, {"arguments": arguments, "history": history, "random": _random_state(device)})
                if progress is not None:
                    progress(len(history), history[-1])
    finally:
        net.train(was_training)
    if len(history) < steps:
        raise ValueError(f"there were {len(history)} batches for {steps} steps; repeat them")
    return history


def _save(path: Path, parts: dict[str, Any], state: dict[str, Any]) -> None:
    """Written under another name first: a run killed meanwhile leaves the checkpoint before."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        torch.save({**state, **{name: part.state_dict() for name, part in parts.items()}}, draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _go_on(
    path: Path | None, parts: dict[str, Any], arguments: list[Any], batches: Iterator[Any], device: torch.device
) -> list[float]:
    """The losses so far, all parts and the random state set to where the run was written, its batches passed over."""
    if path is None or not path.exists():
        return []
    saved = torch.load(path, map_location=device, weights_only=True)
    if saved["arguments"] != arguments:
        raise ValueError(f"{path} is of a run with other arguments; give another checkpoint, or delete this one")
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    history: list[float] = saved["history"]
    for _ in islice(batches, len(history)):
        pass
    torch.set_rng_state(saved["random"][0].cpu())
    if device.type != "cpu":
        torch.get_device_module(device).set_rng_state(saved["random"][1].cpu(), device)
    return history


def _random_state(device: torch.device) -> list[Tensor]:
    """The processor's, and the accelerator's where there is one."""
    own = [] if device.type == "cpu" else [torch.get_device_module(device).get_rng_state(device)]
    return [torch.get_rng_state(), *own]


def _rate(step: int, steps: int) -> float:
    """The share of the highest learning rate at this step."""
    rising = max(1, steps // 10)
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + cos(pi * (step - rising) / max(1, steps - rising)))


def shuffled_batches(
    inputs: Tensor, targets: Tensor, batch_size: int, seed: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches: each pass through the data is in another order; at its end, what fills no batch is left.

    Args:
        inputs: One row per example.
        targets: As many rows.
        batch_size: Rows per batch.
        seed: Of the orders.

    Raises:
        ValueError: If there are fewer examples than a batch holds, or not as many targets.

    Example:
        >>> batches = shuffled_batches(torch.arange(4), torch.arange(4), batch_size=4)
        >>> sorted(next(batches)[0].tolist())
        [0, 1, 2, 3]
    """
    if not batch_size <= len(inputs) == len(targets):
        raise ValueError(f"{len(inputs)} inputs and {len(targets)} targets make no batch of {batch_size}")
    return _shuffled(inputs, targets, batch_size, torch.Generator().manual_seed(seed))


def _shuffled(
    inputs: Tensor, targets: Tensor, batch_size: int, generator: torch.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    while True:
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order) - batch_size + 1, batch_size):
            chosen = order[start : start + batch_size]
            yield inputs[chosen], targets[chosen]
