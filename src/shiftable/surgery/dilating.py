"""A net's answers to all shifts of a picture from one forward pass: every subsampling made dense.

Moved by d, a picture reaches an operation of stride s as another set of positions of the same stride-1 response: those
of the phase −d modulo s. So each operation that subsamples gives all its phases here, as a larger batch, and whatever
follows goes on with each. Every phase is what the net makes of the moved picture, as far as its border does not move.
That is the dense (à trous, dilated) net, its maps stored phase by phase: taken apart so, no later operation has to be
dilated, and global pooling, squeeze-and-excitation and the head see one phase at a time, as they must.

The maps' positions interleaved are `dense_map`. DESIGN section 7, "Dense response".

What holds for any net only if no operation tells one position from another is measured: `check_dilation`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from shiftable.errors import InputError
from shiftable.models.torch_model import as_scores
from shiftable.surgery.calls import Call, Key, visited
from shiftable.surgery.phases import Axes, NotDilatable, Phases
from shiftable.surgery.sites import Site, find_sites
from shiftable.surgery.windows import Pair


@contextmanager
def circular(net: nn.Module) -> Iterator[None]:
    """While this is entered, the net's maps have no edges: what leaves a map on one side enters on the other.

    So of n positions an operation keeps n / stride, on the grid that the net has. The net itself is not changed. Enter
    `torch.no_grad` too.

    Raises:
        InputError: While the net runs, if a map is no multiple of a stride.
        NotDilatable: While the net runs, if a map is padded elsewhere than before a window.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> picture = torch.randn(1, 3, 16, 16)
        >>> with torch.no_grad(), circular(net):
        ...     still, moved = net(picture), net(picture.roll(2, dims=-1))
        >>> torch.allclose(still, moved, atol=1e-5)
        True
    """
    with visited(net, Phases({}, (False, False), circle=True)):
        yield


def circular_answer(net: nn.Module, inputs: Float[Tensor, "image channel y x"]) -> Float[Tensor, "image class"]:
    """The net's scores if its maps had no edges; see `circular`."""
    with torch.no_grad(), circular(net):
        return as_scores(net(inputs))


def dilated_logits(
    net: nn.Module,
    inputs: Float[Tensor, "image channel y x"],
    *,
    axes: Axes = (True, True),
    circle: bool = False,
    sites: tuple[Site, ...] | None = None,
) -> Float[Tensor, "image phase_y phase_x class"]:
    """The scores for every shift modulo the total stride: ``[image, dy, dx]`` for content moved by ``(dy, dx)`` px.

    In a circle these are exactly the scores of `circular_answer` for the moved inputs. With the border that the net
    has, they are what sampling alone would do: the border stays where it is on the picture, and nothing enters or
    leaves; ``[image, 0, 0]`` are the net's own scores.

    Args:
        net: Is not changed. Call `check_dilation` once before.
        inputs: One image at a time is run. All phases of both axes cost up to s² times a forward pass, and as much
            memory as maps of the picture's own size; those of one axis s times.
        axes: Along which axes the shifts differ, (y, x). The other has one phase.
        circle: Whether maps have edges; see `circular`.
        sites: Of `find_sites`; None looks for them.

    Raises:
        InputError: In a circle, if the size is no multiple of the total stride.
        NotDilatable: If the net's phases can't be kept apart.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> dilated_logits(net, torch.randn(1, 3, 16, 16)).shape
        torch.Size([1, 2, 2, 8])
    """
    sites = find_sites(net, inputs[:1]) if sites is None else sites
    found = []
    for image in torch.split(inputs, 1):
        phases = Phases(_operations(sites), axes, circle)
        found.append(_by_shift(phases.apart(as_scores(phases.run(net, image)))))
    return torch.stack(found)


