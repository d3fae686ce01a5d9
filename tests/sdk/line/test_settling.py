"""R18: nobody waits for ever. What the simulator found (docs/adr/0045), each by the shortest way there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clients.sdk.line import (
    cells,
    delivery,
    log,
    messages,
    numbering,
    outbox,
    resolving,
    returns,
    taking_info,
)
from clients.sdk.line.events import (
    AlarmKind,
    CellArrived,
    ChannelRef,
    DepositCell,
    Expired,
    LinePhase,
    NetworkEvent,
    OwnCellArrived,
    RejoinReason,
    RemoveDevice,
    RequestRejoin,
    Resolve,
    SelfUpdate,
)
from clients.sdk.line.payloads import Anchor, LogClaim, PayloadKind
from clients.sdk.line.rejoin_wire import RejoinRequest, Stay
from clients.sdk.line.step import Step
from clients.sdk.line.tables import AnsweredRow, ItemClass, RequestRow, u64_key
from clients.sdk.line.timing import MAX_BEYOND
from support.fake_relay import Connection
from support.line_world import DAY, Sim, World, opened

HOUR = 3_600.0


def _lines_up(world: World, *sims: Sim) -> None:
    world.settle()
    assert {sim.view().phase for sim in sims} == {LinePhase.ACTIVE}
    assert len({world.ref(sim) for sim in sims}) == 1


def _waiting_for_the_stranded(world: World, reason: RejoinReason) -> None:
    """The client lets the therapist in, and loses its own place before LINE_INFO is at the relay."""
    world.relay.swallow = lambda connection, deposit: (
        connection.name == "client" and not deposit.close and deposit.readers == 2
    )
    world.handle(world.therapist, RequestRejoin(reason=reason))
    world.run(HOUR + 60)
    assert world.state(world.therapist).awaits_info
    assert world.therapist.view().phase is LinePhase.ACTIVE
    world.handle(world.client, RequestRejoin(reason=RejoinReason.CLONE))
    world.relay.swallow = lambda connection, deposit: False


def test_r18_who_waits_to_be_told_its_counter_answers_the_one_that_owes_it() -> None:
    """Campaign, seed 3 (lying): both said that they wait, and waited for each other."""
    world = opened()
    world.say(world.therapist, "one")
    world.settle()
    _waiting_for_the_stranded(world, RejoinReason.CLONE)
    world.say(world.therapist, "two")
    world.say(world.client, "three")
    world.run(26 * HOUR)
    _lines_up(world, world.client, world.therapist)
    assert world.client.received() == ["one", "two"]
    assert world.therapist.received() == ["three"]


def test_r16_the_stranded_one_knows_the_counter_of_an_old_vault() -> None:
    world = opened()
    copy = world.therapist.vault.snapshot()
    world.say(world.therapist, "one", "two", "three")
    world.settle()
    world.put_back(world.therapist, copy)
    world.online(world.therapist, seconds=0)
    assert AlarmKind.CLONE in world.therapist.alarms()
    _waiting_for_the_stranded(world, RejoinReason.CLONE)
    world.say(world.therapist, "four")  # under a number that the client has not counted yet
    world.run(26 * HOUR)
    _lines_up(world, world.client, world.therapist)
    assert world.client.received() == ["one", "two", "three", "four"]


@pytest.mark.parametrize(
    ("reason", "epochs_before", "believed"),
    [
        (RejoinReason.CLONE, 0, True),
        (RejoinReason.CLONE, 1, False),  # perhaps shown again by the relay, with a number that was used since
        (RejoinReason.FORK, 1, False),
        (RejoinReason.GONE, 1, True),  # its own count is right, whatever the request says
    ],
)
def test_r16_a_request_of_before_tells_an_old_vault_nothing(
    reason: RejoinReason, epochs_before: int, believed: bool
) -> None:
    world = opened()
    with world.therapist.machine._step(world.now) as step:
        state, owes = step.state, world.client.own.device_id
        own = state.member(step.own.device_id)
        assert own is not None
        own.added_epoch = state.epoch
        state.awaits_info, state.secret_from, state.stranded_reason = True, [owes], reason
        request = RejoinRequest(
            group_id=state.group_id,
            epoch=state.epoch - epochs_before,
            reason=RejoinReason.CLONE,
            device_id=owes,
            key_package=b"",
            next_counter=70,
        )
        taking_info.take_from_request(step, request)
        assert state.awaits_info is not believed
        assert (state.next_counter == 70) is believed


@pytest.mark.parametrize(
    ("stranded", "counted", "becomes"),
    [(True, 70, 70), (True, 1, 2), (False, 70, 70), (True, 2 + MAX_BEYOND + 1, 2)],
)
def test_r9_a_device_takes_the_count_of_who_has_counted_more(
    stranded: bool, counted: int, becomes: int
) -> None:
    """Campaign, seed 2611 (vaults): what it wrote with an old vault was taken for copies."""
    world = opened()
    world.say(world.therapist, "one")
    if stranded:
        world.disconnect(world.client)
        world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    with world.therapist.machine._step(world.now) as step:
        assert step.state.next_counter == 2
        numbering.heard_of(step, counted)
        assert step.state.next_counter == becomes
    told = {alarm.kind for alarm in world.therapist.view().alarms}
    assert (AlarmKind.CLONE in told) is (becomes == 70)


def test_r9_what_an_old_vault_wrote_under_numbers_that_others_have_is_numbered_anew() -> None:
    """Campaign, seed 8637 (vaults): a text was shown as delivered, because its number had been receipted."""
    world = opened()
    copy = world.therapist.vault.snapshot()
    world.say(world.therapist, "one", "two", "three")
    world.settle()
    world.put_back(world.therapist, copy)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    world.say(world.therapist, "four", "five")
    with world.therapist.machine._step(world.now) as step:  # as it was before the channel was gone
        for number, row in enumerate(list(step.tables.outbox.rows()), start=1):
            row.counter = number
            messages.set_counter(step, row.item_id, number)
            if number == 2:
                step.tables.outbox.delete(u64_key(row.order))
                step.tables.stored.put(u64_key(number), row)
            else:
                step.tables.outbox.put(u64_key(row.order), row)
        step.state.next_counter = 3
    world.online(world.therapist)
    world.run(2 * DAY)
    _lines_up(world, world.client, world.therapist)
    assert world.client.received() == ["one", "two", "three", "four", "five"]
    assert [row.counter for row in world.therapist.machine.messages()] == [4, 5]
    with world.therapist.machine._look() as step:
        assert messages.by_counter(step, step.own.device_id, 1) is None


def test_r9_line_info_is_made_anew_with_its_number() -> None:
    world = opened()
    with world.therapist.machine._step(world.now) as step:
        row = outbox.add(
            step, item_class=ItemClass.CONTENT, kind=PayloadKind.LINE_INFO, body=b"told", every_device=True
        )
        row.counter = 1
        step.tables.outbox.put(u64_key(row.order), row)
        assert numbering.number_anew(step, below=1) == 0
        assert numbering.number_anew(step, below=2) == 1
        found = step.tables.outbox.get(u64_key(row.order))
        assert found is not None
        assert (found.counter, found.body, found.every_device) == (0, b"", True)


def test_r9_who_stays_with_an_old_vault_unawares_is_heard() -> None:
    world = opened()
    copy = world.therapist.vault.snapshot()
    world.say(world.therapist, "one", "two", "three")
    world.settle()
    world.put_back(world.therapist, copy)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    world.handle(world.client, RequestRejoin(reason=RejoinReason.CLONE))
    world.online(world.therapist)
    world.run(2 * DAY)
    _lines_up(world, world.client, world.therapist)
    world.say(world.therapist, "four")
    assert world.client.received() == ["one", "two", "three", "four"]


def test_r9_a_receipt_for_more_than_was_written_moves_the_count() -> None:
    """Campaign, seed 20552 (vaults): an old vault let in by a device that was behind too."""
    world = opened()
    world.say(world.therapist, "one", "two", "three")
    world.settle()
    with world.therapist.machine._step(world.now) as step:
        counted = step.tables.counters.get(world.client.own.device_id)
        assert counted is not None
        counted.their_ack = 1
        step.tables.counters.put(counted.device_id, counted)
        step.state.next_counter = 2
    world.say(world.therapist, "four")
    assert world.client.received() == ["one", "two", "three"]  # dropped as a copy of "two"
    world.run(DAY)
    assert world.client.received() == ["one", "two", "three", "four"]
    assert world.therapist.view().undelivered == 0
    assert AlarmKind.CLONE in {alarm.kind for alarm in world.therapist.view().alarms}


def test_r16_only_the_one_that_owes_it_tells_the_counter() -> None:
    world = opened()
    with world.therapist.machine._step(world.now) as step:
        step.state.awaits_info, step.state.secret_from = True, []
        request = RejoinRequest(
            group_id=step.state.group_id,
            epoch=step.state.epoch,
            reason=RejoinReason.CLONE,
            device_id=world.client.own.device_id,
            key_package=b"",
            next_counter=70,
        )
        taking_info.take_from_request(step, request)
        assert step.state.awaits_info


def test_r18_a_copy_from_before_the_last_return_comes_back() -> None:
    """Campaign, seeds 94 and 102 (vaults): what it asked was taken for what had been answered already."""
    world = opened()
    copy = world.therapist.vault.snapshot()
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    world.run(2 * DAY)
    world.put_back(world.therapist, copy)
    world.online(world.therapist, seconds=0)
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)
    world.say(world.therapist, "here again")
    assert world.client.received() == ["here again"]


def test_r18_a_request_that_another_member_has_answered_is_not_answered_again() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    posted: list[DepositCell] = []

    def note(connection: Connection, deposit: DepositCell) -> bool:
        posted.append(deposit)
        return False

    world.disconnect(phone)
    world.relay.swallow = note
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    requests = [deposit for deposit in posted if deposit.readers == 1]
    world.relay.swallow = lambda connection, deposit: False
    world.run(HOUR + 60)
    world.online(phone)
    _lines_up(world, world.client, world.therapist, phone)
    epoch = world.client.view().epoch
    for request in requests:
        world.relay.insert(request.ref, request.body)
    world.run(2 * HOUR)
    assert world.client.view().epoch == epoch


# -- two branches


def _apart(world: World) -> Sim:
    """The client's phone alone is shown a closing cell that is none, and goes on in the next turn (R14)."""
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    shown = CellArrived(
        ref=ChannelRef(world.ref(phone)),
        seq=world.state(phone).channel.position + 1,
        close=True,
        body=bytes(16_384),
    )
    world.handle(phone, shown)
    assert world.ref(phone) != world.ref(world.client)
    return phone


