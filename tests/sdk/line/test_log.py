"""R6, R9 and R10: what the relay's head says, old and cloned vaults, lost stores, forks."""

from __future__ import annotations

import hashlib

import pytest

from clients.sdk.line.events import (
    AckCell,
    AckRefused,
    AlarmKind,
    CellArrived,
    ChannelRef,
    DepositCell,
    Effect,
    Expired,
    LinePhase,
    NetworkEvent,
    OwnCellArrived,
    Reconnect,
    SelfUpdate,
)
from clients.sdk.line.founding import import_line
from clients.sdk.line.machine import LineMachine
from crypto.suites import PRODUCT
from keys.memory_vault import MemoryVault
from support.fake_relay import Connection
from support.line_world import DAY, LINE, Sim, World, opened


def _to_channel(sim: Sim, ref: bytes) -> list[DepositCell]:
    return [effect for effect in sim.told(DepositCell) if effect.ref == ref]


# -- R9


def test_r09_reads_to_the_head_before_sending() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "one", "two")
    world.text(world.therapist, "reply")
    world.connect(world.therapist)
    queue = world.therapist.connection.queue if world.therapist.connection else None
    assert queue is not None
    deposits_when_reading: list[int] = []
    while queue:
        event = queue.popleft()
        before = world.state(world.therapist).channel.position
        world.handle(world.therapist, event)
        if isinstance(event, CellArrived) and event.seq < 2 + before:
            deposits_when_reading.append(len(_to_channel(world.therapist, world.ref(world.therapist))))
    assert world.therapist.received() == ["one", "two"]
    assert deposits_when_reading[0] == 0  # after the first of the two cells: nothing yet
    world.run(1)
    assert world.client.received() == ["reply"]


def test_r09_acknowledged_beyond_the_position_means_an_old_copy() -> None:
    world = opened()
    old = world.client.vault.snapshot()
    world.say(world.client, "after the backup")
    world.say(world.therapist, "reply")
    world.settle()
    world.put_back(world.client, old)
    ref = world.ref(world.client)
    world.forget(world.client)
    world.text(world.client, "from the old copy")
    world.online(world.client, seconds=0)
    assert world.client.view().phase is LinePhase.STRANDED
    assert AlarmKind.CLONE in world.client.alarms()
    assert _to_channel(world.client, ref) == []  # never sends from this state again
    world.run(2 * 3_600)
    world.settle()
    assert world.client.view().phase is LinePhase.ACTIVE
    assert world.therapist.received() == ["after the backup", "from the old copy"]
    assert world.client.states()[-1] == "DELIVERED"


def test_r09_a_cell_by_the_own_leaf_that_is_not_ours_means_a_clone() -> None:
    world = opened()
    twin = Sim(
        name="twin",
        own=world.client.own,
        vault=MemoryVault(world.client.vault.snapshot()),
        machine=LineMachine(MemoryVault(), LINE, world.client.own, world.client.rng.randbytes),
        rng=world.client.rng,
    )
    twin.machine = LineMachine(twin.vault, LINE, twin.own, twin.rng.randbytes)
    world.sims.append(twin)

    def no_acks(sim: Sim, effect: Effect) -> bool:
        return sim is not twin or not isinstance(effect, AckCell)

    world.on_effect = no_acks
    world.disconnect(world.client)
    world.connect(twin)
    world.say(twin, "by the twin")
    world.run(1)
    assert world.therapist.received() == ["by the twin"]
    world.restart(twin)
    world.sims.remove(twin)
    ref = world.ref(world.client)
    world.online(world.client, seconds=0)
    assert AlarmKind.CLONE in world.client.alarms()
    assert world.client.view().phase is LinePhase.STRANDED
    assert _to_channel(world.client, ref) == []


