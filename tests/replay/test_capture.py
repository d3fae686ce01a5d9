"""The recording front: takes WebSocket apart as RFC 6455 says, and changes nothing on the way."""

from __future__ import annotations

import asyncio
import os

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from chatserver.wire.frames import Attach, Cell, Deposit, InboxOpen, encode
from chatserver.wire.limits import ChannelClass
from clients.replay.capture import Capture, MessageReader, Part, RecordingFront, unmask
from clients.replay.leaks import Kind, LeakSearch, Needle

HEAD = b"GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"


def frame(payload: bytes, *, opcode: int = 2, final: bool = True, key: bytes = b"\x01\x02\x03\x04") -> bytes:
    size = len(payload)
    short = size if size < 126 else 126 if size < 65536 else 127
    extended = b"" if size < 126 else size.to_bytes(2 if size < 65536 else 8)
    head = bytes([opcode | (0x80 if final else 0), short | (0x80 if key else 0)])
    return head + extended + key + (unmask(payload, key) if key else payload)


@pytest.mark.parametrize("size", [1, 125, 126, 16_500, 65_535, 65_536])
@pytest.mark.parametrize("key", [b"", b"\xa0\xb1\xc2\xd3"])
@pytest.mark.parametrize("piece", [1_000_000, 1_237])
def test_messages_come_out_as_the_relay_reads_them(size: int, key: bytes, piece: int) -> None:
    payload = os.urandom(size)
    stream = HEAD + frame(payload, key=key) + frame(b"next", key=key)
    reader = MessageReader()
    parts = [part for at in range(0, len(stream), piece) for part in reader.feed(stream[at : at + piece])]
    assert parts == [(Part.HTTP, HEAD), (Part.MESSAGE, payload), (Part.MESSAGE, b"next")]


def test_byte_by_byte_with_fragments_and_a_ping_between() -> None:
    stream = HEAD + frame(b"one", final=False) + frame(b"ping", opcode=9) + frame(b" two", opcode=0)
    reader = MessageReader()
    parts = [part for byte in stream for part in reader.feed(bytes([byte]))]
    assert parts == [(Part.HTTP, HEAD), (Part.CONTROL, b"ping"), (Part.MESSAGE, b"one two")]


def test_plain_http_is_kept_as_it_comes() -> None:
    reader = MessageReader()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    assert reader.feed(head + b"bo") == [(Part.HTTP, head), (Part.HTTP, b"bo")]
    assert reader.feed(b"dy") == [(Part.HTTP, b"dy")]


def test_what_the_relay_must_be_told_is_set_apart() -> None:
    capture = Capture()
    k, token = os.urandom(32), os.urandom(32)
    attach = Attach(
        request=1, cls=ChannelClass.LIVE, readers=2, k=k, token=token, incarnation=bytes(16), position=0
    )
    deposit = Deposit(
        request=2, cls=ChannelClass.LIVE, readers=2, k=k, deposit_id=bytes(16), close=False, body=bytes(2048)
    )
    capture.to_relay(encode(attach))
    capture.to_relay(encode(deposit))
    capture.to_relay(b"\xff garbage")
    capture.to_relay(encode(InboxOpen(request=3, identity_key=bytes(32), signature=bytes(64), token=b"")))
    assert capture.address_secrets == {k, token}
    assert capture.cells == {2048: 1}
    assert capture.unreadable == 1
    assert token in capture.data


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.mark.asyncio
async def test_nothing_is_changed_on_the_way() -> None:
    messages = [os.urandom(size) for size in (1, 2_100, 16_450, 70_000)]
    async with asyncio.timeout(10), serve(echo, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with (
            RecordingFront(f"http://127.0.0.1:{port}") as front,
            connect(front.url.replace("http", "ws"), compression=None) as connection,
        ):
            for message in messages:
                await connection.send(message)
                assert await connection.recv() == message
    for message in messages:
        assert bytes(front.capture.data).count(message) >= 2  # there and back


@pytest.mark.asyncio
async def test_a_relay_that_is_down_looks_like_one() -> None:
    async with RecordingFront("http://127.0.0.1:9") as front, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(front.url.rpartition(":")[2]))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


def test_the_numbers_before_a_cell_never_spell_a_short_text() -> None:
    # Kind TEXT (1), counter 5, one letter: what a closing cell 5 under handle 1 looks like by chance.
    needle = b"\x00\x01" + (5).to_bytes(8) + b"\x01m"
    search = LeakSearch()
    search.add(Needle(kind=Kind.PAYLOAD, conversation=1, value=needle))
    by_chance = Cell(handle=1, seq=5, close=True, body=b"m" + bytes(16_383)).encode()
    assert needle in by_chance
    harmless, leaking = Capture(), Capture()
    harmless.from_relay(by_chance)
    assert search.search("frames", bytes(harmless.data)) == []
    leaking.from_relay(Cell(handle=1, seq=5, close=True, body=needle + bytes(16_372)).encode())
    assert len(search.search("frames", bytes(leaking.data))) == 1
