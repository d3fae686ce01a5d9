"""Linking and removing devices in a world without I/O: two, three and four leaves, accidents, bad input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from clients.sdk.line import events as e
from clients.sdk.line.events import AlarmKind, LinePhase
from clients.sdk.line.state import LineState
from clients.sdk.linking import mailbox, wire
from clients.sdk.linking.first_device import TooManyDevices
from clients.sdk.linking.linked_device import LINK_KEYS, LINK_LINES, LINK_PACKAGES
from clients.sdk.linking.siblings import SiblingPhase
from clients.sdk.records import LinkPhase
from clients.sdk.renewal import RENEW_DAYS
from crypto.errors import StateError
from keys.certificates import DeviceCertificate, DeviceRole
from keys.linking import parse_code
from keys.vault import VaultTransaction
from support.contact_world import ContactWorld
from support.fake_relay import Connection
from support.link_world import Host, LinkWorld


@pytest.fixture(name="world")
def _world() -> LinkWorld:
    return LinkWorld()


def state_of(host: Host) -> LineState:
    with host.machines[host.line_id]._look() as step:
        return step.state


def phase_of(host: Host) -> LinkPhase | None:
    return None if host.device.linked is None else host.device.linked.phase


def notices(host: Host, kind: AlarmKind) -> list[str]:
    return [
        effect.sentence for effect in host.effects if isinstance(effect, e.Notify) and effect.kind is kind
    ]


def test_a_new_device_comes_into_the_line_without_history(world: LinkWorld) -> None:
    world.client.say("before")
    world.settle()
    phone = world.link(world.client, "phone")
    assert [host.leaves for host in world.hosts] == [3, 3, 3]
    assert phone.texts(mine=True) == []
    certificate = DeviceCertificate.decode(phone.keys_of(phone.line_id).certificate)
    assert certificate.role is DeviceRole.SECONDARY
    assert phone.keys_of(phone.line_id).identity_seed is None
    (sibling,) = world.client.siblings
    assert (sibling.name, sibling.phase, sibling.opening_box) == ("phone", SiblingPhase.LINKED, b"")
    (told,) = notices(world.therapist, AlarmKind.DEVICE_ADDED)
    assert told == f"The other person has added a device to this line: {certificate.device_id.hex()[:8]}."
    assert notices(world.client, AlarmKind.DEVICE_ADDED)[0].startswith("You have added")


def test_four_leaves_hear_each_other_and_agree(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    tablet = world.link(world.therapist, "tablet")
    people = ((world.client, phone), (world.therapist, tablet))
    for number, host in enumerate(world.hosts):
        host.say(f"text {number}")
        world.settle()
    for person in people:
        texts = {f"text {number}" for number, host in enumerate(world.hosts) if host in person}
        for host in world.hosts:
            assert set(host.texts(mine=host in person)) == texts
    assert {host.view(host.line_id).epoch for host in world.hosts} == {state_of(world.client).epoch}
    for host in world.hosts:
        rows = host.machines[host.line_id].messages()
        assert {row.state for row in rows if row.mine} == {e.DeliveryState.DELIVERED}, host.name


def test_the_linked_device_of_a_therapist_has_no_inbox_and_the_same_identity(world: LinkWorld) -> None:
    tablet = world.link(world.therapist, "tablet")
    own = DeviceCertificate.decode(world.therapist.keys_of(world.therapist.line_id).certificate)
    linked = tablet.device.linked
    assert tablet.device.therapist is None
    assert linked is not None
    assert linked.identity_key == own.identity_key
    assert (tablet.device.display_name, linked.hpke_private, linked.code) == ("Dr Sara", None, "")


def test_a_third_device_is_refused_before_anything_is_sent(world: LinkWorld) -> None:
    world.link(world.client, "phone")
    world.link(world.therapist, "tablet")
    third = world.new_device("third")
    deposits = len(world.relay.deposits)
    code = world.code(third)
    for first in (world.client, world.therapist):
        with pytest.raises(TooManyDevices):
            world.read(first, code)
    world.settle()
    assert len(world.relay.deposits) == deposits
    assert world.client.leaves == 4


# -- the code


def test_a_code_links_one_device_once(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    phone.connect()
    code = world.code(phone)
    assert world.read(world.client, code)
    world.settle()
    assert not world.read(world.client, code)
    # Somebody else who saw it finds the only place taken.
    world.read(world.therapist, code, name="theirs")
    world.settle()
    (attempt,) = world.therapist.siblings
    assert attempt.phase is SiblingPhase.OPENING
    with world.therapist.vault.transaction() as tx:
        row = mailbox.load_box(tx, attempt.opening_box)
    assert row is not None
    assert row.full
    assert phone.line_records.keys() == world.client.line_records.keys()


def test_a_new_code_makes_the_one_before_worthless(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    old, new = world.code(phone), world.code(phone)
    phone.connect()
    world.read(world.client, old)
    world.settle()
    assert phase_of(phone) is LinkPhase.WAITING
    assert world.read(world.client, new)
    world.settle()
    assert phase_of(phone) is LinkPhase.LINKED
    assert [sibling.name for sibling in world.client.siblings] == ["phone"]


def test_an_offer_that_comes_after_the_hour_is_not_taken(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    phone.connect()
    code = world.code(phone)
    phone.desk.work(world.now)
    world.run()
    phone.disconnect()
    world.read(world.client, code)
    world.settle()
    world.now = code.expires + 1.0
    phone.connect()
    world.settle()
    assert phone.device.linked is not None
    assert phone.device.linked.phase is LinkPhase.WAITING
    assert world.client.leaves == 2


def test_an_attempt_that_nobody_answered_is_forgotten_with_its_code(world: LinkWorld) -> None:
    code = world.code(world.new_device("phone"))
    world.read(world.client, code)
    assert [sibling.phase for sibling in world.client.siblings] == [SiblingPhase.OPENING]
    world.client.desk.touch()
    world.client.desk.work(code.expires + 1.0)
    assert world.client.siblings == []
    assert world.client.desk.boxes == {}


def test_a_key_that_is_not_the_one_of_the_code_is_noticed(world: LinkWorld) -> None:
    """Somebody has seen the code, and the relay helps: the HELLO is replaced by another key."""
    phone = world.new_device("phone")
    code = world.code(phone)
    up = wire.opening_direction(code, wire.UP)
    mallory = world.new_device("mallory")
    with mallory.vault.transaction() as tx:
        mailbox.open_box(
            tx, b"m" * 16, incoming=wire.opening_direction(code, wire.DOWN), outgoing=up, rng=mallory.rng
        )
        mailbox.post(tx, b"m" * 16, wire.encode_hello(bytes(1_216)), mallory.rng)
    box = mailbox.Mailbox(mallory.vault, b"m" * 16, lambda *_: None)
    mallory.connect()
    for effect in box.handle(e.Connected(), world.now):
        if isinstance(effect, e.DepositCell):
            mallory.do(effect)
    world.read(world.client, code)
    world.settle()
    (attempt,) = world.client.siblings
    assert attempt.tampered
    assert attempt.phase is SiblingPhase.OPENING
    assert not attempt.link_box
    assert world.client.leaves == 2


def test_what_the_relay_writes_itself_opens_nowhere(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    phone.connect()
    code = world.code(phone)
    phone.desk.work(world.now)
    world.run()
    for channel in list(world.relay.channels.values()):
        if channel.readers == 1:
            world.relay.insert(channel.ref, bytes(16_384))
    world.read(world.client, code)
    world.settle()
    assert phone.leaves == 3
    for channel in list(world.relay.channels.values()):
        if channel.readers == 1:
            world.relay.insert(channel.ref, bytes(16_384))
    world.settle()
    assert world.client.leaves == 3


def test_a_device_that_has_a_person_shows_no_code(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    for host in (phone, world.client):
        with pytest.raises(StateError), host.vault.transaction() as tx:
            host.desk.linked.show_code(tx, host.device, world.now)


# -- accidents


@pytest.mark.parametrize("steps", range(0, 60, 3))
def test_linking_that_both_processes_died_in_goes_on(steps: int) -> None:
    """After so many events both devices crash; they come back and finish."""
    world = LinkWorld(seed=2)
    phone = world.new_device("phone")
    phone.connect()
    world.read(world.client, world.code(phone))
    phone.desk.work(world.now)
    for _ in range(steps):
        if not any(host.step() for host in world.hosts):
            break
    for host in (phone, world.client):
        host.crash()
    for host in (phone, world.client):
        host.connect()
    world.settle()
    assert [host.leaves for host in world.hosts] == [3, 3, 3]
    world.therapist.say("salam")
    world.settle()
    assert phone.texts(mine=False) == world.client.texts(mine=False) == ["salam"]


def test_linking_survives_a_relay_that_loses_its_store(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    phone.connect()
    code = world.code(phone)
    world.read(world.client, code)
    phone.desk.work(world.now)
    world.settle()
    for host in world.hosts:
        host.disconnect()
    world.relay.lose_store()
    for host in world.hosts:
        host.connect()
    world.settle()
    world.client.say("after")
    world.settle()
    assert phone.texts(mine=True) == ["after"]


def test_a_device_that_missed_its_line_is_told_again_the_next_day(world: LinkWorld) -> None:
    phone = world.new_device("phone")
    phone.connect()
    world.read(world.client, world.code(phone))

    def lose_lines(connection: Connection, deposit: e.DepositCell) -> bool:
        readers_of_one = deposit.readers == 1 and connection.name == "client"
        return readers_of_one and world.client.siblings[0].phase is SiblingPhase.LINKED

    def no_loss(connection: Connection, deposit: e.DepositCell) -> bool:
        return False

    def stored_anyway(connection: Connection, event: e.NetworkEvent) -> list[e.NetworkEvent]:
        return [event]

    world.relay.swallow = lose_lines
    world.relay.tamper = stored_anyway
    world.settle()
    assert phone.line_records == {}
    world.relay.swallow = no_loss
    for host in (phone, world.client):
        host.disconnect()
        host.connect()
    world.run(90_000)
    world.settle()
    assert phone.leaves == 3


# -- renewal


def test_r17_a_linked_devices_certificate_is_renewed_in_time(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    before = DeviceCertificate.decode(phone.keys_of(phone.line_id).certificate)
    late = (before.not_after_day - RENEW_DAYS) * 86_400.0
    world.client.desk.first._renew_all(world.client.siblings, late)
    world.client.desk.sync(world.now)
    world.settle()
    assert phone.keys_of(phone.line_id).certificate == before.encode()  # not yet
    world.client.desk.first._renew_all(world.client.siblings, late + 86_400)
    world.client.desk.sync(world.now)
    world.settle()
    after = DeviceCertificate.decode(phone.keys_of(phone.line_id).certificate)
    assert after.not_after_day > before.not_after_day
    assert (after.device_key, after.device_id) == (before.device_key, before.device_id)
    for host in world.hosts:
        with host.machines[host.line_id]._look() as step:
            identities = [member.leaf_node.credential.identity for member in step.mls.members]
        assert after.encode() in identities
        assert before.encode() not in identities
    phone.say("still here")
    world.settle()
    assert "still here" in world.therapist.texts(mine=False)


# -- removal


def assert_wiped(host: Host) -> None:
    """Nothing of the line's secrets and nothing of the link is left in the vault."""
    with host.vault.transaction() as tx:
        for space in (LINK_KEYS, LINK_LINES, LINK_PACKAGES, mailbox.BOXES, mailbox.MAIL):
            assert not list(tx.items(space)), space
        for space in ("line.mls", "line.return", "line.rejoinkey", "line.commit", "line.history", "line.own"):
            assert not list(tx.items(space)), space
    state = state_of(host)
    assert (state.secret, state.cell_key, state.addresses, state.old_secrets) == (b"", b"", [], [])
    assert host.keys_of(host.line_id).device_seed.reveal() == bytes(32)


