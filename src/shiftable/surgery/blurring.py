"""Sites carried out blurred: what the stride can't carry is filtered away before positions are dropped.

Convolution, average pooling, slices, merging and interpolation are linear, and get a filtered map. The maximum is not,
and makes new high frequencies: it is taken at stride 1, filtered, and then subsampled. Nothing moves, and no size
changes. What follows a site was trained on its contrast, which filtering lowers; so the mean and the standard deviation
of every channel can be set back to what they were.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from shiftable.layers.low_pass import LowPass, Pair
from shiftable.surgery.calls import Key
from shiftable.surgery.sites import Handler, Operation, Site, intercepted
from shiftable.surgery.windows import NCHW

LARGEST_GAIN = 4.0
"""By how much a channel's contrast is set back at most: one that varies hardly at all would only be noise."""


class Correction(NamedTuple):
    """What sets a site's channels back to the mean and the contrast that they had: ``answer · gain + shift``."""

    gain: Tensor
    shift: Tensor


class Moments(NamedTuple):
    """Mean and standard deviation of every channel, over images and positions."""

    mean: Tensor
    std: Tensor

    def corrected_to(self, wanted: "Moments") -> Correction:
        """What gives a map of these moments the wanted ones; a channel that never varies is only shifted."""
        tiny = torch.finfo(self.std.dtype).tiny
        gain = ((wanted.std + tiny) / (self.std + tiny)).clamp(1 / LARGEST_GAIN, LARGEST_GAIN)
        return Correction(gain, wanted.mean - self.mean * gain)


def as_is(operation: Operation) -> Any:
    """The handler that changes nothing."""
    return operation()


def blurred(low_pass: LowPass, corrections: Mapping[Key, Correction] | None = None) -> Handler:
    """A handler that carries a site out blurred. Each site needs one of its own.

    Args:
        low_pass: The filter.
        corrections: By operation; one that is missing is not corrected. See `matched`.

    Example:
        >>> from shiftable.surgery.sites import find_sites
        >>> net, picture = nn.MaxPool2d(2), torch.tensor([[[[0.0, 1, 0, 1], [0, 1, 0, 1]]]])
        >>> (site,) = find_sites(net, picture)
        >>> with torch.no_grad(), intercepted(net, {site: blurred(LowPass("box"))}):
        ...     net(picture)
        tensor([[[[1., 1.]]]])
    """
    filtered = _remembering(low_pass)

    def handler(operation: Operation) -> Any:
        answer = _carried_out(operation, low_pass, filtered)
        correction = (corrections or {}).get(operation.call.key)
        if correction is None:
            return answer
        if isinstance(answer, tuple):
            return _corrected(answer[0], correction, operation.site), *answer[1:]
        return _corrected(answer, correction, operation.site)

    return handler


def matched(
    net: nn.Module,
    batches: Sequence[Tensor],
    sites: Sequence[Site],
    low_pass: LowPass,
    originals: Mapping[Key, Moments],
) -> dict[Site, Handler]:
    """Handlers that carry sites out blurred, all of them together, each channel with the moments that it had.

    The net is run once per site: what a site gets depends on what became of the sites before it.

    Args:
        net: The net.
        batches: What it is shown to measure moments.
        sites: In the order in which they are carried out.
        low_pass: The filter.
        originals: Of the net as it is, from `moments`.
    """
    handlers: dict[Site, Handler] = {}
    for site in sites:
        found = moments(net, batches, {**handlers, site: blurred(low_pass)}, [site])
        corrections = {key: found[key].corrected_to(originals[key]) for key in found if key in originals}
        handlers[site] = blurred(low_pass, corrections)
    return handlers


def moments(
    net: nn.Module, batches: Sequence[Tensor], handlers: Mapping[Site, Handler], sites: Sequence[Site]
) -> dict[Key, Moments]:
    """The moments of what sites give, by operation, over all batches; of slices of slices only the last.

    Args:
        net: The net.
        batches: What it is shown.
        handlers: How its sites are carried out meanwhile; those that are missing, as they are.
        sites: Whose.
    """
    sums: dict[Key, Sums] = {}

    def measured(handler: Handler, operation: Operation) -> Any:
        answer = handler(operation)
        if not _half_way(operation):
            given, key = answer[0] if isinstance(answer, tuple) else answer, operation.call.key
            sums[key] = Sums.of(given, _channel_axis(operation.site)).with_more(sums.get(key))
        return answer

    measuring = {site: partial(measured, handlers.get(site, as_is)) for site in sites}
    with torch.no_grad(), intercepted(net, {**handlers, **measuring}):
        for batch in batches:
            net(batch)
    return {key: each.moments() for key, each in sums.items()}


