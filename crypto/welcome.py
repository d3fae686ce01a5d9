"""Welcome: what lets an added device in (RFC 9420 section 12.4.3.1): structs, sealing and opening.

Order of keys: each joiner's GroupSecrets are sealed to its KeyPackage's init key, bound to the encrypted
GroupInfo; the joiner secret in them gives the key of the GroupInfo. What the opened parts must satisfy is for
:mod:`crypto.group_join`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from crypto.codec import Reader, Writer, decode, encode
from crypto.errors import ValidationError
from crypto.group_info import GroupInfo, read_group_info, write_group_info
from crypto.key_package import KeyPackage
from crypto.key_schedule import derive_welcome_key_nonce
from crypto.labels import decrypt_with_label, encrypt_with_label
from crypto.psk_id import PreSharedKeyID, read_psk_id, write_psk_id
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from crypto.update_path import HPKECiphertext, read_hpke_ciphertext, write_hpke_ciphertext

WELCOME: Final = "Welcome"


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupSecrets:
    """The secrets for one joiner.

    ::

        struct { opaque path_secret<V>; } PathSecret;

        struct {
            opaque joiner_secret<V>;
            optional<PathSecret> path_secret;
            PreSharedKeyID psks<V>;
        } GroupSecrets;
    """

    joiner_secret: Secret
    path_secret: Secret | None
    psks: tuple[PreSharedKeyID, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedGroupSecrets:
    """``struct { KeyPackageRef new_member; HPKECiphertext encrypted_group_secrets; }``."""

    new_member: bytes
    encrypted_group_secrets: HPKECiphertext


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The message to the joiners of one commit.

    ::

        struct {
            CipherSuite cipher_suite;
            EncryptedGroupSecrets secrets<V>;
            opaque encrypted_group_info<V>;
        } Welcome;
    """

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Joiner:
    """A receiver of a Welcome: its KeyPackage, and the secret of its common ancestor with the committer."""

    key_package: KeyPackage
    path_secret: Secret | None = field(default=None)


def seal_group_info(suite: CipherSuite, welcome_secret: Secret, group_info: GroupInfo) -> bytes:
    """Encrypt a signed GroupInfo under the epoch's welcome secret, which is used for nothing else."""
    key, nonce = derive_welcome_key_nonce(suite, welcome_secret.reveal())
    return suite.aead_seal(key, nonce, b"", encode(group_info, write_group_info))


def open_group_info(suite: CipherSuite, welcome_secret: Secret, encrypted_group_info: bytes) -> GroupInfo:
    """Decrypt the GroupInfo of a Welcome; its signature is not yet checked.

    Raises:
        AuthenticationError: It does not open.
        CodecError: It opens and is malformed.
    """
    key, nonce = derive_welcome_key_nonce(suite, welcome_secret.reveal())
    return decode(suite.aead_open(key, nonce, b"", encrypted_group_info), read_group_info)


def seal_welcome(
    suite: CipherSuite,
    *,
    encrypted_group_info: bytes,
    joiner_secret: Secret,
    joiners: Sequence[Joiner],
    rng: Callable[[int], bytes],
    psks: tuple[PreSharedKeyID, ...] = (),
) -> Welcome:
    """Seal the secrets of an epoch to each joiner.

    Args:
        suite: The group's cipher suite.
        encrypted_group_info: Of :func:`seal_group_info`.
        joiner_secret: Of the epoch.
        joiners: Who can open the Welcome.
        rng: Returns that many random bytes.
        psks: Names of the PSKs that the epoch's key schedule has taken in; none in the product.

    Raises:
        ValidationError: An init key is no key of the suite.
    """
    sealed: list[EncryptedGroupSecrets] = []
    for joiner in joiners:
        secrets = GroupSecrets(joiner_secret=joiner_secret, path_secret=joiner.path_secret, psks=psks)
        kem_output, ciphertext = encrypt_with_label(
            suite,
            joiner.key_package.init_key,
            WELCOME,
            encrypted_group_info,
            encode(secrets, write_group_secrets),
            rng,
        )
        sealed.append(
            EncryptedGroupSecrets(
                new_member=joiner.key_package.ref(suite),
                encrypted_group_secrets=HPKECiphertext(kem_output=kem_output, ciphertext=ciphertext),
            )
        )
    return Welcome(cipher_suite=suite.code, secrets=tuple(sealed), encrypted_group_info=encrypted_group_info)


def open_group_secrets(
    suite: CipherSuite, welcome: Welcome, *, key_package: KeyPackage, init_private: Secret
) -> GroupSecrets:
    """Find and decrypt the secrets meant for the owner of ``key_package``.

    Raises:
        ValidationError: ``welcome.cipher-suite`` or ``welcome.not-for-us``.
        AuthenticationError: They do not open.
        CodecError: They open and are malformed.
    """
    if not welcome.cipher_suite == key_package.cipher_suite == suite.code:
        raise ValidationError("welcome.cipher-suite")
    reference = key_package.ref(suite)
    for entry in welcome.secrets:
        if entry.new_member == reference:
            opened = decrypt_with_label(
                suite,
                init_private.reveal(),
                WELCOME,
                welcome.encrypted_group_info,
                entry.encrypted_group_secrets.kem_output,
                entry.encrypted_group_secrets.ciphertext,
            )
            return decode(opened, read_group_secrets)
    raise ValidationError("welcome.not-for-us")


# -- codec


def _read_path_secret(reader: Reader) -> Secret:
    return Secret(reader.opaque())


def _write_path_secret(writer: Writer, path_secret: Secret) -> None:
    writer.opaque(path_secret.reveal())


def read_group_secrets(reader: Reader) -> GroupSecrets:
    """Read GroupSecrets.

    Raises:
        CodecError: Malformed.
    """
    return GroupSecrets(
        joiner_secret=Secret(reader.opaque()),
        path_secret=reader.optional(_read_path_secret),
        psks=tuple(reader.vector(read_psk_id)),
    )


def write_group_secrets(writer: Writer, secrets: GroupSecrets) -> None:
    """Append GroupSecrets."""
    writer.opaque(secrets.joiner_secret.reveal()).optional(secrets.path_secret, _write_path_secret)
    writer.vector(secrets.psks, write_psk_id)


def _read_encrypted_group_secrets(reader: Reader) -> EncryptedGroupSecrets:
    return EncryptedGroupSecrets(
        new_member=reader.opaque(), encrypted_group_secrets=read_hpke_ciphertext(reader)
    )


def _write_encrypted_group_secrets(writer: Writer, entry: EncryptedGroupSecrets) -> None:
    writer.opaque(entry.new_member)
    write_hpke_ciphertext(writer, entry.encrypted_group_secrets)


def read_welcome(reader: Reader) -> Welcome:
    """Read a Welcome.

    Raises:
        CodecError: Malformed.
    """
    return Welcome(
        cipher_suite=reader.u16(),
        secrets=tuple(reader.vector(_read_encrypted_group_secrets)),
        encrypted_group_info=reader.opaque(),
    )


def write_welcome(writer: Writer, welcome: Welcome) -> None:
    """Append a Welcome."""
    writer.u16(welcome.cipher_suite).vector(welcome.secrets, _write_encrypted_group_secrets)
    writer.opaque(welcome.encrypted_group_info)