def test_a_removed_device_that_is_online_says_so_and_is_wiped(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    world.therapist.say("for both")
    world.settle()
    secret = state_of(world.client).secret
    world.remove(world.client, "phone")
    world.settle()
    assert phone.device.linked is not None
    assert phone.device.linked.phase is LinkPhase.REMOVED
    assert phone.view(phone.line_id).phase is LinePhase.ENDED
    assert_wiped(phone)
    (told,) = notices(phone, AlarmKind.DEVICE_REMOVED)
    assert told.startswith("This device was removed from the line by its own person.")
    assert phone.texts(mine=False) == ["for both"]  # what it had stays readable
    assert world.client.siblings == []
    assert [host.leaves for host in (world.client, world.therapist)] == [2, 2]
    assert state_of(world.client).secret == state_of(world.therapist).secret != secret  # R is another one
    assert any("removed a device" in told for told in notices(world.therapist, AlarmKind.DEVICE_REMOVED))
    world.therapist.say("after")
    world.settle()
    assert world.client.texts(mine=False) == ["for both", "after"]
    assert phone.texts(mine=False) == ["for both"]


def test_a_removed_device_that_was_offline_learns_it_when_it_comes_back(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    phone.disconnect()
    world.remove(world.client, "phone")
    world.settle()
    assert world.client.siblings == []
    world.therapist.say("after")
    world.settle()
    phone.connect()
    world.settle()
    assert phone.texts(mine=False) == []
    assert_wiped(phone)
    assert world.client.leaves == 2


def test_a_removal_that_was_wished_offline_goes_out_with_the_connection(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    world.client.disconnect()
    world.remove(world.client, "phone")
    world.client.crash()
    world.therapist.say("still for three")
    world.settle()
    assert phone.texts(mine=False) == ["still for three"]
    world.client.connect()
    world.settle()
    assert world.client.leaves == 2
    assert_wiped(phone)


def test_r14_a_device_is_removed_at_once_although_it_has_receipted_nothing(world: LinkWorld) -> None:
    """The new device vanished before it receipted LINE_INFO: that must not keep it in the line for a week."""
    phone = world.new_device("phone")
    phone.connect()
    world.read(world.client, world.code(phone))
    for _ in range(400):
        if world.client.leaves == 3:
            break
        for host in world.hosts:
            host.step()
        world.now += 0.5
        for host in world.hosts:
            host.tick()
    assert world.client.leaves == 3
    phone.disconnect()
    world.remove(world.client, "phone")
    world.settle()
    assert world.client.leaves == world.therapist.leaves == 2


def test_removal_in_the_middle_of_linking_leaves_nothing_behind(world: LinkWorld) -> None:
    for steps in range(1, 40, 6):
        phone = world.new_device(f"phone {steps}")
        phone.connect()
        world.read(world.client, world.code(phone), name=phone.name)
        phone.desk.work(world.now)
        for _ in range(steps):
            for host in world.hosts:
                host.step()
        if any(sibling.name == phone.name for sibling in world.client.siblings):
            world.remove(world.client, phone.name)
        world.settle()
        assert world.client.siblings == [], steps
        assert world.client.leaves == world.therapist.leaves == 2, steps
        world.hosts.remove(phone)


def test_a_place_is_free_again_after_a_removal(world: LinkWorld) -> None:
    world.link(world.client, "phone")
    world.link(world.therapist, "tablet")
    world.remove(world.client, "phone")
    world.settle()
    laptop = world.link(world.client, "laptop")
    assert [host.leaves for host in (laptop, world.client, world.therapist)] == [4, 4, 4]


def test_the_removed_device_cannot_come_back_by_r18(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    before = phone.vault.snapshot()
    world.remove(world.client, "phone")
    world.settle()
    phone.disconnect()
    phone.vault.restore(before)  # a thief puts an old copy back
    phone.start()
    phone.handle(phone.line_id, e.RequestRejoin(reason=e.RejoinReason.GONE))
    phone.connect()
    world.run(90_000)
    world.settle()
    assert world.client.leaves == world.therapist.leaves == 2


def test_both_people_may_remove_at_the_same_time(world: LinkWorld) -> None:
    world.link(world.client, "phone")
    world.link(world.therapist, "tablet")
    world.remove(world.client, "phone")
    world.remove(world.therapist, "tablet")
    world.settle()
    assert world.client.leaves == world.therapist.leaves == 2
    assert state_of(world.client).secret == state_of(world.therapist).secret


def test_a_line_that_one_device_ends_ends_for_both(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    phone.handle(phone.line_id, e.EndLine(block=False, keep_texts=True))
    world.settle()
    assert {host.view(host.line_id).phase for host in world.hosts} == {LinePhase.ENDED}
    assert notices(world.client, AlarmKind.ENDED_BY_PEER) == ["You have ended this line on another device."]
    assert notices(world.therapist, AlarmKind.ENDED_BY_PEER) == ["The other person has ended this line."]


# -- a dishonest new device, a dishonest first device


def answer(world: LinkWorld, phone: Host, message: wire.LinkMessage) -> None:
    """A linked device says something of its own choice."""
    assert phone.device.linked is not None
    with phone.vault.transaction() as tx:
        mailbox.post(tx, phone.device.linked.box_id, wire.encode_link_message(message), phone.rng)
    phone.desk.sync(world.now)
    world.settle()


def test_a_linked_device_cannot_change_its_key_or_bring_in_another(world: LinkWorld) -> None:
    phone = world.link(world.client, "phone")
    (before,) = world.client.lines_of("phone")
    forged = wire.Answer(
        line_id=phone.line_id, device_key=b"k" * 32, device_id=b"d" * 16, key_package=b"garbage"
    )
    answer(world, phone, forged)
    answer(world, phone, wire.Answer(line_id=b"?" * 16, device_key=b"k" * 32, device_id=b"d" * 16))
    answer(world, phone, wire.Removed())
    assert world.client.lines_of("phone") == [before]
    assert world.client.leaves == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda line: {"peer_identity": b"p" * 32},
        lambda line: {"group_id": b"another group id"},
        lambda line: {"identity_key": b"i" * 32},
        lambda line: {"certificate": bytes(154)},
        lambda line: {"welcome": b"\0" * 40},
    ],
    ids=["peer", "group", "identity", "certificate", "welcome"],
)
def test_r16_a_line_that_is_not_the_announced_one_is_not_joined(
    change: Callable[[wire.Line], dict[str, bytes]],
) -> None:
    """What the first device says of a line must agree with the Welcome in every part."""
    world = LinkWorld(seed=3)
    phone = world.new_device("phone")
    phone.connect()
    take = phone.desk.linked.take_link

    def tampering(tx: VaultTransaction, data: bytes, now: float) -> None:
        message = wire.decode_link_message(data)
        if isinstance(message, wire.Line) and message.welcome:
            data = wire.encode_link_message(replace(message, **change(message)))  # type: ignore[arg-type]  # by name
        take(tx, data, now)

    phone.desk.linked.take_link = tampering  # type: ignore[method-assign]  # on purpose
    world.read(world.client, world.code(phone))
    phone.desk.work(world.now)
    world.settle()
    assert phone.line_records == {}
    assert [host.leaves for host in (world.client, world.therapist)] == [3, 3]


def test_the_codes_of_the_world_are_those_of_people(world: LinkWorld) -> None:
    code = world.code(world.new_device("phone"))
    assert parse_code(code.text) == code


def test_r14_a_key_package_that_is_not_the_linked_devices_own_is_not_added(world: LinkWorld) -> None:
    """A linked device that hands in the KeyPackage of a stranger, whom it would bring into the line."""
    phone = world.new_device("phone")
    phone.connect()
    other = ContactWorld(seed=9)
    stranger = other.contact().key_packages[0]
    take = world.client.desk.first.take_link

    def swapping(sibling_id: bytes) -> mailbox.Take:
        inner = take(sibling_id)

        def swapped(tx: VaultTransaction, data: bytes, now: float) -> None:
            message = wire.decode_link_message(data)
            if isinstance(message, wire.Answer) and message.key_package:
                data = wire.encode_link_message(replace(message, key_package=stranger))
            inner(tx, data, now)

        return swapped

    world.client.desk.first.take_link = swapping  # type: ignore[method-assign]  # on purpose
    world.read(world.client, world.code(phone))
    phone.desk.work(world.now)
    world.settle()
    assert [host.leaves for host in (world.client, world.therapist)] == [2, 2]
    (line,) = world.client.lines_of("phone")
    assert (line.key_package, line.joined) == (b"", False)
