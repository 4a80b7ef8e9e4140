"""CIFAR-10 as tensors, from two parquet files in the Hugging Face layout."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from shiftable.data.images import list_samples
from shiftable.errors import InputError
from shiftable.models.preprocessing import Preprocessing

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
"""In the order of the labels."""

VIEW_SIZE = (32, 32)
"""(height, width) in px: the pictures as they are."""

PREPROCESSING = Preprocessing(resize_px=32, mean=(0.4913, 0.4821, 0.4465), std=(0.2452, 0.2428, 0.2606))
"""Mean and standard deviation of the training pictures' pixels, per channel; nothing is resized or cut."""


def read_split(
    folder: str | Path, split: Literal["train", "test"], count: int | None = None
) -> tuple[UInt8[Tensor, "image 32 32 3"], Int64[Tensor, " image"]]:
    """The pictures and labels of one split, in the order of the file. 50,000 pictures take about 5 s.

    Args:
        folder: Holds ``train.parquet`` and ``test.parquet``: columns ``image`` = {bytes, path} and ``label``.
        split: Which of them.
        count: Only the first so many.

    Raises:
        InputError: If the file is missing or no table of images, or a picture is of another size or has no label.
    """
    path = Path(folder) / f"{split}.parquet"
    samples = list_samples(path)[:count]
    if None in (labels := [sample.label for sample in samples]):
        raise InputError("the pictures have no labels", where=path, todo="give a table with image and label")
    pictures = [sample.read() for sample in samples]
    for sample, picture in zip(samples, pictures, strict=True):
        if picture.shape[:2] != VIEW_SIZE:
            raise InputError(
                f"{sample.id} has {picture.shape[0]}×{picture.shape[1]} px",
                where=path,
                todo="give CIFAR-10's pictures of 32×32 px",
            )
    return torch.from_numpy(np.stack(pictures)), torch.tensor(labels)


def normalised(views: UInt8[Tensor, "view 32 32 3"]) -> Float32[Tensor, "view 3 32 32"]:
    """Views as a net takes them, in the layout channels-last."""
    mean, std = torch.tensor(PREPROCESSING.mean), torch.tensor(PREPROCESSING.std)
    return ((views / 255 - mean) / std).permute(0, 3, 1, 2)
