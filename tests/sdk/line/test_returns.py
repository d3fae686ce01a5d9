"""R8 and R18: what strands a device, and the way back."""

from __future__ import annotations

import pytest

from clients.sdk.line import rejoin_wire, returns
from clients.sdk.line.events import (
    AckConfirmed,
    AlarmKind,
    Attach,
    CellArrived,
    ChannelRef,
    DepositCell,
    LinePhase,
    OwnCellArrived,
    RejoinReason,
    RemoveDevice,
    RequestRejoin,
    Resolve,
    SelfUpdate,
    Stored,
)
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.rejoin_wire import RejoinRequest
from clients.sdk.line.step import Step
from crypto.channel import return_address, return_key
from crypto.codec import CodecError, decode
from crypto.errors import AuthenticationError, StateError
from crypto.group import StagedCommit
from crypto.key_package import read_key_package
from crypto.sensitive import Secret
from crypto.tree_math import LeafIndex
from keys.memory_vault import MemoryVault
from support.fake_relay import Connection
from support.line_world import DAY, LINE, Sim, World, opened

HOUR = 3_600.0


def _strand(world: World, sim: Sim) -> None:
    world.handle(sim, RequestRejoin(reason=RejoinReason.FAULT))
    world.deliver()


def _lines_up(world: World, *sims: Sim) -> None:
    world.settle()
    assert {sim.view().phase for sim in sims} == {LinePhase.ACTIVE}
    assert len({sim.view().epoch for sim in sims}) == 1
    assert len({world.ref(sim) for sim in sims}) == 1


# -- R8


def test_r08_full_before_the_own_slot_exists_sends_nothing_and_asks_to_come_back() -> None:
    world = World()
    world.online(world.client)
    world.relay.squat(world.ref(world.therapist), 2)
    world.text(world.therapist, "held back")
    world.connect(world.therapist)
    ref = world.ref(world.therapist)
    world.deliver()
    assert AlarmKind.CHANNEL_FULL in world.therapist.alarms()
    assert world.therapist.view().phase is LinePhase.STRANDED
    assert [effect for effect in world.therapist.told(DepositCell) if effect.ref == ref] == []


def test_r08_gone_in_an_unfinished_epoch_leads_to_a_rejoin() -> None:
    world = opened()
    world.disconnect(world.therapist)
    world.handle(world.client, SelfUpdate())
    world.run(5)
    world.relay.bury(world.ref(world.therapist))
    world.text(world.therapist, "held back")
    world.online(world.therapist, seconds=0)
    assert AlarmKind.CHANNEL_GONE in world.therapist.alarms()
    assert world.therapist.view().phase is LinePhase.STRANDED
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    assert world.client.received() == ["held back"]


# -- R18


def test_r18_a_stranded_device_comes_back_and_nothing_is_lost() -> None:
    world = opened()
    world.say(world.client, "one")
    world.disconnect(world.therapist)
    world.say(world.client, "two")
    world.text(world.therapist, "three")
    _strand(world, world.therapist)
    world.say(world.client, "four")
    world.online(world.therapist)
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    assert world.therapist.received() == ["one", "two", "four"]
    assert world.client.received() == ["three"]
    assert set(world.client.states()) == {"DELIVERED"}
    assert AlarmKind.REJOINED in world.client.alarms()


def test_r18_another_person_answers_after_a_random_time_within_the_hour() -> None:
    delays = []
    for seed in range(5):
        world = opened(seed)
        begin = world.now
        _strand(world, world.therapist)
        while world.therapist.view().phase is LinePhase.STRANDED:
            world.run(60)
            assert world.now <= begin + HOUR + 120
        delays.append(world.now - begin)
    assert len(set(delays)) > 2
    assert max(delays) > 600


def test_r18_devices_of_the_own_person_answer_at_once() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.disconnect(world.therapist)
    _strand(world, phone)
    world.run(5)
    assert phone.view().phase is LinePhase.ACTIVE
    world.online(world.therapist)
    _lines_up(world, world.client, phone, world.therapist)


