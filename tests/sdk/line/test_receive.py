"""R20: every cell is counted and acknowledged; what cannot be read is said once and stops nothing."""

from __future__ import annotations

from clients.sdk.line import cells, log
from clients.sdk.line.events import AlarmKind, DepositCell, LinePhase
from clients.sdk.line.payloads import LogClaim, encode_claim
from clients.sdk.line.step import Step
from support.line_world import World, opened


def _unreadable(world: World) -> list[int]:
    return [sim.alarms().count(AlarmKind.UNREADABLE) for sim in (world.client, world.therapist)]


def _goes_on(world: World, *texts: str) -> None:
    world.say(world.client, "on")
    world.settle()
    assert world.therapist.received() == [*texts, "on"]
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE
    assert world.relay.waiting_cells() == 0


def test_r20_a_cell_that_does_not_open_is_counted_acknowledged_and_reported_once() -> None:
    world = opened()
    before = world.state(world.client).channel.position
    world.relay.insert(world.ref(world.client), b"j" * 16_384)
    world.run(5)
    assert world.state(world.client).channel.position == before + 1
    assert world.state(world.client).channel.log_hash == world.state(world.therapist).channel.log_hash
    assert _unreadable(world) == [1, 1]
    world.restart(world.therapist)
    world.online(world.therapist)
    assert _unreadable(world) == [1, 1]
    _goes_on(world)


def test_r20_a_cell_that_mls_refuses_changes_no_state() -> None:
    world = opened()
    group = world.therapist.vault.snapshot().spaces["line.mls"]
    with world.client.machine._look() as step:
        body = cells.seal(step.state.cell_key, step.ref, b"no MLS message", world.client.rng.randbytes)
    world.relay.insert(world.ref(world.client), body)
    world.run(5)
    assert _unreadable(world) == [1, 1]
    assert world.therapist.vault.snapshot().spaces["line.mls"] == group
    _goes_on(world)


def test_r20_a_used_generation_is_dropped_in_silence() -> None:
    world = opened()
    world.say(world.client, "once")
    body = next(effect.body for effect in reversed(world.client.told(DepositCell)))
    world.relay.insert(world.ref(world.client), body)
    world.run(5)
    assert _unreadable(world) == [0, 0]
    assert world.therapist.received() == ["once"]
    _goes_on(world, "once")


def test_r20_a_message_sealed_anew_by_somebody_else_is_a_duplicate_too() -> None:
    """The same MLS message in another cell: the cell opens, its generation was used."""
    world = opened()
    world.say(world.client, "once")
    body = next(effect.body for effect in reversed(world.client.told(DepositCell)))
    with world.therapist.machine._look() as step:
        message = cells.open_(step.state.cell_key, step.ref, body)
        again = cells.seal(step.state.cell_key, step.ref, message, world.therapist.rng.randbytes)
    world.relay.insert(world.ref(world.client), again)
    world.run(5)
    assert _unreadable(world)[1] == 0
    assert world.therapist.received() == ["once"]


def test_r20_an_authentic_message_with_a_broken_inside_is_reported() -> None:
    world = opened()

    def broken(step: Step) -> bytes:
        return step.mls.protect(b"\0", authenticated_data=b"", rng=world.client.rng.randbytes)

    world.relay.insert(world.ref(world.client), world.forge(world.client, broken))
    world.run(5)
    assert _unreadable(world)[1] == 1
    _goes_on(world)


def test_r20_an_authentic_message_with_an_unreadable_body_is_reported() -> None:
    world = opened()

    def broken(step: Step) -> bytes:
        claim = encode_claim(LogClaim(anchor=log.own_claim(step).anchor))
        return step.mls.protect(b"\1\0", authenticated_data=claim, rng=world.client.rng.randbytes)

    world.relay.insert(world.ref(world.client), world.forge(world.client, broken))
    world.run(5)
    assert _unreadable(world)[1] == 1
    _goes_on(world)
