"""Operations that look at all of a map: after them, no position depends on its surroundings alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from torch import Tensor

from shiftable.surgery.calls import Call, Key
from shiftable.surgery.standing import Standing, axes_in
from shiftable.surgery.windows import Window

PREFIX = 8
"""How many tokens a transformer may put before those of the picture: its class, registers."""

REDUCTIONS = {
    **dict.fromkeys(("mean", "sum", "amax", "amin", "max", "min", "logsumexp", "median", "prod"), 1),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), 1),
    **dict.fromkeys(("linalg_vector_norm", "norm"), 2),
}
"""ATen's names of what makes one number of many, and which argument names the dimensions."""

PRODUCTS: Mapping[str, tuple[int, int]] = {
    "mm": (0, 1), "bmm": (0, 1), "addmm": (1, 2), "baddbmm": (1, 2), "linear": (0, 1), "convolution": (0, 1),
}  # fmt: skip
"""ATen's names of matrix products, and which arguments are the factors."""

FUSED = {"_native_multi_head_attention": 2, "_transformer_encoder_layer_fwd": 4}
"""ATen's names of several layers carried out at once, and how many of them come after each other."""


@dataclass(frozen=True)
class Mix:
    """An operation that looks at all of a map.

    Args:
        key: The operation.
        what: What it does, in words.
        ends: Whether what it gives has no positions any more. It may be given back to a map (squeeze and excite).
    """

    key: Key
    what: str
    ends: bool = False


def multiplies(call: Call, of_picture: Callable[[Tensor], bool]) -> int | None:
    """The channels that come of multiplying something made from the picture by something that is not; else None."""
    places = PRODUCTS.get(call.key.operation)
    factors = [call.argument(place) for place in places or ()]
    if len(factors) != 2 or not all(isinstance(each, Tensor) for each in factors):
        return None
    known = [of_picture(each) for each in factors]
    if sum(known) != 1:
        return None
    weight = factors[known.index(False)]
    if call.key.operation == "convolution":
        return int(weight.shape[0])
    return int(weight.shape[-1] if known[0] and call.key.operation != "linear" else weight.shape[-2])


def attends(call: Call) -> bool:
    """Whether an operation's first argument are queries, so that what it gives has their positions."""
    return "scaled_dot_product" in call.key.operation or call.key.operation in ("bmm", "baddbmm")


def takes_all(window: Window) -> bool:
    """Whether an operation's one window is the whole map: a flattened head written as a convolution."""
    return (
        window.output_size == (1, 1)
        and window.stride == (1, 1)
        and window.kernel == window.input_size != (1, 1)
        and window.padding == ((0, 0), (0, 0))
    )


def mix_of(call: Call, given: Tensor, standing: Standing, weighted: bool) -> Mix | None:
    """What an operation does to all of a map, None for those that don't.

    Args:
        call: The operation.
        given: What it gave.
        standing: The map before it.
        weighted: Whether it multiplies the map by weights.
    """
    name, image = call.key.operation, call.argument(0)
    if not isinstance(image, Tensor) or standing.positions == 1:
        return None
    if name in REDUCTIONS:
        return _reduction(call, image, standing)
    if "pool2d" in name and given.ndim == 4 and tuple(given.shape[2:]) == (1, 1):
        return Mix(call.key, "global pooling", ends=True)
    if "group_norm" in name:
        return Mix(call.key, "group norm")
    if "layer_norm" in name and len(call.args[1]) > 1:
        return Mix(call.key, "layer norm over the whole map")
    if "batch_norm" in name and any(each is True for each in call.args[3:6]):
        return Mix(call.key, "norm by the map's own mean and variance")
    if name.startswith("_fft_"):
        return Mix(call.key, "Fourier transform")
    if name in FUSED:
        return _attention(call, tuple(image.shape), int(image.shape[1]), standing)
    if "scaled_dot_product" in name:
        return _attention(call, tuple(call.args[0].shape), int(call.args[1].shape[-2]), standing)
    if "softmax" in name and "log" not in name and image.ndim > 2 and int(call.args[1]) % image.ndim == image.ndim - 1:
        return _attention(call, tuple(image.shape[:-1]), int(image.shape[-1]), standing)
    if weighted and name != "convolution":
        return _between_tokens(call, standing)
    return None


def _reduction(call: Call, image: Tensor, standing: Standing) -> Mix | None:
    argument: Any = call.argument(REDUCTIONS[call.key.operation])
    if isinstance(argument, Tensor):
        return None
    chosen = [argument] if isinstance(argument, int) else argument
    dimensions = {int(each) % image.ndim for each in chosen} if chosen else set(range(image.ndim))
    axes = axes_in(standing, image.shape)
    if axes is not None:
        covered = dimensions & set(axes)
        if covered == set(axes):
            return Mix(call.key, "global pooling", ends=True)
        return Mix(call.key, "pooling along one axis") if covered else None
    if image.ndim < 3:
        return None
    longest = range(standing.positions, standing.positions + PREFIX + 1)
    if any(each and image.shape[each] in longest for each in dimensions):
        return Mix(call.key, "global pooling", ends=True)
    return None


def _attention(call: Call, asking: tuple[int, ...], keys: int, standing: Standing) -> Mix | None:
    """Attention of ``(…, position)`` or ``(…, position, channel)`` to so many positions."""
    others = prod(asking[:-1] if call.key.operation.endswith("softmax") else asking[:-2])
    if keys == 1:
        return None
    if keys >= standing.positions:
        return Mix(call.key, "attention")
    if others * keys >= standing.positions:
        return Mix(call.key, f"attention in windows of {keys} positions")
    return Mix(call.key, "attention between channels, or to a smaller map")


def _between_tokens(call: Call, standing: Standing) -> Mix | None:
    """A layer that multiplies along the positions, as an MLP-Mixer's."""
    factors = [call.argument(place) for place in PRODUCTS[call.key.operation]]
    rows, inner = int(prod(factors[0].shape[:-1])), int(factors[0].shape[-1])
    if inner != standing.positions or rows in range(standing.positions, standing.positions + PREFIX + 1):
        return None
    return Mix(call.key, "layer between positions") if rows % standing.channels == 0 else None
