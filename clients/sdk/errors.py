"""What can go wrong for a person or a program that uses the SDK, each as one clear sentence.

Every error carries the exit code that a command ends with (`ExitCode`). No sentence holds a secret, a text
of a person, or bytes of a peer. Errors of the layers below are translated at the edge of the SDK by
`translate`, so that an application catches `AmanatError` alone; what is left uncaught is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from keys.vault import (
    EmptyPassphrase,
    VaultBusy,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultMissing,
    VaultTooNew,
    WrongPassphrase,
)

MAX_TEXT_BYTES: Final = 12_288
"""Longest text of a line or a session, in bytes of UTF-8 (R23)."""


class ExitCode(IntEnum):
    """How a command ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING_PREREQUISITE = 3
    TIMED_OUT = 4
    RELAY_UNREACHABLE = 5
    WRONG_PASSPHRASE = 6
    VAULT_TROUBLE = 7
    REFUSED = 8
    DECISION_NEEDED = 9


class AmanatError(Exception):
    """Something that the person has to know, as one sentence.

    Attributes:
        sentence: Fit to be shown as it stands.
        exit_code: What a command ends with.
    """

    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, sentence: str, *, exit_code: ExitCode | None = None) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(AmanatError):
    """The caller asked for something that makes no sense here."""

    exit_code = ExitCode.USAGE


def too_long(bytes_over: int) -> str:
    """So many bytes too long, in words."""
    return f"{bytes_over:,} byte{'' if bytes_over == 1 else 's'} too long"


class TextTooLong(UsageError):
    """A text beyond `MAX_TEXT_BYTES`; nothing was sent and nothing cut.

    Attributes:
        bytes_over: How many bytes of UTF-8 too many.
    """

    def __init__(self, bytes_over: int) -> None:
        super().__init__(
            f"This text is {too_long(bytes_over)} (at most {MAX_TEXT_BYTES:,} bytes of UTF-8); "
            "nothing was sent. Shorten it or send it in parts."
        )
        self.bytes_over = bytes_over


class EmptyText(UsageError):
    """A text without a character."""

    def __init__(self) -> None:
        super().__init__("There is no text to send.")


class WrongRole(UsageError):
    """A therapist's intent on a client's device, or the other way round."""

    def __init__(self, needed: str) -> None:
        super().__init__(f"Only a {needed}'s device can do this.")


class UnknownLine(UsageError):
    """No line of that name on this device."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no line named {name!r} on this device.")


class NoLine(UsageError):
    """The device has no line at all, or several and none was named."""

    def __init__(self, count: int) -> None:
        super().__init__(
            "This device has no line yet; `amanat connect LINK` opens one."
            if count == 0
            else "This device has several lines; say which one with --line NAME."
        )


class LineEnded(UsageError):
    """The line is over; nothing can be sent on it."""

    def __init__(self) -> None:
        super().__init__("This line has ended; nothing more can be sent on it.")


class UnknownOffer(UsageError):
    """No appointment of that id on the line."""

    def __init__(self) -> None:
        super().__init__("There is no such offer on this line.")


class UnknownSession(UsageError):
    """No kept live session of that id on the line."""

    def __init__(self) -> None:
        super().__init__("There is no such kept session on this line.")


class TimedOut(AmanatError):
    """What was waited for did not come in time."""

    exit_code = ExitCode.TIMED_OUT


class RelayUnreachable(AmanatError):
    """No connection to the relay.

    Attributes:
        refused: That was an answer (nothing listens there, its certificate is no good), not silence; waiting
            a few seconds longer would hardly change it.
    """

    exit_code = ExitCode.RELAY_UNREACHABLE
    refused = False

    def __init__(self, url: str, why: str = "", *, refused: bool = False) -> None:
        self.refused = refused
        detail = f" ({why})" if why else ""
        super().__init__(f"The relay at {url} cannot be reached{detail}; nothing is lost, try again later.")


class ContactWaiting(RelayUnreachable):
    """The relay was lost before it confirmed a first contact. The line is there, and goes on."""

    def __init__(self, line: str) -> None:
        AmanatError.__init__(
            self,
            "The relay was lost before it confirmed the first contact. The line is kept on this device as "
            f"{line!r}; it goes on with the next connection, or when you repeat this command.",
        )


class NotARelay(AmanatError):
    """Somebody answers at that address, but no Amanat relay of a version that we speak."""

    exit_code = ExitCode.RELAY_UNREACHABLE

    def __init__(self, url: str) -> None:
        super().__init__(f"What answers at {url} is not an Amanat relay that this version can speak to.")


class BadRelayUrl(UsageError):
    """The relay's address does not parse."""

    def __init__(self) -> None:
        super().__init__("The relay's address must look like https://relay.example or http://127.0.0.1:8080.")


