"""The rules of live sessions (CHANNELS S2 to S7) on two machines, a virtual relay and virtual time."""

from __future__ import annotations

import pytest

from clients.sdk.errors import EmptyText, TextTooLong
from clients.sdk.line.payloads import LogClaim, encode_claim
from clients.sdk.session.cells import (
    DATA_BYTES,
    Record,
    RecordKind,
    SessionContent,
    encode_content,
    encode_record,
)
from clients.sdk.session.events import (
    Attached,
    AttachRefused,
    CellArrived,
    Connected,
    OwnCellArrived,
    Tick,
)
from clients.sdk.session.front import (
    Ended,
    EndReason,
    Link,
    LinkChanged,
    PeerEnding,
    PeerTyping,
)
from clients.sdk.session.machine import Phase, SessionMachine
from crypto.channel import BODY_BYTES, ChannelClass, seal_cell
from crypto.errors import StateError
from crypto.group import Group, OwnLeafParams
from crypto.suites import suite
from support.session_world import SessionWorld, Side, seeded_rng, session_groups

LIVE_BYTES = BODY_BYTES[ChannelClass.LIVE]


@pytest.fixture
def world() -> SessionWorld:
    world = SessionWorld()
    world.start()
    return world


def test_texts_go_both_ways_whole_once_in_order(world: SessionWorld) -> None:
    said = ["salam", "x" * 5_000, "سلام، آپ کیسی ہیں؟", "y"]
    for text in said:
        world.say(world.client, text)
        world.say(world.therapist, text.upper())
    world.seconds(20)
    assert world.therapist.texts == said
    assert world.client.texts == [text.upper() for text in said]
    assert world.client.delivered == world.therapist.delivered == [1, 2, 3, 4]


def test_the_product_suite_fits_into_a_cell() -> None:
    world = SessionWorld(cipher_suite=suite(0xF002))
    world.start()
    world.say(world.client, "z" * (3 * DATA_BYTES))
    world.seconds(6)
    assert [len(text) for text in world.therapist.texts] == [3 * DATA_BYTES]
    assert {len(cell) for _, cell in world.client.cells} == {LIVE_BYTES}


# -- S2


def test_s2_a_group_that_has_not_exactly_two_leaves_makes_no_session() -> None:
    client, therapist = session_groups(suite(1))
    alone = Group.create(
        suite=suite(1),
        group_id=b"g",
        leaf=OwnLeafParams(
            signature_private=b"\7" * 32,
            credential=client.members[0].leaf_node.credential,
            capabilities=client.members[0].leaf_node.capabilities,
        ),
        rng=seeded_rng(9),
    )
    with pytest.raises(StateError):
        SessionMachine(alone, rng=seeded_rng(1), now=0.0)
    SessionMachine(therapist, rng=seeded_rng(1), now=0.0)


def test_s2_a_commit_is_refused_and_the_epoch_stays(world: SessionWorld) -> None:
    world.seconds(3)
    group = world.client.machine._group
    assert group is not None
    pending = group.commit(adds=[], removes=[], rng=seeded_rng(3), authenticated_data=b"")
    before = world.therapist.machine.counts.cells_received
    cell = _sealed_by(world.client, pending.message)
    world.log.append(cell)
    world.deliver()
    assert world.therapist.machine.counts.unreadable == 1
    assert world.therapist.machine.counts.cells_received == before
    assert over(world.therapist) is None
    world.say(world.client, "still here")
    world.seconds(3)
    assert world.therapist.texts == ["still here"]


# -- S5


def test_s5_one_cell_each_second_filled_or_empty_and_all_alike(world: SessionWorld) -> None:
    world.seconds(5)
    world.say(world.client, "w" * 4_000)
    world.client.machine.set_typing(typing=True)
    world.seconds(5)
    for side in world.sides:
        times = [when for when, _ in side.cells]
        assert times == [1_001.0 + second for second in range(10)]
        assert {len(cell) for _, cell in side.cells} == {LIVE_BYTES}
    assert world.therapist.texts == ["w" * 4_000]


def test_s5_missed_seconds_are_not_made_up(world: SessionWorld) -> None:
    world.seconds(2)
    world.now += 7.6
    for side in world.sides:
        world.feed(side, Tick())
    world.seconds(3)
    times = [when for when, _ in world.client.cells]
    assert times == [1_001.0, 1_002.0, 1_009.6, 1_010.1, 1_011.1, 1_012.1]
    # the rhythm is the old one: 1_010 would have been the next full second of it
    assert world.client.machine.next_wakeup() == 1_013.0