def test_r18_one_answer_a_day_and_each_key_package_once() -> None:
    world = opened()
    _strand(world, world.therapist)
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    epoch = world.client.view().epoch
    _strand(world, world.therapist)
    world.run(20 * HOUR)
    assert world.therapist.view().phase is LinePhase.STRANDED  # the day is not over
    assert world.client.view().epoch == epoch
    world.run(6 * HOUR)
    _lines_up(world, world.client, world.therapist)


def test_r18_an_old_request_that_comes_again_is_not_answered() -> None:
    world = opened()
    posted: list[DepositCell] = []

    def note(connection: Connection, deposit: DepositCell) -> bool:
        posted.append(deposit)
        return False

    world.relay.swallow = note
    _strand(world, world.therapist)
    request = posted[0]
    world.relay.swallow = lambda connection, deposit: False
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    epoch = world.client.view().epoch
    world.run(2 * DAY)
    world.relay.insert(request.ref, request.body)
    world.run(2 * HOUR)
    assert world.client.view().epoch == epoch


def test_r18_who_is_no_member_or_signs_with_another_key_is_not_heard() -> None:
    world = opened()
    state = world.state(world.client)
    package = world.key_package(world.therapist).key_package.to_bytes()
    request = RejoinRequest(
        group_id=state.group_id,
        epoch=state.epoch,
        reason=RejoinReason.FAULT,
        device_id=world.therapist.own.device_id,
        key_package=package,
    )
    forged = rejoin_wire.encode_request(request, Secret(b"k" * 32))
    stranger = rejoin_wire.encode_request(
        RejoinRequest(
            group_id=state.group_id,
            epoch=state.epoch,
            reason=RejoinReason.FAULT,
            device_id=b"s" * 16,
            key_package=package,
        ),
        world.therapist.own.signature_private,
    )
    for message in (forged, stranger):
        with world.therapist.machine._step(world.now) as step:
            returns.post(step, state.secret, world.client.own.device_id, message)
            effects = list(step.effects)
        for effect in effects:
            world._do(world.therapist, effect)
    world.run(2 * HOUR)
    assert world.client.view().epoch == 2
    assert AlarmKind.UNREADABLE in world.client.alarms()
    with world.client.machine._look() as step:
        assert list(step.tables.requests.rows()) == []


def test_r18_own_return_channels_are_attached_at_every_connection() -> None:
    world = opened()
    ref = _return_ref(world, world.client)
    for _ in range(2):
        world.disconnect(world.client)
        world.forget(world.client)
        world.online(world.client)
        assert ref in [effect.ref for effect in world.client.told(Attach)]


def _return_ref(world: World, sim: Sim) -> bytes:
    with sim.machine._look() as step:
        return next(row.ref for row in step.tables.returns.rows() if not row.until)


def test_r18_after_a_remove_comes_a_new_r_and_the_old_one_is_heard_for_ninety_days() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    old = world.state(world.client).secret
    old_ref = _return_ref(world, world.therapist)
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(5)
    world.settle()
    new = world.state(world.client).secret
    assert new != old
    assert world.state(world.therapist).secret == new
    assert world.state(phone).secret != new
    world.disconnect(world.therapist)
    world.forget(world.therapist)
    world.run(89 * DAY)
    world.online(world.therapist)
    assert old_ref in [effect.ref for effect in world.therapist.told(Attach)]
    world.disconnect(world.therapist)
    world.forget(world.therapist)
    world.run(2 * DAY)
    world.online(world.therapist)
    assert old_ref not in [effect.ref for effect in world.therapist.told(Attach)]


def test_r18_two_welcomes_for_different_branches_stop_the_line_until_people_decide() -> None:
    world = opened()
    twin = _copy_of(world, world.client)  # a dishonest client answers twice, from the same state
    _strand(world, world.therapist)
    world.run(HOUR + 60)
    assert world.therapist.view().phase is LinePhase.ACTIVE
    with world.therapist.machine._look() as step:
        package = next(iter(step.tables.rejoin_keys.rows())).key_package
    welcome = _other_branch(world, twin, package)
    with twin.machine._step(world.now) as step:
        message = rejoin_wire.encode_welcome(welcome)
        returns.post(step, step.state.secret, world.therapist.own.device_id, message)
        mail = next(iter(step.tables.mail.rows()))
    world.relay.insert(mail.ref, mail.cell)
    # the therapist hears it under the old R
    world.run(5)
    assert world.therapist.view().phase is LinePhase.UNDECIDED
    assert AlarmKind.TWO_BRANCHES in world.therapist.alarms()
    deposits = len(world.therapist.told(DepositCell))
    world.say(world.therapist, "not sent")
    world.run(900)
    assert len(world.therapist.told(DepositCell)) == deposits


