"""A replay whose devices leak is not good: what they leak is found, wherever it went."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from clients.replay import run
from clients.replay.batch import Gathered, Setting
from clients.replay.conversations import Conversation, Turn
from clients.replay.leaks import Encoding, Kind
from clients.replay.outcome import Store
from clients.replay.run import Options, replay
from clients.sdk.model import Role

TEXT = "nobody but you shall read this"
CONVERSATION = Conversation(id=8, turns=(Turn(speaker=Role.CLIENT, text=TEXT),))


async def leak(conversations: Sequence[Conversation], setting: Setting, gathered: Gathered) -> None:
    """Instead of a conversation: tells the relay, its log and its disk."""
    port = int(setting.relay_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /{TEXT.encode().hex()} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    await reader.read()
    writer.close()
    await writer.wait_closed()
    with setting.relay.log.open("a") as log:
        log.write(TEXT)
    (setting.relay.store / "note").write_bytes(TEXT.encode("utf-16-le"))
    gathered.line_names.add("a name of a line")
    (setting.relay.store / "name").write_text("a name of a line")


@pytest.mark.asyncio
async def test_what_leaks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "run_batch", leak)
    monkeypatch.setattr("clients.replay.relay_process.QUIET_SECONDS", 0.5)
    options = Options(conversations=[CONVERSATION], stores=frozenset({Store.STORED}), time_scale=1.0)
    async with asyncio.timeout(120):
        report = await replay(options, lambda line: None)
    found = {(finding.where, finding.kind, finding.encoding) for finding in report.findings}
    assert found == {
        ("frames", Kind.TEXT, Encoding.HEX),
        ("log", Kind.TEXT, Encoding.RAW),
        ("files", Kind.TEXT, Encoding.UTF_16),
        ("files", Kind.IDENTIFIER, Encoding.RAW),
    }
    assert not report.good
