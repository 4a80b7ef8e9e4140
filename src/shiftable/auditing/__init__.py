"""How often does a model change its mind when the picture hardly changes?"""

from shiftable.auditing.audit import audit
from shiftable.auditing.comparing.comparison import Comparison, compare
from shiftable.auditing.feeding.parity import Parity, parity
from shiftable.auditing.intervals import Estimate
from shiftable.auditing.metrics import METRICS
from shiftable.auditing.motions import MOTIONS, Motion
from shiftable.auditing.predictions import Predictions, read_parts
from shiftable.auditing.results import Audit, read_audit
from shiftable.auditing.showing import Show, show_again
from shiftable.auditing.tracing.trace import Trace, trace
from shiftable.auditing.walks import SHAPES, Walk

__all__ = [
    "METRICS",
    "MOTIONS",
    "SHAPES",
    "Audit",
    "Comparison",
    "Estimate",
    "Motion",
    "Parity",
    "Predictions",
    "Show",
    "Trace",
    "Walk",
    "audit",
    "compare",
    "parity",
    "read_audit",
    "read_parts",
    "show_again",
    "trace",
]
