"""The chosen crop as a transform, for training loops and deployment: arrays, Pillow images and tensors alike."""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from shiftable.errors import InputError, unknown
from shiftable.models import Model
from shiftable.models.crop_following import Follower
from shiftable.models.crop_rules import RULES
from shiftable.models.crop_selection import Axis, Chosen, considered, cut, lay_axes, looks, places, select
from shiftable.models.preprocessing import GREY, CropSelection, Preprocessing, Size, check_fits, resize

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class StableCrop:
    """Cuts out of an image what becomes the model's view, by the image's content, and resizes it.

    In place of ``Resize`` and ``CenterCrop``, before the pixels become numbers: it takes whole grey levels, for the
    choice is made of sums of these, the same in NumPy, in PyTorch and in the reference (``examples/stable_crop.py``).

    Args:
        size: (height, width) in px of what comes out.
        resize_px: What the image would be resized to: the short side, or (height, width). It says how large the crop is
            on the image.
        selection: The rule, how far the crop may move, and how fine the picture is looked at.
        resampler: The resize's filter.
        antialias: Whether that widens where the image shrinks.

    Example:
        >>> StableCrop()(np.zeros((375, 500, 3), np.uint8)).shape
        (224, 224, 3)
    """

    size: Size = (224, 224)
    resize_px: int | Size = 256
    selection: CropSelection = field(default_factory=CropSelection)
    resampler: Literal["nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"] = "bilinear"
    antialias: bool = True

    def __post_init__(self) -> None:
        check_fits(self.preprocessing, self.size, "StableCrop")

    @property
    def preprocessing(self) -> Preprocessing:
        """The same, as a model has it."""
        return Preprocessing(self.resize_px, self.resampler, self.antialias, self.selection)

    def __call__(self, picture: Any) -> Any:
        """What the model is to be shown: of the picture's kind.

        Args:
            picture: An RGB array of bytes (height, width, 3); a Pillow image of any mode, which becomes RGB; or a
                tensor of bytes (…, 3, height, width), whose crops are resized as torchvision resizes tensors.

        Raises:
            InputError: If it is anything else, or too small.
        """
        if isinstance(picture, Image.Image):
            image = np.asarray(picture.convert("RGB"))
            return Image.fromarray(self.cut(image, self.choose(image)))
        if _is_tensor(picture):
            return self._of_tensor(picture)
        return self.cut(picture, self.choose(picture))

    def choose(self, picture: Any) -> Chosen:
        """Where it cuts an image, in px of it, and whether there was texture to hold on to.

        Args:
            picture: An array or a Pillow image, as above.

        Raises:
            InputError: As above.
        """
        image = np.asarray(picture.convert("RGB")) if isinstance(picture, Image.Image) else _bytes(picture)
        return select(image, self.selection, self.resize_px, self.size)

    def follow(self, frames: Iterable[UInt8[np.ndarray, "height width 3"]]) -> Iterator[Chosen]:
        """Where to cut the frames of a video, with a memory: see `Follower`."""
        return map(Follower(self.selection, self.resize_px, self.size), frames)

    def cut(
        self, image: UInt8[np.ndarray, "height width 3"], chosen: Chosen
    ) -> UInt8[np.ndarray, "new_height new_width 3"]:
        """A crop of an image, grey where it reaches beyond, resized to the view."""
        return resize(cut(image, chosen), self.size, self.resampler, self.antialias)

    def to_json(self) -> dict[str, Any]:
        """The fields of a ``--preprocessing`` file."""
        preprocessing = self.preprocessing.to_json()
        kept = {name: preprocessing[name] for name in ("resize_px", "resampler", "antialias", "crop")}
        return {"view_size": list(self.size), **kept}

    def write(self, path: str | Path) -> None:
        """Write ``crop.json``: for `read_crop`, for ``--preprocessing``, and for the reference in another language."""
        Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")

    def _of_tensor(self, images: "Tensor") -> "Tensor":
        import torch
        from torch.nn import functional as F

        if images.dtype != torch.uint8 or images.ndim < 3 or images.shape[-3] != 3:
            raise InputError(
                f"a tensor of {images.dtype} and shape {tuple(images.shape)} can't be cropped",
                where="StableCrop",
                todo="give bytes (…, 3, height, width), before they become numbers",
            )
        batch = images.reshape(-1, *images.shape[-3:])
        (y, x), (top, left, _) = self._places(batch)
        if self.selection.letterbox:
            (above, below), (before, after) = (_grey(*each) for each in zip((y, x), batch.shape[-2:], strict=True))
            batch = F.pad(batch, (before, after, above, below), value=GREY)
            top, left = top + above, left + before
        rows = top[:, None] + torch.arange(y.crop, device=batch.device)
        columns = left[:, None] + torch.arange(x.crop, device=batch.device)
        number = torch.arange(len(batch), device=batch.device)[:, None, None]
        crops = batch.permute(0, 2, 3, 1)[number, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        if crops.shape[-2:] != self.size:
            filtered: dict[str, Any] = {"align_corners": False, "antialias": self.antialias}
            numbers = F.interpolate(
                crops.float(), self.size, mode=self.resampler, **({} if self.resampler == "nearest" else filtered)
            )
            crops = numbers.round().clamp(0, 255).to(torch.uint8)
        return crops.reshape(*images.shape[:-2], *self.size)

    def _places(self, batch: "Tensor") -> tuple[Any, tuple["Tensor", "Tensor", "Tensor"]]:
        """Where each image of a batch is cut: all in one go, without a look back from the device."""
        import torch

        size = int(batch.shape[-2]), int(batch.shape[-1])
        y, x = axes = lay_axes(size, self.resize_px, self.size, self.selection)
        rule, widths = RULES[self.selection.rule], (y.width, x.width)
        if rule is None or not looks(axes):
            still = torch.zeros(len(batch), dtype=torch.int64, device=batch.device)
            return axes, (still + y.first + y.middle, still + x.first + x.middle, still.bool())
        patch = batch[..., y.patch, x.patch].to(torch.int32 if rule.fits_32_bits(widths) else torch.int64)
        brightness = patch[:, 0] + 2 * patch[:, 1] + patch[:, 2]
        return axes, places(considered(brightness, widths, rule), axes)


def _grey(axis: Axis, length: int) -> tuple[int, int]:
    """How many px of grey an image needs before and after it, for all the places that its letterbox may have."""
    return -axis.first, axis.first + axis.places - 1 + axis.crop - length


def stable_crop_of(model: Model) -> StableCrop:
    """The transform that makes a repaired model's views.

    Raises:
        InputError: If its crop is not chosen, or its resize is not Pillow's.
    """
    fields = model.preprocessing
    if not isinstance(fields.crop, CropSelection) or fields.library != "pillow":
        raise InputError("its crop is not chosen by content", where=model.spec, todo="give with_stable_crop(model)")
    return StableCrop(model.view_size, fields.resize_px, fields.crop, fields.resampler, fields.antialias)


def read_crop(path: str | Path) -> StableCrop:
    """What `StableCrop.write` wrote.

    Raises:
        InputError: If it is no such file.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        known = {"view_size": "size", "crop": "selection"}
        named = {known.get(name, name): value for name, value in found.items()}
        menu = [each.name for each in fields(StableCrop)]
        for name in named:
            if name not in menu:
                raise unknown("field", name, menu)
        return TypeAdapter(StableCrop).validate_python(named)
    except OSError as error:
        raise InputError(error.strerror or "can't be read", where=path, todo="give a crop.json") from None
    except InputError as error:
        raise InputError(error.what, where=path, todo=error.todo) from None
    except (ValidationError, ValueError, AttributeError) as error:
        raise InputError(f"no crop.json ({error})", where=path, todo="write one with StableCrop.write") from None


def _is_tensor(picture: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(picture, torch.Tensor)


def _bytes(picture: Any) -> UInt8[np.ndarray, "height width 3"]:
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return picture
    what = f"{picture.dtype} {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
    raise InputError(
        f"can't crop {what}", where="StableCrop", todo="give an RGB array of bytes, a Pillow image or a tensor of bytes"
    )
