"""Follow a picture through a net: from every operation's tensors to what they give, in one forward pass.

No rule is needed for most operations: what is calculated from a map is a map like it. Rules are for those that look
through windows, move or drop positions, or look at all of a map (``mixing.py``).
"""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

from shiftable.surgery import mixing
from shiftable.surgery.blurs import blur_in
from shiftable.surgery.calls import Call, Key, flat
from shiftable.surgery.passages import RULES
from shiftable.surgery.standing import Crossing, Standing, axes_in, joined, padded, resized, windowed
from shiftable.surgery.windows import NCHW, Pair, Window, window_of


class Travel:
    """What is known of the tensors that were made from a picture, and of the places that it went through.

    Args:
        inputs: The picture, as the net gets it.

    Attributes:
        crossings: Where positions are dropped, in the order in which they are passed.
        mixes: What looks at all of a map, in this order, too.
        given_back: Those of the mixes whose answer is put together with a map again: squeeze and excite.
        weighted: The operations that multiply by weights.
        lost: Those whose input nobody knows where it is from.
        unknown: Those that dropped positions in a way that is none of a site's.
        asked: Those that told the program a number of the picture, on which it may decide its way.
        keys: All operations on what was made from the picture.
        answer: Where the net's answer stands; None where it can't be followed back to the picture.
    """

    def __init__(self, inputs: Tensor) -> None:
        self.view_size = (int(inputs.shape[-2]), int(inputs.shape[-1]))
        self.batch = int(inputs.shape[0])
        self.crossings: list[Crossing] = []
        self.mixes: list[mixing.Mix] = []
        self.given_back: set[int] = set()
        self.weighted: list[Key] = []
        self.lost: list[Key] = []
        self.unknown: list[Key] = []
        self.asked: list[Key] = []
        self.keys: list[Key] = []
        self.answer: Standing | None = None
        self._known: Any = WeakTensorKeyDictionary()
        self._written: dict[StorageWeakRef, tuple[Standing, int]] = {}
        self._known[inputs] = Standing(self.view_size, int(inputs.shape[1]))

    def visit(self, call: Call) -> Any:
        """Carry an operation out, and note what it gives."""
        tensors = [each for each in flat([call.args, call.kwargs]) if isinstance(each, Tensor)]
        known = [found for each in tensors if (found := self.standing(each)) is not None]
        first = call.argument(0)
        own = self.standing(first) if isinstance(first, Tensor) else None
        target = first if own is None and call.function._schema.is_mutable else None
        answer = call()
        if own is None and (lost := self._lost(call, answer)):
            own, known = lost, [lost]
        if not known or _creates(call.key.operation):
            return answer
        self.keys.append(call.key)
        if not any(isinstance(each, Tensor) for each in flat(answer)):
            self.asked.append(call.key)  # a number of the picture itself: it may decide the way
            return answer
        attends = own is not None and mixing.attends(call)
        if not attends:
            self._note_given_back(known)
        before = joined(known, own if attends else None)
        after = self._after(call, answer, own or before, before)
        for each in flat(answer):
            if isinstance(each, Tensor):
                self._known[each] = after
        if isinstance(target, Tensor):
            self._written.setdefault(_storage(target), (after, int(target.storage_offset())))
        return answer

    def left(self, name: str, module: nn.Module, answers: Sequence[Tensor]) -> None:
        """Note which module gives a tensor: the outermost, but not one that only hands it on."""
        for each in answers:
            found = self.standing(each)
            if found is None:
                continue
            if not name:
                if self.answer is None or found.depth > self.answer.depth:
                    self.answer = found
            elif not found.named or found.layer.startswith(f"{name}."):
                self._known[each] = replace(found, layer=name if found.is_map else found.layer, named=True)

    def standing(self, tensor: Tensor) -> Standing | None:
        """Where a tensor stands, None if it was not made from the picture."""
        found: Standing | None = self._known.get(tensor)
        if found is not None or not self._written or tensor.layout is not torch.strided:
            return found
        written = self._written.get(_storage(tensor))
        if written is not None:
            found = self._known[tensor] = _around(tensor, *written)
        return found

    def _note_given_back(self, known: Sequence[Standing]) -> None:
        if any(each.is_map for each in known):
            self.given_back |= {each.ended for each in known if each.ended is not None}

    def _lost(self, call: Call, answer: Any) -> Standing | None:
        """A map that nobody knows where it is from: the picture left PyTorch on its way."""
        window = window_of(call, answer)
        if window is None or window.kind not in ("convolution", "max pooling", "average pooling"):
            return None
        if max(window.stride) == 1 or call.args[0].shape[0] != self.batch:
            return None
        self.lost.append(call.key)
        pitch = [Fraction(view, size) for view, size in zip(self.view_size, window.input_size, strict=True)]
        return Standing(window.input_size, window.channels, pitch_px=(pitch[0], pitch[1]))

    def _after(self, call: Call, answer: Any, own: Standing, before: Standing) -> Standing:
        given = next(each for each in flat(answer) if isinstance(each, Tensor))
        image, window = call.argument(0), window_of(call, answer)
        if own.is_map and isinstance(image, Tensor):
            if (rule := RULES.get(call.key.operation)) is not None:
                if (found := rule(self, call, image, given, own)) is not None:
                    return found
            elif window is not None:
                return self.through(call, window, given, own)
        after = self._mixed(call, given, before)
        return self._resized_unseen(call, image, given, own, replace(after, axes=axes_in(after, given.shape)))

    def _mixed(self, call: Call, given: Tensor, before: Standing) -> Standing:
        """Layers that multiply by weights, and operations that look at all of a map."""
        channels = mixing.multiplies(call, lambda tensor: self.standing(tensor) is not None)
        layers = mixing.FUSED.get(call.key.operation, int(channels is not None))
        self.weighted += [call.key] * layers
        after = replace(before, depth=before.depth + layers, channels=channels or before.channels)
        mix = mixing.mix_of(call, given, before, channels is not None) if before.is_map else None
        return after if mix is None else self.past(mix, after)

    def past(self, mix: mixing.Mix, standing: Standing) -> Standing:
        self.mixes.append(mix)
        return replace(standing, ended=len(self.mixes) - 1) if mix.ends else standing

    def through(self, call: Call, window: Window, given: Tensor, before: Standing) -> Standing:
        """Past an operation with a window."""
        blur = blur_in(call, window)
        before = self.seen_size(call, window.input_size, before)
        after = windowed(before, window, int(given.shape[1]) if given.ndim == 4 else window.channels, blur)
        if call.key.operation == "convolution" and blur is None:
            self.weighted.append(call.key)
            after = replace(after, depth=before.depth + 1)
        if mixing.takes_all(window):
            whole = mixing.Mix(call.key, "one window over the whole map", ends=True)
            return self.past(whole, replace(joined([before]), depth=after.depth))
        if max(window.stride) == 1:
            return after
        return self.crossed(Crossing((call.key,), window, before, after, blur))

    def crossed(self, crossing: Crossing) -> Standing:
        number = len(self.crossings)
        after = replace(crossing.after, sites=(*crossing.before.sites, number))
        self.crossings.append(replace(crossing, after=after))
        return after

    def seen_size(self, call: Call, size: Pair, standing: Standing) -> Standing:
        """The standing of a map of this size. Positions that were lost unseen are noted, cut edges are not."""
        if standing.size == size:
            return standing
        ratio = [Fraction(before, after) for before, after in zip(standing.size, size, strict=True)]
        if all(Fraction(1, 2) < each < 2 for each in ratio):
            return replace(standing, size=size)
        if max(ratio) >= 2:
            self.unknown.append(call.key)
        return resized(standing, size, 1, NCHW)

    def _resized_unseen(self, call: Call, image: Any, given: Tensor, own: Standing, after: Standing) -> Standing:
        if not isinstance(image, Tensor) or not after.is_map or image.ndim != given.ndim:
            return after
        axes = axes_in(own, image.shape)
        if axes is None or given.shape == image.shape:
            return after
        size = (int(given.shape[axes[0]]), int(given.shape[axes[1]]))
        if call.key.operation in mixing.REDUCTIONS:  # along one axis
            return replace(after, size=size, axes=axes)
        if size in (own.size, (1, 1)) or 0 in size or own.positions == 1:
            return after
        return replace(self.seen_size(call, size, after), axes=axes)


def _storage(tensor: Tensor) -> StorageWeakRef:
    return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]


def _creates(operation: str) -> bool:
    """Whether an operation looks at a tensor's shape alone."""
    return operation.startswith("new_") or operation.endswith("_like")


def _around(tensor: Tensor, written: Standing, offset: int) -> Standing:
    """Where a tensor stands into a part of which a map was written: circular padding is done so."""
    axes = written.axes
    if tensor.ndim != 4 or axes is None or not written.is_map:
        return written
    steps = [tensor.stride(axis) for axis in axes]
    if min(steps) < 1:
        return written
    offset -= int(tensor.storage_offset())
    top, left = offset // steps[0] % tensor.shape[axes[0]], offset // steps[1] % tensor.shape[axes[1]]
    more = [int(tensor.shape[axis]) - size for axis, size in zip(axes, written.size, strict=True)]
    if more[0] < top or more[1] < left:
        return written
    return padded(written, ((top, more[0] - top), (left, more[1] - left)), axes)
