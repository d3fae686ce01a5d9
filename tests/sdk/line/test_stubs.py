"""R19: every crash point between sealing and the next channel, and the stub that survives the keys."""

from __future__ import annotations

from clients.sdk.line.events import (
    AckCell,
    AckConfirmed,
    AddDevice,
    DepositCell,
    Effect,
    LinePhase,
    OwnCellArrived,
    SelfUpdate,
    WelcomeDelivered,
    WelcomeReady,
)
from keys.certificates import DeviceRole
from support.line_world import Sim, World, opened


def _works(world: World) -> None:
    world.say(world.client, "on")
    world.say(world.therapist, "and on")
    world.settle()
    assert world.therapist.received() == ["on"]
    assert world.client.received() == ["and on"]
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE
    assert world.client.alarms() == world.therapist.alarms() == []
    assert world.relay.waiting_cells() == 0


def test_r19_sealed_and_not_stored_is_deposited_again() -> None:
    world = opened()
    world.relay.swallow = lambda connection, deposit: True
    world.handle(world.client, SelfUpdate())
    world.restart(world.client)
    world.relay.swallow = lambda connection, deposit: False
    world.online(world.client)
    assert len({effect.body for effect in world.client.told(DepositCell)}) == 1
    assert world.client.view().epoch == world.therapist.view().epoch == 3
    _works(world)


def test_r19_stored_and_the_answer_lost_gives_the_same_cell() -> None:
    world = opened()
    world.relay.answer_lost = lambda connection, deposit: True
    world.relay.tamper = lambda connection, event: [] if connection.name == "client" else [event]
    world.handle(world.client, SelfUpdate())
    world.deliver()
    world.restart(world.client)
    world.relay.answer_lost = lambda connection, deposit: False
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client)
    assert world.client.view().epoch == world.therapist.view().epoch == 3
    _works(world)


def test_r19_own_closing_cell_read_and_not_merged_comes_again() -> None:
    world = opened()
    world.handle(world.client, SelfUpdate())
    assert world.client.connection is not None
    while not isinstance(world.client.connection.queue[0], OwnCellArrived):
        world.handle(world.client, world.client.connection.queue.popleft())
    world.client.connection.queue.popleft()  # read off the socket; the process dies before its step
    world.restart(world.client)
    assert world.client.view().epoch == 2
    world.online(world.client)
    assert world.client.view().epoch == 3
    _works(world)


def test_r19_after_the_merge_a_stub_acknowledges_until_the_relay_confirms() -> None:
    world = opened()
    lost: list[AckCell] = []

    def lose_acks(sim: Sim, effect: Effect) -> bool:
        if sim is world.client and isinstance(effect, AckCell):
            lost.append(effect)
            return False
        return True

    world.on_effect = lose_acks
    old = world.ref(world.client)
    world.handle(world.client, SelfUpdate())
    world.run(5)
    assert world.client.view().epoch == 3
    assert old in world.relay.channels  # it waits for this device's acknowledgement
    world.restart(world.client)
    world.on_effect = lambda sim, effect: True
    world.online(world.client)
    assert old not in world.relay.channels
    with world.client.machine._look() as step:
        assert list(step.tables.stubs.rows()) == []
        assert old not in step.conn.attached
    _works(world)


def test_r19_the_stub_stays_while_only_the_confirmation_is_lost() -> None:
    world = opened()
    old = world.ref(world.client)
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, AckConfirmed) else [event]
    )
    world.handle(world.client, SelfUpdate())
    world.run(5)
    with world.client.machine._look() as step:
        assert [stub.ref for stub in step.tables.stubs.rows()] == [old]
    world.relay.tamper = lambda connection, event: [event]
    world.restart(world.client)
    world.online(world.client)  # GONE by now, which is as good
    with world.client.machine._look() as step:
        assert list(step.tables.stubs.rows()) == []
    _works(world)


def test_r19_the_stub_holds_no_key_of_the_epoch() -> None:
    world = opened()
    cell_key = world.state(world.client).cell_key
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, AckConfirmed) else [event]
    )
    world.handle(world.client, SelfUpdate())
    world.run(5)
    content = world.client.vault.snapshot().spaces
    assert not any(cell_key in value for space in content.values() for value in space.values())


def test_r19_the_welcome_waits_in_the_vault_until_it_is_delivered() -> None:
    world = opened()
    phone = world._device("client", DeviceRole.SECONDARY, "phone")
    bundle = world.key_package(phone)
    world.handle(world.client, AddDevice(key_package=bundle.key_package.to_bytes()))
    world.run(5)
    first = world.client.told(WelcomeReady)
    world.restart(world.client)
    world.online(world.client)
    again = world.client.told(WelcomeReady)[len(first) :]
    assert [ready.welcome for ready in again] == [first[0].welcome]
    world.handle(world.client, WelcomeDelivered(welcome_id=first[0].welcome_id))
    world.restart(world.client)
    world.forget(world.client)
    world.online(world.client)
    assert world.client.told(WelcomeReady) == []


def test_everything_is_acknowledged_and_nothing_waits_at_the_relay() -> None:
    world = opened()
    for number in range(5):
        world.say(world.client, f"{number}")
        world.handle(world.therapist, SelfUpdate())
        world.run(5)
    world.settle()
    assert world.relay.waiting_cells() == 0
    assert len([channel for channel in world.relay.channels.values() if channel.readers == 2]) == 1