def _people_decide(world: World, *sims: Sim) -> None:
    for sim in sims:
        if sim.view().phase is LinePhase.UNDECIDED:
            world.handle(sim, Resolve(same=True))


def test_r18_two_branches_become_one_though_both_let_a_device_in() -> None:
    """Campaign, seeds 78 (lying) and 81 (all): members of both answered, for as long as anybody asked."""
    world = opened()
    phone = _apart(world)
    everybody = (world.client, phone, world.therapist)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FAULT))
    world.run(2 * HOUR)
    assert AlarmKind.TWO_BRANCHES in world.therapist.alarms()
    for _ in range(16):
        _people_decide(world, *everybody)
        world.run(HOUR)
    _lines_up(world, *everybody)
    for sim in everybody:
        world.say(sim, f"from {sim.name}")
    world.settle()
    for sim in everybody:
        assert len([row for row in sim.rows() if not row.missing]) == 3


def _row(device_id: bytes, *, epoch: int, reason: RejoinReason, noted_at: float, stay: Stay) -> RequestRow:
    return RequestRow(
        device_id=device_id,
        epoch=epoch,
        reason=reason,
        key_package=b"",
        due_at=noted_at,
        noted_at=noted_at,
        stay=stay,
        secret=b"",
    )


def _stays(world: World, rows: list[RequestRow], *, after: float = 3 * HOUR, awaits: bool = False) -> bool:
    """Whether a device that was offered two branches stays, so long after it asked."""
    with world.client.machine._step(world.now) as step:
        step.conn.up_since = world.now - HOUR
        state = step.state
        state.phase, state.stranded_reason = LinePhase.STRANDED, RejoinReason.TWO_BRANCHES
        state.resolved_same, state.awaits_info = True, awaits
        state.stay_at = step.now + 2 * HOUR - after
        for row in rows:
            step.tables.requests.put(row.device_id, row)
        return resolving.consider(step)


