"""The session's group: two leaves, one epoch, keys that nobody but this process ever holds (S2 to S4).

The client makes a KeyPackage and a seed (`SessionJoin`), the therapist makes the group (`welcome_client`),
the client enters it (`SessionJoin.enter`). Each side ends with a `Group` whose leaves are exactly the two of
the session, and hands it to a `SessionMachine`. Nothing here touches a vault.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from clients.sdk.model import Role
from clients.sdk.session.rendezvous import JOIN_VALID_SECONDS, JoinBody, WelcomeBody
from crypto.codec import decode
from crypto.credentials import Credential
from crypto.errors import ValidationError
from crypto.group import Group
from crypto.group_create import OwnLeafParams
from crypto.key_package import (
    KeyPackage,
    KeyPackageBundle,
    check_key_package,
    generate_key_package,
    read_key_package,
)
from crypto.leaf_node import Capabilities, LeafNode, Lifetime
from crypto.policy import product_capabilities
from crypto.suites import CipherSuite

_ROLE_CODES: Final = {Role.CLIENT: 1, Role.THERAPIST: 2}
_CLOCK_SLACK_SECONDS: Final = 26 * 3_600


def session_credential(session_id: bytes, role: Role) -> bytes:
    """`SHA-256("amanat session" ‖ session id ‖ u8 role)` (S4): role 1 client, 2 therapist."""
    return hashlib.sha256(b"amanat session" + session_id + bytes([_ROLE_CODES[role]])).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionJoin:
    """The client's half of a session that has not begun. Made for one JOIN, used once."""

    session_id: bytes
    bundle: KeyPackageBundle = field(repr=False)
    seed: bytes = field(repr=False)
    body: JoinBody = field(repr=False)
    suite: CipherSuite

    def enter(self, body: WelcomeBody) -> Group:
        """Enter the group, if it is the one that S4 demands.

        Raises:
            ValidationError: "S4-…", or a rule of MLS.
            AuthenticationError, CodecError: the Welcome does not open or parse.
        """
        if body.session_id != self.session_id:
            raise ValidationError("S4-session-id")
        group = Group.join(
            welcome=body.welcome,
            key_package=self.bundle.key_package,
            init_private=self.bundle.init_private,
            encryption_private=self.bundle.encryption_private,
            signature_private=self.seed,
        )
        check_session_group(group, session_id=self.session_id, therapist_seed=body.seed, suite=self.suite)
        return group


def prepare_join(
    *,
    session_id: bytes,
    therapist_now: int,
    valid_until: int | None = None,
    suite: CipherSuite,
    rng: Callable[[int], bytes],
) -> SessionJoin:
    """Make the client's KeyPackage and seed.

    Args:
        session_id: Of the winning OFFER.
        therapist_now: UTC seconds of the therapist's clock, estimated from OFFER.
        valid_until: In the same clock; `JOIN_VALID_SECONDS` later unless given.
        suite: 0xF002 in the product.
        rng: Source of randomness.
    """
    seed = rng(32)
    if valid_until is None:
        valid_until = therapist_now + JOIN_VALID_SECONDS
    bundle = generate_key_package(
        suite=suite,
        signature_private=seed,
        credential=Credential.basic(session_credential(session_id, Role.CLIENT)),
        capabilities=_capabilities(suite),
        lifetime=Lifetime(not_before=max(0, therapist_now - _CLOCK_SLACK_SECONDS), not_after=valid_until),
        rng=rng,
    )
    body = JoinBody(
        session_id=session_id,
        key_package=bundle.key_package.to_bytes(),
        seed=seed,
        valid_until=valid_until,
    )
    return SessionJoin(session_id=session_id, bundle=bundle, seed=seed, body=body, suite=suite)


def welcome_client(
    join: JoinBody, *, session_id: bytes, suite: CipherSuite, rng: Callable[[int], bytes]
) -> tuple[Group, WelcomeBody]:
    """The therapist's half: make the group of two and the way into it.

    The commit that adds the client goes nowhere: nobody else is in epoch 0.

    Raises:
        ValidationError: the JOIN is for another session, or its KeyPackage is not one of S3 and S4.
        CodecError: the KeyPackage does not parse.
    """
    if join.session_id != session_id:
        raise ValidationError("S4-session-id")
    key_package = decode(join.key_package, read_key_package)
    _check_client_key_package(key_package, join, suite)
    seed = rng(32)
    credential = Credential.basic(session_credential(session_id, Role.THERAPIST))
    alone = Group.create(
        suite=suite,
        group_id=session_id,
        leaf=OwnLeafParams(signature_private=seed, credential=credential, capabilities=_capabilities(suite)),
        rng=rng,
    )
    pending = alone.commit(adds=[key_package], removes=[], rng=rng, authenticated_data=b"")
    if pending.welcome is None:
        raise ValidationError("S4-welcome")
    group = alone.merge(pending.staged)
    return group, WelcomeBody(session_id=session_id, welcome=pending.welcome, seed=seed)


def check_session_group(
    group: Group, *, session_id: bytes, therapist_seed: bytes, suite: CipherSuite
) -> None:
    """S4 on the client's side.

    Raises:
        ValidationError: names the part that is wrong.
    """
    # 1. It is the group of this session, of our suite.
    if group.group_id != session_id:
        raise ValidationError("S4-group-id")
    if group.suite.code != suite.code:
        raise ValidationError("S4-suite")
    # 2. Exactly two leaves: our KeyPackage and the signer.
    signer = group.signer
    members = {member.leaf_index: member.leaf_node for member in group.members}
    if len(members) != 2 or signer is None or set(members) != {group.own_leaf, signer}:
        raise ValidationError("S4-two-leaves")
    # 3. The signer's key is the key of the seed in WELCOME (S3), and its credential the session's.
    leaf = members[signer]
    if leaf.signature_key != suite.signature_key_pair_from_seed(therapist_seed)[1]:
        raise ValidationError("S4-signer-key")
    _check_credential(leaf, session_id, Role.THERAPIST)


def _capabilities(suite: CipherSuite) -> Capabilities:
    """The product's, in whose place tests put another suite."""
    return replace(product_capabilities(), cipher_suites=(suite.code,))


def _check_client_key_package(key_package: KeyPackage, join: JoinBody, suite: CipherSuite) -> None:
    check_key_package(suite, key_package)
    leaf = key_package.leaf_node
    if leaf.signature_key != suite.signature_key_pair_from_seed(join.seed)[1]:
        raise ValidationError("S3-seed")
    _check_credential(leaf, join.session_id, Role.CLIENT)


def _check_credential(leaf: LeafNode, session_id: bytes, role: Role) -> None:
    if leaf.credential.identity != session_credential(session_id, role):
        raise ValidationError("S4-credential")