def test_s5_nothing_is_encrypted_while_disconnected(world: SessionWorld) -> None:
    world.seconds(3)
    group = world.client.machine._group
    assert group is not None
    generation = group.next_generation()
    world.disconnect(world.client)
    world.say(world.client, "later")
    world.seconds(30)
    assert group.next_generation() == generation
    assert world.client.machine.link is Link.OFFLINE
    world.connect(world.client)
    world.seconds(3)
    assert world.therapist.texts == ["later"]


def test_s5_what_is_not_acknowledged_is_sent_again_in_a_new_message_after_three_seconds(
    world: SessionWorld,
) -> None:
    world.seconds(2)
    lost: list[bytes] = []

    def swallow_once(side: Side, cell: bytes) -> bool:
        if side is world.client and not lost:
            lost.append(cell)
            return True
        return False

    world.say(world.client, "do not lose me")
    world.drop = swallow_once
    world.seconds(1)
    assert lost
    world.seconds(2)
    assert world.therapist.texts == []
    world.seconds(2)
    assert world.therapist.texts == ["do not lose me"]
    assert len({cell for _, cell in world.client.cells}) == len(world.client.cells)


def test_s5_heavy_loss_neither_doubles_nor_reorders(world: SessionWorld) -> None:
    rng = seeded_rng(5)
    world.drop = lambda side, cell: rng(1)[0] < 100
    said = [f"text {number} " + "u" * (number * 40) for number in range(30)]
    for text in said:
        world.say(world.client, text)
        world.say(world.therapist, text)
    world.seconds(400)
    assert world.therapist.texts == said
    assert world.client.texts == said


def test_s5_typing_goes_out_with_the_rhythm_and_ends(world: SessionWorld) -> None:
    world.client.machine.set_typing(typing=True)
    world.seconds(2)
    world.client.machine.set_typing(typing=False)
    world.seconds(2)
    typing = [event.typing for event in world.therapist.events if isinstance(event, PeerTyping)]
    assert typing == [True, False]


def test_s5_a_hole_is_normal_and_repaired(world: SessionWorld) -> None:
    world.seconds(3)
    world.disconnect(world.therapist)
    world.say(world.client, "while you were away")
    world.seconds(150)
    world.connect(world.therapist)
    world.say(world.client, "and after")
    world.seconds(8)
    assert world.therapist.texts == ["while you were away", "and after"]
    assert over(world.therapist) is None


# -- S6 and R10


def test_s6_after_a_relay_restart_the_session_goes_on_under_the_new_incarnation(
    world: SessionWorld,
) -> None:
    world.say(world.client, "one")
    world.seconds(3)
    world.say(world.client, "two, lost with the relay")
    world.drop = lambda side, cell: side is world.client
    world.seconds(2)
    world.restart_relay()
    world.drop = lambda side, cell: False
    world.seconds(20)
    world.start()
    assert world.client.attach is not None
    world.seconds(6)
    assert world.therapist.texts == ["one", "two, lost with the relay"]
    world.say(world.therapist, "three")
    world.seconds(3)
    assert world.client.texts == ["three"]


def test_s6_the_same_incarnation_must_not_become_shorter(world: SessionWorld) -> None:
    world.seconds(4)
    world.disconnect(world.client)
    world.feed(world.client, Connected())
    world.client.machine.handle(Attached(incarnation=world.incarnation, head=1), world.now)
    assert world.client.machine.phase is Phase.OVER


def test_r10_a_gap_that_was_not_announced_ends_the_session(world: SessionWorld) -> None:
    world.seconds(3)
    effects = world.client.machine.handle(
        CellArrived(seq=len(world.log) + 2, body=bytes(LIVE_BYTES)), world.now
    )
    world.carry_out(world.client, effects)
    assert over(world.client) is EndReason.FORK


def test_r10_two_different_logs_are_noticed(world: SessionWorld) -> None:
    world.seconds(3)
    # The relay shows the therapist a cell that the client never gets; the client gets another in its place.
    number = len(world.log) + 1
    for side, fill in ((world.client, b"\1"), (world.therapist, b"\2")):
        effects = side.machine.handle(CellArrived(seq=number, body=fill * LIVE_BYTES), world.now)
        world.carry_out(side, effects)
        side.read = number
    world.log.append(b"\1" * LIVE_BYTES)
    world.seconds(3)
    assert EndReason.FORK in {world.client.over, world.therapist.over}


def test_r9_an_own_cell_that_we_did_not_deposit_ends_the_session(world: SessionWorld) -> None:
    world.seconds(2)
    effects = world.client.machine.handle(OwnCellArrived(seq=len(world.log) + 1, digest=bytes(32)), world.now)
    world.carry_out(world.client, effects)
    assert over(world.client) is EndReason.FORK


def test_r20_garbage_and_replays_change_nothing(world: SessionWorld) -> None:
    world.say(world.client, "hello")
    world.seconds(3)
    replayed = next(cell for _, cell in world.client.cells)
    world.log.append(bytes(LIVE_BYTES))
    world.log.append(replayed)
    world.deliver()
    world.say(world.client, "again")
    world.seconds(3)
    assert world.therapist.texts == ["hello", "again"]
    assert world.therapist.machine.counts.unreadable == 2