def test_r09_a_commit_by_the_own_leaf_that_is_not_ours_means_a_clone() -> None:
    world = opened()
    vault = MemoryVault(world.client.vault.snapshot())
    own, rng = world.client.own, world.client.rng
    machine = LineMachine(vault, LINE, own, rng.randbytes)
    twin = Sim(name="twin", own=own, vault=vault, machine=machine, rng=rng)
    world.sims.append(twin)
    world.on_effect = lambda sim, effect: sim is not twin or not isinstance(effect, AckCell)
    world.disconnect(world.client)
    world.connect(twin)
    world.handle(twin, SelfUpdate())
    world.run(1)
    assert world.therapist.view().epoch == 3
    world.restart(twin)
    world.sims.remove(twin)
    world.online(world.client, seconds=0)
    assert AlarmKind.CLONE in world.client.alarms()
    assert world.client.view().phase is LinePhase.STRANDED
    assert world.client.view().turn == 0


def test_r09_a_lost_store_is_noticed_and_unreceipted_content_deposited_again() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "one", "two")
    world.disconnect(world.client)
    world.relay.lose_store()
    world.online(world.client, world.therapist)
    assert AlarmKind.RELAY_LOST_STATE in world.client.alarms()
    world.settle()
    assert world.therapist.received() == ["one", "two"]
    assert world.client.states() == ["DELIVERED", "DELIVERED"]
    assert AlarmKind.FORK not in world.client.alarms() + world.therapist.alarms()


def test_r09_a_head_below_the_position_is_a_lost_state_too() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "one")
    backup = world.relay.snapshot()
    world.say(world.client, "two", "three")
    world.disconnect(world.client)
    world.relay.roll_back(backup)
    world.online(world.client, world.therapist)
    world.settle()
    assert AlarmKind.RELAY_LOST_STATE in world.client.alarms()
    assert world.therapist.received() == ["one", "two", "three"]
    assert set(world.client.states()) == {"DELIVERED"}
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE


def test_r09_a_rollback_seen_by_both_loses_nothing() -> None:
    world = opened()
    backup = world.relay.snapshot()
    world.say(world.client, "one", "two")
    world.say(world.therapist, "three")
    world.disconnect(world.client, world.therapist)
    world.relay.roll_back(backup)
    world.online(world.client, world.therapist)
    world.say(world.client, "four")
    world.settle()
    assert world.therapist.received() == ["one", "two", "four"]
    assert world.client.received() == ["three"]
    assert AlarmKind.FORK not in world.client.alarms() + world.therapist.alarms()


def test_r09_nobody_heard_for_a_day_after_a_lost_state_leads_to_a_rejoin() -> None:
    world = opened()
    world.disconnect(world.client, world.therapist)
    world.relay.lose_store()
    world.online(world.client)
    world.run(23 * 3_600)
    assert world.client.view().phase is LinePhase.ACTIVE
    world.run(2 * 3_600)
    assert world.client.view().phase is LinePhase.STRANDED
    assert world.state(world.client).stranded_reason is not None
    world.online(world.therapist)
    world.run(2 * 3_600)
    assert world.client.view().phase is LinePhase.ACTIVE
    world.say(world.client, "back again")
    assert world.therapist.received() == ["back again"]


def test_r09_a_sign_of_life_stops_that_clock() -> None:
    world = opened()
    world.disconnect(world.client, world.therapist)
    world.relay.lose_store()
    world.online(world.client, world.therapist)
    world.run(30 * 3_600)
    assert world.client.view().phase is world.therapist.view().phase is LinePhase.ACTIVE


