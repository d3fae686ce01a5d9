"""What a peer may not do, and what it gets: a documented code, a closed connection, nothing in the log."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from pathlib import Path

import pytest
import websockets

from chatserver import server
from chatserver.config import parse
from chatserver.store.errors import StoreError
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import (
    Acknowledged,
    CellPage,
    ChannelId,
    ChannelRef,
    Day,
    Done,
    ExpiryReport,
    InboxId,
    Refused,
    TokenHash,
)
from chatserver.store.sqlite import SqliteStore, init_store
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import channel_id, inbox_challenge_content
from chatserver.wire.limits import MAX_FRAME_BYTES, SUBPROTOCOL
from keys import signing
from support.raw_websocket import CLOSE, frame
from support.relay import (
    LIVE,
    PATIENCE_SECONDS,
    STORED,
    Client,
    Running,
    body,
    code_of,
    running_relay,
    seeded,
    until,
)

K = b"k" * 32
ALICE = b"a" * 32
BOB = b"b" * 32


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", ErrorCode.BAD_FRAME),
        (b"\xff" * 40, ErrorCode.BAD_FRAME),
        (b"\x7f", ErrorCode.BAD_FRAME),
        (b"\x02short", ErrorCode.BAD_FRAME),
        (f.Done(request=1).encode(), ErrorCode.BAD_FRAME),
        (f.Hello(version=1).encode(), ErrorCode.BAD_ORDER),
        (b"\x04" + bytes(MAX_FRAME_BYTES), ErrorCode.BAD_SIZE),
        (b"\x14" + bytes(40_000), ErrorCode.BAD_SIZE),
        ("text", ErrorCode.BAD_FRAME),
    ],
)
@pytest.mark.asyncio
async def test_garbage_is_answered_by_a_code_and_the_end(message: bytes | str, code: ErrorCode) -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bystander:
        await alice.socket.send(message)
        assert await alice.failure() == code
        assert running.log == []
        # Nobody else notices.
        await bystander.attached(K, BOB)
    assert [line.split()[0] for line in running.log] == ["draining", "stopped"]


@pytest.mark.asyncio
async def test_random_garbage_never_takes_the_relay_down() -> None:
    random = seeded(5)
    async with running_relay() as running:
        for number in range(60):
            async with running.client(greet=number % 2 == 0) as eve:
                await eve.socket.send(random(1 + random(1)[0]))
                assert await eve.failure() in {
                    ErrorCode.BAD_FRAME,
                    ErrorCode.BAD_ORDER,
                    ErrorCode.BAD_SIZE,
                    ErrorCode.BAD_VERSION,
                }
        assert running.log == []


@pytest.mark.asyncio
async def test_a_message_of_monstrous_size_is_cut_off_unread() -> None:
    async with running_relay() as running, running.client() as eve:
        with contextlib.suppress(websockets.ConnectionClosed):
            await eve.socket.send(bytes(1 << 20))
        with pytest.raises(websockets.ConnectionClosed):
            await eve.read()
        await until(lambda: not running.relay.peers)


@pytest.mark.asyncio
async def test_another_version_is_refused_by_name() -> None:
    async with running_relay() as running, running.client(greet=False) as client:
        await client.socket.send(f.Hello(version=2).encode())
        assert (await asyncio.wait_for(client.socket.recv(), PATIENCE_SECONDS)) == f.Failed(
            code=ErrorCode.BAD_VERSION
        ).encode()


@pytest.mark.asyncio
async def test_nothing_goes_before_hello() -> None:
    async with running_relay() as running, running.client(greet=False) as client:
        await client.socket.send(f.InboxChallenge(request=1).encode())
        assert (await asyncio.wait_for(client.socket.recv(), PATIENCE_SECONDS)) == f.Failed(
            code=ErrorCode.BAD_ORDER
        ).encode()


@pytest.mark.parametrize("subprotocols", [None, ["amanat.v2"]])
@pytest.mark.asyncio
async def test_another_subprotocol_is_refused(subprotocols: list[str] | None) -> None:
    async with running_relay() as running:
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with running.socket(subprotocols=subprotocols):
                pass
        assert refused.value.response.status_code == 400


@pytest.mark.asyncio
async def test_compression_is_never_agreed() -> None:
    async with running_relay() as running, running.socket(compression="deflate") as client:
        assert client.response is not None
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        assert client.subprotocol == SUBPROTOCOL


@pytest.mark.asyncio
async def test_a_handshake_that_never_ends_is_ended() -> None:
    async with running_relay() as running:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /v1/ws HTTP/1.1\r\nHost: x\r\n")
        await until(lambda: len(running.server.door) == 1)
        running.clock.advance(9)
        await running.server.sweep()
        assert len(running.server.door) == 1
        running.clock.advance(2)
        await running.server.sweep()
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), PATIENCE_SECONDS) == b""
        writer.close()
        assert len(running.server.door) == 0


@pytest.mark.asyncio
async def test_hello_that_never_comes_is_not_waited_for() -> None:
    async with running_relay() as running, running.client(greet=False) as client:
        await until(lambda: len(running.relay.peers) == 1)
        running.clock.advance(6)
        pong = await client.socket.ping()
        await asyncio.wait_for(pong, PATIENCE_SECONDS)
        running.clock.advance(6)
        await running.server.sweep()
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert await client.socket.recv() == f.Failed(code=ErrorCode.TIMEOUT).encode()


@pytest.mark.asyncio
async def test_silence_ends_a_connection_and_a_ping_keeps_it() -> None:
    async with running_relay() as running, running.client() as silent, running.client() as alive:
        for _ in range(3):
            running.clock.advance(100)
            await asyncio.wait_for(await alive.socket.ping(), PATIENCE_SECONDS)
            await running.server.sweep()
        assert await silent.failure() == ErrorCode.TIMEOUT
        await alive.attached(K, ALICE)


# -- slow readers -------------------------------------------------------------------------------------------


async def fill(running: Running, cells: int) -> None:
    ref = ChannelRef(channel_id=ChannelId(channel_id(STORED, 2, K)), channel_class=1, readers=2)
    for number in range(cells):
        await running.store.deposit(
            ref,
            deposit_id=number.to_bytes(16, "big"),
            close=False,
            body=body(str(number)),
            today=Day(running.relay.today()),
        )


def raw_socket() -> socket.socket:
    """A socket whose kernel takes little in for a program that does not read."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
    return raw


