"""One plain training loop: for the demo net, for fine-tuning a repaired model and for the studies."""

from collections.abc import Callable, Iterable, Iterator
from math import cos, pi

import torch
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]
"""(the net's answers, the targets) to one number."""


def train(
    net: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    steps: int,
    *,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.01,
    loss: Loss = nn.functional.cross_entropy,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Trains a net in place: AdamW; the rate rises over the first tenth of the steps and falls to 0 as a half cosine.

    Parameters that need no gradient stay as they are. The net comes back in the mode, training or not, that it came in.

    Args:
        net: What is trained, on the device it is on.
        batches: (inputs, targets), at least ``steps`` of them; may be endless. Moved to the net's device.
        steps: How many batches to learn from.
        learning_rate: The highest rate.
        weight_decay: AdamW's, per step and unit of rate.
        loss: What to make small, given the net's answers and the targets: labels, or another net's answers.
        seed: Of what is random inside the net (dropout). The caller's random state is left alone.
        progress: Called after each step with the number of steps done and the loss.

    Returns:
        The loss of each step.

    Raises:
        ValueError: If there are fewer than ``steps`` batches, or the loss stops being a number.

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
    device = learned[0].device
    history: list[float] = []
    was_training = net.training
    net.train()
    try:
        with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
            torch.manual_seed(seed)
            for (inputs, targets), _ in zip(batches, range(steps), strict=False):
                value = loss(net(inputs.to(device)), targets.to(device))
                optimizer.zero_grad(set_to_none=True)
                value.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                history.append(value.item())
                if not history[-1] < float("inf"):
                    raise ValueError(f"the loss is {history[-1]} at step {len(history)}; lower the learning rate")
                if progress is not None:
                    progress(len(history), history[-1])
    finally:
        net.train(was_training)
    if len(history) < steps:
        raise ValueError(f"there were {len(history)} batches for {steps} steps; repeat them")
    return history


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
