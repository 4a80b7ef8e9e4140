"""What a model file's graph says of the images it takes: layout, batch and size, read from its input's shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from shiftable.errors import InputError
from shiftable.models.preprocessing import Size

DEFAULT_SIZE: Size = (224, 224)
"""(height, width) in px where a graph takes any."""


@dataclass(frozen=True)
class ImageInput:
    """An input for RGB images. What a graph leaves open is None.

    Args:
        layout: Where the channels are; None if they could be at either end.
        batch: Views at once.
        height: In px.
        width: In px.
    """

    layout: Literal["NCHW", "NHWC"] | None
    batch: int | None
    height: int | None
    width: int | None

    @property
    def fields(self) -> dict[str, str]:
        """What the graph says of `Preprocessing`."""
        return {"layout": self.layout} if self.layout else {}

    @property
    def any_size(self) -> bool:
        """Whether the graph leaves height or width open."""
        return self.height is None or self.width is None

    @property
    def view_size(self) -> Size:
        """(height, width) in px: the graph's; a side it leaves open is as long as the other, or the default."""
        height, width = self.height or self.width, self.width or self.height
        return (height, width) if height and width else DEFAULT_SIZE


def image_input(shape: Sequence[int | str | None], spec: object) -> ImageInput:
    """What an input's shape says.

    Args:
        shape: As the graph gives it: numbers; names, None or -1 for what is open.
        spec: The model's name, for errors.

    Raises:
        InputError: If it is not the shape of a batch of RGB images.

    Example:
        >>> image_input(["batch", 3, 224, 224], "net.onnx")
        ImageInput(layout='NCHW', batch=None, height=224, width=224)
        >>> image_input([1, -1, -1, 3], "net.tflite").layout
        'NHWC'
    """
    sides = [side if isinstance(side, int) and side > 0 else None for side in shape]
    match sides:
        case [batch, 3, height, width]:
            return ImageInput("NCHW", batch, height, width)
        case [batch, height, width, 3]:
            return ImageInput("NHWC", batch, height, width)
        case [batch, None, None, None]:
            return ImageInput(None, batch, None, None)
        case [batch, None, height, width]:
            return ImageInput("NCHW", batch, height, width)
    shown = "×".join("?" if side is None else str(side) for side in sides) or "no axes"
    raise InputError(
        f"its input has the shape {shown}", where=spec, todo="it must take (view, 3, height, width) or channels last"
    )


def only_input(names: Mapping[str, object], spec: object) -> str:
    """The name of the one input.

    Raises:
        InputError: If there are more, or none.
    """
    if len(names) != 1:
        raise InputError(
            f"it has {len(names)} inputs ({', '.join(names)})" if names else "it has no input",
            where=spec,
            todo="export it with the image as its only input",
        )
    return next(iter(names))
