"""What every test process asserts, and the list of skips that CI accepts."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fastmlp as fm
from fastmlp import kernels

# For the programs in bench; last, so that fastmlp is the installed one.
sys.path.append(str(Path(__file__).parents[1]))

ALLOWED_SKIPS = Path(__file__).with_name("allowed_skips.txt")


def pytest_report_header():
    """Say which build this process runs, after making sure of it."""
    wanted = os.environ.get("FASTMLP_VARIANT") or kernels.usable_variants()[0]
    for build, dtype in ((kernels.float32, "float32"), (kernels.float64, "float64")):
        assert (wanted, dtype) == (build.VARIANT, build.DTYPE)
    return f"fastmlp {fm.__version__}: build {wanted}, {fm.get_num_threads()} threads"


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter):
    """In CI, fail on a skip whose reason is not on the list."""
    patterns = [line for line in ALLOWED_SKIPS.read_text().splitlines() if line and line[0] != "#"]
    unknown = set()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not any(re.fullmatch(pattern, reason) for pattern in patterns):
            unknown.add(reason)
    for reason in sorted(unknown):
        terminalreporter.write_line(f"skip not on {ALLOWED_SKIPS.name}: {reason}", red=True)
    if unknown and os.environ.get("CI"):
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Both element types."""
    return np.dtype(request.param)


@pytest.fixture
def rng():
    """A generator that starts alike in every test."""
    return np.random.default_rng(20240229)