def test_r09_exports_hold_no_key_of_an_epoch_and_come_back_as_a_new_leaf() -> None:
    world = opened()
    world.say(world.client, "kept")
    world.say(world.therapist, "kept too")
    world.settle()
    record = world.client.machine.export()
    with world.client.machine._look() as step:
        state = step.state
        blob = step.tables.group.get() or b""
        assert state.secret in record
        for secret in [*state.addresses, state.cell_key, state.channel.token]:
            assert secret not in record
        known = [state.group_id, *state.identities, *(member.device_id for member in state.members)]
        public = b"".join(bytes([len(value)]) + value + state.epoch.to_bytes(8, "big") for value in known)
    windows = {blob[at : at + 16] for at in range(len(blob) - 15)}
    shared = {record[at : at + 16] for at in range(len(record) - 15)} & windows
    assert [window for window in shared if window not in public and window.strip(b"\0")] == []

    leaf = hashlib.sha256(blob).digest()
    new = MemoryVault()
    with new.transaction() as tx:
        import_line(
            tx,
            LINE,
            world.client.own,
            world.client.rng.randbytes,
            now=world.now,
            record=record,
            suite=PRODUCT,
        )
    world.restart(world.client)
    world.client.vault = new
    world.client.machine = LineMachine(new, LINE, world.client.own, world.client.rng.randbytes)
    assert [row.body.reveal_text() for row in world.client.rows()] == ["kept", "kept too"]
    world.online(world.client)
    world.run(2 * 3_600)
    assert world.client.view().phase is LinePhase.ACTIVE
    with world.client.machine._look() as step:
        assert hashlib.sha256(step.tables.group.get() or b"").digest() != leaf
    world.say(world.client, "after the import")
    world.say(world.therapist, "welcome back")
    world.settle()
    assert world.therapist.received() == ["kept", "after the import"]
    assert world.client.received() == ["kept too", "welcome back"]


# -- R10


class Shifted:
    """One connection is shown a cell that nobody else is shown, right before the cell ``before``."""

    def __init__(self, name: str, ref: bytes, before: int) -> None:
        self.name, self.ref, self.before = name, ref, before

    def __call__(self, connection: Connection, event: NetworkEvent) -> list[NetworkEvent]:
        if isinstance(event, AckRefused):
            return []
        if connection.name != self.name or not isinstance(event, CellArrived | OwnCellArrived):
            return [event]
        if event.ref != self.ref or event.seq < self.before:
            return [event]
        shifted = self._shift(event)
        if event.seq > self.before:
            return [shifted]
        junk = CellArrived(ref=event.ref, seq=event.seq, close=False, body=bytes(16_384))
        return [junk, shifted]

    @staticmethod
    def _shift(event: CellArrived | OwnCellArrived) -> NetworkEvent:
        if isinstance(event, CellArrived):
            return CellArrived(ref=event.ref, seq=event.seq + 1, close=event.close, body=event.body)
        return OwnCellArrived(ref=event.ref, seq=event.seq + 1, close=event.close, digest=event.digest)


def _stopped(world: World, sim: Sim) -> None:
    assert sim.view().phase is LinePhase.UNDECIDED
    assert AlarmKind.FORK in sim.alarms()
    deposits = len(sim.told(DepositCell))
    world.say(sim, "not sent")
    world.run(700)
    assert len(sim.told(DepositCell)) == deposits


def test_r10_another_record_is_noticed_at_the_next_message() -> None:
    world = opened()
    ref = world.ref(world.therapist)
    head = world.state(world.therapist).channel.position
    world.relay.tamper = Shifted("therapist", ref, head + 1)
    world.say(world.client, "one")
    assert world.therapist.view().phase is LinePhase.ACTIVE  # its claim is about what came before
    world.say(world.client, "two")
    _stopped(world, world.therapist)
    assert world.therapist.received() == ["one", "two"]


def test_r10_a_gap_that_nobody_announced_is_a_fork() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "therapist" and isinstance(event, CellArrived) and event.seq % 2 else [event]
    )
    world.say(world.client, "one", "two", "three")
    _stopped(world, world.therapist)


def test_r10_a_second_version_of_a_cell_is_a_fork() -> None:
    world = opened()
    world.say(world.client, "one")
    world.handle(
        world.therapist,
        CellArrived(
            ref=ChannelRef(world.ref(world.therapist)),
            seq=world.state(world.therapist).channel.position,
            close=False,
            body=bytes(16_384),
        ),
    )
    _stopped(world, world.therapist)


