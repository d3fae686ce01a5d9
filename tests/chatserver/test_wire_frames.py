"""Every frame of the wire: there and back, exact lengths, and nothing malformed passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatserver.wire import frames as f
from chatserver.wire.bundle import SignedBundle
from chatserver.wire.errors import Blame, ErrorCode, SizeError
from chatserver.wire.limits import (
    BODY_BYTES,
    MAX_BUNDLE_BYTES,
    MAX_FRAME_BYTES,
    MAX_PUBLISH_FRAME_BYTES,
    AdmissionKind,
    ChannelClass,
)
from crypto.codec import CodecError
from keys.contact import MAX_CONTACT_BYTES

u8 = st.integers(0, 255)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)


def exactly(length: int) -> st.SearchStrategy[bytes]:
    return st.integers(0, 255).map(lambda value: bytes([value]) * length)


def deposit(cls: ChannelClass) -> st.SearchStrategy[f.Deposit]:
    return st.builds(
        f.Deposit,
        request=u32,
        cls=st.just(cls),
        readers=st.integers(1, 4),
        k=exactly(32),
        deposit_id=exactly(16),
        close=st.booleans(),
        body=exactly(BODY_BYTES[cls]),
    )


CLIENT_FRAMES: dict[type[f.ClientFrame], st.SearchStrategy[f.ClientFrame]] = {
    f.Hello: st.builds(f.Hello, version=u16),
    f.Attach: st.builds(
        f.Attach,
        request=u32,
        cls=st.sampled_from(ChannelClass),
        readers=st.integers(1, 4),
        k=exactly(32),
        token=exactly(32),
        incarnation=exactly(16),
        position=u64,
    ),
    f.Deposit: st.sampled_from(ChannelClass).flatmap(deposit),
    f.Ack: st.builds(f.Ack, request=u32, handle=u32, seq=u64),
    f.Detach: st.builds(f.Detach, request=u32, handle=u32),
    f.InboxChallenge: st.builds(f.InboxChallenge, request=u32),
    f.InboxOpen: st.builds(
        f.InboxOpen,
        request=u32,
        identity_key=exactly(32),
        signature=exactly(64),
        token=st.binary(max_size=64),
    ),
    f.InboxAck: st.builds(f.InboxAck, request=u32, drop_id=exactly(16)),
    f.Admit: st.builds(f.Admit, request=u32, admit_hash=exactly(32), expires_day=u32),
    f.Publish: st.builds(f.Publish, request=u32, bundle=st.binary(max_size=300)),
    f.Drop: st.builds(
        f.Drop,
        request=u32,
        inbox_id=exactly(16),
        admission=st.sampled_from(AdmissionKind),
        admission_value=st.binary(max_size=64),
        drop_id=exactly(16),
        body=exactly(16_384),
    ),
}

SERVER_FRAMES: dict[type[f.ServerFrame], st.SearchStrategy[f.ServerFrame]] = {
    f.ServerHello: st.builds(f.ServerHello, version=u16, bucket_bits=u8, pow_bits=u8, draining=st.booleans()),
    f.Attached: st.builds(
        f.Attached, request=u32, handle=u32, incarnation=exactly(16), head=u64, acked=u64, closed_seq=u64
    ),
    f.Cell: st.builds(
        f.Cell,
        handle=u32,
        seq=u64,
        close=st.booleans(),
        body=st.sampled_from([2_048, 16_384]).flatmap(exactly),
    ),
    f.OwnCell: st.builds(f.OwnCell, handle=u32, seq=u64, close=st.booleans(), digest=exactly(32)),
    f.Stored: st.builds(f.Stored, request=u32, seq=u64),
    f.Acked: st.builds(f.Acked, request=u32),
    f.Expired: st.builds(f.Expired, handle=u32, first=u64, last=u64),
    f.Refused: st.builds(f.Refused, request=u32, code=u16),
    f.Failed: st.builds(f.Failed, code=u16),
    f.Draining: st.builds(f.Draining, seconds=u16),
    f.Superseded: st.builds(f.Superseded, handle=u32),
    f.Challenge: st.builds(f.Challenge, request=u32, nonce=exactly(32)),
    f.InboxOpened: st.builds(f.InboxOpened, request=u32, inbox_id=exactly(16), waiting=u32),
    f.InboxCell: st.builds(f.InboxCell, drop_id=exactly(16), body=exactly(16_384)),
    f.Done: st.builds(f.Done, request=u32),
}

any_client_frame = st.one_of(*CLIENT_FRAMES.values())
any_server_frame = st.one_of(*SERVER_FRAMES.values())

LONGER_IS_FINE = {f.Hello}
"""HELLO alone may carry fields of later versions."""


def test_every_frame_of_the_contract_has_a_decoder_of_its_own_type() -> None:
    assert {decode.__self__ for decode in f.CLIENT_DECODERS.values()} == set(CLIENT_FRAMES)  # type: ignore[attr-defined]  # bound
    assert {decode.__self__ for decode in f.SERVER_DECODERS.values()} == set(SERVER_FRAMES)  # type: ignore[attr-defined]  # bound
    assert all(code < 0x80 for code in f.CLIENT_DECODERS)
    assert all(code >= 0x80 for code in f.SERVER_DECODERS)


@pytest.mark.parametrize("kind", CLIENT_FRAMES)
def test_client_frames_there_and_back(kind: type[f.ClientFrame]) -> None:
    @given(CLIENT_FRAMES[kind])
    def check(frame: f.ClientFrame) -> None:
        message = f.encode(frame)
        assert message[0] == kind.TYPE
        assert f.decode_client(message) == frame

    check()


@pytest.mark.parametrize("kind", SERVER_FRAMES)
def test_server_frames_there_and_back(kind: type[f.ServerFrame]) -> None:
    @given(SERVER_FRAMES[kind])
    def check(frame: f.ServerFrame) -> None:
        message = f.encode(frame)
        assert message[0] == kind.TYPE
        assert f.decode_server(message) == frame

    check()


@given(any_client_frame, st.data())
def test_a_client_frame_cut_short_or_too_long_is_refused(frame: f.ClientFrame, data: st.DataObject) -> None:
    message = f.encode(frame)
    shorter = message[: data.draw(st.integers(0, len(message) - 1))]
    with pytest.raises(CodecError):
        f.decode_client(shorter)
    if type(frame) not in LONGER_IS_FINE:
        with pytest.raises(CodecError):
            f.decode_client(message + b"\0")


@given(any_server_frame, st.data())
def test_a_server_frame_cut_short_or_too_long_is_refused(frame: f.ServerFrame, data: st.DataObject) -> None:
    message = f.encode(frame)
    shorter = message[: data.draw(st.integers(0, len(message) - 1))]
    with pytest.raises(CodecError):
        f.decode_server(shorter)
    with pytest.raises(CodecError):
        f.decode_server(message + b"\0")


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_decodes_to_what_encodes_to_it(data: bytes) -> None:
    for decode in (f.decode_client, f.decode_server):
        try:
            frame = decode(data)
        except CodecError:
            continue
        if not isinstance(frame, f.Hello):
            assert f.encode(frame) == data


def test_hello_of_a_later_version_may_be_longer() -> None:
    assert f.decode_client(f.Hello(version=7).encode() + b"later") == f.Hello(version=7)


@pytest.mark.parametrize("length", [0, 1, 2_047, 2_049, 16_383, 16_385])
@pytest.mark.parametrize("cls", ChannelClass)
def test_r02_a_cell_has_exactly_the_size_of_its_class(cls: ChannelClass, length: int) -> None:
    right = f.Deposit(
        request=1,
        cls=cls,
        readers=2,
        k=bytes(32),
        deposit_id=bytes(16),
        close=False,
        body=bytes(BODY_BYTES[cls]),
    ).encode()
    head = right[: -BODY_BYTES[cls]]
    with pytest.raises(SizeError):
        f.decode_client(head + bytes(length))
    with pytest.raises(SizeError):
        f.decode_client(head + bytes(BODY_BYTES[ChannelClass(3 - cls)]))
    with pytest.raises(ValueError, match="exactly the size"):
        f.Deposit(
            request=1, cls=cls, readers=2, k=bytes(32), deposit_id=bytes(16), close=False, body=bytes(length)
        ).encode()


@pytest.mark.parametrize("readers", [0, 5, 255])
def test_r02_a_channel_has_one_to_four_readers(readers: int) -> None:
    message = bytearray(
        f.Attach(
            request=1,
            cls=ChannelClass.STORED,
            readers=1,
            k=bytes(32),
            token=bytes(32),
            incarnation=bytes(16),
            position=0,
        ).encode()
    )
    message[6] = readers
    with pytest.raises(CodecError):
        f.decode_client(bytes(message))


def test_flags_classes_and_admissions_are_strict() -> None:
    cell = bytearray(f.Cell(handle=1, seq=1, close=True, body=bytes(2_048)).encode())
    cell[13] = 2
    with pytest.raises(CodecError):
        f.decode_server(bytes(cell))
    drop = bytearray(
        f.Drop(
            request=1,
            inbox_id=bytes(16),
            admission=AdmissionKind.POW,
            admission_value=b"",
            drop_id=bytes(16),
            body=bytes(16_384),
        ).encode()
    )
    drop[21] = 9
    with pytest.raises(CodecError):
        f.decode_client(bytes(drop))


def test_frames_have_a_longest_size() -> None:
    publish = f.Publish(request=1, bundle=bytes(MAX_BUNDLE_BYTES))
    assert f.decode_client(publish.encode()) == publish
    with pytest.raises(CodecError):
        f.decode_client(f.Publish(request=1, bundle=bytes(MAX_BUNDLE_BYTES + 1)).encode())
    longest = bytes([f.Publish.TYPE]) + bytes(MAX_PUBLISH_FRAME_BYTES)
    with pytest.raises(SizeError):
        f.decode_client(longest)
    for data in (bytes([f.Hello.TYPE]) + bytes(MAX_FRAME_BYTES), bytes([0x7F]) + bytes(MAX_FRAME_BYTES)):
        with pytest.raises(SizeError):
            f.decode_client(data)
    with pytest.raises(SizeError):
        f.decode_server(bytes([f.Done.TYPE]) + bytes(MAX_FRAME_BYTES))


def test_the_longest_contact_fits_into_a_bundle() -> None:
    content = bytes(MAX_CONTACT_BYTES)
    signed = SignedBundle(
        identity_key=bytes(32), not_after_day=1, serial=1, content=content, signature=bytes(64)
    )
    assert SignedBundle.decode(signed.encode()) == signed


def test_a_drop_of_another_size_is_a_size_error() -> None:
    message = f.InboxCell(drop_id=bytes(16), body=bytes(16_384)).encode()
    with pytest.raises(SizeError):
        f.decode_server(message[:-1])
    with pytest.raises(ValueError, match="16,384"):
        f.Drop(
            request=1,
            inbox_id=bytes(16),
            admission=AdmissionKind.OPEN,
            admission_value=b"",
            drop_id=bytes(16),
            body=b"",
        ).encode()


def test_error_codes_say_whose_fault_it_is_and_whether_the_connection_ends() -> None:
    for code in ErrorCode:
        assert code.closes == (code >= 256)
        assert isinstance(code.blame, Blame)
        assert code.sentence
        if code.blame is Blame.PEER:
            assert code.closes