@pytest.mark.asyncio
async def test_a_slow_reader_is_fed_no_further_and_then_disconnected() -> None:
    async with running_relay() as running, running.client() as alice:
        await fill(running, 1_000)
        raw = raw_socket()
        raw.connect(("127.0.0.1", running.port))
        raw.setblocking(False)
        async with running.socket(sock=raw, max_queue=1) as slow:
            client = Client(slow)
            await client.greet()
            await client.attached(K, BOB)
            (peer,) = [peer for peer in running.relay.peers if len(peer.channels)]
            await until(lambda: peer.sender.blocked)
            held = peer.sender.queued_bytes
            # What waits is bounded: the limit and one page, though 16 MiB are asked for.
            assert held <= (256 + 16 * 17) * 1024
            for number in range(20):
                await alice.deposit(K, f"more {number}")
            assert peer.sender.queued_bytes == held
            running.clock.advance(100)
            await alice.socket.ping()
            await running.server.sweep()
            assert peer in running.relay.peers
            running.clock.advance(21)
            await running.server.sweep()
            await until(lambda: peer not in running.relay.peers)
            raw.close()
        await alice.attached(K, ALICE)


@pytest.mark.asyncio
async def test_who_closes_without_reading_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a closed connection counts against no limit, so it must not wait for long."""
    monkeypatch.setattr(server, "CLOSE_SECONDS", 0.2)
    async with running_relay() as running:
        await fill(running, 1_000)
        raw = raw_socket()
        raw.connect(("127.0.0.1", running.port))
        raw.setblocking(False)
        async with running.socket(sock=raw, max_queue=1) as slow:
            client = Client(slow)
            await client.greet()
            await client.attached(K, BOB)
            (peer,) = running.relay.peers
            await until(lambda: peer.sender.blocked)
            transport = peer.sender._transport
            assert transport.get_write_buffer_size() > 0
            slow.transport.write(frame(CLOSE, b"\x03\xe8"))
            await until(lambda: not running.relay.peers)
            await until(lambda: transport.get_write_buffer_size() == 0)
            raw.close()


@pytest.mark.asyncio
async def test_a_reader_that_was_slow_and_reads_on_misses_nothing() -> None:
    async with running_relay() as running, running.client() as alice:
        await fill(running, 600)
        raw = raw_socket()
        raw.connect(("127.0.0.1", running.port))
        raw.setblocking(False)
        async with running.socket(sock=raw, max_queue=1) as slow:
            client = Client(slow)
            await client.greet()
            await client.attached(K, BOB)
            (peer,) = [peer for peer in running.relay.peers if len(peer.channels)]
            await until(lambda: peer.sender.blocked)
            await alice.deposit(K, "last")
            numbers: list[int] = []
            while len(numbers) < 601:
                cell = await client.push()
                assert isinstance(cell, f.Cell)
                numbers.append(cell.seq)
            assert numbers == list(range(1, 602))


@pytest.mark.asyncio
async def test_a_slow_reader_of_a_live_channel_loses_cells_and_is_told() -> None:
    config = parse("[limits]\nqueued_kib = 64\ndeposits_per_minute = 100000\n")
    async with running_relay(config) as running, running.client() as alice:
        raw = raw_socket()
        raw.connect(("127.0.0.1", running.port))
        raw.setblocking(False)
        async with running.socket(sock=raw, max_queue=1) as slow:
            client = Client(slow)
            await client.greet()
            await client.attached(K, BOB, cls=LIVE)
            (peer,) = [peer for peer in running.relay.peers if len(peer.channels)]
            sent = 0
            while not peer.sender.blocked:
                sent += 1
                await alice.deposit(K, str(sent), cls=LIVE)
            for _ in range(200):
                sent += 1
                await alice.deposit(K, str(sent), cls=LIVE)
            position, holes = 0, 0
            while position < sent:
                push = await client.push()
                if isinstance(push, f.Expired):
                    assert push.first == position + 1
                    position, holes = push.last, holes + 1
                else:
                    assert isinstance(push, f.Cell)
                    assert push.seq == position + 1
                    position = push.seq
            assert holes == 1


# -- limits -------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_a_connection_has_so_many_channels() -> None:
    config = parse("[limits]\nchannels_per_connection = 2\n")
    async with running_relay(config) as running, running.client() as alice:
        first = await alice.attached(b"1" * 32, ALICE)
        await alice.attached(b"2" * 32, ALICE, cls=LIVE)
        for cls in (STORED, LIVE):
            assert code_of(await alice.attach(b"3" * 32, ALICE, cls=cls)) == ErrorCode.TOO_MANY_CHANNELS
        await alice.detach(first.handle)
        await alice.attached(b"3" * 32, ALICE)


@pytest.mark.asyncio
async def test_rates_refuse_and_come_back() -> None:
    config = parse("[limits]\ndeposits_per_minute = 2\nrequests_per_minute = 1\n")
    async with running_relay(config) as running, running.client() as alice:
        await alice.attached(K, ALICE, cls=LIVE)
        assert code_of(await alice.attach(K, ALICE, cls=LIVE)) == ErrorCode.RATE
        assert code_of(await alice.ack(1, 0)) == ErrorCode.RATE
        for _ in range(2):
            assert isinstance(await alice.deposit(K, "x", cls=LIVE), f.Stored)
        for cls in (STORED, LIVE):
            assert code_of(await alice.deposit(K, "x", cls=cls)) == ErrorCode.RATE
        running.clock.advance(60)
        assert isinstance(await alice.deposit(K, "x", cls=LIVE), f.Stored)


@pytest.mark.asyncio
async def test_rates_per_address_are_fifty_times_those_per_connection() -> None:
    config = parse("[limits]\ndeposits_per_minute = 1\n")
    async with running_relay(config) as running:
        refused = []
        for _ in range(51):
            async with running.client() as client:
                refused.append(isinstance(await client.deposit(K, "x", cls=LIVE), f.Refused))
        assert refused == [False] * 50 + [True]


@pytest.mark.asyncio
async def test_connections_are_counted_per_address_and_in_all() -> None:
    config = parse("[limits]\nconnections = 3\n")
    async with running_relay(config) as running:
        async with (
            running.client(),
            running.client(),
            running.client(),
            running.client(greet=False) as fourth,
            asyncio.timeout(PATIENCE_SECONDS),
        ):
            message = await fourth.socket.recv()
            assert message == f.Failed(code=ErrorCode.TOO_MANY_CONNECTIONS).encode()
        await until(lambda: not running.relay.peers)
        async with running.client():
            pass


@pytest.mark.asyncio
async def test_forwarded_addresses_count_only_from_trusted_proxies() -> None:
    for trusted, expected in (("", 1), ('"127.0.0.0/8"', 3)):
        config = parse(f"[listen]\ntrusted_proxies = [{trusted}]\n")
        async with running_relay(config) as running:
            for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"):
                headers = {"X-Forwarded-For": f"10.0.0.1, {address}"}
                async with running.socket(additional_headers=headers):
                    pass
            assert len(running.relay.addresses) == expected


# -- the store fails ----------------------------------------------------------------------------------------


class FailingStore(MemoryStore):
    """Fails when told to."""

    def __init__(self) -> None:
        super().__init__(rng=seeded(2))
        self.fails: type[Exception] | None = None
        self.expired = 0

    async def expire(self, *, today: Day) -> ExpiryReport:
        if self.fails is not None:
            raise self.fails("secret detail")
        self.expired += 1
        return await super().expire(today=today)

    async def ack_drop(self, inbox_id: InboxId, drop_id: bytes) -> Done:
        raise ZeroDivisionError("secret detail")

    async def ack(
        self, channel_id: ChannelId, token_hash: TokenHash, seq: int, *, today: Day
    ) -> Acknowledged | Refused:
        raise StoreError("secret detail")

    async def read(self, channel_id: ChannelId, position: int, *, max_cells: int = 64) -> CellPage | Refused:
        if self.fails is not None:
            raise self.fails("secret detail")
        return await super().read(channel_id, position, max_cells=max_cells)


@pytest.mark.asyncio
async def test_a_store_that_fails_refuses_the_request_and_logs_a_count() -> None:
    async with running_relay(store=FailingStore()) as running, running.client() as alice:
        attached = await alice.attached(K, ALICE)
        for _ in range(2):
            assert code_of(await alice.ack(attached.handle, 0)) == ErrorCode.STORE_FAILED
        assert running.log == ["store_failed count=1", "store_failed count=2"]
        for _ in range(30):
            await alice.ack(attached.handle, 0)
        assert running.log[2:] == [f"store_failed count={count}" for count in (4, 8, 16, 32)]


@pytest.mark.parametrize("kind", [StoreError, ZeroDivisionError])
@pytest.mark.asyncio
async def test_a_fault_while_catching_up_ends_that_connection_alone(kind: type[Exception]) -> None:
    store = FailingStore()
    async with running_relay(store=store) as running, running.client() as alice, running.client() as bob:
        await alice.deposit(K, "x")
        store.fails = kind
        await bob.attached(K, BOB)
        assert await bob.failure() == ErrorCode.INTERNAL
        store.fails = None
        await alice.attached(K, ALICE)
        (line,) = running.log
        assert "secret" not in line
        assert line.split()[0] == ("fault" if kind is ZeroDivisionError else "store_failed")


@pytest.mark.asyncio
async def test_a_fault_in_a_request_ends_that_connection_alone() -> None:
    async with running_relay(store=FailingStore()) as running, running.client() as alice:
        challenge = await alice.ask(f.InboxChallenge(request=1))
        assert isinstance(challenge, f.Challenge)
        seed = bytes(32)
        identity = signing.public_key(seed)
        content = inbox_challenge_content(challenge.nonce, identity)
        signature = signing.sign(seed, signing.Label.INBOX_OPEN, content)
        await alice.ask(f.InboxOpen(request=2, identity_key=identity, signature=signature))
        await alice.say(f.InboxAck(request=3, drop_id=bytes(16)))
        assert await alice.failure() == ErrorCode.INTERNAL
        (line,) = running.log
        assert line.startswith("fault module=chatserver.")
        async with running.client() as bob:
            await bob.attached(K, BOB)


@pytest.mark.asyncio
async def test_expiry_that_failed_is_tried_again() -> None:
    store = FailingStore()
    async with running_relay(store=store) as running:
        store.fails = StoreError
        await running.relay.sweep()
        store.fails = None
        await running.relay.sweep()
        await running.relay.sweep()
        assert [line.split()[0] for line in running.log] == ["store_failed"]
        assert store.expired == 1


@pytest.mark.asyncio
async def test_shutdown_does_not_wait_for_a_slow_reader() -> None:
    async with running_relay() as running:
        await fill(running, 1_000)
        raw = raw_socket()
        raw.connect(("127.0.0.1", running.port))
        raw.setblocking(False)
        async with running.socket(sock=raw, max_queue=1) as slow:
            client = Client(slow)
            await client.greet()
            await client.attached(K, BOB)
            (peer,) = running.relay.peers
            await until(lambda: peer.sender.blocked)
            await running.server.stop()
            await until(lambda: not running.relay.peers)
            raw.close()


@pytest.mark.asyncio
async def test_the_largest_numbers_are_numbers_like_others(tmp_path: Path) -> None:
    """u64 is more than SQLite's integers hold; nothing of that may reach the peer or the log."""
    init_store(tmp_path / "store")
    store = await SqliteStore.open(tmp_path / "store")
    most = 0xFFFFFFFFFFFFFFFF
    async with running_relay(store=store) as running, running.client() as alice:
        attached = await alice.attached(K, ALICE)
        await alice.deposit(K, "x")
        assert code_of(await alice.ack(attached.handle, most)) == ErrorCode.ACK_BEYOND_HEAD
        for cls in (LIVE, STORED):
            first = await alice.attached(K, ALICE, cls=cls, position=most)
            again = await alice.attached(K, ALICE, cls=cls, position=most, incarnation=first.incarnation)
            assert again.head == first.head
            attached = again
        assert isinstance(await alice.ack(attached.handle, 1), f.Acked)
        assert running.log == []
    await store.close()


