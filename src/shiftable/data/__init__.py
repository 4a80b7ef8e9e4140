"""What is shown: images from disk, or a procedural world with exact ground truth."""

from pathlib import Path

from shiftable.data import shapes
from shiftable.data.boxes import Box, box_samples, read_boxes
from shiftable.data.images import Sample, check_labels, label_by_folder, label_by_table, list_samples, read_labels

__all__ = [
    "Box",
    "Sample",
    "box_samples",
    "check_labels",
    "find_samples",
    "label_by_folder",
    "label_by_table",
    "list_samples",
    "read_boxes",
    "read_labels",
]

SHAPES = "shapes"
"""The name of the procedural world as a data set. A folder of this name is ``./shapes``."""
SHAPES_COUNT = 200


def find_samples(source: str | Path, count: int | None = None) -> list[Sample]:
    """The images that ``source`` names: ``"shapes"``, or a file or folder as in `list_samples`.

    Args:
        source: The name.
        count: Only the first so many; None takes all, and 200 shapes.

    Raises:
        InputError: If there are none.
    """
    if source == SHAPES:
        return shapes.samples(SHAPES_COUNT if count is None else count)
    return list_samples(source)[:count]
