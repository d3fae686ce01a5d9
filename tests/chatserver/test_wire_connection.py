"""The connection state machine of both ends, by its table."""

from __future__ import annotations

import itertools

import pytest

from chatserver.wire import frames as f
from chatserver.wire.connection import (
    ANSWERS,
    REQUESTS,
    TRANSITIONS,
    ClientConnection,
    RelayConnection,
    State,
    code_of,
)
from chatserver.wire.errors import ErrorCode, OrderError, SizeError, VersionError
from chatserver.wire.limits import ChannelClass
from crypto.codec import CodecError

HELLO = f.ServerHello(version=1, bucket_bits=0, pow_bits=0, draining=False)
ATTACH = f.Attach(
    request=7,
    cls=ChannelClass.LIVE,
    readers=2,
    k=bytes(32),
    token=bytes(32),
    incarnation=bytes(16),
    position=0,
)
ATTACHED = f.Attached(request=7, handle=3, incarnation=bytes(16), head=0, acked=0, closed_seq=0)
CELL = f.Cell(handle=3, seq=1, close=False, body=bytes(2_048))

ALL_FRAMES = [decode.__self__ for decode in (*f.CLIENT_DECODERS.values(), *f.SERVER_DECODERS.values())]  # type: ignore[attr-defined]  # bound classmethods


def opened() -> tuple[ClientConnection, RelayConnection]:
    client, relay = ClientConnection(), RelayConnection()
    assert isinstance(relay.receive(client.hello_message()), f.Hello)
    assert client.receive(relay.send(HELLO)) == HELLO
    return client, relay


def test_both_ends_walk_the_same_table() -> None:
    client, relay = opened()
    assert {client.state, relay.state} == {State.OPEN}
    assert client.hello == HELLO
    assert relay.receive(client.send(ATTACH)) == ATTACH
    assert client.receive(relay.send(ATTACHED)) == ATTACHED
    asked = [client.asked]
    assert client.receive(relay.send(CELL)) == CELL
    asked.append(client.asked)
    assert asked == [ATTACH, None]
    client.receive(relay.send(f.Draining(seconds=5)))
    assert {client.state, relay.state} == {State.DRAINING}
    client.receive(relay.send(CELL))
    client.receive(relay.send(f.Failed(code=ErrorCode.SHUTDOWN)))
    assert {client.state, relay.state} == {State.CLOSED}


@pytest.mark.parametrize(("state", "kind"), list(itertools.product(State, ALL_FRAMES)))
def test_what_is_not_in_the_table_is_refused(state: State, kind: type[f.Frame]) -> None:
    legal = (state, kind) in TRANSITIONS
    if state is State.CLOSED:
        assert not legal
    if kind in REQUESTS:
        assert legal == (state in {State.OPEN, State.DRAINING})
    if kind is f.Failed:
        assert legal == (state is not State.CLOSED)
    if kind is f.Hello:
        assert legal == (state is State.START)


def test_nothing_before_hello() -> None:
    relay = RelayConnection()
    with pytest.raises(OrderError):
        relay.receive(ATTACH.encode())
    assert relay.state is State.START
    client = ClientConnection()
    with pytest.raises(OrderError):
        client.send(ATTACH)
    assert client.outstanding == 0
    client.hello_message()
    with pytest.raises(OrderError):
        client.receive(ATTACHED.encode())


def test_hello_only_once() -> None:
    client, relay = opened()
    with pytest.raises(OrderError):
        relay.receive(f.Hello(version=1).encode())
    with pytest.raises(OrderError):
        client.receive(HELLO.encode())


def test_another_version_is_named() -> None:
    with pytest.raises(VersionError) as relay_error:
        RelayConnection().receive(f.Hello(version=2).encode())
    assert code_of(relay_error.value) is ErrorCode.BAD_VERSION
    client = ClientConnection()
    client.hello_message()
    with pytest.raises(VersionError):
        client.receive(f.ServerHello(version=2, bucket_bits=0, pow_bits=0, draining=False).encode())


def test_codes_of_faults() -> None:
    assert code_of(SizeError(0, "x")) is ErrorCode.BAD_SIZE
    assert code_of(CodecError(0, "x")) is ErrorCode.BAD_FRAME
    assert code_of(OrderError("x")) is ErrorCode.BAD_ORDER


def test_each_request_has_its_answers_and_refused_is_one_of_them() -> None:
    assert set(ANSWERS) == set(REQUESTS)
    for answers in ANSWERS.values():
        assert f.Refused in answers
        assert len(answers) == 2


def test_an_answer_to_nothing_or_of_a_wrong_kind_is_refused() -> None:
    client, _ = opened()
    with pytest.raises(OrderError):
        client.receive(ATTACHED.encode())
    client.send(ATTACH)
    with pytest.raises(OrderError):
        client.receive(f.Stored(request=7, seq=1).encode())
    assert client.outstanding == 1
    client.receive(ATTACHED.encode())
    with pytest.raises(OrderError):
        client.receive(ATTACHED.encode())


def test_a_request_number_is_not_used_twice_while_unanswered() -> None:
    client, _ = opened()
    client.send(ATTACH)
    with pytest.raises(OrderError):
        client.send(f.Ack(request=7, handle=3, seq=1))
    client.receive(f.Refused(request=7, code=ErrorCode.FULL).encode())
    client.send(f.Ack(request=7, handle=3, seq=1))


@pytest.mark.parametrize(
    "push",
    [
        CELL,
        f.OwnCell(handle=3, seq=1, close=False, digest=bytes(32)),
        f.Expired(handle=3, first=1, last=2),
    ],
)
def test_cells_come_only_under_attached_handles(push: f.ServerFrame) -> None:
    client, _ = opened()
    with pytest.raises(OrderError):
        client.receive(push.encode())
    client.send(ATTACH)
    client.receive(ATTACHED.encode())
    client.receive(push.encode())
    client.send(f.Detach(request=8, handle=3))
    client.receive(push.encode())
    client.receive(f.Done(request=8).encode())
    with pytest.raises(OrderError):
        client.receive(push.encode())


def test_a_superseded_handle_is_void() -> None:
    client, _ = opened()
    client.send(ATTACH)
    client.receive(ATTACHED.encode())
    client.receive(f.Superseded(handle=3).encode())
    with pytest.raises(OrderError):
        client.receive(CELL.encode())


def test_what_was_never_answered_is_handed_back_in_order() -> None:
    client, _ = opened()
    client.send(ATTACH)
    ack = f.Ack(request=2, handle=3, seq=1)
    client.send(ack)
    assert client.close() == [ATTACH, ack]
    assert client.state is State.CLOSED
    assert client.close() == []


def test_the_relays_end_says_nothing_that_is_not_its_turn() -> None:
    with pytest.raises(OrderError):
        RelayConnection().send(CELL)