@dataclass(frozen=True)
class Sums:
    """What moments are made of, batch by batch.

    Args:
        count: How many positions there are in each channel.
        mean: Of every channel.
        squares: The sum of the squares of what differs from it.
    """

    count: int
    mean: Tensor
    squares: Tensor

    @classmethod
    def of(cls, map: Tensor, axis: int) -> "Sums":
        """Of one map.

        Args:
            map: A batch of it.
            axis: The channels'.
        """
        others = [each for each in range(map.ndim) if each != axis % map.ndim]
        count = map.numel() // map.shape[axis]
        variance, mean = torch.var_mean(map.float(), others, correction=0)
        return cls(count, mean, variance * count)

    def with_more(self, more: "Sums | None") -> "Sums":
        """Together with others, by Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing
        sample variances", 1979.

        Args:
            more: The others.
        """
        if more is None:
            return self
        count, apart = self.count + more.count, more.mean - self.mean
        squares = self.squares + more.squares + apart**2 * (self.count * more.count / count)
        return Sums(count, self.mean + apart * (more.count / count), squares)

    def moments(self) -> Moments:
        """Of all that was counted."""
        return Moments(self.mean, (self.squares / self.count).sqrt())


def _carried_out(operation: Operation, low_pass: LowPass, filtered: Callable[[Operation], Tensor]) -> Any:
    if operation.site.window.kind != "max pooling":
        return operation(filtered(operation))
    values = low_pass(operation.dense(), operation.stride, subsample=True)
    own = operation()
    return (values, *own[1:]) if isinstance(own, tuple) else values  # where the greatest are: of use to an unpooling


def _remembering(low_pass: LowPass) -> Callable[[Operation], Tensor]:
    """Filters what a site gets along the axes that it subsamples, and each map of several slices only once."""
    known: dict[Pair, tuple[Tensor, int, Tensor]] = {}

    def filtered(operation: Operation) -> Tensor:
        map, stride, window = operation.input, operation.stride, operation.site.window
        if window.kind != "slice":
            return _filtered(map, stride, window.dimensions, low_pass)
        before, version = known.get(stride), 0 if map.is_inference() else map._version
        if before is None or not _same(before[0], map) or before[1] != version:
            known[stride] = before = (map, version, _filtered(map, stride, window.dimensions, low_pass))
        if operation.call.key == operation.site.keys[-1]:
            known.clear()
        return before[2]

    return filtered


def _same(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are views of the same numbers: each slice of a map may be of another view of it."""
    return (first.data_ptr(), first.shape, first.stride()) == (second.data_ptr(), second.shape, second.stride())


def _filtered(map: Tensor, stride: Pair, dimensions: Pair, low_pass: LowPass) -> Tensor:
    if dimensions == NCHW:
        return low_pass(map, stride).contiguous(memory_format=_format(map))
    return low_pass(map.movedim(3, 1), stride).movedim(1, 3).contiguous()


def _format(map: Tensor) -> torch.memory_format:
    """So that a view of the map, taken apart, is a view of the filtered map as well."""
    last = map.is_contiguous(memory_format=torch.channels_last) and not map.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _corrected(map: Tensor, correction: Correction, site: Site) -> Tensor:
    axis = _channel_axis(site) % map.ndim
    shape = [-1 if each == axis else 1 for each in range(map.ndim)]
    return map * correction.gain.to(map).view(shape) + correction.shift.to(map).view(shape)


def _channel_axis(site: Site) -> int:
    return 1 if site.window.dimensions == NCHW else -1


def _half_way(operation: Operation) -> bool:
    """Whether it is a slice along one axis, to be followed by one along the other."""
    window, (y, x) = operation.site.window, operation.site.window.dimensions
    return (
        window.kind == "slice"
        and min(window.stride) > 1
        and (operation.input.shape[y], operation.input.shape[x]) == window.input_size
    )
