"""S1 on the line: OFFER, JOIN and WELCOME are sealed once, never in the vault, told once and in order."""

from __future__ import annotations

import pytest

from clients.sdk.line.events import (
    ControlLost,
    ControlNotSent,
    ControlPlaced,
    DepositCell,
    ItemId,
    OwnCellArrived,
    SelfUpdate,
    SendControl,
)
from clients.sdk.line.payloads import PayloadKind
from crypto.errors import StateError
from crypto.sensitive import Secret
from support.line_world import Sim, World, opened

BODY = b"a seed that no vault may hold"


def _send(world: World, sim: Sim, kind: PayloadKind = PayloadKind.OFFER, item: bytes = b"i" * 16) -> None:
    world.handle(sim, SendControl(item_id=ItemId(item), kind=kind, body=Secret(BODY)))


def _in_vault(sim: Sim) -> bool:
    content = sim.vault.snapshot().spaces
    return any(BODY in value for space in content.values() for value in space.values())


def test_s1_control_is_told_once_and_never_written_in_the_clear() -> None:
    world = opened()
    _send(world, world.therapist)
    assert not _in_vault(world.therapist)
    world.run(5)
    told = world.client.controls()
    assert [control.body.reveal() for control in told] == [BODY]
    assert told[0].kind is PayloadKind.OFFER
    assert told[0].sender_device == world.therapist.own.device_id
    assert not _in_vault(world.client)
    placed = world.therapist.told(ControlPlaced)
    assert placed[0].order == told[0].order
    world.restart(world.client)
    world.online(world.client)
    assert len(world.client.controls()) == 1
    assert world.client.rows() == []


def test_s1_line_order_is_the_same_on_all_devices() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    for number, sim in enumerate((world.therapist, world.client, phone)):
        _send(world, sim, item=bytes([number]) * 16)
    world.run(5)
    orders = []
    for sim in (world.client, world.therapist, phone):
        heard = [(control.order, control.sender_device) for control in sim.controls()]
        own = [(placed.order, sim.own.device_id) for placed in sim.told(ControlPlaced)]
        orders.append([device for _, device in sorted(heard + own)])
    assert orders[0] == orders[1] == orders[2]


def test_s1_offline_it_is_not_sent_and_not_queued() -> None:
    world = opened()
    world.disconnect(world.therapist)
    _send(world, world.therapist)
    assert len(world.therapist.told(ControlNotSent)) == 1
    world.online(world.therapist)
    assert world.client.controls() == []


def test_s1_an_unannounced_loss_sends_the_same_cell_again() -> None:
    world = opened()
    world.relay.swallow = lambda connection, deposit: True
    _send(world, world.therapist)
    world.restart(world.therapist)
    world.relay.swallow = lambda connection, deposit: False
    world.online(world.therapist)
    bodies = [effect.body for effect in world.therapist.told(DepositCell)]
    assert len(bodies) == 2
    assert len(set(bodies)) == 1
    assert len(world.client.controls()) == 1


def test_s1_what_is_lost_is_never_sealed_again() -> None:
    world = opened()
    world.relay.swallow = lambda connection, deposit: not deposit.close
    _send(world, world.therapist)
    world.relay.swallow = lambda connection, deposit: False
    world.handle(world.client, SelfUpdate())  # the channel ends before the cell was stored
    world.run(5)
    assert len(world.therapist.told(ControlLost)) == 1
    assert len([effect for effect in world.therapist.told(DepositCell) if not effect.close]) == 1
    world.restart(world.therapist)
    world.online(world.therapist)
    assert world.client.controls() == []


def test_s1_a_cell_that_expired_unread_is_deposited_again_not_sealed_again() -> None:
    world = opened()
    world.disconnect(world.client)
    world.relay.answer_lost = lambda connection, deposit: True
    world.relay.tamper = lambda connection, event: [] if isinstance(event, OwnCellArrived) else [event]
    _send(world, world.therapist)
    world.restart(world.therapist)
    world.relay.channels[world.ref(world.client)].cells.clear()
    world.relay.tamper = lambda connection, event: [event]
    world.relay.answer_lost = lambda connection, deposit: False
    world.online(world.therapist, world.client)
    assert len({effect.body for effect in world.therapist.told(DepositCell)}) == 1
    assert len(world.client.controls()) == 1


def test_only_session_kinds_go_this_way() -> None:
    world = opened()
    with pytest.raises(StateError):
        _send(world, world.therapist, PayloadKind.TEXT)