def test_r18_of_all_that_ask_after_two_branches_one_stays() -> None:
    now = opened().now
    low, high = bytes(16), b"\xff" * 16
    two = RejoinReason.TWO_BRANCHES
    cases: list[tuple[list[tuple[bytes, int, Stay, float]], bool]] = [
        ([], False),  # nobody to let in
        ([(high, 0, Stay.SOUND, now)], True),
        ([(low, 0, Stay.SOUND, now)], False),  # that one stays
        ([(low, 0, Stay.NEVER, now)], True),  # that one cannot
        ([(low, 0, Stay.ALONE, now)], True),  # that one only if nobody else can
        ([(high, 1, Stay.SOUND, now)], False),  # a later epoch
        ([(low, -1, Stay.SOUND, now)], True),  # an earlier one
        ([(high, 0, Stay.SOUND, now), (low, 0, Stay.SOUND, now)], False),
        ([(low, 0, Stay.SOUND, now - 3 * DAY), (high, 0, Stay.SOUND, now)], True),  # it asks no more
    ]
    for asked, stays in cases:
        world = opened()
        epoch = world.client.view().epoch
        rows = [
            _row(device_id, epoch=epoch + more, reason=two, noted_at=noted_at, stay=stay)
            for device_id, more, stay, noted_at in asked
        ]
        assert _stays(world, rows) is stays, asked


