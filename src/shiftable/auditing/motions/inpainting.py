"""What may lie around a picture, painted from its own border."""

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from shiftable.errors import InputError

ROUNDS = 80
"""The most rounds of blurring, of the paper."""

FEW = 200
"""Fewer unknown pixels than this end the rounds, of the paper."""


def inpaint(
    picture: UInt8[np.ndarray, "height width 3"], known: Bool[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Paints the unknown pixels of a picture from its known ones.

    After the procedure of Azulay & Weiss (JMLR 20(184), 2019, the embedding experiment): repeated binomial blur,
    normalised by the mask of what is known, for at most 80 rounds, until fewer than 200 pixels are unknown; then the
    original is pasted back. What that leaves open is decided so:

    - A round blurs everything, the known pixels too: ``blur(known · pixels) / blur(known)``, along both axes with
      ``[1, 4, 6, 4, 1] / 16`` and nothing beyond the plane. What it reaches is known from then on, so the known region
      grows by 2 px in a round, and what is far from the picture is smoother than what is near.
    - Known is what ``known`` says. A black pixel of the picture is a pixel like any other.
    - Pixels still unknown at the end take the value of the nearest known one. So nothing stays unknown.

    Args:
        picture: RGB. What it holds at unknown pixels is of no effect.
        known: True at the pixels to paint from, which stay as they are.

    Raises:
        InputError: If no pixel is known.

    Example:
        >>> picture, known = np.full((5, 9, 3), 7, np.uint8), np.zeros((5, 9), bool)
        >>> known[2, 3] = True
        >>> np.unique(inpaint(picture, known))
        array([7], dtype=uint8)
    """
    if not known.any():
        raise InputError("no pixel is known to paint the others from")
    rows, columns = (_extent(np.flatnonzero(known.any(axis=axis))) for axis in (1, 0))
    # the mask is a fourth channel: it is blurred like the others
    planes = np.concatenate([picture * known[..., None], known[..., None]], axis=-1).transpose(2, 0, 1)
    planes = np.ascontiguousarray(planes, np.float64)
    for _ in range(ROUNDS):
        if np.count_nonzero(planes[3] == 0) < FEW:
            break
        # beyond the known region's surroundings there is nothing to do: most rounds are small
        sums = _binomial_sums(planes[:, rows, columns])
        (rows, above), (columns, before) = _grown(rows, known.shape[0]), _grown(columns, known.shape[1])
        sums = sums[:, above:, before:][:, : rows.stop - rows.start, : columns.stop - columns.start]
        reached = sums[3] > 0
        np.divide(sums[:3], sums[3], out=sums[:3], where=reached)
        planes[:3, rows, columns], planes[3, rows, columns] = sums[:3], reached
    unknown = planes[3] == 0
    if unknown.any():
        from scipy.ndimage import distance_transform_edt

        y, x = distance_transform_edt(unknown, return_distances=False, return_indices=True)
        planes = planes[:, y, x]
    painted: np.ndarray = np.rint(planes[:3]).astype(np.uint8).transpose(1, 2, 0)
    return np.where(known[..., None], picture, painted)


def _binomial_sums(planes: Float[np.ndarray, "4 rows columns"]) -> Float[np.ndarray, "4 taller wider"]:
    """256 times the binomial blur, where any of it falls: 2 px further on every side."""
    padded = np.pad(planes, ((0, 0), (4, 4), (4, 4)))
    for _ in range(4):  # [1, 4, 6, 4, 1] is [1, 1] four times over
        padded = padded[:, 1:] + padded[:, :-1]
    for _ in range(4):
        padded = padded[:, :, 1:] + padded[:, :, :-1]
    return padded


def _extent(places: Int[np.ndarray, "place"]) -> slice:
    """From the first to the last of ascending places."""
    return slice(int(places[0]), int(places[-1]) + 1)


def _grown(extent: slice, size: int) -> tuple[slice, int]:
    """An extent grown by 2 px on both sides within 0 to ``size``, and how much of that was cut off at its start."""
    start = extent.start - 2
    return slice(max(start, 0), min(extent.stop + 2, size)), max(-start, 0)
