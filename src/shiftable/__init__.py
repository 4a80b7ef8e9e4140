"""Audit how much a vision model's answer changes when the picture hardly does.

Example:
    >>> import shiftable as sh
    >>> sh.audit(sh.open_model("demo"), "shapes", count=8).metrics["p_top1_change"].pairs
    256
"""

from shiftable.auditing import Audit, Estimate, Predictions, audit, read_audit, read_parts
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.models import Model, Preprocessing, open_model
from shiftable.report import write_report

__version__ = "0.1.0.dev0"

__all__ = [
    "Audit",
    "Estimate",
    "InputError",
    "Model",
    "Predictions",
    "Preprocessing",
    "Sample",
    "audit",
    "find_samples",
    "open_model",
    "read_audit",
    "read_parts",
    "write_report",
]