def test_r18_after_two_branches_nobody_stays_at_once_nor_before_it_was_told_its_counter() -> None:
    world = opened()
    rows = [_row(b"\xff" * 16, epoch=0, reason=RejoinReason.FORK, noted_at=world.now, stay=Stay.SOUND)]
    assert not _stays(world, rows, after=HOUR)
    assert not _stays(world, rows, awaits=True)
    assert _stays(world, rows)


def test_r18_the_word_about_two_branches_holds_for_each_device_that_has_not_come_back_since() -> None:
    world = opened()
    with world.client.machine._step(world.now) as step:
        member = step.state.member(world.therapist.own.device_id)
        assert member is not None
        member.added_at = step.now
        assert not resolving.decided(step, member)  # nothing was decided
        step.state.resolved_at = step.now + 60
        assert resolving.decided(step, member)
        member.added_at = step.now + 61
        assert not resolving.decided(step, member)  # let in since, and asks again: another fork
        member.added_at, step.state.resolved_at = 1.0, step.now - 3 * DAY
        assert not resolving.decided(step, member)


def _unsure(step: Step) -> None:
    step.state.awaits_info, step.state.stranded_reason = True, RejoinReason.CLONE


def test_r09_an_old_vault_stays_one_until_it_was_told_its_counter() -> None:
    world = opened()
    with world.therapist.machine._step(world.now) as step:
        _unsure(step)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    assert world.state(world.therapist).stranded_reason is RejoinReason.CLONE


