"""Health and metrics: what is answered, what never is, and that the log can say nothing about anybody."""

from __future__ import annotations

import ast
import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from chatserver.clock import ManualClock
from chatserver.config import Config, Operator, parse
from chatserver.metrics import FIGURES, HOUR_SECONDS, STEP, STEP_BYTES, Disk, Metrics
from chatserver.operator_server import FAILURE_SECONDS, HOST, OperatorServer, disk_of
from chatserver.service_manager import Word, notify
from chatserver.store.errors import StoreFull
from chatserver.store.memory import MemoryStore
from chatserver.tally import Tally
from support.relay import LIVE, Running, running_relay, seeded

ROOT = Path(__file__).resolve().parents[2]

NAMES = {
    "amanat_bundle_fetches_total",
    "amanat_connections_open",
    "amanat_connections_refused_total",
    "amanat_connections_total",
    "amanat_expired_cells_total",
    "amanat_first_contacts_total",
    "amanat_requests_refused_total",
    "amanat_store_bytes",
    "amanat_store_failures_total",
    "amanat_store_free_bytes",
    "amanat_stored_cells_total",
}
LIVE_NAMES = {"amanat_live_cells_total", "amanat_live_channels_open"}
"""The allow-list: a new figure has to be written here too, and so thought about twice."""

LINE = re.compile(r"(amanat_[a-z_]+) ([0-9.e+]+)")


@asynccontextmanager
async def operated(running: Running, folder: Path) -> AsyncIterator[tuple[OperatorServer, str]]:
    operator = OperatorServer(running.relay, folder)
    port = await operator.start(0)
    try:
        yield operator, f"http://{HOST}:{port}"
    finally:
        await operator.stop()


async def get(url: str, *, method: str = "GET") -> tuple[int, str, str]:
    async with aiohttp.ClientSession() as session, session.request(method, url) as answer:
        return answer.status, await answer.text(), answer.headers["Content-Type"]


def figures_of(text: str) -> dict[str, float]:
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = LINE.fullmatch(line)
            assert match is not None, line  # a label, a time stamp or a stranger's name would not match
            found[match[1]] = float(match[2])
    return found


@pytest.mark.asyncio
@pytest.mark.parametrize("live", [False, True])
async def test_the_metrics_are_those_of_the_list_without_labels(live: bool, tmp_path: Path) -> None:
    config = Config(operator=Operator(live_figures=live))
    async with running_relay(config) as running, operated(running, tmp_path) as (_, url):
        status, text, content_type = await get(f"{url}/metrics")
    assert status == 200
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert set(figures_of(text)) == NAMES | (LIVE_NAMES if live else set())
    assert "{" not in text


@pytest.mark.asyncio
async def test_figures_are_taken_hourly_and_rounded_down() -> None:
    clock = ManualClock()
    config = Config(operator=Operator(live_figures=True))
    async with running_relay(config, clock=clock) as running:
        metrics = Metrics(running.relay, lambda: Disk(used=STEP_BYTES + 5, free=3 * STEP_BYTES - 1))
        async with running.client() as client:
            await client.attached(b"k" * 32, b"t" * 32)
            for number in range(19):
                await client.deposit(b"k" * 32, f"{number}")
                await client.deposit(b"l" * 32, f"{number}", cls=LIVE)
            metrics.sweep()
            assert set(figures_of(metrics.render().decode()).values()) == {0, STEP_BYTES, 2 * STEP_BYTES}
            clock.advance(HOUR_SECONDS - 1)
            metrics.sweep()
            assert figures_of(metrics.render().decode())["amanat_stored_cells_total"] == 0
            clock.advance(1)
            metrics.sweep()
            shown = figures_of(metrics.render().decode())
            assert running.relay.tally.stored_cells == 19
            assert shown["amanat_stored_cells_total"] == STEP
            assert shown["amanat_live_cells_total"] == STEP
            assert shown["amanat_connections_open"] == 0
            assert shown["amanat_store_bytes"] == STEP_BYTES
            await client.deposit(b"k" * 32, "the twentieth")
            assert figures_of(metrics.render().decode()) == shown
            clock.advance(HOUR_SECONDS)
            metrics.sweep()
            assert figures_of(metrics.render().decode())["amanat_stored_cells_total"] == 2 * STEP


def test_every_count_is_shown_and_every_figure_rounded() -> None:
    source = (ROOT / "chatserver" / "metrics.py").read_text()
    for count in Tally.__annotations__:
        assert f"relay.tally.{count}" in source
    assert all(figure.step >= STEP for figure in FIGURES)
    assert {figure.name + "_total" * figure.counter for figure in FIGURES} == NAMES | LIVE_NAMES


@pytest.mark.asyncio
async def test_each_count_counts(tmp_path: Path) -> None:
    async with running_relay() as running:
        async with running.client() as client:
            await client.deposit(b"k" * 32, "one")
            await client.ack(7, 1)  # no such handle
            await get(f"{running.http_url}/v1/bundles/0/0")
        tally = running.relay.tally
        assert (tally.connections, tally.stored_cells) == (1, 1)
        assert (tally.requests_refused, tally.bundle_fetches) == (1, 1)
        assert (tally.live_cells, tally.first_contacts, tally.store_failures) == (0, 0, 0)


