"""R14, R18: a removal that an old store has undone is done again, and nothing is written in between."""

from __future__ import annotations

import pytest

from clients.sdk.line import company, removals
from clients.sdk.line.events import (
    AddDevice,
    AlarmKind,
    ControlNotSent,
    DepositCell,
    ItemId,
    LinePhase,
    Notify,
    RejoinReason,
    RemoveDevice,
    RequestRejoin,
    SelfUpdate,
    SendControl,
)
from clients.sdk.line.exporting import decode_export
from clients.sdk.line.payloads import PayloadKind
from crypto.sensitive import Secret
from support.line_world import DAY, Sim, World, opened

HOUR = 3_600.0


def _removed(world: World, sim: Sim) -> list[bytes]:
    with sim.machine._look() as step:
        return [row.device_id for row in step.tables.removed.rows()]


def _undone() -> tuple[World, Sim]:
    """The client removes its phone; the store is put back over that, before the therapist has read it.

    The client's first device is alone in its epoch, and let in again by the therapist, in whose tree the
    phone still stands.
    """
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.disconnect(phone, world.therapist)
    before = world.relay.snapshot()
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(30)
    assert len(world.client.view().members) == 2
    world.disconnect(world.client)
    world.relay.roll_back(before)
    world.forget(world.client)
    return world, phone


def test_r18_two_removals_at_once_leave_one_r() -> None:
    """Campaign, seed 257 (gone): the R of the earlier one came last, and each had another one."""
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    phone = world.add_device(world.client, "phone")
    tablet = world.add_device(world.therapist, "tablet")
    world.online(phone, tablet)
    world.settle()
    world.relay.swallow = lambda connection, deposit: (
        connection.name == "client" and not deposit.close and deposit.readers > 1
    )
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(30)
    world.handle(world.therapist, RemoveDevice(device_id=tablet.own.device_id))
    world.run(30)
    newest = world.state(world.therapist).secret
    world.relay.swallow = lambda connection, deposit: False
    world.disconnect(world.client)
    world.online(world.client)
    world.settle()
    assert len(world.client.view().members) == 2
    assert world.state(world.client).secret == world.state(world.therapist).secret == newest
    assert not world.state(world.therapist).secret_from
    assert not world.state(world.client).secret_from
    assert world.state(world.therapist).older_due == 0


def _removed_untold(world: World, owner: Sim) -> None:
    """A device of the owner is removed, and the owner's NEW_R does not get through."""
    lost = world.add_device(owner, "lost")
    world.online(lost)
    world.settle()
    world.relay.swallow = lambda connection, deposit: (
        connection.name == owner.name and not deposit.close and deposit.readers > 1
    )
    world.handle(owner, RemoveDevice(device_id=lost.own.device_id))
    world.run(30)


def _one_r(world: World, *sims: Sim) -> None:
    assert len({world.state(sim).secret for sim in sims}) == 1
    assert all(not world.state(sim).secret_from for sim in sims)


def test_r18_an_r_that_an_old_vault_has_forgotten_is_not_waited_for() -> None:
    """Its next R would be taken for that one, and so for an older one than R18's answer to it."""
    world = opened()
    old = world.client.vault.snapshot()
    _removed_untold(world, world.client)
    assert world.state(world.therapist).secret_from == [world.client.own.device_id]
    world.relay.swallow = lambda connection, deposit: False
    world.put_back(world.client, old)
    world.online(world.client)
    world.run(2 * DAY)
    world.settle()
    _one_r(world, world.client, world.therapist)
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    before = world.state(world.client).secret
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.settle()
    assert world.state(world.client).secret != before
    _one_r(world, world.client, world.therapist)


def test_r18_who_is_added_while_an_r_is_owed_is_told_the_newest_one() -> None:
    """The one that adds it has not been told NEW_R, and the joiner would not believe it later."""
    world = opened()
    _removed_untold(world, world.therapist)
    known_to_lost = world.state(world.client).secret
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.run(30)
    world.relay.swallow = lambda connection, deposit: False
    world.disconnect(world.therapist)
    world.online(world.therapist)
    world.settle()
    assert world.state(phone).secret != known_to_lost
    _one_r(world, world.client, world.therapist, phone)


