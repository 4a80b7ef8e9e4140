"""Who answers: one callable, many backends."""

from shiftable.models.opening import SOURCES, open_model
from shiftable.models.preprocessing import Preprocessing
from shiftable.models.protocol import Model

__all__ = ["SOURCES", "Model", "Preprocessing", "open_model"]