def test_r18_a_second_welcome_that_the_log_explains_is_followed() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "therapist" and isinstance(event, CellArrived) else [event]
    )
    _strand(world, world.therapist)
    world.run(28 * HOUR)  # it sees no answer, and asks again the next day
    assert world.client.view().epoch == 4
    world.restart(world.therapist)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.therapist)  # now both answers, one after the other
    world.run(120)
    _lines_up(world, world.client, world.therapist)
    assert AlarmKind.TWO_BRANCHES not in world.therapist.alarms()
    assert world.client.view().epoch == 5  # by the returned device's self-update
    world.say(world.therapist, "back")
    assert world.client.received() == ["back"]


def test_r18_a_second_welcome_that_the_log_does_not_explain_is_another_branch() -> None:
    world = opened()
    twin = _copy_of(world, world.client)
    _strand(world, world.therapist)
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "therapist" and isinstance(event, CellArrived) else [event]
    )
    world.disconnect(world.client)
    world.run(25 * HOUR)  # two requests, no answer yet
    with world.therapist.machine._look() as step:
        packages = sorted(step.tables.rejoin_keys.rows(), key=lambda row: row.made_at)
    assert len(packages) == 2
    ref = _return_ref(world, world.therapist)
    with twin.machine._step(world.now) as step:
        for _ in range(3):  # further on than the honest branch
            step.group = step.mls.merge(_self_update(step, twin))
    welcome = _other_branch(world, twin, packages[1].key_package)
    with twin.machine._step(world.now) as step:
        returns.post(
            step, step.state.secret, world.therapist.own.device_id, rejoin_wire.encode_welcome(welcome)
        )
        cell = next(iter(step.tables.mail.rows())).cell
    world.restart(world.therapist)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.therapist, world.client)
    world.run(HOUR + 60)
    assert world.therapist.view().phase is LinePhase.ACTIVE
    world.relay.insert(ref, cell)
    world.run(30)
    assert world.therapist.view().phase is LinePhase.ACTIVE  # the log might still explain it
    world.run(60)
    assert world.therapist.view().phase is LinePhase.UNDECIDED
    assert AlarmKind.TWO_BRANCHES in world.therapist.alarms()


def _self_update(step: Step, twin: Sim) -> StagedCommit:
    return step.mls.commit(adds=(), removes=(), rng=twin.rng.randbytes, authenticated_data=b"").staged


def _copy_of(world: World, sim: Sim) -> Sim:
    vault = MemoryVault(sim.vault.snapshot())
    machine = LineMachine(vault, LINE, sim.own, sim.rng.randbytes)
    return Sim(name="twin", own=sim.own, vault=vault, machine=machine, rng=sim.rng)


def _other_branch(world: World, twin: Sim, package: bytes) -> bytes:
    with twin.machine._step(world.now) as step:
        member = step.state.member(world.therapist.own.device_id)
        assert member is not None
        made = step.mls.commit(
            adds=[decode(package, read_key_package)],
            removes=[LeafIndex(member.leaf_index)],
            rng=twin.rng.randbytes,
            authenticated_data=b"",
        )
    assert made.welcome is not None
    return made.welcome


def _fork(world: World) -> None:
    """The relay shows the therapist another record than the client."""
    world.handle(
        world.therapist,
        OwnCellArrived(
            ref=ChannelRef(world.ref(world.therapist)),
            seq=world.state(world.therapist).channel.position + 1,
            close=False,
            digest=bytes(32),
        ),
    )