def test_r11_who_comes_back_is_told_what_a_device_that_has_left_meanwhile_can_send_no_more() -> None:
    """Campaign, seed 525 (equivocation): it waited for ever for a text of a device that was removed."""
    world = opened()
    tablet = world.add_device(world.therapist, "tablet")
    world.online(tablet)
    world.settle()
    world.say(tablet, "one")
    world.settle()
    world.disconnect(tablet)
    with world.client.machine._step(world.now) as step:
        member = step.state.member(tablet.own.device_id)
        assert member is not None
        before = delivery.counters_of(step, member).contiguous
        delivery.admit(step, member, before + 2)
    assert [row.counter for row in world.client.rows() if row.missing] == [before + 1]
    world.disconnect(world.client)
    world.handle(world.therapist, RemoveDevice(device_id=tablet.own.device_id))
    world.run(60)
    world.handle(world.client, RequestRejoin(reason=RejoinReason.GONE))
    world.online(world.client, seconds=0)
    world.run(2 * HOUR)
    _lines_up(world, world.client, world.therapist)
    assert [row.lost for row in world.client.rows() if row.missing] == [True]
    assert AlarmKind.MESSAGES_LOST in world.client.alarms()


# -- everybody is stranded


def _all_gone(world: World, *sims: Sim) -> None:
    for sim in sims:
        world.handle(sim, RequestRejoin(reason=RejoinReason.GONE))


def test_r18_when_all_were_left_behind_one_goes_on_and_lets_the_others_in() -> None:
    """Campaign, seed 203 (vaults): all were away for longer than the relay keeps how a channel ended."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    everybody = (world.client, world.therapist, phone)
    _all_gone(world, *everybody)
    world.run(HOUR - 60)
    assert {sim.view().phase for sim in everybody} == {LinePhase.STRANDED}  # somebody might still answer
    world.run(2 * DAY)
    _lines_up(world, *everybody)
    for sim in everybody:
        world.say(sim, f"from {sim.name}")
    world.settle()
    for sim in everybody:
        assert len([row for row in sim.rows() if not row.missing]) == 3


def test_r18_nobody_goes_on_alone_while_another_may_have_gone_on() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.disconnect(phone)
    _all_gone(world, world.client, world.therapist)
    epoch = world.client.view().epoch
    world.run(3 * DAY)
    assert {world.client.view().phase, world.therapist.view().phase} == {LinePhase.STRANDED}
    world.online(phone)  # it answers as ever
    world.run(DAY + 2 * HOUR)
    _lines_up(world, world.client, world.therapist, phone)
    assert world.client.view().epoch > epoch


def _phone_never_told(world: World) -> Sim:
    """A second device of the client has its Welcome, and what the client tells it first is lost (R16)."""
    world.relay.swallow = lambda connection, deposit: not deposit.close
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.run(60)
    assert len(world.state(world.client).members) == 3
    assert not world.state(phone).secret
    world.disconnect(phone)
    return phone


def test_r18_who_was_never_told_r_keeps_nobody_waiting() -> None:
    """Campaign, seed 233 (lying): it could not ask, and so nobody might go on."""
    world = opened()
    phone = _phone_never_told(world)
    _all_gone(world, world.client, world.therapist)
    world.relay.swallow = lambda connection, deposit: False
    world.run(6 * DAY)
    assert {world.client.view().phase, world.therapist.view().phase} == {LinePhase.STRANDED}
    world.run(2 * DAY)
    _lines_up(world, world.client, world.therapist)
    world.say(world.client, "one")
    world.settle()
    assert world.therapist.received() == ["one"]
    assert not [m for m in world.state(world.client).members if m.device_id == phone.own.device_id]


def test_r18_three_days_of_asking_are_counted_over_many_connections() -> None:
    """A phone connects anew every day, and oftener; its asking does not begin anew with each connection."""
    world = opened()
    _phone_never_told(world)
    both = (world.client, world.therapist)
    _all_gone(world, *both)
    world.relay.swallow = lambda connection, deposit: False
    for _ in range(18):
        world.run(DAY / 2)
        world.disconnect(*both)
        world.online(*both, seconds=0)
    world.run(2 * HOUR)
    _lines_up(world, *both)


def test_r18_who_fell_silent_is_waited_for_three_days_more() -> None:
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.say(phone, "one")
    world.settle()
    world.disconnect(phone)
    for sim in (world.client, world.therapist):
        world.disconnect(sim)
    world.run(61 * DAY)
    for sim in (world.client, world.therapist):
        world.handle(sim, RequestRejoin(reason=RejoinReason.GONE))
        world.online(sim, seconds=0)
    world.run(3 * DAY)
    assert {world.client.view().phase, world.therapist.view().phase} == {LinePhase.STRANDED}
    world.run(1.2 * DAY)
    _lines_up(world, world.client, world.therapist)


def test_r16_a_joiner_that_is_told_nothing_for_a_week_says_so() -> None:
    world = opened()
    phone = _phone_never_told(world)
    world.disconnect(world.client)  # it would add the phone anew
    world.online(phone, seconds=0)
    world.run(6 * DAY)
    assert AlarmKind.STRANDED not in phone.alarms()
    world.run(2 * DAY)
    assert phone.view().phase is LinePhase.ACTIVE
    assert AlarmKind.STRANDED in phone.alarms()


def test_r18_after_a_loss_whoever_has_its_place_may_answer_before_anybody_stays() -> None:
    """The model of the way back: a request held here may be one that another has answered since."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.disconnect(world.client)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    world.handle(phone, RequestRejoin(reason=RejoinReason.RELAY_LOST_STATE))
    world.run(HOUR - 60)
    assert phone.view().phase is LinePhase.STRANDED
    world.run(2 * HOUR)
    _lines_up(world, phone, world.therapist)
    world.online(world.client)
    world.run(DAY)
    _lines_up(world, phone, world.therapist, world.client)


