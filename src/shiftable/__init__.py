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
    Trace,
    audit,
    compare,
    parity,
    read_audit,
    read_parts,
    trace,
)
from shiftable.data import Box, Sample, find_samples, read_boxes
from shiftable.errors import InputError
from shiftable.explaining import Diagnosis, Risk, Tiling, explain, read_risk, tiles
from shiftable.models import Detections, Model, Poses, Preprocessing, open_model
from shiftable.repairing import Repair, repair
from shiftable.report import write_comparison, write_diagnosis, write_parity, write_repair, write_report, write_trace

__version__ = "0.1.0.dev0"

__all__ = [
    "Audit",
    "Box",
    "Comparison",
    "Detections",
    "Diagnosis",
    "Estimate",
    "InputError",
    "Model",
    "Parity",
    "Poses",
    "Predictions",
    "Preprocessing",
    "Repair",
    "Risk",
    "Sample",
    "Tiling",
    "Trace",
    "audit",
    "compare",
    "explain",
    "find_samples",
    "open_model",
    "parity",
    "read_audit",
    "read_boxes",
    "read_parts",
    "read_risk",
    "repair",
    "tiles",
    "trace",
    "write_comparison",
    "write_diagnosis",
    "write_parity",
    "write_repair",
    "write_report",
    "write_trace",
]