# -- S7


def test_s7_end_is_acknowledged_and_both_wipe(world: SessionWorld) -> None:
    world.say(world.therapist, "see you next week")
    world.say(world.client, "t" * 4_000)
    world.client.machine.end(utc_seconds=1)
    with pytest.raises(StateError):
        world.say(world.client, "too late")
    world.seconds(12)
    assert world.client.texts == ["see you next week"]
    assert [len(text) for text in world.therapist.texts] == [4_000]
    for side in world.sides:
        assert side.over is EndReason.ENDED
        assert side.events[-1] == Ended(reason=EndReason.ENDED)
        assert side.machine._group is None
        assert side.machine._cell_key == b""
        assert side.machine._sending.waiting_bytes == 0
    assert PeerEnding() in world.therapist.events


def test_s7_both_may_press_end_at_once(world: SessionWorld) -> None:
    for side in world.sides:
        side.machine.end(utc_seconds=1)
    world.seconds(6)
    assert [side.over for side in world.sides] == [EndReason.ENDED, EndReason.ENDED]


def test_s7_end_survives_a_lost_last_cell(world: SessionWorld) -> None:
    world.seconds(2)
    world.client.machine.end(utc_seconds=1)
    rng = seeded_rng(8)
    world.drop = lambda side, cell: rng(1)[0] < 110
    world.seconds(60)
    assert {side.over for side in world.sides} <= {EndReason.ENDED, None}
    world.drop = lambda side, cell: False
    world.seconds(700)
    assert EndReason.ENDED in {side.over for side in world.sides}
    assert None not in {side.over for side in world.sides}


def test_s7_ten_minutes_without_a_cell_wipe(world: SessionWorld) -> None:
    world.seconds(5)
    world.disconnect(world.therapist)
    world.seconds(596)
    assert over(world.client) is None
    world.seconds(6)
    assert over(world.client) is EndReason.PEER_SILENT
    assert world.client.machine._group is None


def test_s7_panic_wipes_at_once(world: SessionWorld) -> None:
    world.say(world.client, "secret")
    world.carry_out(world.client, world.client.machine.panic(world.now))
    assert over(world.client) is EndReason.PANIC
    assert world.client.machine._group is None
    assert world.client.machine._sending.waiting_bytes == 0
    assert world.client.machine.handle(Tick(), world.now + 10) == []
    with pytest.raises(StateError):
        world.say(world.client, "more")


# -- what the person sees


def test_the_link_is_judged_by_what_is_heard(world: SessionWorld) -> None:
    world.seconds(3)
    world.disconnect(world.therapist)
    world.seconds(7)
    world.connect(world.therapist)
    world.seconds(2)
    links = [event.link for event in world.client.events if isinstance(event, LinkChanged)]
    assert links == [Link.PEER_QUIET, Link.CONNECTED, Link.PEER_QUIET, Link.CONNECTED]


def test_text_limits_are_told_before_anything_is_queued(world: SessionWorld) -> None:
    with pytest.raises(TextTooLong) as told:
        world.say(world.client, "س" * 6_145)
    assert told.value.bytes_over == 2
    with pytest.raises(EmptyText):
        world.say(world.client, "")
    world.seconds(3)
    assert world.therapist.texts == []


def test_a_channel_that_belongs_to_others_ends_the_session(world: SessionWorld) -> None:
    world.carry_out(world.client, world.client.machine.handle(AttachRefused(), world.now))
    assert over(world.client) is EndReason.RELAY_REFUSED


def test_a_peer_that_acknowledges_what_was_never_sent_breaks_the_session(world: SessionWorld) -> None:
    world.seconds(2)
    group = world.client.machine._group
    assert group is not None
    claim = encode_claim(LogClaim(anchor=world.client.machine._chain.claim()))
    content = encode_content(SessionContent(offset=0, ack=1_000, data=b""))
    message = group.protect(content, authenticated_data=claim, rng=seeded_rng(4))
    world.log.append(_sealed_by(world.client, message))
    world.deliver()
    assert over(world.therapist) is EndReason.PEER_BROKEN


def test_a_hole_before_anything_was_read_is_no_fork(world: SessionWorld) -> None:
    fresh = SessionWorld(seed=7)
    fresh.connect(fresh.therapist)
    fresh.seconds(100)
    fresh.connect(fresh.client)
    fresh.seconds(5)
    assert over(fresh.client) is None
    assert any(isinstance(event, LinkChanged) for event in fresh.client.events)


def over(side: Side) -> EndReason | None:
    return side.over


