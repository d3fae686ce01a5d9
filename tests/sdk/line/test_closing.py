"""R14, R15, R16: the predicate at the closing cell, faults, and how a joiner comes in."""

from __future__ import annotations

import pytest

from clients.sdk.line import outbox, taking_info
from clients.sdk.line.events import (
    AddDevice,
    AlarmKind,
    DepositCell,
    ItemId,
    LinePhase,
    Notify,
    OwnCellArrived,
    RemoveDevice,
    SelfUpdate,
    SendText,
    Stored,
    WelcomeReady,
)
from clients.sdk.line.machine import LineMachine
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.line.tables import ItemClass
from crypto.credentials import Credential
from crypto.errors import StateError, ValidationError
from crypto.group import CommitReceived, Group, OwnLeafParams
from crypto.group_process import CommitPlan
from crypto.policy import product_capabilities
from crypto.sensitive import Plaintext, Secret
from crypto.suites import PRODUCT
from keys.certificates import DeviceRole
from support.line_world import LINE, Sim, World, opened


def _refused_once(world: World, *, by: Sim, victim: Sim) -> None:
    cell = world.bad_commit(by, victim)
    world.relay.insert(world.ref(by), cell, close=True)
    world.deliver()


# -- R14


def test_r14_a_commit_against_p_moves_everybody_to_the_next_turn() -> None:
    world = opened()
    phone = world.add_device(world.therapist, "therapist's phone")
    world.online(phone)
    world.settle()
    epoch = world.client.view().epoch
    _refused_once(world, by=world.client, victim=phone)
    for sim in (world.client, world.therapist, phone):
        assert (sim.view().epoch, sim.view().turn) == (epoch, 1)
        assert AlarmKind.COMMIT_REFUSED in sim.alarms()
        assert len(sim.view().members) == 3
    assert world.ref(world.client) == world.ref(world.therapist) == world.ref(phone)
    world.say(world.client, "still here")
    world.say(phone, "so am I")
    assert world.therapist.received() == ["still here"]
    assert "so am I" in [row.body.reveal_text() for row in world.client.rows()]
    refused = [notice for notice in world.therapist.told(Notify) if notice.kind is AlarmKind.COMMIT_REFUSED]
    assert [notice.device_id for notice in refused] == [world.client.own.device_id]


def test_r14_what_was_not_in_the_log_goes_on_in_the_next_turn() -> None:
    world = opened()
    world.relay.swallow = lambda connection, deposit: not deposit.close
    world.say(world.therapist, "waiting")
    world.relay.swallow = lambda connection, deposit: False
    _refused_once(world, by=world.client, victim=world.therapist)
    world.run(5)
    assert world.client.received() == ["waiting"]


def test_r14_a_closing_cell_that_is_no_commit_is_refused_too() -> None:
    world = opened()
    world.relay.insert(world.ref(world.client), bytes(16_384), close=True)
    world.deliver()
    assert world.client.view().turn == world.therapist.view().turn == 1
    world.say(world.client, "on")
    assert world.therapist.received() == ["on"]


def test_r14_an_own_content_cell_flagged_by_the_relay_is_no_commit() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: [event]
    world.relay.swallow = lambda connection, deposit: True
    world.say(world.client, "hello")
    world.relay.swallow = lambda connection, deposit: False
    world.relay.insert(world.ref(world.client), world.client.told(DepositCell)[-1].body, close=True)
    world.run(5)
    assert world.client.view().turn == world.therapist.view().turn == 1
    assert world.therapist.received() == ["hello"]


def test_r14_after_turn_three_the_line_ends_for_all_and_texts_stay() -> None:
    world = opened()
    world.say(world.client, "kept")
    for turn in range(4):
        assert world.therapist.view().turn == turn
        assert world.therapist.view().phase is LinePhase.ACTIVE
        if turn == 3:
            world.relay.swallow = lambda connection, deposit: connection.name == "therapist"
            world.say(world.therapist, "never arrives")
        _refused_once(world, by=world.client, victim=world.therapist)
    for sim in (world.client, world.therapist):
        assert sim.view().phase is LinePhase.FAULTED
        assert AlarmKind.LINE_FAULT in sim.alarms()
        with sim.machine._look() as step:
            assert step.group is None
            assert step.state.addresses == []
    assert world.therapist.received() == ["kept"]
    assert world.therapist.states() == ["FAILED"]
    sentence = next(
        alarm.sentence for alarm in world.therapist.view().alarms if alarm.kind is AlarmKind.LINE_FAULT
    )
    assert world.client.own.device_id.hex()[:8] in sentence
    with pytest.raises(StateError):
        world.handle(world.therapist, SendText(item_id=ItemId(b"i" * 16), text=Plaintext("too late")))


