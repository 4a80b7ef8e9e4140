"""Self-contained HTML pages and their figures."""

from shiftable.report.audit_page import write_report

__all__ = ["write_report"]