def _sealed_by(side: Side, message: bytes) -> bytes:
    machine = side.machine
    return seal_cell(
        machine._cell_key, machine._channel_id, ChannelClass.LIVE, message, seeded_rng(len(side.cells))
    )


# -- S7: the text is kept if both agree, and only then


def talk(world: SessionWorld) -> None:
    world.say(world.client, "salam")
    world.seconds(3)
    world.say(world.therapist, "wa alaikum salam")
    world.seconds(3)


def finish(world: SessionWorld) -> None:
    world.client.machine.end(utc_seconds=int(world.now))
    world.seconds(12)
    assert over(world.client) is over(world.therapist) is EndReason.ENDED


@pytest.mark.parametrize("asker", [0, 1])
def test_s7_text_is_handed_over_if_one_asks_and_the_other_agrees(world: SessionWorld, asker: int) -> None:
    asking, agreeing = world.sides[asker], world.sides[1 - asker]
    talk(world)
    world.wish(asking, True)
    assert asking.wishes == [(True, False)]
    world.seconds(3)
    assert agreeing.wishes == [(False, True)]
    world.wish(agreeing, True)
    world.seconds(3)
    assert asking.wishes[-1] == agreeing.wishes[-1] == (True, True)
    world.say(asking, "after it was agreed")
    assert world.client.handed_over is world.therapist.handed_over is None  # nothing before END
    finish(world)
    last = (asking is world.client, "after it was agreed")
    assert world.client.kept == [(True, "salam"), (False, "wa alaikum salam"), last]
    assert world.therapist.kept == [(not mine, text) for mine, text in world.client.kept]
    assert [event.kept for side in world.sides for event in side.events if isinstance(event, Ended)] == [
        True
    ] * 2


@pytest.mark.parametrize("wishes", [(False, False), (True, False), (False, True)])
def test_s7_without_both_agreeing_nothing_leaves_the_process(
    world: SessionWorld, wishes: tuple[bool, bool]
) -> None:
    talk(world)
    for side, wish in zip(world.sides, wishes, strict=True):
        world.wish(side, wish)
    world.seconds(3)
    finish(world)
    for side in world.sides:
        assert side.handed_over is None
        assert [event.kept for event in side.events if isinstance(event, Ended)] == [False]
        assert side.machine.keeping.hand_over() == ()


@pytest.mark.parametrize("who", [0, 1])
def test_s7_either_can_take_it_back_before_the_end(world: SessionWorld, who: int) -> None:
    talk(world)
    for side in world.sides:
        world.wish(side, True)
    world.seconds(3)
    assert world.client.machine.keeping.agreed
    assert world.therapist.machine.keeping.agreed
    # at the very last moment: it stands before END in the same stream
    world.wish(world.sides[who], False)
    world.sides[who].machine.end(utc_seconds=int(world.now))
    world.seconds(12)
    assert world.client.handed_over is world.therapist.handed_over is None
    assert over(world.client) is over(world.therapist) is EndReason.ENDED


def test_s7_a_no_takes_the_question_back_and_one_has_to_ask_again(world: SessionWorld) -> None:
    talk(world)
    world.wish(world.client, True)
    world.seconds(3)
    world.wish(world.therapist, False)
    world.seconds(6)
    assert world.client.wishes == [(True, False), (False, False)]
    assert world.therapist.wishes == [(False, True), (False, False)]
    # a yes to a question that does not stand any more is a question
    world.wish(world.therapist, True)
    world.seconds(3)
    assert world.client.wishes[-1] == (False, True)
    finish(world)
    assert world.client.handed_over is world.therapist.handed_over is None


def test_s7_what_is_agreed_once_the_end_has_begun_counts_for_nothing(world: SessionWorld) -> None:
    talk(world)
    world.wish(world.therapist, True)
    world.seconds(3)
    world.client.machine.end(utc_seconds=int(world.now))
    world.wish(world.client, True)
    world.seconds(12)
    assert world.client.handed_over is world.therapist.handed_over is None


@pytest.mark.parametrize("reason", [EndReason.PANIC, EndReason.PEER_SILENT])
def test_s7_nothing_is_kept_of_a_session_that_did_not_end_in_order(
    world: SessionWorld, reason: EndReason
) -> None:
    talk(world)
    for side in world.sides:
        world.wish(side, True)
    world.seconds(3)
    world.carry_out(world.client, world.client.machine.stop(reason, world.now))
    world.seconds(601)
    assert world.client.handed_over is world.therapist.handed_over is None


def test_s7_a_wish_that_is_none_ends_the_session(world: SessionWorld) -> None:
    world.seconds(2)
    record = Record(kind=RecordKind.KEEP, utc_seconds=0, body=b"\2")
    world.client.machine._sending.append(encode_record(record))
    world.seconds(3)
    assert over(world.therapist) is EndReason.PEER_BROKEN
