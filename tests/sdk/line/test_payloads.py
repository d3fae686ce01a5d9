"""R23 and the binary form of payloads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.sdk.line import outbox
from clients.sdk.line.events import ItemId, MessageReceived, SendContent, SendText
from clients.sdk.line.payloads import (
    MAX_TEXT_BYTES,
    Ack,
    Anchor,
    CounterBaseline,
    LineInfo,
    LogClaim,
    Payload,
    PayloadKind,
    ScheduledOffer,
    TextTooLong,
    decode_claim,
    decode_line_info,
    decode_offer_id,
    decode_payload,
    decode_scheduled_offer,
    encode_claim,
    encode_line_info,
    encode_payload,
    encode_scheduled_offer,
)
from clients.sdk.line.tables import ItemClass
from crypto.codec import CodecError
from crypto.errors import StateError
from crypto.sensitive import Plaintext, Secret
from support.line_world import World

U64 = st.integers(0, 2**64 - 1)
IDS = st.binary(min_size=16, max_size=16)
ACKS = st.lists(st.builds(lambda d, c: Ack(device_id=d, counter=c), IDS, U64), max_size=16).map(tuple)
ANCHORS = st.builds(
    lambda i, n, h: Anchor(incarnation=i, n=n, log_hash=h), IDS, U64, st.binary(min_size=32, max_size=32)
)


@given(
    version=st.integers(1, 255),
    utc=U64,
    acks=ACKS,
    kind=st.integers(0, 65_535),
    counter=U64,
    body=st.binary(max_size=300),
)
def test_payload_round_trip(
    version: int, utc: int, acks: tuple[Ack, ...], kind: int, counter: int, body: bytes
) -> None:
    payload = Payload(
        version=version, utc_seconds=utc, acks=acks, kind=kind, counter=counter, body=Plaintext(body)
    )
    encoded = encode_payload(payload)
    assert decode_payload(encoded) == payload
    with pytest.raises(CodecError):
        decode_payload(encoded + b"\0")
    with pytest.raises(CodecError):
        decode_payload(encoded[:-1])


@given(anchor=ANCHORS, previous=st.none() | ANCHORS)
def test_claim_round_trip(anchor: Anchor, previous: Anchor | None) -> None:
    claim = LogClaim(anchor=anchor, previous=previous)
    encoded = encode_claim(claim)
    assert decode_claim(encoded) == claim
    assert len(encoded) == (57 if previous is None else 113)


def test_bodies_round_trip() -> None:
    info = LineInfo(
        baselines=(CounterBaseline(device_id=b"d" * 16, next_counter=7),),
        secret=Secret(b"R" * 32),
        settings=b"s",
    )
    assert decode_line_info(encode_line_info(info)) == info
    offer = ScheduledOffer(
        offer_id=b"o" * 16, start_utc_seconds=1_800_000_000, minutes=50, note=Plaintext("جمعہ")
    )
    assert decode_scheduled_offer(encode_scheduled_offer(offer)) == offer
    assert decode_offer_id(Plaintext(b"o" * 16)) == b"o" * 16
    for broken in (b"", b"o" * 15, b"o" * 17):
        with pytest.raises(CodecError):
            decode_offer_id(Plaintext(broken))


def _open() -> World:
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    return world


def test_r23_a_text_may_fill_its_limit_and_not_one_byte_more() -> None:
    world = _open()
    longest = "ا" * (MAX_TEXT_BYTES // 2)
    world.say(world.client, longest)
    assert world.therapist.received() == [longest]
    text = SendText(item_id=ItemId(b"i" * 16), text=Plaintext(longest + "abc"))
    with pytest.raises(TextTooLong, match="3 bytes too long") as caught:
        world.handle(world.client, text)
    assert caught.value.bytes_over == 3
    assert len(world.client.rows()) == 1
    world.say(world.client, "on")
    assert world.therapist.received() == [longest, "on"]


def test_r23_payloads_carry_the_senders_time() -> None:
    world = _open()
    world.disconnect(world.client)
    world.text(world.client, "written now")
    written = int(world.now)
    world.run(3_600)
    world.online(world.client)
    assert [row.utc_seconds for row in world.therapist.rows()] == [written]


def test_r23_a_kind_of_a_later_version_is_kept_receipted_and_named() -> None:
    world = _open()
    with world.client.machine._step(world.now) as step:
        outbox.add(step, item_class=ItemClass.CONTENT, kind=999, body=b"from the future")
        outbox.pump(step)
        effects = list(step.effects)
    for effect in effects:
        world._do(world.client, effect)
    world.run(1)
    row = world.therapist.rows()[0]
    assert row.needs_newer_version
    assert (row.kind, row.body.reveal()) == (999, b"from the future")
    assert world.therapist.told(MessageReceived)[-1].kind == 999
    world.settle()
    with world.client.machine._look() as step:
        assert list(step.tables.stored.rows()) == []  # receipted


def test_r23_reserved_kinds_are_not_sent_yet() -> None:
    world = _open()
    for kind in (PayloadKind.QUOTE, PayloadKind.FORM, PayloadKind.END, PayloadKind.OFFER):
        with pytest.raises(StateError):
            world.handle(world.client, SendContent(item_id=ItemId(b"i" * 16), kind=kind, body=Plaintext(b"")))


def test_scheduled_offers_are_content() -> None:
    world = _open()
    body = encode_scheduled_offer(
        ScheduledOffer(offer_id=b"o" * 16, start_utc_seconds=1_800_000_000, minutes=50, note=Plaintext(""))
    )
    world.handle(
        world.therapist,
        SendContent(item_id=ItemId(b"i" * 16), kind=PayloadKind.OFFER_SCHEDULED, body=body),
    )
    world.run(1)
    row = world.client.rows()[0]
    assert row.kind == PayloadKind.OFFER_SCHEDULED
    assert row.counter == 1
    assert decode_scheduled_offer(row.body).offer_id == b"o" * 16
