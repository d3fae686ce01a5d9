"""Where the official MLS test vectors are: beside the checkout, in ``../shared/vectors/mls``.

They are not part of the repository. Without them the tests that need them are skipped, except in continuous
integration (``CI`` is set), where their absence is a failure.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "mls"


def vector_file(name: str) -> Path:
    """Path of a vector file; skips, or in CI fails, the calling test where it is absent."""
    path = FOLDER / name
    if not path.is_file():
        message = f"the official MLS vectors are not beside the checkout (../shared/vectors/mls/{name})"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def vector_cases(name: str) -> list[dict[str, Any]]:
    """The cases of a vector file."""
    cases: list[dict[str, Any]] = json.loads(vector_file(name).read_bytes())
    return cases