# -- R15


def test_r15_who_cannot_follow_a_good_commit_is_alone_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = opened()
    follow = Group.follow_commit

    def fails(group: Group, plan: CommitPlan) -> CommitReceived:
        raise ValidationError("path.test")

    monkeypatch.setattr(Group, "follow_commit", fails)
    world.handle(world.client, SelfUpdate())
    world.deliver()
    monkeypatch.setattr(Group, "follow_commit", follow)
    assert world.client.view().epoch == 3
    assert world.therapist.view().phase is LinePhase.STRANDED
    assert AlarmKind.DEVICE_FAULT in world.therapist.alarms()
    assert world.client.view().turn == world.therapist.view().turn == 0
    world.run(2 * 3_600)
    assert world.therapist.view().phase is LinePhase.ACTIVE
    world.say(world.therapist, "back")
    assert world.client.received() == ["back"]


def test_r15_an_expired_certificate_decides_nothing_and_is_told() -> None:
    world = opened()
    world.now = 20_600 * 86_400.0
    world.handle(world.client, SelfUpdate())
    world.run(10)
    assert world.client.view().epoch == world.therapist.view().epoch >= 3
    assert AlarmKind.CERTIFICATE_EXPIRED in world.therapist.alarms()
    assert world.therapist.view().phase is LinePhase.ACTIVE


# -- R16


def test_r16_the_welcome_goes_out_only_after_the_commit_is_stored_and_merged() -> None:
    world = opened()
    phone = world._device("client", DeviceRole.SECONDARY, "phone")
    bundle = world.key_package(phone)
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, OwnCellArrived | Stored) else [event]
    )
    world.handle(world.client, AddDevice(key_package=bundle.key_package.to_bytes()))
    world.deliver()
    assert world.client.told(WelcomeReady) == []
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    world.online(world.client)
    assert len({ready.welcome_id for ready in world.client.told(WelcomeReady)}) == 1


def test_r16_the_first_message_after_an_add_tells_counters_r_and_settings() -> None:
    world = opened()
    world.say(world.client, "one", "two")
    world.say(world.therapist, "three")
    world.settle()
    world.text(world.client, "queued before the commit is merged")
    phone = world.add_device(world.client, "phone")
    world.connect(phone)
    world.deliver()
    state = world.state(phone)
    assert state.secret == world.state(world.client).secret
    with phone.machine._look() as step:
        rows = {row.device_id: row for row in step.tables.counters.rows()}
    with world.client.machine._look() as step:
        known = {row.device_id: row for row in step.tables.counters.rows()}
    therapist = world.therapist.own.device_id
    assert rows[therapist].baseline
    assert rows[therapist].contiguous == known[therapist].contiguous == 1
    assert rows[world.client.own.device_id].contiguous == world.state(world.client).next_counter - 1
    world.run(600)
    assert [row for row in phone.rows() if row.missing] == []  # no history is asked for
    world.say(world.therapist, "four")
    assert [row.body.reveal_text() for row in phone.rows()][-1] == "four"


def test_r16_line_info_is_the_committers_first_message_of_the_epoch() -> None:
    world = opened()
    world.relay.tamper = lambda connection, event: (
        [] if connection.name == "client" and isinstance(event, OwnCellArrived | Stored) else [event]
    )
    phone = world._device("client", DeviceRole.SECONDARY, "phone")
    bundle = world.key_package(phone)
    world.handle(world.client, AddDevice(key_package=bundle.key_package.to_bytes()))
    world.text(world.client, "waits behind it")
    world.restart(world.client)
    world.relay.tamper = lambda connection, event: [event]
    seen: list[int] = []
    real = world.client.machine

    def note(sim: Sim, effect: object) -> bool:
        if sim is world.client and isinstance(effect, DepositCell) and effect.ref == world.ref(sim):
            with real._look() as step:
                tables = (step.tables.outbox, step.tables.stored)
                rows = [row for table in tables for row in table.rows()]
            seen.extend(row.kind for row in rows if row.deposit_id == effect.deposit_id)
        return True

    world.on_effect = note
    world.online(world.client)
    assert seen[:2] == [PayloadKind.LINE_INFO, PayloadKind.TEXT]


