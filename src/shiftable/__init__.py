"""Audit how much a vision model's answer changes when the picture hardly does.

Example:
    >>> import shiftable as sh
    >>> sh.audit(sh.open_model("demo"), "shapes", count=8).metrics["p_top1_change"].pairs
    256
"""

from shiftable.auditing import (
    Audit,
    Comparison,
    Estimate,
    Parity,
    Predictions,
    audit,
    compare,
    parity,
    read_audit,
    read_parts,
)
from shiftable.data import Sample, find_samples
from shiftable.errors import InputError
from shiftable.models import Model, Preprocessing, open_model
from shiftable.report import write_comparison, write_parity, write_report

__version__ = "0.1.0.dev0"

__all__ = [
    "Audit",
    "Comparison",
    "Estimate",
    "InputError",
    "Model",
    "Parity",
    "Predictions",
    "Preprocessing",
    "Sample",
    "audit",
    "compare",
    "find_samples",
    "open_model",
    "parity",
    "read_audit",
    "read_parts",
    "write_comparison",
    "write_parity",
    "write_report",
]
