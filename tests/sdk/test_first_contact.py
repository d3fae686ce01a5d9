"""First contact on both sides without a relay: what a therapist's device accepts (R16, R21)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clients.sdk.bundles import bucket_of, choose_bundle
from clients.sdk.client_contact import open_line, own_device
from clients.sdk.errors import CannotBeContacted
from clients.sdk.first_contact import KEEP_DAYS, MAX_WAIT_DAYS, FirstContact, admit_hash
from clients.sdk.inbox_keys import OVERLAP_DAYS, ROTATE_DAYS, old_keys
from clients.sdk.line.founding import found_line
from clients.sdk.records import (
    DROPS,
    INVITED,
    LINES,
    PACKAGES,
    SEEN,
    DropRecord,
    InvitedRecord,
    PackageRecord,
    save_device,
)
from clients.sdk.renewal import again, renewed
from clients.sdk.upkeep import BUNDLE_DAYS, PACKAGE_DAYS, current_package, throw_away_old
from crypto.codec import CodecError, decode
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.key_package import read_key_package
from crypto.suites import PRODUCT
from keys.certificates import DeviceCertificate, Identity
from keys.memory_vault import MemoryVault
from support.contact_world import DAY, ContactWorld


@pytest.fixture
def world() -> ContactWorld:
    return ContactWorld()


def test_a_good_first_contact_makes_a_line_and_uses_the_invitation_up(world: ContactWorld) -> None:
    invitation = world.invite()
    opened = world.open(invitation)
    line = world.accept(opened.drop.body)
    assert line.name == "client"
    assert opened.record.keys is not None
    client = DeviceCertificate.decode(opened.record.keys.certificate).identity_key
    assert line.peer_identity == client
    with world.therapist.transaction() as tx:
        stored = tx.get(INVITED, admit_hash(invitation.admit_value))
        assert stored is not None
        assert InvitedRecord.decode(stored).used_by == line.line_id
        assert len(list(tx.items(SEEN))) == 1


def test_r21_a_drop_has_exactly_16384_bytes(world: ContactWorld) -> None:
    opened = world.open(world.invite())
    assert len(opened.drop.body) == 16_384
    content = FirstContact(used_day=1, admit_hash=bytes(32), binding=bytes(32), welcome=bytes(16_000))
    with pytest.raises(StateError):
        world.sealed(content)


def test_the_pause_before_the_channel_is_attached_is_kept(world: ContactWorld) -> None:
    opened = world.open(world.invite())
    assert opened.record.not_before == int(world.now + 30)


def test_every_line_has_an_identity_of_its_own(world: ContactWorld) -> None:
    first, second = world.open(world.invite()), world.open(world.invite())
    assert first.record.keys is not None
    assert second.record.keys is not None
    assert first.record.keys.identity_seed != second.record.keys.identity_seed


# -- what is refused


def test_r16_a_replayed_first_contact_is_refused_by_the_seen_group_id(world: ContactWorld) -> None:
    invitation = world.invite()
    body = world.open(invitation).drop.body
    world.accept(body)
    with pytest.raises(ValidationError, match=r"first-contact\.invitation-used"):
        world.accept(body)
    world.note_invitation(invitation)  # as if it had not been used
    with pytest.raises(ValidationError, match=r"R16\.group-known"):
        world.accept(body)
    with world.therapist.transaction() as tx:
        assert len(list(tx.items(LINES))) == 1


def test_r16_whoever_lacks_the_invitations_secret_cannot_bind(world: ContactWorld) -> None:
    invitation = world.invite()
    # The relay knows the admit value: it makes a first contact of its own under it.
    other = world.open(world.invite())
    forged = world.changed(other.drop.body, admit_hash=admit_hash(invitation.admit_value))
    with pytest.raises(AuthenticationError):
        world.accept(forged)
    with world.therapist.transaction() as tx:
        assert list(tx.items(LINES)) == []
        assert list(tx.items(SEEN)) == []


def test_r16_a_first_contact_in_the_therapists_own_name_is_refused(world: ContactWorld) -> None:
    state, contact = world.state, world.contact()
    with pytest.raises(ValidationError, match=r"R14\.P5"), MemoryVault().transaction() as tx:
        found_line(
            tx,
            bytes(16),
            own_device(state.keys),
            world.rng,
            now=world.now,
            key_packages=[decode(package, read_key_package) for package in contact.key_packages],
            suite=PRODUCT,
        )


def test_an_unknown_or_expired_invitation_is_refused(world: ContactWorld) -> None:
    invitation = world.invite()
    body = world.open(invitation).drop.body
    unknown = world.changed(body, admit_hash=bytes(32))
    with pytest.raises(ValidationError, match=r"first-contact\.invitation-unknown"):
        world.accept(unknown)
    late = world.changed(body, used_day=invitation.expires_day + 3)
    world.now += 17 * DAY
    with pytest.raises(ValidationError, match=r"first-contact\.invitation-expired"):
        world.accept(late)


def test_validity_is_judged_for_the_day_on_which_the_client_used_the_key_package(
    world: ContactWorld,
) -> None:
    invitation = world.invite()
    body = world.open(invitation).drop.body
    used_day = world.peek(body).used_day
    for day in (used_day - PACKAGE_DAYS - 3, used_day + PACKAGE_DAYS + 3):
        world.now = (day + 0.5) * DAY
        with pytest.raises(ValidationError, match=r"lifetime|first-contact\.day"):
            world.accept(world.changed(body, used_day=day))
    # It waited for four weeks; the KeyPackage was valid when it was used, and its key is still there.
    world.now = (used_day + 28) * DAY
    with world.therapist.transaction() as tx:
        throw_away_old(tx, world.now)
    world.accept(body)


def test_a_first_contact_from_the_future_or_from_long_ago_is_refused(world: ContactWorld) -> None:
    body = world.open(world.invite()).drop.body
    start = world.now
    for days in (-3, MAX_WAIT_DAYS + 3):
        world.now = start + days * DAY
        with pytest.raises(ValidationError, match=r"first-contact\.day"):
            world.accept(body)


def test_a_key_package_of_which_the_key_is_gone_is_unknown(world: ContactWorld) -> None:
    body = world.open(world.invite()).drop.body
    with world.therapist.transaction() as tx:
        tx.delete_all(PACKAGES)
    with pytest.raises(ValidationError, match=r"first-contact\.key-package-unknown"):
        world.accept(body)


def test_garbage_and_other_inboxes_are_refused(world: ContactWorld) -> None:
    body = world.open(world.invite()).drop.body
    with pytest.raises(AuthenticationError):
        world.accept(bytes(16_384))
    with pytest.raises(AuthenticationError):
        world.accept(body[:-1] + bytes([body[-1] ^ 1]))
    other = ContactWorld(seed=2)
    with pytest.raises(AuthenticationError):
        other.accept(body)
    with pytest.raises(CodecError):
        FirstContact.decode(b"\2" + world.peek(body).encode()[1:])
    with pytest.raises(CodecError):
        FirstContact.decode(world.peek(body).encode() + b"\0\1")


def test_a_refused_first_contact_leaves_nothing_behind(world: ContactWorld) -> None:
    body = world.open(world.invite()).drop.body
    before = filled(world)
    with pytest.raises(AuthenticationError):
        world.accept(world.changed(body, binding=bytes(32)))
    assert filled(world) == before


def filled(world: ContactWorld) -> dict[str, dict[bytes, bytes]]:
    spaces = world.therapist.snapshot().spaces
    return {name: dict(space) for name, space in spaces.items() if space}


# -- bundles and upkeep


def test_the_bucket_follows_from_the_fingerprint() -> None:
    fingerprint = b"\xab\xcd" + bytes(30)
    assert [bucket_of(fingerprint, bits) for bits in (0, 4, 8, 12)] == [0, 0xA, 0xAB, 0xABC]


def test_only_the_genuine_current_bundle_of_the_fingerprint_is_chosen(world: ContactWorld) -> None:
    genuine, other = world.bundle(), ContactWorld(seed=2).bundle()
    found = choose_bundle([other, genuine], fingerprint=world.fingerprint, now=world.now, suite=PRODUCT)
    assert found.identity_key == genuine.identity_key
    for wrong in ([], [other]):
        with pytest.raises(CannotBeContacted):
            choose_bundle(wrong, fingerprint=world.fingerprint, now=world.now, suite=PRODUCT)
    for days in (-4, 5, 12):
        with pytest.raises(CannotBeContacted):
            choose_bundle(
                [genuine],
                fingerprint=world.fingerprint,
                now=world.now + days * DAY,
                suite=PRODUCT,
            )


def test_a_key_package_is_made_every_day_and_its_keys_are_kept_31_days(world: ContactWorld) -> None:
    made: list[PackageRecord] = []
    state = world.state
    for _ in range(3):
        with world.therapist.transaction() as tx:
            made.append(current_package(tx, state, rng=world.rng, now=world.now))
            again = current_package(tx, state, rng=world.rng, now=world.now + 60)
        assert again == made[-1]
        world.now += DAY
    assert len({package.key_package for package in made}) == 3
    gone_on = made[0].last_day + KEEP_DAYS + 1
    for day, left in ((gone_on - 1, 3), (gone_on, 2), (gone_on + 2, 0)):
        with world.therapist.transaction() as tx:
            throw_away_old(tx, day * DAY)
            assert len(list(tx.items(PACKAGES))) == left


def test_seen_group_ids_are_kept_as_long_as_the_key_that_could_open_a_replay(
    world: ContactWorld,
) -> None:
    world.accept(world.open(world.invite()).drop.body)
    with world.therapist.transaction() as tx:
        package = PackageRecord.decode(next(iter(tx.items(PACKAGES)))[1])
    last = package.last_day + KEEP_DAYS
    for day, packages, seen in ((last, 1, 1), (last + 1, 0, 0)):
        with world.therapist.transaction() as tx:
            throw_away_old(tx, day * DAY)
            assert (len(list(tx.items(PACKAGES))), len(list(tx.items(SEEN)))) == (packages, seen)


def test_list_version_and_serial_grow_also_after_an_old_export(world: ContactWorld) -> None:
    snapshot = world.therapist.snapshot()
    first = world.bundle()
    second = world.bundle()
    assert second.serial > first.serial
    world.therapist.restore(snapshot)
    world.now += 60
    third = world.bundle()
    assert third.serial > second.serial
    contact = choose_bundle([third], fingerprint=world.fingerprint, now=world.now, suite=PRODUCT)
    assert contact.device_list.version > 2
    assert contact.device_list.not_after_day - contact.device_list.issued_day == 7


def test_the_drop_is_kept_until_it_was_delivered(world: ContactWorld) -> None:
    vault = MemoryVault()
    invitation, contact = world.invite(), world.contact()
    with vault.transaction() as tx:
        opened = open_line(
            tx,
            invitation=invitation,
            contact=contact,
            name="sara",
            pause_seconds=0.0,
            rng=world.rng,
            now=world.now,
        )
    with vault.transaction() as tx:
        stored = tx.get(DROPS, opened.record.line_id)
    assert stored is not None
    assert DropRecord.decode(stored) == opened.drop


def _keys(world: ContactWorld) -> int:
    with world.therapist.transaction() as tx:
        return len(list(old_keys(tx)))


def test_the_inbox_key_changes_every_week_and_old_drops_still_open(world: ContactWorld) -> None:
    keys = []
    late = world.open(world.invite(), contact=world.contact()).drop.body
    for _ in range(8):
        keys.append(world.contact().inbox_public_key)
        world.now += DAY
    assert len(set(keys[:7])) == 1
    assert keys[7] != keys[0]
    assert _keys(world) == 1
    assert world.accept(late).name == "client"
    assert world.accept(world.open(world.invite()).drop.body).name == "client-2"


def test_an_old_inbox_key_is_destroyed_when_no_drop_can_need_it(world: ContactWorld) -> None:
    contact = world.contact()
    world.now += ROTATE_DAYS * DAY
    world.contact()
    replaced_day = int(world.now // DAY)
    late = world.open(world.invite(), contact=contact).drop.body
    for day, left in ((replaced_day + OVERLAP_DAYS, 1), (replaced_day + OVERLAP_DAYS + 1, 0)):
        with world.therapist.transaction() as tx:
            throw_away_old(tx, day * DAY)
        assert _keys(world) == left
    with pytest.raises(AuthenticationError):
        world.accept(late)
    assert OVERLAP_DAYS > BUNDLE_DAYS + MAX_WAIT_DAYS + 2


def test_a_renewed_certificate_gets_a_key_package_of_its_own(world: ContactWorld) -> None:
    before = world.contact()
    opened = world.open(world.invite(), contact=before)
    keys = renewed(world.state.keys, world.now + 300 * DAY)
    assert keys is not None
    assert renewed(world.state.keys, world.now + 240 * DAY) is None
    world.now += DAY
    keys = replace(keys, certificate=again(_identity(world), before.certificates[0], world.now).encode())
    changed = replace(world.record, therapist=replace(world.state, keys=keys))
    with world.therapist.transaction() as tx:
        save_device(tx, changed)
    after = world.contact()  # passes every check of a client
    assert after.certificates[0].not_after_day == before.certificates[0].not_after_day + 1
    world.accept(opened.drop.body)  # sealed for the KeyPackage of before


def _identity(world: ContactWorld) -> Identity:
    seed = world.state.keys.identity_seed
    assert seed is not None
    return Identity(seed.reveal())