def test_r16_r_from_somebody_who_did_not_commit_is_not_believed() -> None:
    world = opened()
    secret = world.state(world.therapist).secret
    with world.client.machine._step(world.now) as step:
        step.state.secret = b"x" * 32
        outbox.add(step, item_class=ItemClass.CONTENT, kind=PayloadKind.NEW_R)
        outbox.pump(step)
        effects = list(step.effects)
    for effect in effects:
        world._do(world.client, effect)
    world.deliver()
    assert world.state(world.therapist).secret == secret


def test_r16_two_commits_of_one_device_owe_two_words_about_r_in_either_order() -> None:
    """Found by the simulation (split 53): NEW_R came first, and LINE_INFO was then not believed for ever."""
    world = opened()
    with world.therapist.machine._step(world.now) as step:
        member = step.state.member(world.client.own.device_id)
        assert member is not None
        step.state.secret_from = [member.device_id, member.device_id]
        taking_info._take(step, member, Secret(b"1" * 32))
        assert step.state.secret_from == [member.device_id]
        taking_info._take(step, member, Secret(b"2" * 32))
        assert step.state.secret_from == []
        assert step.state.secret == b"2" * 32


def _welcome_for(world: World) -> tuple[bytes, Sim]:
    """A Welcome for the therapist of another world, and a device of that therapist."""
    bundle = world.key_package(world.therapist)
    _, founding = LineMachine.create_as_client(
        world.client.vault,
        LINE,
        world.client.own,
        world.client.rng.randbytes,
        now=world.now,
        key_packages=[bundle.key_package],
    )
    return founding.welcome, world.therapist


def _join(world: World, welcome: bytes, **changes: object) -> None:
    sim = world.therapist
    assert sim.bundle is not None
    arguments: dict[str, object] = {"known_group": lambda group_id: False, "signer_identity": None} | changes
    LineMachine.create_from_welcome(
        sim.vault,
        LINE,
        sim.own,
        sim.rng.randbytes,
        now=world.now,
        welcome=welcome,
        bundle=sim.bundle,
        **arguments,  # type: ignore[arg-type]  # a test's table of arguments
    )


def test_r16_a_joiner_refuses_a_group_it_has_seen() -> None:
    world = World(start=False)
    welcome, _ = _welcome_for(world)
    with pytest.raises(ValidationError, match=r"R16\.group-known"):
        _join(world, welcome, known_group=lambda group_id: True)
    assert world.therapist.vault.commits == 0
    _join(world, welcome)


def test_r16_a_joiner_refuses_another_signer() -> None:
    world = World(start=False)
    welcome, _ = _welcome_for(world)
    with pytest.raises(ValidationError, match=r"R16\.signer"):
        _join(world, welcome, signer_identity=world.therapist.own.identity_key)
    _join(world, welcome, signer_identity=world.client.own.identity_key)


def test_r16_a_joiner_refuses_strangers_in_the_tree() -> None:
    world = World(start=False)
    world._device("stranger", DeviceRole.SECONDARY, "stranger")
    stranger = world.sims[-1]
    bundles = [world.key_package(world.therapist), world.key_package(stranger)]
    alone = _group_of(world.client)
    made = alone.commit(
        adds=[bundle.key_package for bundle in bundles],
        removes=(),
        rng=world.client.rng.randbytes,
        authenticated_data=b"",
    )
    assert made.welcome is not None
    with pytest.raises(ValidationError, match=r"R16\.identity"):
        _join(world, made.welcome)


def _group_of(sim: Sim) -> Group:
    return Group.create(
        suite=PRODUCT,
        group_id=b"group-of-a-test!",
        leaf=OwnLeafParams(
            signature_private=sim.own.signature_private,
            credential=Credential.basic(sim.own.certificate),
            capabilities=product_capabilities(),
        ),
        rng=sim.rng.randbytes,
    )


def test_a_removed_device_knows_it_and_keeps_its_texts() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.say(world.client, "hello")
    world.settle()
    world.handle(world.client, RemoveDevice(device_id=phone.own.device_id))
    world.run(10)
    assert phone.view().phase is LinePhase.ENDED
    assert [row.body.reveal_text() for row in phone.rows()] == ["hello"]
    assert world.state(world.client).secret == world.state(world.therapist).secret
    world.say(world.client, "without the phone")
    assert world.therapist.received() == ["hello", "without the phone"]