class PassphraseRefused(AmanatError):
    """Wrong or empty passphrase."""

    exit_code = ExitCode.WRONG_PASSPHRASE


class VaultTrouble(AmanatError):
    """The vault is missing, there already, damaged, in use, or newer than this program."""

    exit_code = ExitCode.VAULT_TROUBLE


class ExportTrouble(AmanatError):
    """The export file cannot be read, or cannot be written."""

    exit_code = ExitCode.VAULT_TROUBLE


class Refused(AmanatError):
    """Somebody who may do so said no."""

    exit_code = ExitCode.REFUSED


class InvitationRefused(Refused):
    """The invitation is mistyped, expired, used, or not of this relay."""


class InvitationMistyped(InvitationRefused):
    """The link does not check out."""

    def __init__(self) -> None:
        super().__init__("This invitation link is incomplete or mistyped; copy it again as a whole.")


class InvitationExpired(InvitationRefused):
    """Older than 14 days."""

    def __init__(self) -> None:
        super().__init__("This invitation has expired; ask your therapist for a new one.")


class InvitationUsed(InvitationRefused):
    """The relay knows no such admission any more."""

    def __init__(self) -> None:
        super().__init__(
            "This invitation has been used already or was withdrawn; ask your therapist for a new one."
        )


class CannotBeContacted(Refused):
    """The relay holds no current contact bundle that answers to the invitation's fingerprint."""

    def __init__(self) -> None:
        super().__init__(
            "This therapist cannot be contacted now (no current keys at the relay); try again later."
        )


class InboxFull(Refused):
    """The therapist's inbox holds as many first contacts as the relay allows."""

    def __init__(self) -> None:
        super().__init__("This therapist's inbox is full at the moment; try again later.")


class TherapistTokenNeeded(Refused):
    """The relay registers therapists only with a one-use token."""

    def __init__(self) -> None:
        super().__init__(
            "This relay registers a therapist only with a one-use token that was not used before; "
            "ask its operator for one (amanat-relay therapist-token)."
        )


class DecisionNeeded(AmanatError):
    """A person has to decide before anything more is sent on the line."""

    exit_code = ExitCode.DECISION_NEEDED


class SessionFailed(AmanatError):
    """The live session could not begin, or broke off."""


class SettleTimedOut(TimedOut):
    """Not everything could be handed over in time; it stays queued and goes out with the next connection.

    Attributes:
        waiting: Number of items not yet stored at the relay.
    """

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} item(s) could not be handed to the relay in time; they stay queued on this device."
        )
        self.waiting = waiting


def from_vault_error(error: VaultError) -> AmanatError:
    """The same sentence with the exit code that belongs to it."""
    match error:
        case WrongPassphrase() | EmptyPassphrase():
            return PassphraseRefused(str(error))
        case VaultDamaged() | VaultBusy() | VaultTooNew() | VaultMissing() | VaultExists():
            return VaultTrouble(str(error))
        case _:
            return VaultTrouble(str(error))


@contextmanager
def translate() -> Iterator[None]:
    """Turn errors of the vault inside the block into `AmanatError`.

    Raises:
        AmanatError: for every `VaultError`.
    """
    try:
        yield
    except VaultError as error:
        raise from_vault_error(error) from error
