"""Self-contained HTML pages and their figures."""

from shiftable.report.audit_page import write_report
from shiftable.report.compare_page import write_comparison
from shiftable.report.parity_page import write_parity

__all__ = ["write_comparison", "write_parity", "write_report"]
