"""Settings of all tests.

Hypothesis: no deadline, since a busy machine is no fault of the code; the same examples at every run, so that
a failure is seen again; many more, and new ones each time, with `./test --long`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.resume import Resume, digest_of_tree

settings.register_profile(
    "usual", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=300,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("AMANAT_HYPOTHESIS", "usual"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """What ./test --long asks for."""
    parser.addoption("--resume", type=Path, metavar="FILE", help="leave out long tests that have passed")


def pytest_configure(config: pytest.Config) -> None:
    """`./test --long` goes on where it stopped."""
    record = config.getoption("--resume")
    if record is not None:
        config.pluginmanager.register(Resume(record, digest_of_tree()), "amanat-resume")
