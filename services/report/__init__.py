"""The run report: pictures, tables and plots of a results folder on one page that needs no network."""

from services.report.content import ResultsFormatError
from services.report.writing import ReportOptions, write_report

__all__ = ["ReportOptions", "ResultsFormatError", "write_report"]
