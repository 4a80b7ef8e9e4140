"""Self-contained HTML pages and their figures."""

from shiftable.report.audits import show_audit, write_report
from shiftable.report.bias_page import show_bias, write_bias
from shiftable.report.compare_page import write_comparison
from shiftable.report.explain_page import claim_folder, read_beside, write_diagnosis
from shiftable.report.explain_text import show_diagnosis
from shiftable.report.parity_page import write_parity
from shiftable.report.repair_page import write_repair
from shiftable.report.repair_text import show_proposed, show_repair
from shiftable.report.structure_text import show_structure
from shiftable.report.study_page import write_index, write_study
from shiftable.report.terminal import show_comparison, show_parity
from shiftable.report.tiles_text import show_tiles
from shiftable.report.trace_page import show_trace, write_trace

__all__ = [
    "claim_folder",
    "read_beside",
    "show_audit",
    "show_bias",
    "show_comparison",
    "show_diagnosis",
    "show_parity",
    "show_proposed",
    "show_repair",
    "show_structure",
    "show_tiles",
    "show_trace",
    "write_bias",
    "write_comparison",
    "write_diagnosis",
    "write_index",
    "write_parity",
    "write_repair",
    "write_report",
    "write_study",
    "write_trace",
]