@pytest.mark.parametrize("offline", ["nobody", "who waits", "who owes"])
@pytest.mark.parametrize("swap", [False, True])
def test_r18_who_was_told_while_it_was_stranded_and_who_told_it_do_not_both_go_on(
    swap: bool, offline: str
) -> None:
    """The model of the way back: each took the other for one that may not stay, or did not hear it."""
    world = opened(2)
    waits, owes = (world.client, world.therapist) if swap else (world.therapist, world.client)
    world.relay.swallow = lambda connection, deposit: (
        connection.name == owes.name and not deposit.close and deposit.readers == 2
    )
    world.handle(waits, RequestRejoin(reason=RejoinReason.GONE))
    world.run(HOUR + 60)
    assert world.state(waits).awaits_info
    world.handle(waits, RequestRejoin(reason=RejoinReason.GONE))
    world.run(2 * HOUR)  # its answer of today was given
    world.relay.swallow = lambda connection, deposit: connection.name == waits.name and offline == "who owes"
    world.handle(owes, RequestRejoin(reason=RejoinReason.GONE))
    world.run(30)
    world.relay.swallow = lambda connection, deposit: False
    if offline == "who owes":
        world.disconnect(owes, waits)
        world.online(waits)
        world.run(5 * HOUR)
        world.online(owes)
    if offline == "who waits":
        world.disconnect(waits)
        world.run(5 * HOUR)
        world.online(waits)
    world.run(2 * DAY)
    _lines_up(world, waits, owes)
    for sim in (waits, owes):
        assert not {AlarmKind.TWO_BRANCHES, AlarmKind.FORK} & set(sim.alarms())


def test_r18_a_clock_that_was_ahead_keeps_nobody_waiting() -> None:
    """Campaign, seed 467 (lying): it had asked when its clock was 20 days ahead, and asked again after 21."""
    world = opened()
    world.disconnect(world.client)
    world.relay.swallow = lambda connection, deposit: deposit.readers == 1
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    world.run(60)
    world.relay.swallow = lambda connection, deposit: False
    with world.therapist.machine._step(world.now) as step:
        step.state.rejoin_requested_at += 20 * DAY
        step.state.stay_at += 20 * DAY
    with world.client.machine._step(world.now) as step:
        step.tables.requests.clear()
        row = AnsweredRow(answered_at=world.now + 20 * DAY, key_package_hashes=[])
        step.tables.answered.put(world.therapist.own.device_id, row)
    before = world.state(world.therapist).rejoin_requested_at
    world.online(world.client)
    world.run(7 * HOUR)
    assert world.state(world.therapist).rejoin_requested_at < before
    assert world.state(world.therapist).stay_at < world.now + 2 * HOUR
    world.run(2 * DAY)
    _lines_up(world, world.client, world.therapist)