def test_r16_who_was_added_by_a_device_that_is_removed_is_told_by_who_removes_it() -> None:
    """Campaign, seed 13254 (split): it waited for ever for LINE_INFO, and what it wrote went nowhere."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.say(world.therapist, "one")
    world.settle()
    world.disconnect(world.client)
    world.relay.swallow = lambda connection, deposit: (
        connection.name == "phone" and not deposit.close and deposit.readers > 1
    )
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    world.say(world.therapist, "two")
    world.run(2 * HOUR)
    assert world.therapist.view().phase is LinePhase.ACTIVE
    assert world.state(world.therapist).awaits_info
    world.disconnect(phone)
    world.relay.swallow = lambda connection, deposit: False
    world.online(world.client)
    world.run(30)
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.settle()
    assert not world.state(world.therapist).awaits_info
    assert world.client.received() == ["one", "two"]
    _one_r(world, world.client, world.therapist)


def test_r18_who_removes_a_device_that_owes_nothing_sends_new_r_alone() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    with world.client.machine._look() as step:
        kinds = [row.kind for row in step.tables.outbox.rows()]
        pending = [PayloadKind(kind) for kind in kinds]
    world.relay.swallow = lambda connection, deposit: not deposit.close
    world.run(30)
    with world.client.machine._look() as step:
        pending += [PayloadKind(row.kind) for row in step.tables.outbox.rows()]
    assert PayloadKind.NEW_R in pending
    assert PayloadKind.LINE_INFO not in pending


def test_r18_new_keys_alone_change_no_r() -> None:
    """Campaign, seed 16694 (honest): who changed keys while an R was owed took one that nobody was told."""
    world = opened()
    _removed_untold(world, world.client)
    before = world.state(world.therapist).secret
    assert world.state(world.therapist).secret_from
    world.handle(world.therapist, SelfUpdate())
    world.run(30)
    assert world.therapist.view().epoch == world.client.view().epoch
    assert world.state(world.therapist).secret == before
    assert world.state(world.therapist).secret_from


def _back(world: World) -> None:
    """Until the client was let in again."""
    world.online(world.client, world.therapist)
    world.run(2 * DAY)


def _about_devices(sim: Sim) -> list[Notify]:
    kinds = {AlarmKind.DEVICE_ADDED, AlarmKind.DEVICE_REMOVED}
    return [notice for notice in sim.told(Notify) if notice.kind in kinds]


def _size(sim: Sim) -> int:
    return len(sim.view().members)


def test_r18_who_comes_back_says_which_own_device_is_not_in_the_line_any_more() -> None:
    """Campaign, seed 2545 (clone): added on a branch that all gave up, it wrote to nobody for ever."""
    world = opened()
    world.disconnect(world.therapist)
    before = world.relay.snapshot()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.disconnect(world.client, phone)
    world.relay.roll_back(before)
    world.forget(world.client)
    _back(world)
    assert _size(world.client) == _size(world.therapist) == 2
    (told,) = [notice for notice in world.client.told(Notify) if notice.kind is AlarmKind.DEVICE_REMOVED]
    assert told.device_id == phone.own.device_id
    assert told.sentence == company.LEFT.format(phone.own.device_id.hex()[:8])


def _lost_its_place(world: World) -> None:
    """The client has to be let in again, and reads nothing meanwhile."""
    world.disconnect(world.client)
    world.handle(world.client, RequestRejoin(reason=RejoinReason.FAULT))


def test_r18_who_comes_back_says_which_device_of_the_other_person_is_gone() -> None:
    """Campaign, seed 17070 (vaults): an old vault let somebody into a line without its newest device.

    Nobody was told, and what that device wrote reached nobody for ever.
    """
    world = opened()
    phone = world.add_device(world.therapist, "phone")
    world.online(phone)
    world.settle()
    _lost_its_place(world)
    world.handle(world.therapist, RemoveDevice(device_id=phone.own.device_id))
    world.run(30)
    world.forget(world.client)
    _back(world)
    (gone,) = _about_devices(world.client)
    assert gone.device_id == phone.own.device_id
    assert gone.sentence == company.THEIRS_LEFT.format(phone.own.device_id.hex()[:8])


@pytest.mark.parametrize("whose", ["client", "therapist"])
def test_r18_who_comes_back_says_which_device_is_new(whose: str) -> None:
    """Nobody may come in unseen because the commit that added it was not read."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    _lost_its_place(world)
    tablet = world.add_device(phone if whose == "client" else world.therapist, "tablet")
    world.online(tablet)
    world.settle()
    world.forget(world.client)
    _back(world)
    (new,) = _about_devices(world.client)
    assert new.kind is AlarmKind.DEVICE_ADDED
    assert new.device_id == tablet.own.device_id
    assert new.sentence.startswith("You have" if whose == "client" else "The other person has")


def test_r18_a_removal_that_an_old_store_has_undone_is_done_again() -> None:
    world, phone = _undone()
    assert _removed(world, world.client) == [phone.own.device_id]
    _back(world)
    assert AlarmKind.REMOVED_IS_BACK in world.client.alarms()
    assert _size(world.client) == _size(world.therapist) == 2
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE
    world.settle()
    kinds = {alarm.kind for alarm in world.client.view().alarms}
    assert AlarmKind.REMOVED_IS_BACK not in kinds  # it is over
    world.online(phone)
    world.run(10)
    assert phone.view().phase is LinePhase.ENDED
    world.say(world.client, "on")
    world.say(world.therapist, "and on")
    world.settle()
    assert world.therapist.received()[-1:] == ["on"]
    assert world.client.received()[-1:] == ["and on"]
    assert "on" not in [row.body.reveal_text() for row in phone.rows()]


