"""Settings of all tests.

Hypothesis: no deadline, since a busy machine is no fault of the code; the same examples at every run, so that
a failure is seen again; many more, and new ones each time, with `./test --long`.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

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
