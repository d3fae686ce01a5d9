"""R22: a person ends a line; keys go, texts stay or go, R18 is deaf from then on."""

from __future__ import annotations

import pytest

from clients.sdk.line.events import (
    AlarmKind,
    Attach,
    DeleteTexts,
    DepositCell,
    EndLine,
    ItemId,
    LinePhase,
    RejoinReason,
    RequestRejoin,
    SendText,
)
from crypto.errors import StateError
from crypto.sensitive import Plaintext
from support.line_world import Sim, World


def _open(seed: int = 1) -> World:
    world = World(seed)
    world.online(world.client, world.therapist)
    world.say(world.client, "hello")
    world.say(world.therapist, "salam")
    world.settle()
    world.forget(world.client)
    world.forget(world.therapist)
    return world


def _keys_are_gone(world: World, sim: Sim, secrets: list[bytes]) -> None:
    content = sim.vault.snapshot().spaces
    values = [value for space in content.values() for value in space.values()]
    for secret in secrets:
        assert not any(secret in value for value in values)
    assert not content.get("line.mls")
    assert world.state(sim).secret == b""


def _secrets(world: World, sim: Sim) -> list[bytes]:
    state = world.state(sim)
    return [state.secret, state.cell_key, state.channel.token, *state.addresses]


def test_r22_end_waits_for_its_receipt_then_destroys_the_keys() -> None:
    world = _open()
    secrets = _secrets(world, world.client)[:2]
    world.disconnect(world.therapist)
    world.text(world.client, "last words")
    world.handle(world.client, EndLine(block=False, keep_texts=True))
    world.run(60)
    assert world.client.view().phase is LinePhase.ENDING
    assert world.state(world.client).secret
    with pytest.raises(StateError):
        world.handle(world.client, SendText(item_id=ItemId(b"i" * 16), text=Plaintext("too late")))
    world.online(world.therapist)
    assert AlarmKind.ENDED_BY_PEER in world.therapist.alarms()
    assert world.therapist.received() == ["hello", "last words"]
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ENDED
    _keys_are_gone(world, world.client, secrets)
    _keys_are_gone(world, world.therapist, secrets)
    assert world.client.received() == ["salam"]
    assert world.relay.waiting_cells() == 0


def test_r22_block_destroys_at_once_and_still_says_end() -> None:
    world = _open()
    secrets = _secrets(world, world.client)[:2]
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    assert world.client.view().phase is LinePhase.ENDED
    _keys_are_gone(world, world.client, secrets)
    world.run(60)
    assert world.therapist.view().phase is LinePhase.ENDED
    assert AlarmKind.ENDED_BY_PEER in world.therapist.alarms()


def test_r22_block_without_a_connection_destroys_too() -> None:
    world = _open()
    world.disconnect(world.client)
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    assert world.client.view().phase is LinePhase.ENDED
    world.online(world.client)
    assert world.therapist.view().phase is LinePhase.ACTIVE


def test_r22_texts_to_be_deleted_do_not_wait_for_the_other_side() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.text(world.client, "undelivered")
    world.handle(world.client, EndLine(block=False, keep_texts=False))
    assert world.client.view().phase is LinePhase.ENDING
    assert world.client.rows() == []
    # what the other side has not got is delivered all the same, and then END
    world.online(world.therapist)
    assert world.therapist.received() == ["hello", "undelivered"]
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ENDED
    assert world.client.rows() == []


def test_r22_texts_can_be_deleted_while_the_end_is_on_its_way() -> None:
    world = _open()
    with pytest.raises(StateError):
        world.handle(world.client, DeleteTexts())
    world.disconnect(world.therapist)
    world.handle(world.client, EndLine(block=False, keep_texts=True))
    assert world.client.rows() != []
    world.handle(world.client, DeleteTexts())
    assert world.client.rows() == []
    world.online(world.therapist)
    assert world.client.view().phase is LinePhase.ENDED
    assert world.client.rows() == []


def test_r22_the_person_chooses_what_becomes_of_the_texts() -> None:
    world = _open()
    world.handle(world.client, EndLine(block=True, keep_texts=False))
    assert world.client.rows() == []
    world.run(60)
    assert world.therapist.received() == ["hello"]
    world.handle(world.therapist, DeleteTexts())
    assert world.therapist.rows() == []
    content = world.client.vault.snapshot().spaces
    assert not any(b"hello" in value for space in content.values() for value in space.values())


def test_r22_an_ended_line_ignores_requests_to_come_back() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    world.run(5)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    world.online(world.therapist)
    world.disconnect(world.client)
    world.forget(world.client)
    world.online(world.client)
    world.run(26 * 3_600)
    assert world.therapist.view().phase is LinePhase.STRANDED
    assert world.client.told(DepositCell) == []
    assert [effect for effect in world.client.told(Attach) if effect.readers == 1] == []


def test_r22_what_was_not_delivered_is_shown_as_not_delivered() -> None:
    world = _open()
    world.disconnect(world.therapist)
    world.say(world.therapist, "written offline")
    world.say(world.client, "unread")
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    assert world.client.states() == ["DELIVERED", "FAILED"]
    world.online(world.therapist)
    assert world.therapist.view().phase is LinePhase.ENDED
    assert world.therapist.states()[-1] in {"FAILED", "STORED"}


def test_r22_with_more_devices_all_follow() -> None:
    world = _open()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.handle(phone, EndLine(block=False, keep_texts=True))
    world.run(60)
    for sim in (world.client, world.therapist, phone):
        assert sim.view().phase is LinePhase.ENDED


def test_ending_twice_is_an_error() -> None:
    world = _open()
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    with pytest.raises(StateError):
        world.handle(world.client, EndLine(block=True, keep_texts=True))
