"""R11: each content message once, gaps marked and asked for, order by counter, no skipped keys."""

from __future__ import annotations

from clients.sdk.line import delivery, outbox
from clients.sdk.line.events import (
    AlarmKind,
    DepositCell,
    LinePhase,
    MessageReceived,
    MessagesMissing,
    RemoveDevice,
)
from clients.sdk.line.payloads import CounterRange, PayloadKind, decode_ranges, encode_ranges
from clients.sdk.line.tables import ItemClass
from crypto.sensitive import Plaintext
from support.fake_relay import Connection
from support.line_world import Sim, World, opened


def _expire(world: World, sim: Sim) -> None:
    """All cells waiting in the current channel are gone."""
    world.relay.channels[world.ref(sim)].cells.clear()


def test_r11_a_content_message_in_two_cells_is_delivered_once() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "once")
    with world.client.machine._step(world.now) as step:
        row = next(iter(step.tables.stored.rows()))
        outbox.lose(step, row)
        outbox.pump(step)
        effects = list(step.effects)
    for effect in effects:
        world._do(world.client, effect)
    world.online(world.therapist)
    assert world.therapist.received() == ["once"]
    assert len(world.therapist.told(MessageReceived)) == 1


def test_r11_a_gap_is_shown_asked_for_and_filled_in_its_place() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "one", "two")
    world.disconnect(world.client)  # so that it does not learn of the loss
    _expire(world, world.client)
    world.online(world.client)
    world.say(world.client, "three")
    world.connect(world.therapist)
    world.deliver()
    assert world.therapist.received() == ["(missing)", "(missing)", "three"]
    assert world.therapist.told(MessagesMissing)[0].last - world.therapist.told(MessagesMissing)[0].first == 1
    world.run(60)
    assert world.therapist.received() == ["one", "two", "three"]
    counters = [row.counter for row in world.therapist.rows()]
    assert counters == sorted(counters)
    world.settle()
    assert set(world.client.states()) == {"DELIVERED"}


def test_r11_a_generation_out_of_order_is_refused_and_its_content_comes_again() -> None:
    world = opened()
    taken: list[bytes] = []

    def swallow(connection: Connection, deposit: DepositCell) -> bool:
        if connection.name == "client" and not taken:
            taken.append(deposit.body)
            return True
        return False

    world.relay.swallow = swallow
    world.say(world.client, "first")
    world.say(world.client, "second")
    world.relay.insert(world.ref(world.client), taken[0])  # the older generation after the newer one
    world.deliver()
    assert world.therapist.received() == ["(missing)", "second"]
    world.run(60)
    assert world.therapist.received() == ["first", "second"]


def test_r11_at_most_256_beyond_the_contiguous_counter() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "the gap")
    world.disconnect(world.client)
    _expire(world, world.client)
    world.online(world.client)
    texts = [f"{number}" for number in range(300)]
    for text in texts:
        world.text(world.client, text)
        world.deliver()
    world.connect(world.therapist)
    world.deliver()
    shown = world.therapist.received()
    assert shown[0] == "(missing)"
    assert len(shown) == 256
    with world.therapist.machine._look() as step:
        row = next(iter(step.tables.counters.rows()))
        assert len(row.beyond) <= 256
    world.run(12 * 3_600)
    assert world.therapist.received() == ["the gap", *texts]


def test_r11_what_the_sender_has_no_more_is_marked_and_counting_goes_on() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "gone for good")
    world.disconnect(world.client)
    _expire(world, world.client)
    with world.client.machine._step(world.now) as step:
        step.tables.stored.clear()
        step.tables.messages.clear()
        step.tables.message_index.clear()
    world.online(world.client)
    world.say(world.client, "next")
    world.online(world.therapist)
    world.run(60)
    assert [row.lost for row in world.therapist.rows()] == [True, False]
    assert AlarmKind.MESSAGES_LOST in world.therapist.alarms()
    world.settle()
    assert world.client.states() == ["DELIVERED"]


def test_r11_only_the_device_that_is_named_answers() -> None:
    world = opened()
    world.say(world.client, "hello")
    world.settle()
    wanted = encode_ranges((CounterRange(device_id=b"n" * 16, first=1, last=5),)).reveal()
    with world.therapist.machine._step(world.now) as step:
        outbox.add(step, item_class=ItemClass.REQUEST, kind=PayloadKind.REQUEST, body=wanted)
        outbox.pump(step)
        effects = list(step.effects)
    for effect in effects:
        world._do(world.therapist, effect)
    before = len(world.relay.deposits)
    world.run(60)
    assert len(world.relay.deposits) == before
    assert world.client.view().phase is LinePhase.ACTIVE


def test_ranges_round_trip() -> None:
    ranges = (CounterRange(device_id=b"a" * 16, first=1, last=2**40),)
    assert decode_ranges(encode_ranges(ranges)) == ranges
    assert decode_ranges(Plaintext(b"\0")) == ()


def test_r16_a_gap_below_the_baseline_is_told_as_lost_and_filled_if_it_comes_all_the_same() -> None:
    """Found by the simulation (clone 1, equivocation 2): the mark stood for ever, and nobody was asked."""
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "one")
    world.disconnect(world.client)
    _expire(world, world.client)
    world.online(world.client)
    world.say(world.client, "two")
    world.connect(world.therapist)
    world.deliver()
    assert world.therapist.received() == ["(missing)", "two"]
    with world.therapist.machine._step(world.now) as step:
        row = next(row for row in step.tables.counters.rows() if row.beyond)
        delivery.set_baseline(step, row, row.highest + 1)
    assert [row.lost for row in world.therapist.rows()] == [True, False]
    assert AlarmKind.MESSAGES_LOST in [alarm.kind for alarm in world.therapist.view().alarms]
    with world.client.machine._step(world.now) as step:
        outbox.resend(step, row.highest - 1)
        outbox.pump(step)
        effects = list(step.effects)
    for effect in effects:
        world._do(world.client, effect)
    world.deliver()
    assert world.therapist.received() == ["one", "two"]


def test_r11_what_is_missing_of_a_removed_device_is_told_as_lost() -> None:
    """Found by the simulation (equivocation 100, 4 leaves): the mark stood for ever."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.disconnect(world.therapist)
    world.say(phone, "one")
    world.disconnect(phone)
    _expire(world, phone)
    world.online(phone)
    world.say(phone, "two")
    world.disconnect(phone)
    world.connect(world.therapist)
    world.deliver()
    assert world.therapist.received() == ["(missing)", "two"]
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.online(world.client, world.therapist)
    assert [row.lost for row in world.therapist.rows()] == [True, False]
    assert AlarmKind.MESSAGES_LOST in [alarm.kind for alarm in world.therapist.view().alarms]
