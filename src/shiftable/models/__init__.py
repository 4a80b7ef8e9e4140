"""Who answers: one callable, many backends."""

from shiftable.models.answers import Detections, Poses
from shiftable.models.opening import SOURCES, open_model
from shiftable.models.preprocessing import Preprocessing
from shiftable.models.protocol import DENSE, Answers, Model, Task

__all__ = ["DENSE", "SOURCES", "Answers", "Detections", "Model", "Poses", "Preprocessing", "Task", "open_model"]