class _Failing(MemoryStore):
    """A store whose reads fail, or never end, when told to."""

    trouble: Exception | None = None
    hangs = False

    async def bundles(self, *, bits: int, prefix: int) -> tuple[bytes, ...]:
        if self.trouble is not None:
            raise self.trouble
        if self.hangs:
            await asyncio.Event().wait()
        return await super().bundles(bits=bits, prefix=prefix)


@pytest.mark.asyncio
async def test_health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = _Failing(rng=seeded(1))
    async with running_relay(store=store) as running, operated(running, tmp_path) as (operator, url):
        assert (await get(f"{url}/health/live"))[:2] == (200, "ok\n")
        assert (await get(f"{url}/health/ready"))[:2] == (200, "ok\n")
        store.trouble = StoreFull("no room")
        assert (await get(f"{url}/health/ready"))[:2] == (503, "store\n")
        store.trouble, store.hangs = None, True
        monkeypatch.setattr("chatserver.operator_server.STORE_ANSWER_SECONDS", 0.01)
        assert (await get(f"{url}/health/ready"))[:2] == (503, "store\n")
        store.hangs = False
        running.relay.store_failed(StoreFull("no room"))
        assert (await get(f"{url}/health/ready"))[:2] == (503, "store\n")
        running.clock.advance(FAILURE_SECONDS)
        assert (await get(f"{url}/health/ready"))[:2] == (200, "ok\n")
        running.relay.draining = True
        assert (await get(f"{url}/health/ready"))[:2] == (503, "draining\n")
        assert (await get(f"{url}/health/live"))[:2] == (200, "ok\n")
        running.relay.draining = False
        operator.sweep()


@pytest.mark.asyncio
async def test_the_two_ports_share_nothing(tmp_path: Path) -> None:
    async with running_relay() as running, operated(running, tmp_path) as (_, url):
        for path in ("/metrics", "/health/live", "/health/ready"):
            assert (await get(running.http_url + path))[0] == 404
        for path in ("/", "/v1/health", "/v1/ws", "/metrics/", "/health"):
            assert (await get(url + path))[0] == 404
        assert (await get(f"{url}/metrics", method="POST"))[0] == 405


@pytest.mark.asyncio
async def test_whoever_stays_silent_at_the_operators_door_is_cut_off(tmp_path: Path) -> None:
    async with running_relay() as running, operated(running, tmp_path) as (operator, url):
        reader, writer = await asyncio.open_connection(HOST, int(url.rsplit(":", 1)[1]))
        while not len(operator._door):  # noqa: ASYNC110 (the loop has to accept the connection)
            await asyncio.sleep(0)
        running.clock.advance(60)
        operator.sweep()
        assert await reader.read() == b""
        writer.close()


def test_sizes_of_a_store(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5))
    (tmp_path / "b").write_bytes(bytes(7))
    disk = disk_of(tmp_path)
    assert disk.used == 12
    assert disk.free > 0
    assert disk_of(tmp_path / "none") == Disk(used=0, free=0)


def test_the_operators_port_is_off_unless_set() -> None:
    assert Config().operator == Operator(port=0, live_figures=False)
    assert parse("[operator]\nport = 9440\n").operator.port == 9440


# -- systemd -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"@amanat-test-{tmp_path.name}-{time.monotonic_ns()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.bind(f"\0{name[1:]}" if abstract else name)
        wire.settimeout(10)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        assert notify(Word.READY)
        assert wire.recv(64) == b"READY=1"


def test_nobody_is_told_where_nobody_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify(Word.STOPPING)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "none"))
    assert not notify(Word.STOPPING)


# -- the log -------------------------------------------------------------------------------------------------

SPEAKS = {
    "chatserver/events.py": {
        "logging.getLogger",
        "logging.NullHandler",
        "logger.setLevel",
        "sys.stderr.write",
        "sys.stderr.flush",
    },
    "chatserver/main.py": {"print", "sys.stdout.write", "parser.print_help"},
    "chatserver/errands.py": {"print"},
}
"""Who may write for people, and by which calls; events are the only way of a relay that serves."""

SAYING = re.compile(
    r"(print|warnings\.\w+|logging\.\w+|logger\.\w+|log\.(debug|info|warning|error|exception|critical)"
    r"|traceback\.\w+|sys\.(stdout|stderr)\.\w+|sys\.excepthook|syslog\.\w+|faulthandler\.\w+|os\.write)"
)


def calls_that_say(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    calls = (ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {call for call in calls if SAYING.fullmatch(call)}


def test_no_other_call_writes_for_people() -> None:
    for path in sorted((ROOT / "chatserver").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        assert calls_that_say(path) <= SPEAKS.get(name, set()), name


def test_a_planted_log_call_is_found(tmp_path: Path) -> None:
    for call in ("print(frame)", "logging.info('%r', frame)", "logger.warning(x)", "traceback.print_exc()"):
        path = tmp_path / "module.py"
        path.write_text(f"def f(frame, x, logger):\n    {call}\n")
        assert calls_that_say(path), call


def test_events_are_called_with_members_of_the_list_and_named_numbers() -> None:
    found = set()
    for path in sorted((ROOT / "chatserver").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("log.event"):
                continue
            (event,) = node.args
            assert re.fullmatch(r"Event\.[A-Z_]+", ast.unparse(event)), ast.unparse(node)
            found.add(ast.unparse(event))
    assert {"Event.STARTED", "Event.HOST", "Event.DRAINING", "Event.STOPPED"} <= found