@pytest.mark.asyncio
async def test_a_store_that_fails_is_503_over_http() -> None:
    class NoBundles(MemoryStore):
        async def bundles(self, *, bits: int, prefix: int) -> tuple[bytes, ...]:
            raise StoreError("secret detail")

    async with running_relay(store=NoBundles()) as running:
        head = await raw_http(running, b"GET /v1/bundles/0/0 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.split()[1] == b"503"
        assert running.log == ["store_failed count=1"]


# -- http ---------------------------------------------------------------------------------------------------


async def raw_http(running: Running, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
    writer.write(request)
    async with asyncio.timeout(PATIENCE_SECONDS):
        head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    return head


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /v1/health HTTP/1.1", b"200"),
        (b"POST /v1/health HTTP/1.1", b"405"),
        (b"GET / HTTP/1.1", b"404"),
        (b"GET /v1/ws HTTP/1.1", b"400"),
        (b"GET /../../etc/passwd HTTP/1.1", b"404"),
        (b"nonsense", b"400"),
    ],
)
@pytest.mark.asyncio
async def test_http_is_small_and_tells_nothing(request_line: bytes, status: bytes) -> None:
    async with running_relay() as running:
        head = await raw_http(running, request_line + b"\r\nHost: x\r\n\r\n")
        assert head.split()[1] == status
        assert b"aiohttp" not in head.lower() or status == b"400"
        assert b"python" not in head.lower() or status == b"400"
        assert running.log == []


