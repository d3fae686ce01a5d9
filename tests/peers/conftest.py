"""Bridges to other implementations; where one cannot run, its tests are skipped and say why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import peer_core, peer_rs, peer_ts
from support.peer_ts import Bridge


@pytest.fixture(scope="session")
def ts() -> Iterator[Bridge]:
    """ts-mls 1.6.4."""
    reason = peer_ts.why_not()
    if reason is not None:
        pytest.skip(reason)
    with Bridge("1.6.4") as bridge:
        yield bridge


@pytest.fixture(scope="session")
def ts_rc() -> Iterator[Bridge]:
    """ts-mls 2.0.0-rc.10, the negative control."""
    reason = peer_ts.why_not()
    if reason is not None:
        pytest.skip(reason)
    with Bridge("2.0.0-rc.10") as bridge:
        yield bridge


@pytest.fixture(scope="session")
def core() -> Iterator[Bridge]:
    """core-crypto."""
    reason = peer_core.why_not()
    if reason is not None:
        pytest.skip(reason)
    with Bridge(peer_core.VERSION) as bridge:
        yield bridge


@pytest.fixture(autouse=True)
def _forget(request: pytest.FixtureRequest) -> Iterator[None]:
    """Members of one test do not pile up in Node's memory."""
    yield
    for name in ("ts", "ts_rc", "core"):
        if name in request.fixturenames:
            request.getfixturevalue(name).ask("forget")


@pytest.fixture(scope="session")
def rs() -> None:
    """mls-rs."""
    reason = peer_rs.why_not()
    if reason is not None:
        pytest.skip(reason)
