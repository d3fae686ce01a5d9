"""R7 and R12: one transaction per step, byte for byte until a loss is announced, receipts, honest states."""

from __future__ import annotations

import pytest

from chatserver.wire.errors import ErrorCode
from clients.sdk.line.events import (
    AlarmKind,
    CellArrived,
    DepositCell,
    ItemId,
    SelfUpdate,
    SendText,
)
from crypto.sensitive import Plaintext
from support.line_world import DAY, Crash, Sim, World


def _crash() -> None:
    raise Crash


def _bodies(sim: Sim) -> list[bytes]:
    return [effect.body for effect in sim.told(DepositCell) if not effect.close]


def _open() -> World:
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    world.forget(world.client)
    world.forget(world.therapist)
    return world


# -- R7


def test_r07_a_step_that_is_not_committed_sends_and_keeps_nothing() -> None:
    world = _open()
    deposits = len(world.relay.deposits)
    text = SendText(item_id=ItemId(b"i" * 16), text=Plaintext("hello"))
    world.client.vault.before_commit = _crash
    with pytest.raises(Crash):
        world.handle(world.client, text)
    world.client.vault.before_commit = None
    assert len(world.relay.deposits) == deposits
    assert world.client.rows() == []
    world.handle(world.client, text)
    world.run(5)
    assert world.therapist.received() == ["hello"]


def test_r07_no_generation_twice_after_a_crash_between_commit_and_effects() -> None:
    world = _open()
    text = SendText(item_id=ItemId(b"i" * 16), text=Plaintext("first"))
    world.client.machine.handle(text, world.now)  # sealed and saved; its effects are lost with the process
    world.restart(world.client)
    world.online(world.client)
    world.say(world.client, "second")
    world.run(5)
    assert world.therapist.received() == ["first", "second"]
    assert world.therapist.alarms() == []


def test_r07_generations_are_saved_with_the_cell() -> None:
    """The ratchet in the vault is past every cell ever handed out."""
    world = _open()
    world.say(world.client, "one")
    world.restart(world.client)
    world.online(world.client)
    world.say(world.client, "two")
    world.run(5)
    assert world.therapist.received() == ["one", "two"]


def test_r07_an_unannounced_loss_is_sent_again_byte_for_byte() -> None:
    world = _open()
    world.relay.swallow = lambda connection, deposit: True
    world.say(world.client, "hello")
    world.relay.swallow = lambda connection, deposit: False
    world.disconnect(world.client)
    world.online(world.client)
    first, second = _bodies(world.client)
    assert first == second
    assert world.therapist.received() == ["hello"]


def test_r07_a_lost_answer_makes_no_second_message() -> None:
    world = _open()
    world.relay.answer_lost = lambda connection, deposit: True
    world.relay.tamper = lambda connection, event: [] if connection.name == "client" else [event]
    world.say(world.client, "hello")
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.relay.answer_lost = lambda connection, deposit: False
    world.online(world.client)
    assert world.client.states() == ["STORED"]
    assert world.therapist.received() == ["hello"]


def test_r07_an_announced_loss_is_sealed_anew_with_the_same_counter() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.say(world.client, "hello")
    before = _bodies(world.client)
    world.run(31 * DAY)
    world.online(world.therapist)
    world.settle()
    assert world.therapist.received() == ["hello"]
    assert [row.counter for row in world.client.rows()] == [row.counter for row in world.therapist.rows()]
    assert not set(before) & set(_bodies(world.client)[len(before) :])
    assert world.client.states() == ["DELIVERED"]


# -- R12


def test_r12_every_payload_carries_receipts() -> None:
    world = _open()
    world.say(world.client, "hello")
    assert world.client.states() == ["STORED"]
    world.say(world.therapist, "salam")
    world.run(1)
    assert world.client.states() == ["DELIVERED"]


def test_r12_a_receipt_alone_follows_within_ten_minutes_at_random() -> None:
    delays = []
    for seed in range(6):
        world = World(seed)
        world.online(world.client, world.therapist)
        world.settle()
        world.say(world.client, "hello")
        begin = world.now
        while world.client.states() != ["DELIVERED"]:
            world.run(10)
            assert world.now <= begin + 611
        delays.append(world.now - begin)
    assert len(set(delays)) > 3
    assert max(delays) > 60