def test_r18_who_asks_in_vain_for_a_week_says_so_and_what_to_do() -> None:
    """Campaign, seed 326 (store): a device of a branch that was given up stood in no tree any more."""
    world = opened()
    world.disconnect(world.client)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))

    def sentences() -> list[str]:
        return [alarm.sentence for alarm in world.therapist.view().alarms if alarm.kind is AlarmKind.STRANDED]

    world.run(6.5 * DAY)
    assert returns.IN_VAIN not in sentences()
    world.run(1.5 * DAY)
    assert sentences() == [returns.IN_VAIN]
    told = world.therapist.alarms().count(AlarmKind.STRANDED)
    world.run(3 * DAY)
    assert world.therapist.alarms().count(AlarmKind.STRANDED) == told
    world.online(world.client)
    world.run(2 * DAY)
    _lines_up(world, world.client, world.therapist)
    assert sentences() == []


def test_r18_a_clock_that_was_ahead_does_not_keep_it_from_saying_so() -> None:
    """Campaign, seed 14189 (lying): one KeyPackage of eight seemed the newest for weeks."""
    world = opened()
    world.disconnect(world.client)
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    with world.therapist.machine._step(world.now) as step:
        (keys,) = step.tables.rejoin_keys.rows()
        keys.made_at = world.now + 30 * DAY
        step.tables.rejoin_keys.put(cells.digest_of(keys.key_package), keys)
    world.run(9 * DAY)
    sentences = {alarm.sentence for alarm in world.therapist.view().alarms}
    assert returns.IN_VAIN in sentences


def test_r09_an_old_vault_goes_on_by_itself_never() -> None:
    world = opened()
    for sim in (world.client, world.therapist):
        world.handle(sim, RequestRejoin(reason=RejoinReason.CLONE))
    world.run(3 * DAY)
    assert {world.client.view().phase, world.therapist.view().phase} == {LinePhase.STRANDED}


# -- what came before the device was told where to count from


def test_r11_what_came_late_to_a_joiner_is_shown_in_its_senders_order() -> None:
    """Campaign, seed 206 (all): before LINE_INFO a joiner marks no gaps that a late message could fill."""
    world = opened()
    world.say(world.client, "one", "two", "three")
    with world.therapist.machine._look() as step:
        rows = list(step.tables.messages.rows())
    shown = messages.in_order([rows[2], rows[0], rows[1]])
    assert [row.body for row in shown] == [b"one", b"two", b"three"]


# -- past the end of a channel


def _own_commit_shown_otherwise(world: World, lie: Callable[[OwnCellArrived], NetworkEvent]) -> None:
    """The client changes keys; the relay takes the closing cell, and shows it something else there."""

    def tamper(connection: Connection, event: NetworkEvent) -> list[NetworkEvent]:
        if connection.name == "client" and isinstance(event, OwnCellArrived) and event.close:
            return [lie(event)]
        return [event]

    world.disconnect(world.therapist)
    world.relay.tamper = tamper
    world.handle(world.client, SelfUpdate())
    world.run(5)
    world.relay.tamper = lambda connection, event: [event]


def _expired(event: OwnCellArrived) -> NetworkEvent:
    return Expired(ref=event.ref, first=event.seq, last=event.seq)


def test_r13_who_was_led_past_the_end_of_a_channel_reads_it_again() -> None:
    """Campaign, seeds 219, 232 and 237 (lying): it stood in a closed channel for ever."""
    world = opened()
    epoch = world.client.view().epoch
    _own_commit_shown_otherwise(world, _expired)
    assert world.client.view().epoch == epoch
    world.disconnect(world.client)
    world.online(world.client, world.therapist)
    _lines_up(world, world.client, world.therapist)
    assert world.client.view().epoch == epoch + 1
    world.say(world.client, "here")
    assert world.therapist.received() == ["here"]