def test_r10_an_own_cell_that_was_never_sent_is_a_fork() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [OwnCellArrived(ref=event.ref, seq=event.seq, close=event.close, digest=bytes(32))]
        if isinstance(event, OwnCellArrived) and connection.name == "client"
        else [event]
    )
    world.say(world.client, "one")
    _stopped(world, world.client)


def test_r10_the_first_message_of_an_epoch_claims_the_end_of_the_last_channel() -> None:
    world = opened()
    ref = world.ref(world.therapist)
    head = world.state(world.therapist).channel.position
    # Only the therapist is shown a cell right before the closing one, after what the commit claims.
    world.relay.tamper = Shifted("therapist", ref, head + 1)
    world.handle(world.client, SelfUpdate())
    world.run(1)
    assert world.therapist.view().epoch == world.client.view().epoch
    assert world.therapist.view().phase is LinePhase.ACTIVE
    world.say(world.client, "one")
    _stopped(world, world.therapist)


def test_r10_after_an_announced_hole_the_next_claim_is_the_baseline() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "lost")
    ref = world.ref(world.client)
    channel = world.relay.channels[ref]
    lost = max(channel.cells)
    del channel.cells[lost]  # announced as EXPIRED when the therapist comes
    world.online(world.therapist)
    assert world.state(world.therapist).channel.log_hash == b""
    world.say(world.client, "after the hole")
    assert world.state(world.therapist).channel.log_hash == world.state(world.client).channel.log_hash
    assert world.therapist.view().phase is LinePhase.ACTIVE
    # and from there on the chain is checked again
    head = world.state(world.therapist).channel.position
    world.relay.tamper = Shifted("therapist", ref, head + 1)
    world.say(world.client, "one more")
    world.say(world.client, "and another")
    assert world.therapist.view().phase is LinePhase.UNDECIDED


def test_r10_a_false_announcement_is_a_hole_and_the_content_is_asked_for() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [Expired(ref=event.ref, first=event.seq, last=event.seq)]
        if connection.name == "therapist" and isinstance(event, CellArrived) and not _seen(event)
        else [event]
    )
    world.say(world.client, "withheld")
    world.relay.tamper = lambda connection, event: [event]
    world.say(world.client, "next")
    assert world.therapist.received() == ["(missing)", "next"]
    world.run(60)
    assert world.therapist.received() == ["withheld", "next"]


def _seen(event: CellArrived) -> bool:
    return event.seq == 0


@pytest.mark.parametrize("days", [1])
def test_r10_a_long_absence_needs_no_baseline(days: int) -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, *[str(number) for number in range(30)])
    world.run(days * DAY)
    world.online(world.therapist)
    assert world.state(world.therapist).channel.log_hash == world.state(world.client).channel.log_hash


def test_r07_who_was_away_too_long_is_told_and_gets_again_what_is_still_there() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.say(world.client, "hello", "are you there?")
    world.disconnect(world.client)
    world.run(31 * DAY)
    world.online(world.therapist)
    assert AlarmKind.EXPIRED_UNREAD in world.therapist.alarms()
    assert world.therapist.received() == []
    world.online(world.client)
    assert world.therapist.received() == ["hello", "are you there?"]
    assert AlarmKind.EXPIRED_UNREAD not in world.client.alarms()


def test_r6_who_stays_connected_attaches_its_channels_every_week() -> None:
    """Campaign, seed 1043 (gone): where nobody wrote for 90 days the channel went under two readers."""
    world = opened()
    world.run(6.5 * DAY)
    assert not world.client.told(Reconnect)
    world.run(20 * DAY)
    assert len(world.client.told(Reconnect)) in {2, 3}
    assert len(world.therapist.told(Reconnect)) in {2, 3}
    assert world.client.view().attached
    world.say(world.client, "still here")
    assert world.therapist.received() == ["still here"]
