"""S3 and S4: what a session's group must be before anybody speaks in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clients.sdk.model import Role
from clients.sdk.session.establish import (
    SessionJoin,
    check_session_group,
    prepare_join,
    session_credential,
    welcome_client,
)
from clients.sdk.session.rendezvous import JOIN_VALID_SECONDS, WelcomeBody
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, ValidationError
from crypto.group import Group, OwnLeafParams
from crypto.key_package import generate_key_package
from crypto.labels import sign_with_label, verify_with_label
from crypto.leaf_node import Lifetime
from crypto.suites import PRODUCT, suite
from support.session_world import seeded_rng, session_groups

SESSION = b"S" * 16
SUITE = suite(1)


def make_join(seed: int = 1, session_id: bytes = SESSION) -> SessionJoin:
    return prepare_join(session_id=session_id, therapist_now=5_000_000, suite=SUITE, rng=seeded_rng(seed))


def make_welcome(join: SessionJoin, seed: int = 2) -> tuple[Group, WelcomeBody]:
    return welcome_client(join.body, session_id=join.session_id, suite=SUITE, rng=seeded_rng(seed))


def test_both_sides_hold_the_same_group_of_two_leaves() -> None:
    join = make_join()
    therapist, welcome = make_welcome(join)
    client = join.enter(welcome)
    assert client.epoch_authenticator == therapist.epoch_authenticator
    assert client.group_id == SESSION
    assert [member.leaf_index for member in client.members] == [0, 1]
    assert join.body.valid_until == 5_000_000 + JOIN_VALID_SECONDS


def test_s3_each_side_holds_the_signing_keys_of_both_leaves() -> None:
    join = make_join()
    therapist, welcome = make_welcome(join)
    client = join.enter(welcome)
    leaves = [member.leaf_node.signature_key for member in therapist.members]
    # The therapist has the client's seed from JOIN, the client the therapist's from WELCOME.
    for seed, leaf in ((welcome.seed, leaves[0]), (join.body.seed, leaves[1])):
        private, public = SUITE.signature_key_pair_from_seed(seed)
        assert public == leaf
        forged = sign_with_label(SUITE, private, "FramedContentTBS", b"anybody's words")
        verify_with_label(SUITE, leaf, "FramedContentTBS", b"anybody's words", forged)
    assert client.own_leaf == 1


def test_s3_a_join_whose_seed_is_not_that_of_its_leaf_is_refused() -> None:
    join = make_join()
    with pytest.raises(ValidationError, match="S3-seed"):
        welcome_client(replace(join.body, seed=bytes(32)), session_id=SESSION, suite=SUITE, rng=seeded_rng(2))


def test_s4_a_join_for_another_session_is_refused() -> None:
    join = make_join(session_id=b"T" * 16)
    with pytest.raises(ValidationError, match="S4-session-id"):
        welcome_client(join.body, session_id=SESSION, suite=SUITE, rng=seeded_rng(2))


def test_s4_the_credential_is_the_sessions_and_signed_by_nobody() -> None:
    join = make_join()
    therapist, welcome = make_welcome(join)
    assert [member.leaf_node.credential.identity for member in therapist.members] == [
        session_credential(SESSION, Role.THERAPIST),
        session_credential(SESSION, Role.CLIENT),
    ]
    assert session_credential(SESSION, Role.CLIENT) != session_credential(SESSION, Role.THERAPIST)
    foreign = generate_key_package(
        suite=SUITE,
        signature_private=join.seed,
        credential=Credential.basic(b"somebody else"),
        capabilities=join.bundle.key_package.leaf_node.capabilities,
        lifetime=Lifetime(not_before=0, not_after=2**40),
        rng=seeded_rng(4),
    )
    with pytest.raises(ValidationError, match="S4-credential"):
        welcome_client(
            replace(join.body, key_package=foreign.key_package.to_bytes()),
            session_id=SESSION,
            suite=SUITE,
            rng=seeded_rng(2),
        )
    assert welcome.session_id == SESSION


def _group_for(
    join: SessionJoin,
    *,
    group_id: bytes = SESSION,
    seed: bytes = b"\5" * 32,
    credential: bytes | None = None,
    extra: bool = False,
) -> WelcomeBody:
    """A therapist that does not keep to the rules."""
    wrong = Group.create(
        suite=SUITE,
        group_id=group_id,
        leaf=OwnLeafParams(
            signature_private=seed,
            credential=Credential.basic(credential or session_credential(SESSION, Role.THERAPIST)),
            capabilities=join.bundle.key_package.leaf_node.capabilities,
        ),
        rng=seeded_rng(6),
    )
    adds = [join.bundle.key_package]
    if extra:
        adds.append(make_join(seed=11).bundle.key_package)
    pending = wrong.commit(adds=adds, removes=[], rng=seeded_rng(7), authenticated_data=b"")
    assert pending.welcome is not None
    return WelcomeBody(session_id=SESSION, welcome=pending.welcome, seed=b"\5" * 32)


def test_s4_the_group_must_be_the_sessions_and_hold_exactly_two_leaves() -> None:
    join = make_join()
    join.enter(_group_for(join))
    with pytest.raises(ValidationError, match="S4-group-id"):
        join.enter(_group_for(join, group_id=b"another group"))
    with pytest.raises(ValidationError, match="S4-two-leaves"):
        join.enter(_group_for(join, extra=True))


def test_s4_the_signers_key_is_that_of_the_seed() -> None:
    join = make_join()
    with pytest.raises(ValidationError, match="S4-signer-key"):
        join.enter(_group_for(join, seed=b"\6" * 32))
    with pytest.raises(ValidationError, match="S4-credential"):
        join.enter(_group_for(join, credential=session_credential(SESSION, Role.CLIENT)))


def test_s4_the_welcome_must_name_the_session_and_the_suite() -> None:
    join = make_join()
    _, welcome = make_welcome(join)
    with pytest.raises(ValidationError, match="S4-session-id"):
        join.enter(replace(welcome, session_id=b"T" * 16))
    client, _ = session_groups(SUITE)
    with pytest.raises(ValidationError, match="S4-suite"):
        check_session_group(client, session_id=client.group_id, therapist_seed=welcome.seed, suite=PRODUCT)


def test_a_welcome_for_another_key_package_does_not_open() -> None:
    first, second = make_join(seed=1), make_join(seed=9)
    _, welcome = make_welcome(second)
    with pytest.raises((AuthenticationError, ValidationError)):
        first.enter(welcome)


def test_secrets_do_not_show_in_reprs() -> None:
    join = make_join()
    _, welcome = make_welcome(join)
    for shown in (repr(join), repr(welcome), repr(join.body)):
        assert "seed" not in shown
