"""Takes note of every secret and identifier that is made in this process, for the leak search of a replay.

It sits where they come into being: the type `Secret`, the suites' key derivation (every key of MLS and of a
cell goes through it), key pairs, certificates and groups. It is installed by `clients.replay` only, in the
replay's own process and, through its front end, in the children that hold live sessions. The product holds
no hook for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from crypto.group_context import GroupContext
from crypto.sensitive import Secret
from crypto.suites import CipherSuite
from keys.certificates import DeviceCertificate

SHORTEST_SECRET_BYTES: Final = 16
"""Shorter values of a key derivation are nonces, which are no secrets."""


@dataclass(slots=True)
class Recorder:
    """What was made since `install`."""

    secrets: set[bytes] = field(default_factory=set, repr=False)
    identifiers: set[bytes] = field(default_factory=set, repr=False)
    """Public keys, device ids, group ids."""

    def add_secret(self, value: bytes) -> None:
        """Note a private or symmetric secret."""
        if len(value) >= SHORTEST_SECRET_BYTES:
            self.secrets.add(bytes(value))

    def add_identifier(self, value: bytes) -> None:
        """Note something that tells one person's device from another."""
        self.identifiers.add(bytes(value))

    def add_key_pair(self, pair: tuple[bytes, bytes]) -> None:
        """Note a (private, public) pair."""
        self.add_secret(pair[0])
        self.add_identifier(pair[1])


def _after(owner: type, name: str, note: Callable[..., None]) -> None:
    """Let `note(result, *arguments)` see every call of a method."""
    original: Callable[..., Any] = getattr(owner, name)

    def recording(*arguments: Any, **named: Any) -> Any:
        result = original(*arguments, **named)
        note(result, *arguments)
        return result

    setattr(owner, name, recording)


_installed: Recorder | None = None


def install() -> Recorder:
    """Begin to record, for the rest of this process. A second call gives the same recorder."""
    global _installed  # noqa: PLW0603 - one per process, like what it records
    if _installed is not None:
        return _installed
    recorder = Recorder()

    def note_secret(_: None, secret: Secret, *__: object) -> None:
        recorder.add_secret(secret.reveal())

    def note_derived(value: bytes, *_: object) -> None:
        recorder.add_secret(value)

    def note_pair(pair: tuple[bytes, bytes], *_: object) -> None:
        recorder.add_key_pair(pair)

    def note_public(public: bytes, *_: object) -> None:
        recorder.add_identifier(public)

    def note_certificate(_: None, certificate: DeviceCertificate, *__: object) -> None:
        for value in (certificate.identity_key, certificate.device_key, certificate.device_id):
            recorder.add_identifier(value)

    def note_group(_: None, context: GroupContext, *__: object) -> None:
        recorder.add_identifier(context.group_id)

    _after(Secret, "__init__", note_secret)
    for name in ("extract", "expand"):
        _after(CipherSuite, name, note_derived)
    for name in ("derive_key_pair", "signature_key_pair_from_seed"):
        _after(CipherSuite, name, note_pair)
    _after(CipherSuite, "signature_public_key", note_public)
    _after(DeviceCertificate, "__init__", note_certificate)
    _after(GroupContext, "__init__", note_group)
    _installed = recorder
    return recorder