def dense_map(
    net: nn.Module,
    inputs: Float[Tensor, "image channel y x"],
    *,
    layer: str | None = None,
    axes: Axes = (True, True),
    circle: bool = False,
    sites: tuple[Site, ...] | None = None,
) -> tuple[Float[Tensor, "image feature y x"], Pair]:
    """A map at every position, and how many there are for one of the net's own, (y, x).

    Position (i, j) of the net's own map is position (i · s, j · s) of it: the last map's is one px of the picture.

    Args:
        net: Is not changed.
        inputs: One image at a time is run.
        layer: The module whose map it is; None takes the net's last map, before global pooling.
        axes: Along which axes it is made dense, (y, x).
        circle: Whether maps have edges; see `circular`.
        sites: Of `find_sites`; None looks for them.

    Raises:
        InputError: If there is no such map; in a circle, if the size is no multiple of the total stride.
        NotDilatable: If the net's phases can't be kept apart.
    """
    sites = find_sites(net, inputs[:1]) if sites is None else sites
    found, spacing = [], (1, 1)
    for image in torch.split(inputs, 1):
        phases = Phases(_operations(sites), axes, circle)
        last: list[Tensor] = []

        def left(name: str, module: nn.Module, answers: Any, last: list[Tensor] = last) -> None:
            if name == layer and answers and answers[0].ndim == 4:
                last[:] = answers[:1]

        def visit(call: Call, phases: Phases = phases, last: list[Tensor] = last) -> Any:
            answer = phases(call)
            given = _first(answer)
            a_map = given is not None and given in phases.spacings and given.ndim == 4
            if layer is None and a_map and min(given.shape[2:]) > 1:
                last[:] = [given]
            return answer

        phases.run(net, image, visit, left)
        if not last:
            raise InputError("no such map", where=layer, todo="name a module that gives (image, channel, y, x)")
        spacing = phases.spacing(last[0])
        found.append(phases.apart(last[0]).permute(2, 3, 0, 4, 1).flatten(3).flatten(1, 2))
    return torch.stack(found), spacing


def check_dilation(
    net: nn.Module,
    picture: Float[Tensor, "one channel y x"],
    *,
    axes: Axes = (True, True),
    sites: tuple[Site, ...] | None = None,
    tolerance: float = 1e-4,
) -> None:
    """Raise unless, in a circle, one forward pass tells the scores for another shift, and moving by s changes nothing.

    The picture is moved by one px more than the total stride, and what the net then does is compared with what the
    phase of one px says, operation by operation. Moved positions change neither a map's mean nor its power, so the
    first operation where these differ is what treats positions differently: a position's embedding, a window of
    attention, a flattened head.

    Args:
        net: Is not changed.
        picture: One image, its size a multiple of the total stride.
        axes: As in `dilated_logits`.
        sites: Of `find_sites`; None looks for them.
        tolerance: Up to which difference, as a share of the RMS, maps count as equal.

    Raises:
        InputError: If the size is no multiple of the total stride.
        NotDilatable: If it does not hold, with the operation that is to blame.
    """
    sites = find_sites(net, picture) if sites is None else sites
    phases, plain = Phases(_operations(sites), axes, circle=True), Phases({}, axes, circle=True)
    predicted, still = _observed(net, picture, phases)
    told = phases.apart(still)
    high, wide = told.shape[:2]
    by = (-(high + 1) if axes[0] else 0, -(wide + 1) if axes[1] else 0)
    found, answer = _observed(net, picture.roll(by, dims=(-2, -1)), plain)
    if (told[1 % high, 1 % wide] - answer[0]).abs().max() <= tolerance * (answer - answer.mean()).abs().max():
        return
    for key, (mean, rms) in predicted.items():
        other = found.get(key)
        if other is not None and max(abs(mean - other[0]), abs(rms - other[1])) > tolerance * max(rms, other[1]):
            raise NotDilatable(key.module, key.operation, "it treats positions differently")
    raise NotDilatable("", "forward", "it treats positions differently")


def _observed(net: nn.Module, picture: Tensor, phases: Phases) -> tuple[dict[Key, tuple[float, float]], Tensor]:
    """Mean and RMS of what every operation gives for the phase of one px, and the scores."""
    found: dict[Key, tuple[float, float]] = {}

    def visit(call: Call) -> Any:
        answer = phases(call)
        given = _first(answer)
        if given is not None and given.is_floating_point() and given.ndim:
            high, wide = phases.spacing(given)
            if len(given) % (high * wide) == 0:
                one = given.reshape(high, wide, -1)[1 % high, 1 % wide].double()
                found[call.key] = float(one.mean()), float(one.square().mean().sqrt())
        return answer

    return found, as_scores(phases.run(net, picture, visit))


def _first(answer: Any) -> Any:
    """The tensor that an operation gives; maxima come with their places."""
    found = answer[0] if isinstance(answer, tuple) and answer else answer
    return found if isinstance(found, Tensor) else None


def _operations(sites: tuple[Site, ...]) -> Mapping[Key, Site]:
    return {key: site for site in sites for key in site.keys}


def _by_shift(phases: Float[Tensor, "y x class"]) -> Float[Tensor, "y x class"]:
    """Content moved by d is the phase −d."""
    return phases.flip(0, 1).roll((1, 1), dims=(0, 1))