def test_r18_nothing_is_written_while_a_removed_device_is_back() -> None:
    world, phone = _undone()
    world.text(world.client, "not for the phone")
    _back(world)
    world.online(phone)
    world.settle()
    assert world.therapist.received() == ["not for the phone"]
    assert phone.rows() == []


def test_r18_the_other_person_waits_until_the_device_is_removed_again() -> None:
    """Here it is the therapist who has read the removal, and is let in again by a phone that has not."""
    world, phone = _undone()
    with world.therapist.machine._step(world.now) as step:  # as if it had read what the store has lost
        removals.remember(step, added=set(), removed={phone.own.device_id})
        removals.look(step)
    world.online(world.therapist, phone)
    world.say(world.therapist, "waits")
    offer = SendControl(item_id=ItemId(bytes(16)), kind=PayloadKind.OFFER, body=Secret(b"offer"))
    world.handle(world.therapist, offer)
    world.deliver()
    assert world.therapist.told(ControlNotSent)
    assert world.therapist.view().waiting_to_send == 1
    world.say(phone, "let me in")  # not believed, not shown
    assert world.therapist.received() == []
    world.online(world.client)
    world.run(2 * DAY)
    world.settle()
    assert _size(world.therapist) == _size(world.client) == 2
    assert world.client.received() == ["waits"]
    assert phone.received() == []
    assert world.therapist.received() == []


def test_r18_a_removed_device_that_is_back_is_not_let_in_again() -> None:
    world, phone = _undone()
    with world.therapist.machine._step(world.now) as step:
        removals.remember(step, added=set(), removed={phone.own.device_id})
    world.online(world.therapist, phone)
    world.forget(world.therapist)
    world.handle(phone, RequestRejoin(reason=RejoinReason.FAULT))
    world.run(2 * HOUR)
    assert phone.view().phase is LinePhase.STRANDED
    assert not [effect for effect in world.therapist.told(DepositCell) if effect.close]


def test_r18_a_person_who_wants_the_device_after_all_is_believed() -> None:
    """Whoever was away while the device was added anew hears it from the person's other device."""
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    with world.therapist.machine._step(world.now) as step:
        removals.remember(step, added=set(), removed={phone.own.device_id})
        removals.look(step)
    world.say(world.therapist, "waits")
    assert phone.received() == []
    world.say(world.client, "it is mine")
    world.settle()
    assert phone.received() == ["waits"]
    assert _removed(world, world.therapist) == []
    assert not {alarm.kind for alarm in world.therapist.view().alarms} & {AlarmKind.REMOVED_IS_BACK}


def test_r18_a_third_device_that_may_not_have_read_the_removal_is_not_believed() -> None:
    """Only the primary device links and removes; ADR 0027 allows two devices, the protocol more (R2)."""
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    tablet = world.add_device(world.client, "tablet")
    world.online(tablet)
    world.settle()
    with world.therapist.machine._step(world.now) as step:
        removals.remember(step, added=set(), removed={phone.own.device_id})
        removals.look(step)
    world.say(tablet, "nobody told me")
    world.settle()
    assert world.therapist.received() == ["nobody told me"]
    assert _removed(world, world.therapist) == [phone.own.device_id]
    world.say(world.client, "it is mine")
    world.settle()
    assert _removed(world, world.therapist) == []


def test_r09_an_export_carries_the_removals_and_an_older_one_is_still_read() -> None:
    world, phone = _undone()
    exported = world.client.machine.export()
    assert decode_export(exported).removed == [phone.own.device_id]
    plain = world.therapist.machine.export()
    old = b"\x00\x01" + plain[2:-1]
    assert decode_export(old) == decode_export(plain)


@pytest.mark.parametrize("again", [False, True])
def test_r14_a_device_added_anew_is_no_removed_one(again: bool) -> None:
    world = World()
    world.online(world.client, world.therapist)
    world.settle()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(30)
    assert _removed(world, world.therapist) == _removed(world, world.client) == [phone.own.device_id]
    world.settle()
    if again:
        bundle = world.key_package(phone)
        world.handle(world.client, AddDevice(key_package=bundle.key_package.to_bytes()))
        world.run(30)
        assert _size(world.therapist) == 3
    else:
        world.add_device(world.client, "tablet")
    expected = [] if again else [phone.own.device_id]
    assert _removed(world, world.therapist) == _removed(world, world.client) == expected
