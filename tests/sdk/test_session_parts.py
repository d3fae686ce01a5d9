"""The small parts of a session, each for itself: contents, records, streams, log chain, messages."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.sdk.errors import AmanatError, UsageError
from clients.sdk.line.payloads import Anchor
from clients.sdk.model import Role
from clients.sdk.session import scripted
from clients.sdk.session.cells import (
    CONTENT_BYTES,
    DATA_BYTES,
    ContentFlags,
    Record,
    RecordAssembler,
    RecordKind,
    SessionContent,
    decode_content,
    encode_content,
    encode_record,
)
from clients.sdk.session.child import load_front
from clients.sdk.session.control import (
    MAX_MESSAGE_BYTES,
    Kind,
    ResultInfo,
    StartInfo,
    decode_message,
    encode_message,
    message,
    read_message,
)
from clients.sdk.session.front import Ended, EndReason, TextDelivered, TextReceived
from clients.sdk.session.log_chain import HISTORY, ForkError, LogChain
from clients.sdk.session.scripted import parse_script, unfinished
from clients.sdk.session.stream import ReceiveStream, SendStream
from crypto.channel import log_next, log_start
from crypto.codec import CodecError
from crypto.errors import StateError, ValidationError
from support.fake_session import FakeSession

CHANNEL = b"c" * 32
FIRST, SECOND = b"1" * 16, b"2" * 16


# -- contents and records


@given(
    st.integers(0, 3),
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=DATA_BYTES),
)
def test_a_content_always_has_the_same_size(flags: int, offset: int, ack: int, data: bytes) -> None:
    content = SessionContent(flags=ContentFlags(flags), offset=offset, ack=ack, data=data)
    encoded = encode_content(content)
    assert len(encoded) == CONTENT_BYTES
    assert decode_content(encoded) == content


def test_contents_refuse_other_versions_sizes_and_padding() -> None:
    good = encode_content(SessionContent(offset=1, ack=2, data=b"abc"))
    for wrong in (b"\2" + good[1:], good[:-1], good + b"\0", good[:-1] + b"\1"):
        with pytest.raises(CodecError):
            decode_content(wrong)
    with pytest.raises(CodecError):
        decode_content(good[:18] + b"\xff\xff" + good[20:])
    with pytest.raises(ValueError, match="too much data"):
        encode_content(SessionContent(offset=0, ack=0, data=bytes(DATA_BYTES + 1)))
    later = b"\1\xf0" + good[2:]
    assert decode_content(later).flags & 0xF0


@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=6),
    st.lists(st.integers(1, 50), min_size=1, max_size=8),
)
def test_records_come_out_whole_however_they_are_cut(said: list[tuple[int, bytes]], cuts: list[int]) -> None:
    records = [Record(kind=kind, utc_seconds=7, body=body) for kind, body in said]
    stream = b"".join(encode_record(record) for record in records)
    assembler, found, position, turn = RecordAssembler(), [], 0, 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        found += assembler.feed(stream[position : position + step])
        position, turn = position + step, turn + 1
    assert found == records


def test_records_that_can_never_be_right_are_refused() -> None:
    with pytest.raises(CodecError):
        RecordAssembler().feed(encode_record(Record(kind=9, utc_seconds=0, body=bytes(16_385))))
    with pytest.raises(CodecError):
        RecordAssembler().feed(b"\1" + bytes(8) + b"\xc0" + bytes(8))
    for body in (b"", bytes(12_289), b"\xff"):
        with pytest.raises(CodecError):
            Record(kind=RecordKind.TEXT, utc_seconds=0, body=body).text()


def test_texts_do_not_show_in_reprs() -> None:
    assert "secret" not in repr(Record(kind=1, utc_seconds=0, body=b"secret"))
    assert "secret" not in repr(SessionContent(offset=0, ack=0, data=b"secret"))
    assert "secret" not in repr(message(Kind.REPORT, "text", "secret"))


# -- streams


@given(st.binary(min_size=1, max_size=200), st.lists(st.booleans(), min_size=60, max_size=200))
def test_s5_the_stream_survives_any_loss(data: bytes, losses: list[bool]) -> None:
    sending, receiving, arrived = SendStream(), ReceiveStream(), b""
    sending.append(data)
    now = 0.0
    for lost in [*losses, *[False] * 200]:
        now += 1.0
        offset, part = sending.take(7, now)
        if not lost:
            arrived += receiving.accept(offset, part)
            sending.acknowledge(receiving.next)
    assert arrived == data
    assert sending.waiting_bytes == 0


def test_s5_a_segment_is_not_repeated_before_three_seconds() -> None:
    stream = SendStream()
    stream.append(b"abcdef")
    assert stream.take(4, 0.0) == (0, b"abcd")
    assert stream.take(4, 1.0) == (4, b"ef")
    assert stream.take(4, 2.9) == (6, b"")
    assert stream.take(4, 3.0) == (0, b"abcd")
    stream.acknowledge(2)
    assert stream.take(4, 6.0) == (2, b"cd")
    stream.acknowledge(6)
    stream.acknowledge(3)
    assert stream.take(4, 9.0) == (6, b"")
    with pytest.raises(ValidationError):
        stream.acknowledge(7)


# -- R10 in a session


def chained(*cells: bytes, incarnation: bytes = FIRST) -> bytes:
    value = log_start(CHANNEL, incarnation)
    for n, cell in enumerate(cells, 1):
        value = log_next(value, n, False, cell)
    return value


def digest(number: int) -> bytes:
    return hashlib.sha256(bytes([number])).digest()


def test_r10_claims_are_compared_with_the_own_history() -> None:
    chain = LogChain(CHANNEL)
    chain.attach(FIRST, 0)
    for n in range(1, 4):
        chain.cell(n, digest(n))
    assert chain.claim() == Anchor(incarnation=FIRST, n=3, log_hash=chained(digest(1), digest(2), digest(3)))
    chain.check(Anchor(incarnation=FIRST, n=1, log_hash=chained(digest(1))), 3)
    for wrong in (
        Anchor(incarnation=FIRST, n=1, log_hash=chained(digest(9))),
        Anchor(incarnation=SECOND, n=1, log_hash=chained(digest(1))),
        Anchor(incarnation=FIRST, n=3, log_hash=chained(digest(1), digest(2), digest(3))),
    ):
        with pytest.raises(ForkError):
            chain.check(wrong, 3)


def test_r10_after_a_hole_the_peers_next_claim_is_the_baseline() -> None:
    cells = [digest(n) for n in range(1, 9)]
    chain = LogChain(CHANNEL)
    chain.attach(FIRST, 0)
    chain.cell(1, cells[0])
    chain.expired(2, 4)
    for n in range(5, 9):
        chain.cell(n, cells[n - 1])
    assert chain.claim().n == 1  # the last sure point
    chain.check(Anchor(incarnation=FIRST, n=1, log_hash=chained(cells[0])), 6)
    assert chain.claim().n == 1  # it lies before the hole
    chain.check(Anchor(incarnation=FIRST, n=6, log_hash=chained(*cells[:6])), 8)
    assert chain.claim() == Anchor(incarnation=FIRST, n=8, log_hash=chained(*cells))
    with pytest.raises(ForkError):
        chain.check(Anchor(incarnation=FIRST, n=7, log_hash=bytes(32)), 8)


def test_s6_a_new_incarnation_begins_anew_and_the_old_one_may_not_shrink() -> None:
    chain = LogChain(CHANNEL)
    chain.attach(FIRST, 0)
    chain.cell(1, digest(1))
    chain.attach(FIRST, 1)
    assert chain.position == 1
    with pytest.raises(ForkError):
        chain.attach(FIRST, 0)
    chain.attach(SECOND, 0)
    assert (chain.position, chain.claim().n) == (0, 0)
    for wrong in ((2, 3), (1, 0)):
        with pytest.raises(ForkError):
            chain.expired(*wrong)


def test_the_history_is_bounded() -> None:
    chain = LogChain(CHANNEL)
    chain.attach(FIRST, 0)
    for n in range(1, HISTORY + 50):
        chain.cell(n, digest(n % 256))
    assert len(chain._history) == HISTORY
    chain.expired(HISTORY + 50, HISTORY + 60)
    for n in range(HISTORY + 61, 2 * HISTORY + 161):
        chain.cell(n, digest(n % 256))
    assert chain._since_hole is not None
    assert len(chain._since_hole) == HISTORY


# -- parent and child


def test_messages_between_parent_and_child_round_trip() -> None:
    info = StartInfo(
        role=Role.CLIENT,
        relay_url="http://127.0.0.1:1",
        peer_name="سارہ",
        session_id=b"s" * 16,
        session_seconds=3_000,
        suite=0xF002,
        front="a.b:c",
        options={"x": "y", "script": "{}"},
    )
    encoded = encode_message(info.to_message())
    assert StartInfo.from_message(decode_message(encoded[4:])) == info
    result = ResultInfo(reason=EndReason.PANIC, texts_delivered=3, milliseconds=12)
    assert ResultInfo.from_message(decode_message(encode_message(result.to_message())[4:])) == result
    for wrong in (
        message(Kind.END),
        message(Kind.START, "nobody"),
        message(Kind.START, "client", "", "", b"", "x", 1, ""),
        message(Kind.START, "client", "", "", b"", 1, 1, "", "lonely"),
    ):
        with pytest.raises(CodecError):
            StartInfo.from_message(wrong)
    with pytest.raises(CodecError):
        ResultInfo.from_message(message(Kind.RESULT, "no such reason"))
    with pytest.raises(CodecError):
        message(Kind.REPORT, b"\xff").text(0)
    for data in (b"", b"\x77", encode_message(message(Kind.REPORT, *"a" * 70))[4:]):
        with pytest.raises(CodecError):
            decode_message(data)


@pytest.mark.asyncio
async def test_a_message_that_is_too_long_or_cut_off() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data((MAX_MESSAGE_BYTES + 1).to_bytes(4, "big"))
    with pytest.raises(CodecError):
        await read_message(reader)
    cut = asyncio.StreamReader()
    cut.feed_data(encode_message(message(Kind.END))[:3])
    cut.feed_eof()
    assert await read_message(cut) is None


def test_front_ends_are_found_by_name() -> None:
    assert load_front("clients.sdk.session.pipe:run").__name__ == "run"
    for wrong in ("clients.sdk.session.pipe:nothing", "no.such.module:run", "pipe"):
        with pytest.raises(AmanatError):
            load_front(wrong)


def test_scripts_are_checked_before_anything_is_sent() -> None:
    turns = parse_script('{"turns": [["client", "a"], ["therapist", "b"]]}')
    assert turns == [(Role.CLIENT, "a"), (Role.THERAPIST, "b")]
    for wrong in ("", "[]", '{"turns": [["x", "a"]]}', '{"turns": [["client", ""]]}', '{"turns": [1]}'):
        with pytest.raises(UsageError):
            parse_script(wrong)


class EndingSession(FakeSession):
    """Takes one text, and then says that it is ending."""

    def send(self, text: str) -> int:
        if self.sent:
            self.queue.put_nowait(Ended(reason=EndReason.ENDED))
            raise StateError("the session is ending")
        return super().send(text)


@pytest.mark.asyncio
async def test_a_script_that_the_other_side_cuts_short_breaks_nothing_and_is_told() -> None:
    session = EndingSession()
    script = json.dumps({"turns": [["client", "a"], ["client", "b"], ["therapist", "c"]]})
    session.options = {"script": script}
    await scripted.run(session)
    reports = [(line.split(" ", 2)[1], line.split(" ", 2)[2]) for line in session.done]
    assert reports == [("sent", "1"), ("ended", "ended")]
    assert "1 text(s) of the script were never sent" in unfinished(
        parse_script(script), Role.CLIENT, reports, delivered=1
    )


@pytest.mark.asyncio
async def test_a_script_waits_for_room_and_tells_what_it_did_not_expect() -> None:
    session = FakeSession()
    texts = ["x" * 12_000] * 12
    session.options = {"script": json.dumps({"turns": [["client", text] for text in texts]})}
    playing = asyncio.create_task(scripted.run(session))
    for _ in range(50):  # more than it needs
        await asyncio.sleep(0)
    assert len(session.sent) == 11  # more than 128 KiB wait to be acknowledged
    session.queue.put_nowait(TextReceived(text="?", utc_seconds=0))
    session.queue.put_nowait(TextDelivered(text_id=1))
    await playing
    assert session.sent == texts
    assert "report unexpected " in session.done


def test_s7_the_child_dumps_no_core_and_cannot_be_traced() -> None:
    program = (
        "import resource, ctypes\n"
        "from clients.sdk.session.child import harden\n"
        "harden()\n"
        "assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0\n"  # PR_GET_DUMPABLE
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[2])
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0 or os.getuid() == 0


def test_s7_no_module_of_a_session_can_reach_a_vault() -> None:
    program = (
        "import sys, clients.sdk.session.child, clients.sdk.session.scripted, clients.sdk.session.pipe\n"
        "print([name for name in sys.modules if name in "
        "('keys.device_vault', 'sqlcipher3', 'clients.sdk.engine', 'clients.sdk.device')])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert found.stdout.strip() == "[]"
