"""What the simulator found (docs/adr/0025), each by the shortest way there: lost stores, old copies, lies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chatserver.wire.errors import ErrorCode
from clients.sdk.line import lineinfo, secrets_of_line, taking_info
from clients.sdk.line.events import (
    AlarmKind,
    Attached,
    AttachRefused,
    CellArrived,
    ChannelRef,
    DepositCell,
    LinePhase,
    NetworkEvent,
    OwnCellArrived,
    RejoinReason,
    RemoveDevice,
    RequestRejoin,
    SelfUpdate,
)
from clients.sdk.line.payloads import CounterBaseline, LineInfo, Payload, PayloadKind, encode_line_info
from crypto.channel import return_address
from crypto.sensitive import Secret
from support.line_world import DAY, Sim, World, opened

HOUR = 3_600
Claim = Callable[[ChannelRef, bytes], NetworkEvent]


def _closes(sim: Sim) -> list[DepositCell]:
    return [effect for effect in sim.told(DepositCell) if effect.close]


def _undecided(world: World, sim: Sim) -> None:
    """A record that contradicts the own one."""
    position = world.state(sim).channel.position
    shown = OwnCellArrived(ref=ChannelRef(world.ref(sim)), seq=position + 1, close=False, digest=bytes(32))
    world.handle(sim, shown)
    assert sim.view().phase is LinePhase.UNDECIDED


def test_r09_who_found_the_store_lost_changes_no_keys_before_it_has_heard_another() -> None:
    world = opened()
    world.disconnect(world.client, world.therapist)
    world.relay.lose_store()
    world.online(world.client)
    epoch = world.client.view().epoch
    world.handle(world.client, SelfUpdate())
    world.run(HOUR)
    assert _closes(world.client) == []
    assert world.client.view().epoch == epoch
    world.online(world.therapist)
    world.settle()
    world.run(HOUR)
    assert world.client.view().epoch == world.therapist.view().epoch > epoch


def test_r09_an_old_store_starts_the_clock_as_a_lost_one_does() -> None:
    world = opened()
    backup = world.relay.snapshot()
    world.say(world.client, "one")
    world.settle()
    world.disconnect(world.client, world.therapist)
    world.relay.roll_back(backup)
    world.online(world.client)
    world.run(23 * HOUR)
    assert world.client.view().phase is LinePhase.ACTIVE
    world.run(2 * HOUR)
    assert world.client.view().phase is LinePhase.STRANDED


def test_r09_who_noticed_a_loss_is_heard_though_nobody_writes() -> None:
    world = opened()
    world.disconnect(world.client, world.therapist)
    world.relay.lose_store()
    world.online(world.client)
    world.run(601)
    assert world.relay.waiting_cells() > 0  # within ten minutes a cell of its own stands there
    world.online(world.therapist)
    world.run(30 * HOUR)
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE


def test_r18_asks_under_the_old_r_too_which_is_all_that_others_may_know() -> None:
    world = opened()
    phone = world.add_device(world.therapist, "therapist's phone")
    world.online(phone)
    world.settle()
    old = world.state(world.therapist).secret
    world.disconnect(world.client)
    world.handle(world.therapist, RemoveDevice(device_id=phone.own.device_id))
    world.run(60)
    assert world.state(world.therapist).secret != old == world.state(world.client).secret
    world.forget(world.therapist)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    asked = [effect.k.reveal() for effect in world.therapist.told(DepositCell)]
    assert return_address(old, world.client.own.device_id) in asked


def test_r18_an_old_r_is_kept_until_every_device_has_receipted_the_newest() -> None:
    world = opened()
    phone = world.add_device(world.therapist, "therapist's phone")
    world.online(phone)
    world.settle()
    old = world.state(world.therapist).secret
    world.disconnect(world.client)
    world.handle(world.therapist, RemoveDevice(device_id=phone.own.device_id))
    world.run(60)
    world.run(100 * DAY)
    world.disconnect(world.therapist)
    world.connect(world.therapist)
    assert old in [secret.secret for secret in world.state(world.therapist).old_secrets]
    with world.therapist.machine._step(world.now) as step:
        step.state.infos_outstanding = 0  # receipted
        secrets_of_line.connected(step)
    assert old not in [secret.secret for secret in world.state(world.therapist).old_secrets]


def test_r09_acknowledgements_of_an_incarnation_of_before_are_no_clones() -> None:
    world = opened()
    world.say(world.client, "one", "two")
    world.settle()
    backup = world.relay.snapshot()
    world.disconnect(world.client, world.therapist)
    world.relay.lose_store()
    world.online(world.client, world.therapist)
    world.settle()
    world.disconnect(world.client, world.therapist)
    world.relay.roll_back(backup)
    world.online(world.client, world.therapist)
    world.settle()
    for sim in (world.client, world.therapist):
        assert AlarmKind.CLONE not in sim.alarms()
        assert sim.view().phase is LinePhase.ACTIVE


def _full(ref: ChannelRef, incarnation: bytes) -> NetworkEvent:
    return AttachRefused(ref=ref, code=ErrorCode.FULL)


def _gone(ref: ChannelRef, incarnation: bytes) -> NetworkEvent:
    return AttachRefused(ref=ref, code=ErrorCode.GONE)


def _acknowledged(ref: ChannelRef, incarnation: bytes) -> NetworkEvent:
    return Attached(ref=ref, incarnation=incarnation, head=900, acked=900, closed_seq=0)


@pytest.mark.parametrize("claim", [_full, _gone, _acknowledged])
def test_r18_what_the_relay_alone_claims_leads_nobody_out_of_a_fork(claim: Claim) -> None:
    world = opened()
    _undecided(world, world.therapist)
    channel = world.state(world.therapist).channel
    world.handle(world.therapist, claim(ChannelRef(world.ref(world.therapist)), channel.incarnation))
    world.run(2 * DAY)
    assert world.therapist.view().phase is LinePhase.UNDECIDED


def test_r12_let_in_again_by_the_other_person_a_device_goes_on_with_its_own_count_of_third_devices() -> None:
    world = opened()
    phone = world.add_device(world.client, "client's phone")
    world.online(phone)
    world.settle()
    world.say(phone, "one")
    world.settle()
    info = LineInfo(
        secret=Secret(world.state(world.client).secret),
        baselines=(CounterBaseline(device_id=phone.own.device_id, next_counter=9),),
    )
    payload = Payload(utc_seconds=0, kind=PayloadKind.LINE_INFO, body=encode_line_info(info))
    with world.therapist.machine._step(world.now) as step:
        row = step.tables.counters.get(phone.own.device_id)
        committer = step.state.member(world.client.own.device_id)
        assert row is not None
        assert committer is not None
        row.baseline = False
        step.tables.counters.put(row.device_id, row)
        step.state.awaits_info, step.state.secret_from = True, [committer.device_id]
        taking_info.take_line_info(step, committer, payload)
        after = step.tables.counters.get(phone.own.device_id)
        assert after is not None
        assert after.contiguous == row.contiguous < 8


def test_r16_a_returning_device_gets_a_number_above_every_one_that_was_seen_of_it() -> None:
    world = opened()
    device_id = world.therapist.own.device_id
    with world.client.machine._step(world.now) as step:
        row = step.tables.counters.get(device_id)
        member = step.state.member(device_id)
        assert row is not None
        assert member is not None
        row.contiguous, row.beyond, row.highest = 2, [5, 7], 7  # 3, 4 and 6 are missing here
        member.added_epoch = step.state.epoch
        assert lineinfo._next_counter(step, row) == 8
        member.added_epoch = step.state.epoch - 1
        member.heard_at = 0.0  # and waits to be told, because the one that added it is gone
        assert lineinfo._next_counter(step, row) == 8
        member.heard_at = world.now
        assert lineinfo._next_counter(step, row) == 3  # to third devices: from the first gap on


def test_r14_who_alone_was_shown_a_refused_commit_does_not_stay_alone_in_the_next_turn() -> None:
    """Campaign, seed 132 (lying): one turned flag, and two devices wrote into two channels for ever."""
    world = opened()
    world.disconnect(world.therapist)
    ref, position = world.ref(world.client), world.state(world.client).channel.position
    body = bytes(16_384)
    shown = CellArrived(ref=ChannelRef(ref), seq=position + 1, close=True, body=body)
    world.handle(world.client, shown)
    assert AlarmKind.COMMIT_REFUSED in world.client.alarms()
    assert world.client.view().turn == 1
    world.online(world.therapist)
    world.say(world.client, "from the next turn")
    world.run(27 * HOUR)
    world.settle()
    assert world.therapist.received() == ["from the next turn"]
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE
    assert world.ref(world.client) == world.ref(world.therapist)


def test_r14_whoever_is_heard_in_the_next_turn_stops_that_clock() -> None:
    world = opened()
    world.relay.insert(world.ref(world.client), bytes(16_384), close=True)
    world.deliver()
    world.run(40 * HOUR)
    for sim in (world.client, world.therapist):
        assert (sim.view().phase, sim.view().turn) == (LinePhase.ACTIVE, 1)