def test_r18_after_a_fork_nothing_is_automatic_and_same_lets_one_rejoin_through() -> None:
    world = opened()
    _fork(world)
    assert world.therapist.view().phase is LinePhase.UNDECIDED
    world.run(3 * DAY)
    assert world.therapist.view().phase is LinePhase.UNDECIDED
    assert world.client.view().phase is LinePhase.ACTIVE
    world.handle(world.therapist, Resolve(same=True))
    world.run(2 * HOUR)
    assert world.therapist.view().phase is LinePhase.STRANDED
    assert world.client.view().phase is LinePhase.UNDECIDED  # the other person must compare, too
    world.text(world.client, "after the fork")
    world.handle(world.client, Resolve(same=True))
    world.run(2 * HOUR)
    _lines_up(world, world.client, world.therapist)
    assert world.therapist.received() == ["after the fork"]
    assert not world.state(world.therapist).resolved_same  # once
    _fork(world)
    assert world.therapist.view().phase is LinePhase.UNDECIDED


def test_r18_both_saw_the_fork_and_exactly_one_moves() -> None:
    world = opened()
    _fork(world)
    world.handle(
        world.client,
        OwnCellArrived(
            ref=ChannelRef(world.ref(world.client)),
            seq=world.state(world.client).channel.position + 1,
            close=False,
            digest=bytes(32),
        ),
    )
    world.text(world.client, "from the client")
    world.text(world.therapist, "from the therapist")
    world.handle(world.client, Resolve(same=True))
    world.handle(world.therapist, Resolve(same=True))
    world.run(2 * HOUR)
    _lines_up(world, world.client, world.therapist)
    assert world.therapist.received() == ["from the client"]
    assert world.client.received() == ["from the therapist"]


def test_r18_different_ends_the_line() -> None:
    world = opened()
    world.say(world.client, "kept")
    _fork(world)
    world.handle(world.therapist, Resolve(same=False))
    assert world.therapist.view().phase is LinePhase.ENDED
    assert world.therapist.received() == ["kept"]
    assert world.state(world.therapist).secret == b""
    with pytest.raises(StateError):
        world.handle(world.client, Resolve(same=True))  # nothing to resolve there


def test_r18_the_answer_waits_until_it_is_stored() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, Stored | AckConfirmed) else [event]
    )
    welcome_refs = return_address(world.state(world.client).secret, world.therapist.own.device_id)
    world.relay.swallow = lambda connection, deposit: (
        connection.name == "client" and deposit.k.reveal() == welcome_refs
    )
    _strand(world, world.therapist)
    world.run(HOUR + 60)
    assert world.therapist.view().phase is LinePhase.STRANDED
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.relay.swallow = lambda connection, deposit: False
    world.online(world.client)
    world.run(60)
    _lines_up(world, world.client, world.therapist)


def test_r18_of_four_devices_one_answers_and_all_follow() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    tablet = world.add_device(world.therapist, "tablet")
    world.online(tablet)
    world.settle()
    everybody = (world.client, world.therapist, phone, tablet)
    _lines_up(world, *everybody)
    world.handle(phone, RequestRejoin(reason=RejoinReason.FAULT))
    world.run(2 * HOUR)
    _lines_up(world, *everybody)
    for sim in everybody:
        world.say(sim, f"from {sim.name}")
    world.settle()
    for sim in everybody:
        assert len([row for row in sim.rows() if not row.missing]) == 4
    assert {alarm for sim in everybody for alarm in sim.alarms()}.isdisjoint(
        {AlarmKind.FORK, AlarmKind.TWO_BRANCHES, AlarmKind.UNREADABLE}
    )


def test_return_messages_are_refused_when_malformed() -> None:
    with pytest.raises(CodecError):
        rejoin_wire.decode_return_message(b"\3")
    request = RejoinRequest(
        group_id=b"g", epoch=1, reason=RejoinReason.FULL, device_id=b"d" * 16, key_package=b"kp"
    )
    encoded = rejoin_wire.encode_request(request, Secret(b"s" * 32))
    decoded = rejoin_wire.decode_return_message(encoded)
    assert isinstance(decoded, RejoinRequest)
    with pytest.raises(AuthenticationError):
        decoded.verify(b"p" * 32)
    assert len(return_key(b"R" * 32)) == 32