def test_r18_who_stays_after_a_fork_reads_the_channel_again() -> None:
    """Campaign, seed 232 (lying): what was shown otherwise was the end of the channel."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    epoch = world.client.view().epoch
    world.disconnect(phone)
    _own_commit_shown_otherwise(world, lambda event: replace(event, digest=bytes(32)))
    assert world.client.view().phase is LinePhase.UNDECIDED
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.GONE))
    world.online(world.therapist, seconds=120)
    world.handle(world.client, Resolve(same=True))
    world.deliver()
    assert world.client.view().phase is LinePhase.ACTIVE
    assert world.client.view().epoch == epoch + 1
    world.run(2 * HOUR)
    world.online(phone)
    _lines_up(world, world.client, world.therapist, phone)


def test_r18_the_people_judge_what_was_claimed_before_they_decided_and_nothing_after() -> None:
    """Campaign, seed 19361 (all): the closing cell with a wrong claim was read and asked about for ever."""
    world = opened()
    elsewhere = LogClaim(anchor=Anchor(incarnation=bytes(16), n=0, log_hash=bytes(32)))
    with world.client.machine._step(world.now) as step:
        head = step.state.channel.position
        log.resolved(step)
        log.check_claim(step, elsewhere, head)
    assert world.client.view().phase is LinePhase.ACTIVE
    with world.client.machine._step(world.now) as step:
        log.check_claim(step, elsewhere, head + 1)
    assert world.client.view().phase is LinePhase.UNDECIDED


def test_r13_who_gave_up_a_commit_that_took_effect_asks_to_be_let_in() -> None:
    world = opened()
    _own_commit_shown_otherwise(world, _expired)
    with world.client.machine._step(world.now) as step:
        step.tables.pending_commit.clear()
    world.disconnect(world.client)
    world.online(world.client, seconds=0)
    assert world.client.view().phase is LinePhase.STRANDED
    assert AlarmKind.COMMIT_REFUSED not in world.client.alarms()
    world.online(world.therapist)
    world.run(HOUR + 60)
    _lines_up(world, world.client, world.therapist)


def test_r18_a_fork_is_resolved_where_the_channel_was_never_attached() -> None:
    """Campaign, seed 2749 (all): there was no record to compare anew, and the answer *same* was an error."""
    world = opened()
    world.handle(world.client, RequestRejoin(reason=RejoinReason.FORK))
    world.deliver()
    assert world.therapist.view().phase is LinePhase.UNDECIDED
    world.disconnect(world.therapist)
    with world.therapist.machine._step(world.now) as step:
        step.state.channel = log.new_channel(step)
    world.handle(world.therapist, Resolve(same=True))
    assert world.therapist.view().phase is LinePhase.ACTIVE


def test_r18_a_fork_whose_other_side_was_let_in_meanwhile_is_over_with_the_persons_word() -> None:
    """Campaign, seeds 620 and 996 (store): each asked in turn, and the others' people decided again."""
    world = opened()
    phone = world.add_device(world.client, "phone")
    world.online(phone)
    world.settle()
    world.handle(world.therapist, RequestRejoin(reason=RejoinReason.FORK))
    world.run(60)
    assert world.client.view().phase is phone.view().phase is LinePhase.UNDECIDED
    world.handle(world.client, Resolve(same=True))
    world.run(2 * HOUR)
    assert world.therapist.view().phase is LinePhase.ACTIVE
    assert phone.view().phase is LinePhase.UNDECIDED  # its person has not said anything yet
    epoch = world.client.view().epoch
    world.handle(phone, Resolve(same=True))
    world.run(2 * HOUR)
    _lines_up(world, world.client, world.therapist, phone)
    assert world.client.view().epoch == epoch
    world.say(phone, "on we go")
    assert world.therapist.received() == ["on we go"]
