"""A search of nothing finds nothing, and is no verdict."""

from __future__ import annotations

import pytest

from clients.audit.live.judging import JUDGES
from clients.audit.live.scene import Observed
from clients.audit.model import Verdict


@pytest.mark.parametrize("claim", JUDGES)
def test_where_nothing_was_observed_nothing_holds(claim: str) -> None:
    everything_looked_at = Observed(written={}, written_in_session={}, relay_memory=b"", files_after={})
    for seen in (Observed(), everything_looked_at):
        assert JUDGES[claim](seen).verdict is Verdict.UNCHECKED