def test_r12_a_receipt_has_no_counter_and_is_not_receipted() -> None:
    world = _open()
    world.say(world.client, "hello")
    world.settle()
    cells = len(world.relay.deposits)
    world.run(3_600)
    assert len(world.relay.deposits) == cells
    assert world.state(world.therapist).next_counter == 1


def test_r12_states_go_from_queued_to_delivered() -> None:
    world = _open()
    world.disconnect(world.client)
    world.text(world.client, "hello")
    assert world.client.states() == ["QUEUED"]
    world.relay.answer_lost = lambda connection, deposit: True
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and world.client.states() != ["QUEUED"] else [event]
    )
    world.online(world.client, seconds=0)
    assert world.client.states() == ["SEALED"]
    world.restart(world.client)
    world.relay.answer_lost = lambda connection, deposit: False
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client, seconds=1)
    assert world.client.states() == ["STORED"]
    world.settle()
    assert world.client.states() == ["DELIVERED"]
    assert world.client.view().undelivered == 0


def test_r12_delivered_means_a_device_of_each_other_person() -> None:
    world = _open()
    phone = world.add_device(world.client, "client's phone")
    world.online(phone)
    world.settle()
    world.disconnect(world.therapist)
    world.say(world.client, "hello")
    world.settle()
    assert [row.body.reveal_text() for row in phone.rows()] == ["hello"]
    assert world.client.states() == ["STORED"]  # the own person's phone has it, which is no delivery
    tablet_of_therapist = world.therapist
    world.online(tablet_of_therapist)
    world.settle()
    assert world.client.states() == ["DELIVERED"]


def test_r12_closed_returns_content_to_queued_with_the_same_counter() -> None:
    world = _open()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, CellArrived) else [event]
    )
    world.handle(world.therapist, SelfUpdate())  # closes the channel; the client does not see it yet
    world.run(1)
    world.say(world.client, "hello")
    assert world.client.states() == ["SEALED"]
    world.relay.tamper = lambda connection, event: [event]
    world.disconnect(world.client)
    world.online(world.client)
    assert world.therapist.received() == ["hello"]
    assert world.client.rows()[0].counter == world.therapist.rows()[0].counter
    assert world.client.view().epoch == world.therapist.view().epoch == 3


def _here(world: World) -> list[bytes]:
    """What the client has put into the line's channels; not into return channels, which have one reader."""
    told = world.client.told(DepositCell)
    return [effect.body for effect in told if not effect.close and effect.readers == 2]


def test_r12_queued_again_two_days_before_expiry() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.say(world.client, "hello")
    first = len(_here(world))
    world.run(27.9 * DAY)
    assert len(_here(world)) == first
    world.run(0.3 * DAY)
    assert len(_here(world)) == first + 1
    assert AlarmKind.EXPIRY_NEAR not in world.client.alarms()


def test_r12_who_cannot_send_again_is_told_before_the_loss() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.say(world.client, "hello")
    world.disconnect(world.client)
    world.run(29 * DAY)
    assert AlarmKind.EXPIRY_NEAR in world.client.alarms()
    world.online(world.client, world.therapist)
    assert world.therapist.received() == ["hello"]


def test_a_refusal_that_time_may_cure_is_tried_again() -> None:
    world = _open()
    world.relay.refuse = lambda connection, deposit: ErrorCode.RATE
    world.say(world.client, "hello")
    assert AlarmKind.RELAY_REFUSES in world.client.alarms()
    world.relay.refuse = lambda connection, deposit: None
    world.run(15)
    assert world.therapist.received() == ["hello"]


def test_the_same_item_twice_is_one_item() -> None:
    world = _open()
    text = SendText(item_id=ItemId(b"i" * 16), text=Plaintext("hello"))
    world.handle(world.client, text)
    world.handle(world.client, text)
    world.run(1)
    assert world.therapist.received() == ["hello"]


def test_a_long_queue_keeps_a_window() -> None:
    world = _open()
    world.disconnect(world.client)
    for number in range(60):
        world.text(world.client, f"{number}")
    world.relay.answer_lost = lambda connection, deposit: True
    world.relay.swallow = lambda connection, deposit: True
    world.online(world.client)
    assert len(_bodies(world.client)) <= 17
    world.relay.swallow = lambda connection, deposit: False
    world.relay.answer_lost = lambda connection, deposit: False
    world.disconnect(world.client)
    world.online(world.client)
    assert world.therapist.received() == [f"{number}" for number in range(60)]
