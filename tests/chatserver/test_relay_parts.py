"""The small parts of the relay, each by itself: rates, addresses, sending, log, hardening, machine."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from chatserver.clock import ManualClock, SystemClock
from chatserver.config import Limits, networks
from chatserver.events import Event, Log, loop_handler, silence_libraries
from chatserver.rates import (
    KEY_LIFETIME_SECONDS,
    AddressBook,
    Bucket,
    Kind,
    Meter,
    client_address,
    per_minute,
    subnet,
)
from chatserver.sender import Flusher, Sender, frame_head
from support.relay import seeded

ROOT = Path(__file__).resolve().parents[2]


# -- rates --------------------------------------------------------------------------------------------------


def test_a_bucket_holds_a_minute_and_refills_evenly() -> None:
    bucket = Bucket(60, 0.0)
    assert all(bucket.try_take(0.0) for _ in range(60))
    assert not bucket.try_take(0.5)
    assert bucket.try_take(1.0)
    assert not bucket.try_take(1.0)
    bucket.give_back()
    assert bucket.try_take(1.0)
    assert all(bucket.try_take(1_000.0) for _ in range(60))
    assert not bucket.try_take(1_000.0)


def test_each_kind_has_the_rate_of_its_setting() -> None:
    limits = Limits()
    assert [per_minute(limits, kind) for kind in Kind] == [1_200, 2_400, 120, 60, 20]


def test_a_meter_counts_for_its_connection_and_for_its_address() -> None:
    clock = ManualClock()
    book = AddressBook(clock, seeded())
    limits = Limits(deposits_per_minute=1)
    meters = [Meter(limits, clock, book.record("192.0.2.1")) for _ in range(51)]
    assert [meter.try_take(Kind.DEPOSIT) for meter in meters] == [True] * 50 + [False]
    assert Meter(limits, clock, book.record("192.0.2.2")).try_take(Kind.DEPOSIT)
    meters[0].give_back(Kind.DEPOSIT)
    assert meters[50].try_take(Kind.DEPOSIT)
    free = Meter(limits, clock, None)
    assert free.try_take(Kind.DEPOSIT)
    assert not free.try_take(Kind.DEPOSIT)
    free.give_back(Kind.DEPOSIT)
    assert free.try_take(Kind.DEPOSIT)


def test_addresses_are_counted_under_a_key_that_changes_every_hour() -> None:
    clock = ManualClock()
    book = AddressBook(clock, seeded())
    record = book.record("192.0.2.1")
    assert book.record("192.0.2.1") is record
    key = book._key
    clock.advance(KEY_LIFETIME_SECONDS)
    book.rotate()
    assert len(book) == 0
    assert book._key != key
    assert book.record("192.0.2.1") is not record
    assert "192.0.2.1" not in repr(vars(book))


def test_open_connections_count_beyond_the_hour_of_their_key(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    book = AddressBook(clock, seeded())
    record = book.record("192.0.2.1")
    record.connections = 7
    book.record("192.0.2.2")
    for _ in range(3):
        clock.advance(KEY_LIFETIME_SECONDS)
        book.rotate()
        assert len(book) == 1  # who has no connection is forgotten
    assert book.record("192.0.2.1") is record
    clock.advance(KEY_LIFETIME_SECONDS)
    assert book.record("192.0.2.1") is record  # taken over from hour to hour
    record.connections = 0
    assert book.record("192.0.2.1") is record
    clock.advance(KEY_LIFETIME_SECONDS)
    book.rotate()
    assert len(book) == 0
    record.connections = 1
    assert book.record("192.0.2.1") is not record
    # A silent address whose connections ended meanwhile begins anew, and so does one older than all keys.
    monkeypatch.setattr("chatserver.rates.MAX_OLD_KEYS", 1)
    held, ended = book.record("192.0.2.3"), book.record("192.0.2.4")
    held.connections = ended.connections = 1
    clock.advance(KEY_LIFETIME_SECONDS)
    book.rotate()
    ended.connections = 0
    assert book.record("192.0.2.4") is not ended
    book.record("192.0.2.5").connections = 1
    clock.advance(KEY_LIFETIME_SECONDS)
    assert book.record("192.0.2.3") is not held


def test_a_flood_of_addresses_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chatserver.rates.MAX_RECORDS", 3)
    book = AddressBook(ManualClock(), seeded())
    held = book.record("192.0.2.0")
    held.connections = 1
    for number in range(1, 20):
        book.record(f"192.0.2.{number}")
        assert len(book) <= 3
    assert book.record("192.0.2.0") is held


def test_ipv6_counts_by_its_64() -> None:
    assert subnet("2001:db8:1:2:3:4:5:6") == subnet("2001:db8:1:2::9")
    assert subnet("2001:db8:1:2::") != subnet("2001:db8:1:3::")
    assert subnet("192.0.2.1") == subnet("::ffff:192.0.2.1")
    assert subnet("fe80::1%eth0") == subnet("fe80::2")
    assert subnet("no address") == b""


def test_forwarded_addresses_are_believed_from_the_right_as_long_as_trusted() -> None:
    trusted = networks(("10.0.0.0/8", "::1"))
    assert client_address("192.0.2.9", ["1.1.1.1"], trusted) == "192.0.2.9"
    assert client_address("10.0.0.1", ["1.1.1.1, 192.0.2.7"], trusted) == "192.0.2.7"
    assert client_address("10.0.0.1", ["1.1.1.1, 192.0.2.7", "10.0.0.2"], trusted) == "192.0.2.7"
    assert client_address("::1", [], trusted) == "::1"
    assert client_address("10.0.0.1", ["junk"], trusted) == "junk"
    assert client_address("?", ["1.1.1.1"], trusted) == "?"


# -- sending ------------------------------------------------------------------------------------------------


class FakeTransport:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.waiting = 0
        self.aborted = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def abort(self) -> None:
        self.aborted = True


class Turn:
    """Runs what was called soon when told to."""

    def __init__(self) -> None:
        self.calls: list[object] = []

    def __call__(self, run: object) -> None:
        self.calls.append(run)


def sender_with(transport: FakeTransport, *, limit: int = 100) -> tuple[Sender, Flusher, Turn]:
    turn = Turn()
    flusher = Flusher(turn)
    sender = Sender(transport, flusher, ManualClock(), limit_bytes=limit)
    return sender, flusher, turn


def test_a_burst_is_one_write() -> None:
    transport = FakeTransport()
    sender, flusher, turn = sender_with(transport)
    for number in range(5):
        sender.send(bytes([number]), b"body")
    assert transport.writes == []
    assert len(turn.calls) == 1
    flusher.flush()
    assert transport.writes == [b"".join(b"\x82\x05" + bytes([number]) + b"body" for number in range(5))]
    flusher.flush()
    sender.flush()
    assert len(transport.writes) == 1


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, "8200"),
        (125, "827d"),
        (126, "827e007e"),
        (65_535, "827effff"),
        (65_536, "827f0000000000010000"),
    ],
)
def test_frame_heads_are_those_of_rfc_6455(length: int, head: str) -> None:
    assert frame_head(length).hex() == head


@pytest.mark.asyncio
async def test_a_sender_is_blocked_until_it_is_drained() -> None:
    transport = FakeTransport()
    sender, flusher, _ = sender_with(transport)
    sender.send(bytes(101))
    states = [sender.blocked]
    transport.waiting = 105
    flusher.flush()
    sender.send(b"x")
    flusher.flush()
    assert sender.blocked_since == 1_000.0
    assert sender.queued_bytes == 105
    waits = [asyncio.ensure_future(sender.writable()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    transport.waiting = 0
    sender.drained()
    await asyncio.gather(*waits)
    states.append(sender.blocked)
    assert states == [True, False]
    sender.send(b"never")
    sender.abort()
    flusher.flush()
    assert transport.aborted
    assert not any(b"never" in data for data in transport.writes)


# -- log ----------------------------------------------------------------------------------------------------


def test_events_carry_integers_only() -> None:
    lines: list[str] = []
    log = Log(lines.append)
    log.event(Event.STARTED, descriptors=7)
    for value in ("text", b"bytes", 1.5, True, None):
        with pytest.raises(TypeError):
            log.event(Event.STARTED, descriptors=value)  # type: ignore[arg-type]  # that is the test
    assert lines == ["started descriptors=7"]


def test_a_fault_is_logged_by_its_place_alone() -> None:
    lines: list[str] = []
    log = Log(lines.append)
    try:
        frame_head(-1)
    except ValueError as error:
        log.fault(error)
    log.fault(ValueError("secret"))
    assert lines[0].startswith("fault module=chatserver.sender line=")
    assert lines[1] == "fault module=elsewhere line=0"


def test_the_loops_handler_logs_faults_and_no_resets() -> None:
    lines: list[str] = []
    loop = asyncio.new_event_loop()
    handle = loop_handler(Log(lines.append))
    handle(loop, {"message": "secret", "exception": ConnectionResetError("10.0.0.1")})
    handle(loop, {"message": "secret"})
    handle(loop, {"message": "secret", "exception": ValueError("secret")})
    loop.close()
    assert lines == ["fault module=elsewhere line=0"]


def test_libraries_are_silent(capfd: pytest.CaptureFixture[str]) -> None:
    names = ("aiohttp", "asyncio", "concurrent.futures")
    before = [(logging.getLogger(name).handlers, logging.getLogger(name).level) for name in names]
    try:
        silence_libraries()
        for name in ("aiohttp.server", "aiohttp.access", "asyncio"):
            logging.getLogger(name).error("secret")
        assert capfd.readouterr() == ("", "")
    finally:
        for name, (handlers, level) in zip(names, before, strict=True):
            logger = logging.getLogger(name)
            logger.handlers, logger.propagate = handlers, True
            logger.setLevel(level)


def test_the_log_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    Log().event(Event.STOPPED, flushed=1)
    assert capfd.readouterr() == ("", "stopped flushed=1\n")


# -- process and machine ------------------------------------------------------------------------------------


def test_the_process_forbids_its_core_dumps_and_raises_its_descriptors() -> None:
    code = (
        "import resource; from chatserver.hardening import *; "
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard)); "
        "print(forbid_core_dumps(), raise_descriptor_limit() == hard, "
        "resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.strip() == f"{sys.platform.startswith('linux')} True (0, 0)"


def test_the_system_clock_goes() -> None:
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.utc_seconds() > 1_700_000_000
