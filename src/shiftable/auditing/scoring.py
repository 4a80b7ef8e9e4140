"""What scores say: which classes lead, with what probability, and how far two embeddings are apart."""

from typing import Literal, TypeAlias

import numpy as np
from jaxtyping import Float, Int

Kind: TypeAlias = Literal["logits", "probabilities", "sigmoid", "similarity"]
"""What scores are: those of a model, or an embedder's cosine similarities."""


def leading(scores: Float[np.ndarray, "view class"], count: int) -> Int[np.ndarray, "view rank"]:
    """The leading classes of each view, best first; of equal scores the lowest class comes first.

    Example:
        >>> leading(np.array([[0.1, 0.7, 0.7, 0.0]]), 3)
        array([[1, 2, 0]])
    """
    # As many passes of argmax as places are wanted: argmax takes the first of equals, and a full sort would cost more.
    rest, rows = scores.copy(), np.arange(len(scores))
    places = []
    for _ in range(min(count, scores.shape[1])):
        best = rest.argmax(axis=1)
        places.append(best)
        rest[rows, best] = -np.inf
    return np.stack(places, axis=1)


def rank(scores: Float[np.ndarray, "view class"], label: int) -> Int[np.ndarray, "view"]:
    """The rank of a class in each view, 1 being the top, by the same rule for equal scores."""
    own = scores[:, label, None]
    return np.asarray(1 + (scores > own).sum(axis=1) + (scores[:, :label] == own).sum(axis=1))


def directions(embeddings: Float[np.ndarray, "view dimension"]) -> Float[np.ndarray, "view dimension"]:
    """Embeddings as unit vectors, in double precision."""
    wide = embeddings.astype(np.float64)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True))


def cosine_distances(embeddings: Float[np.ndarray, "row dimension"]) -> Float[np.ndarray, "row"]:
    """The cosine distance, 1 − cosine, of each row's embedding from the one before; that of row 0 means nothing.

    As half the squared distance of the unit vectors, which is the same number, and exactly 0 for equal embeddings.
    """
    units = directions(embeddings)
    return np.asarray(((units - np.roll(units, 1, axis=0)) ** 2).sum(axis=1) / 2)


def probabilities_and_evidence(
    scores: Float[np.ndarray, "view class"], kind: Kind, score_step: float | None = None
) -> tuple[Float[np.ndarray, "view class"], Float[np.ndarray, "view class"]]:
    """(probabilities, evidence): differences of evidence between classes are margins in logits.

    Similarities stay what they are, and so do the differences between them.

    Args:
        scores: The model's answers.
        kind: What they are.
        score_step: The distance of neighbouring probabilities that the model can tell apart, 1/256 for 8 bits. One that
            is rounded to 0 counts as half of it: it has no logarithm, and a margin of 87 would be float32's, not the
            model's.
    """
    wide = scores.astype(np.float64)
    if kind == "similarity":
        return wide, wide
    if kind == "logits":
        odds = np.exp(wide - wide.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True), wide
    least = score_step / 2 if score_step else np.finfo(np.float32).tiny
    clipped = np.maximum(wide, least)
    if kind == "probabilities":
        return wide, np.log(clipped)
    return wide, np.log(clipped) - np.log(np.maximum(1 - wide, least))
