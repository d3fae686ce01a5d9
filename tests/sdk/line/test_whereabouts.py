"""docs/adr/0046: devices of one line that are in different branches, or epochs without a way, find out."""

from __future__ import annotations

import pytest

from clients.sdk.line import rejoin_wire, returns, whereabouts
from clients.sdk.line.events import AlarmKind, DepositCell, LinePhase, SelfUpdate
from clients.sdk.line.rejoin_wire import Whereabouts
from clients.sdk.line.tables import AheadRow
from crypto.errors import AuthenticationError
from crypto.sensitive import Secret
from support.line_world import DAY, Sim, World, opened


def _note(
    world: World, sim: Sim, *, ahead: int = 0, tag: bytes = bytes(32), joined: int = 100
) -> Whereabouts:
    """What ``sim`` says, with a tag that nobody has."""
    return Whereabouts(
        group_id=world.state(sim).group_id,
        epoch=world.state(sim).epoch + ahead,
        joined_epoch=joined,
        tag=tag,
        device_id=sim.own.device_id,
    )


def _send(world: World, sender: Sim, reader: Sim, note: Whereabouts) -> None:
    message = rejoin_wire.encode_whereabouts(note, sender.own.signature_private)
    with sender.machine._step(world.now) as step:
        returns.post(step, step.state.secret, reader.own.device_id, message)
    sender.effects.extend(step.effects)
    world.disconnect(sender)
    world.online(sender)


def test_r18_who_is_left_in_an_epoch_without_a_way_on_is_told_and_comes_back() -> None:
    """Client and phone have gone on; the store is put back over it before the therapist has read how."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.run(60)
    world.disconnect(world.therapist)
    before = world.relay.snapshot()
    epoch = world.client.view().epoch
    world.handle(world.client, SelfUpdate())
    world.run(30)
    assert world.client.view().epoch == phone.view().epoch == epoch + 1
    world.disconnect(world.client, phone)
    world.relay.roll_back(before)
    world.online(world.client, phone)
    world.say(world.client, "gone on")
    world.settle()
    world.online(world.therapist)
    world.say(world.therapist, "left behind")
    world.run(DAY / 2)
    assert world.therapist.view().phase is LinePhase.ACTIVE  # neither side can know yet
    assert world.client.received() == []
    world.run(3 * DAY)
    world.settle()
    assert AlarmKind.RELAY_LOST_STATE in world.therapist.alarms()
    assert world.therapist.view().epoch == world.client.view().epoch == phone.view().epoch
    assert world.client.received() == phone.received()[-1:] == ["left behind"]
    assert world.therapist.received() == ["gone on"]
    assert AlarmKind.TWO_BRANCHES not in world.client.alarms()


def test_r10_another_hash_of_an_epoch_means_two_branches() -> None:
    world = opened()
    _send(world, world.therapist, world.client, _note(world, world.therapist))
    assert world.client.view().phase is LinePhase.UNDECIDED
    assert AlarmKind.TWO_BRANCHES in world.client.alarms()


def test_r10_the_same_hash_and_an_older_epoch_mean_nothing() -> None:
    world = opened()
    with world.therapist.machine._look() as step:
        tag = whereabouts.tag_of(step.mls.epoch_authenticator)
    note = _note(world, world.therapist, tag=tag)
    world.handle(world.client, SelfUpdate())
    world.run(30)
    world.forget(world.client)
    _send(world, world.therapist, world.client, note)
    assert world.client.view().phase is LinePhase.ACTIVE
    assert world.client.alarms() == []


def test_r18_what_a_leaf_said_before_it_was_replaced_is_dropped() -> None:
    world = opened()
    with world.client.machine._step(world.now) as step:
        member = step.state.member(world.therapist.own.device_id)
        own = step.state.member(world.client.own.device_id)
        assert member is not None
        assert own is not None
        own.added_epoch, member.added_epoch = 0, 1
    _send(world, world.therapist, world.client, _note(world, world.therapist, joined=0))
    assert world.client.view().phase is LinePhase.ACTIVE


def test_r18_only_the_leaf_itself_says_where_it_is() -> None:
    world = opened()
    forged = _note(world, world.therapist)
    message = rejoin_wire.encode_whereabouts(forged, Secret(bytes(32)))
    read = rejoin_wire.decode_return_message(message)
    assert isinstance(read, Whereabouts)
    with pytest.raises(AuthenticationError), world.client.machine._step(world.now) as step:
        whereabouts.take(step, read)


def test_r18_whoever_is_behind_changes_no_keys_until_it_is_decided() -> None:
    world = opened()
    epoch = world.client.view().epoch
    _send(world, world.therapist, world.client, _note(world, world.therapist, ahead=1))
    world.handle(world.client, SelfUpdate())
    world.run(60)
    assert world.client.view().epoch == epoch
    assert not [effect for effect in world.client.told(DepositCell) if effect.close]


def test_r18_of_those_left_behind_none_stays_while_the_one_ahead_may_answer() -> None:
    world = opened()
    with world.client.machine._step(world.now) as step:
        row = AheadRow(
            device_id=world.therapist.own.device_id,
            epoch=step.state.epoch + 1,
            joined_epoch=100,
            tag=bytes(32),
            acted_at=step.now,
        )
        step.tables.ahead.put(row.device_id, row)
        assert whereabouts.left_behind(step)
        step.now += 3 * DAY
        assert not whereabouts.left_behind(step)


def test_r10_absence_raises_no_alarm_though_epochs_have_passed() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.handle(world.client, SelfUpdate())
    world.run(20 * DAY)
    told = [effect for effect in world.client.told(DepositCell) if effect.ref != world.ref(world.client)]
    assert len({effect.deposit_id for effect in told if not effect.close}) >= 3  # after a day, then weekly
    world.online(world.therapist)
    world.run(3 * DAY)
    assert world.therapist.alarms() == world.client.alarms() == []
    assert world.client.view().epoch == world.therapist.view().epoch
