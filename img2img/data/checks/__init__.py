"""What is wrong with a folder of training data, all at once and before a training."""

from img2img.data.checks.check import Checked, check_data
from img2img.data.checks.findings import Finding, Report
from img2img.data.checks.sheet import check_sheet

__all__ = ["Checked", "Finding", "Report", "check_data", "check_sheet"]
