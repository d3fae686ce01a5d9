"""A pytest plugin that writes what became of each test to the file named in ``AMANAT_OUTCOMES``, as JSON.

``called`` maps a node id to ``passed``, ``failed`` or ``skipped``, judged by the test's own body: an error in
collection or in a fixture is no failed test and stands under ``errors`` instead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_called: dict[str, str] = {}
_errors: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.skipped:
        _called[report.nodeid] = report.outcome
    elif report.failed:
        _errors.append(report.nodeid)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _errors.append(report.nodeid)


def pytest_sessionfinish() -> None:
    Path(os.environ["AMANAT_OUTCOMES"]).write_text(json.dumps({"called": _called, "errors": _errors}))