@pytest.mark.asyncio
async def test_an_http_connection_that_lingers_is_cut_off() -> None:
    async with running_relay() as running:
        _, writer = await asyncio.open_connection("127.0.0.1", running.port)
        writer.write(b"GET /v1/health HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(running.server.door) == 1)
        running.clock.advance(61)
        await running.server.sweep()
        assert len(running.server.door) == 0
        writer.close()


# -- the end ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_shutdown_says_draining_flushes_what_was_asked_and_closes() -> None:
    async with running_relay() as running, running.client() as alice:
        await alice.attached(K, ALICE)
        running.relay.draining = True
        assert code_of(await alice.deposit(K, "late")) == ErrorCode.DRAINING
        assert code_of(await alice.attach(K, ALICE)) == ErrorCode.DRAINING
        assert code_of(await alice.ack(1, 0)) == ErrorCode.DRAINING
        assert code_of(await alice.ask(f.InboxChallenge(request=70))) == ErrorCode.DRAINING
        running.relay.draining = False
        frame = alice.deposit_frame(K, "in time")
        await alice.say(frame)
        channel = running.relay.stored.attached(channel_id(STORED, 2, K))
        assert channel is not None
        await until(lambda: channel.head == 1)
        stopping = asyncio.ensure_future(running.server.stop())
        assert isinstance(await alice.answer(frame), f.Stored)
        assert await alice.push() == f.OwnCell(
            handle=1, seq=1, close=False, digest=hashlib.sha256(frame.body).digest()
        )
        assert await alice.push() == f.Draining(seconds=5)
        assert await alice.failure() == ErrorCode.SHUTDOWN
        await stopping
        assert running.log[-2:] == ["draining seconds=5", "stopped flushed=1"]
