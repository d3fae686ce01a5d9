"""R13 and R17: own commits from the intention to the merge, lost races, self-updates, silent leaves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chatserver.wire.errors import ErrorCode
from clients.sdk.line.events import (
    AlarmKind,
    DepositCell,
    LinePhase,
    OwnCellArrived,
    Reconnect,
    RemoveDevice,
    SelfUpdate,
    Stored,
)
from keys.certificates import DeviceCertificate
from support.fake_relay import Connection
from support.line_world import DAY, Sim, World, opened


def _commits(sim: Sim) -> list[DepositCell]:
    return [effect for effect in sim.told(DepositCell) if effect.close]


# -- R13


def test_r13_merges_only_at_its_own_closing_cell() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: [] if isinstance(event, OwnCellArrived) else [event]
    world.handle(world.client, SelfUpdate())
    world.deliver()
    assert world.therapist.view().epoch == 3
    assert world.client.view().epoch == 2  # STORED is no merge
    world.disconnect(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client)
    assert world.client.view().epoch == 3
    world.say(world.client, "on")
    assert world.therapist.received() == ["on"]


def test_r13_the_staged_state_survives_the_process() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: [] if connection.name == "client" else [event]
    world.handle(world.client, SelfUpdate())
    world.deliver()
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client)
    assert world.client.view().epoch == world.therapist.view().epoch == 3
    assert len({effect.body for effect in _commits(world.client)}) == 1
    world.say(world.client, "on")
    world.say(world.therapist, "and on")
    assert world.therapist.received() == ["on"]
    assert world.client.received() == ["and on"]


def test_r13_a_lost_commit_is_deposited_again_byte_for_byte() -> None:
    world = opened()
    world.relay.swallow = lambda connection, deposit: True
    world.handle(world.client, SelfUpdate())
    world.relay.swallow = lambda connection, deposit: False
    world.disconnect(world.client)
    world.online(world.client)
    first, second = _commits(world.client)
    assert first.body == second.body
    assert world.client.view().epoch == world.therapist.view().epoch == 3


@pytest.mark.parametrize("seed", range(4))
def test_r13_the_loser_of_a_race_reads_on_waits_and_decides_anew(seed: int) -> None:
    world = opened(seed)
    world.handle(world.client, SelfUpdate())
    world.handle(world.therapist, SelfUpdate())  # neither has read the other's closing cell
    lost_at = world.now
    world.deliver()
    assert world.client.view().epoch == world.therapist.view().epoch == 3
    assert len(_commits(world.therapist)) == 1  # not at once again
    with world.therapist.machine._look() as step:
        assert list(step.tables.pending_commit.rows()) == []
    world.run(2.1)
    assert world.client.view().epoch == world.therapist.view().epoch == 4
    assert len(_commits(world.therapist)) == 2
    assert world.now <= lost_at + 2.1
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE
    world.say(world.client, "on")
    assert world.therapist.received() == ["on"]


def test_r13_an_intention_that_no_longer_holds_is_dropped() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    tablet = world.add_device(world.client, "tablet")
    world.online(tablet)
    world.settle()
    # two devices of the same person remove the same third one at the same time
    world.handle(world.client, RemoveDevice(device_id=tablet.own.device_id))
    world.handle(phone, RemoveDevice(device_id=tablet.own.device_id))
    world.run(10)
    epochs = {world.client.view().epoch, phone.view().epoch, world.therapist.view().epoch}
    assert len(epochs) == 1
    assert tablet.view().phase is LinePhase.ENDED
    assert len(world.therapist.view().members) == 3
    with phone.machine._look() as step:
        assert list(step.tables.intents.rows()) == []


def test_r05_a_lost_device_is_removed_from_a_channel_that_is_full() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    first = world.client.view().epoch

    def refuse(connection: Connection, deposit: DepositCell) -> ErrorCode | None:
        full = world.client.view().epoch == first and not deposit.close
        return ErrorCode.QUOTA if full else None

    world.disconnect(phone)
    world.relay.refuse = refuse
    world.say(world.client, "does not fit")
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(30)
    assert len(world.client.view().members) == len(world.therapist.view().members) == 2
    assert world.therapist.received() == ["does not fit"]


def test_r13_a_commit_in_an_unflagged_cell_is_ignored_and_reported() -> None:
    world = opened()
    taken: list[bytes] = []

    def swallow(connection: Connection, deposit: DepositCell) -> bool:
        if deposit.close and not taken:
            taken.append(deposit.body)
            return True
        return False

    world.relay.swallow = swallow
    world.handle(world.client, SelfUpdate())
    world.relay.insert(world.ref(world.client), taken[0], close=False)
    world.deliver()
    assert AlarmKind.UNFLAGGED_COMMIT in world.client.alarms()
    assert AlarmKind.UNFLAGGED_COMMIT in world.therapist.alarms()
    world.run(10)
    assert world.client.view().epoch == world.therapist.view().epoch == 3  # decided anew, flagged
    world.say(world.therapist, "on")
    assert world.client.received() == ["on"]


def test_r13_closed_without_a_closing_cell_reconnects_then_alarms() -> None:
    world = opened()
    world.relay.refuse = lambda connection, deposit: ErrorCode.CLOSED
    world.say(world.client, "hello")
    world.run(59)
    assert world.client.told(Reconnect) == []
    world.run(2)
    assert len(world.client.told(Reconnect)) == 1
    assert AlarmKind.NO_CLOSING_CELL not in world.client.alarms()
    world.run(90)
    assert AlarmKind.NO_CLOSING_CELL in world.client.alarms()
    assert len(world.client.told(Reconnect)) == 1


def test_content_waits_while_a_commit_is_pending() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, OwnCellArrived | Stored) else [event]
    )
    world.handle(world.client, SelfUpdate())
    world.text(world.client, "after")
    assert world.client.states() == ["QUEUED"]
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client)
    assert world.therapist.received() == ["after"]


# -- R17


def test_r17_a_joiner_updates_itself_before_its_first_reply() -> None:
    world = World()
    world.text(world.therapist, "reply")
    world.text(world.client, "hello")
    world.online(world.client)
    world.connect(world.therapist)
    assert world.therapist.view().self_update_due
    world.run(5)
    own = [effect for effect in world.therapist.told(DepositCell) if len(effect.body) == 16_384]
    assert own[0].close
    assert not own[1].close
    assert world.therapist.view().epoch == 2
    assert not world.therapist.view().self_update_due
    assert world.client.received() == ["reply"]


def test_r17_updates_are_at_most_weekly_and_at_least_monthly_in_use() -> None:
    world = opened()
    begin = len(_commits(world.client))
    for day in range(60):
        world.say(world.client, f"{day}")
        world.say(world.therapist, f"{day}")
        world.run(DAY)
        if day < 6:
            assert len(_commits(world.client)) == begin
    made = len(_commits(world.client)) - begin
    assert 60 // 30 <= made <= 60 // 7


def test_r17_a_line_that_is_not_used_makes_no_commits() -> None:
    world = opened()
    world.run(2 * DAY)
    epoch = world.client.view().epoch
    world.run(20 * DAY)
    before = world.client.view().epoch
    world.run(60 * DAY)
    assert world.client.view().epoch == before <= epoch + 4


def test_r17_after_absence_a_device_reads_to_the_closing_cell_and_on() -> None:
    world = opened()
    world.disconnect(world.therapist)
    for number in range(3):
        world.say(world.client, f"{number}")
        world.handle(world.client, SelfUpdate())
        world.run(5)
    assert world.client.view().epoch == 5
    world.online(world.therapist)
    assert world.therapist.view().epoch == 5
    assert world.therapist.received() == ["0", "1", "2"]
    world.settle()
    assert world.relay.waiting_cells() == 0


def test_r17_a_new_leaf_that_says_nothing_for_a_week_is_removed_by_its_person() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.run(6.5 * DAY)
    assert len(world.therapist.view().members) == 3
    world.run(1 * DAY)
    assert [member.device_id for member in world.therapist.view().members] == [
        world.client.own.device_id,
        world.therapist.own.device_id,
    ]
    world.online(phone)
    assert phone.view().phase is LinePhase.ENDED


def test_r17_a_leaf_that_fell_silent_for_sixty_days_is_removed_by_its_person_alone() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.say(phone, "here I am")
    world.settle()
    world.disconnect(phone)
    world.run(55 * DAY)
    assert len(world.therapist.view().members) == 3
    world.run(10 * DAY)
    assert len(world.therapist.view().members) == 2
    # the therapist, silent or not, is never removed by the client
    world.disconnect(world.therapist)
    world.run(70 * DAY)
    assert len(world.client.view().members) == 2


def test_a_far_ratchet_asks_for_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clients.sdk.line.commits.MAX_SEALED_PER_EPOCH", 5)
    world = opened()
    for number in range(12):
        world.say(world.client, f"{number}")
    world.run(5)
    assert world.client.view().epoch > 2
    assert world.therapist.received() == [f"{number}" for number in range(12)]


def test_a_renewed_certificate_comes_with_the_next_commit() -> None:
    world = opened()
    identity = world.people["client"]
    old = DeviceCertificate.decode(world.client.own.certificate)
    renewed = identity.certify(
        device_key=old.device_key,
        device_id=old.device_id,
        role=old.role,
        not_before_day=19_995,
        not_after_day=20_900,
    )
    world.client.own = replace(world.client.own, certificate=renewed.encode())
    world.restart(world.client)
    world.online(world.client)
    world.handle(world.client, SelfUpdate())
    world.run(5)
    with world.therapist.machine._look() as step:
        identities = [member.leaf_node.credential.identity for member in step.mls.members]
    assert renewed.encode() in identities
    world.say(world.client, "on")
    assert world.therapist.received() == ["on"]
