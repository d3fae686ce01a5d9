"""One device of one person: the whole SDK behind one object.

    device = Device.open(home, passphrase)
    async with device.online():
        device.send_text("sara", "hello")
        await device.settle(timeout_seconds=30)

A device owns one vault and speaks to one relay. Everything about lines (texts, offers, receipts) is queued
in the vault first and goes out when there is a connection, so most methods are plain functions that work
offline; what needs the relay (`invite`, `connect`, `settle`, `session`) is async and must be called inside
`online()`.

Exactly once, in order: a received message enters the vault in the same transaction in which the line machine
accepts it; `events()` (or `new_messages` with `mark_told`) tells what is new, also over a restart.

All methods belong to the event loop (or thread) that made the device; nothing here is thread-safe. Every
error is an `AmanatError` with one clear sentence, except `StateError` (the caller broke the rules above).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from clients.sdk.model import (
    ConnectionState,
    DeviceEvent,
    LineMessage,
    LineName,
    LineSummary,
    Offer,
    Role,
)
from clients.sdk.session.handle import SessionHandle
from keys.invitations import Invitation


class Device:
    """See the module's docstring. Made by `create`, `open` or `import_from`, let go by `close`."""

    # -- making, opening, destroying

    @classmethod
    def create(
        cls,
        home: Path,
        *,
        role: Role,
        relay_url: str,
        passphrase: str,
        display_name: str = "",
        therapist_token: str | None = None,
    ) -> Device:
        """Make a vault with a new identity in `home`. Touches no network (a therapist registers when online).

        Args:
            home: Folder; made with mode 0700 if it is missing.
            role: Client or therapist.
            relay_url: `https://HOST[:PORT]` or `http://127.0.0.1:PORT`.
            passphrase: Cannot be recovered if forgotten; say so to the person.
            display_name: A therapist's name in the contact bundle, at most 64 bytes of UTF-8.
            therapist_token: One-use token of the relay's operator, where the relay demands one (R21).

        Raises:
            BadRelayUrl, PassphraseRefused (empty), VaultTrouble (there is one already), UsageError.
        """
        raise NotImplementedError

    @classmethod
    def open(cls, home: Path, passphrase: str) -> Device:
        """Open the vault in `home`.

        Raises:
            PassphraseRefused: wrong passphrase.
            VaultTrouble: missing, damaged, in use by another process, or newer than this program.
        """
        raise NotImplementedError

    @classmethod
    def import_from(
        cls, path: Path, *, home: Path, passphrase: str, new_passphrase: str, relay_url: str | None = None
    ) -> Device:
        """Make a vault from an export (R9); lines come back as new leaves once their peers answer (R18).

        Args:
            path: The export file.
            home: Where the new vault goes; there must be none.
            passphrase: Of the export.
            new_passphrase: Of the new vault.
            relay_url: Instead of the one in the export.

        Raises:
            ExportTrouble, PassphraseRefused, VaultTrouble.
        """
        raise NotImplementedError

    @staticmethod
    def wipe(home: Path) -> None:
        """Destroy the vault in `home` without its passphrase. Nobody is told; lines stay open at the peers.

        Raises:
            VaultTrouble: there is none, or another process has it open.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the vault and forget its keys. Closing twice is no error."""
        raise NotImplementedError

    def export_to(self, path: Path, passphrase: str) -> None:
        """Write identity, device signature keys, lines' names and texts to a new encrypted file (R9).

        Raises:
            ExportTrouble: the file exists or cannot be written.
            PassphraseRefused: empty.
        """
        raise NotImplementedError

    @staticmethod
    def change_passphrase(home: Path, old: str, new: str) -> None:
        """Give the closed vault in `home` another passphrase.

        Raises:
            PassphraseRefused: `old` is wrong, or `new` is empty.
            VaultTrouble: as `open`.
        """
        raise NotImplementedError

    # -- what it is

    @property
    def role(self) -> Role:
        """Client or therapist."""
        raise NotImplementedError

    @property
    def relay_url(self) -> str:
        """The relay this device speaks to."""
        raise NotImplementedError

    @property
    def display_name(self) -> str:
        """A therapist's own name in the contact bundle; empty for a client."""
        raise NotImplementedError

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of a therapist's identity key, 32 bytes. Clients have one identity per line.

        Raises:
            WrongRole: on a client's device.
        """
        raise NotImplementedError

    @property
    def connection_state(self) -> ConnectionState:
        """How the connection to the relay stands."""
        raise NotImplementedError

    # -- lines

    def lines(self) -> list[LineSummary]:
        """All lines, the one with the newest activity first."""
        raise NotImplementedError

    def line(self, name: str | None = None) -> LineSummary:
        """One line; without a name the only one.

        Raises:
            UnknownLine, NoLine.
        """
        raise NotImplementedError

    def rename_line(self, name: str, new_name: str) -> LineName:
        """Give a line another local name.

        Raises:
            UnknownLine; UsageError: the new name is empty, too long (64 bytes) or taken.
        """
        raise NotImplementedError

    def messages(self, line: str, *, limit: int | None = None) -> list[LineMessage]:
        """The conversation as it is to be shown, oldest first; with `limit` only the newest so many.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def mark_read(self, line: str) -> None:
        """The person has seen everything on the line. Nothing is sent about it.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def new_messages(self) -> list[tuple[LineName, LineMessage]]:
        """Received messages that neither `events()` nor `mark_told` has dealt with yet, per line in order."""
        raise NotImplementedError

    def mark_told(self, line: str, item_ids: Iterable[str]) -> None:
        """The application has taken these received messages over; they are not told again.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def send_text(self, line: str, text: str) -> str:
        """Queue a text; works offline. Returns the `item_id` that `messages` shows it under.

        Raises:
            UnknownLine, LineEnded, EmptyText.
            TextTooLong: says by how many bytes; nothing was queued.
            DecisionNeeded: the line is stopped (fork); nothing was queued.
        """
        raise NotImplementedError

    def safety_number(self, line: str) -> str:
        """60 digits in 12 groups of 5, the same on both sides.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def safety_number_qr(self, line: str) -> bytes:
        """What the QR code of the safety number holds.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def confirm_safety_number(self, line: str) -> None:
        """Note on this device that the two people compared the number and found it the same.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def resolve(self, line: str, *, same: bool) -> None:
        """After a fork (R18): `same` lets the line come back once, otherwise it ends.

        Raises:
            UnknownLine; UsageError: there is nothing to decide on this line.
        """
        raise NotImplementedError

    def end_line(self, line: str, *, block: bool = False, delete_texts: bool = False) -> None:
        """End the line (R22): the peer is told and keys go after its receipt; with `block` at once.

        Raises:
            UnknownLine, LineEnded.
        """
        raise NotImplementedError

    # -- appointments

    def offer(self, line: str, at: int) -> Offer:
        """Therapist: offer a live session at `at` (UTC seconds, in the future).

        Raises:
            WrongRole, UnknownLine, LineEnded; UsageError: `at` is not in the future.
        """
        raise NotImplementedError

    def offers(self, line: str) -> list[Offer]:
        """Appointments of a line, by time.

        Raises:
            UnknownLine.
        """
        raise NotImplementedError

    def cancel_offer(self, line: str, offer_id: str) -> None:
        """Therapist: take an appointment back.

        Raises:
            WrongRole, UnknownLine, UnknownOffer, LineEnded.
        """
        raise NotImplementedError

    def decline_offer(self, line: str, offer_id: str) -> None:
        """Client: decline an appointment.

        Raises:
            WrongRole, UnknownLine, UnknownOffer, LineEnded.
        """
        raise NotImplementedError

    # -- online

    def online(self) -> AbstractAsyncContextManager[Device]:
        """Hold a connection to the relay for the length of the block; it comes back by itself.

        Entering does not wait for the connection: a relay that is down is no error here, see `wait_online`.
        Leaving closes at once; call `settle` before, where something should still go out.
        """
        raise NotImplementedError

    async def wait_online(self, timeout_seconds: float = 10.0) -> None:
        """Wait until the relay has answered and every line is attached.

        Raises:
            RelayUnreachable, NotARelay: not within `timeout_seconds` seconds; says why.
            TherapistTokenNeeded: the relay does not register this therapist.
        """
        raise NotImplementedError

    def events(self) -> AsyncIterator[DeviceEvent]:
        """What happens from now on, and first every message that no `events()` told before. One consumer."""
        raise NotImplementedError

    async def settle(self, timeout_seconds: float = 30.0, *, idle_seconds: float = 0.0) -> None:
        """Wait until the relay has all of ours and all that waits for us was read; due receipts go.

        Args:
            timeout_seconds: Seconds at most.
            idle_seconds: Also wait until nothing has arrived for so long.

        Raises:
            SettleTimedOut: what was not handed over stays queued.
            RelayUnreachable: no connection within `timeout_seconds`.
        """
        raise NotImplementedError

    async def invite(self) -> Invitation:
        """Therapist: a new invitation, one use, 14 days. Its `link` and QR code go to one client only.

        Raises:
            WrongRole, RelayUnreachable, TherapistTokenNeeded, Refused.
        """
        raise NotImplementedError

    async def connect(self, link: str, *, name: str | None = None, hurry: bool = False) -> LineSummary:
        """Client: open the line that an invitation offers; waits 5 to 60 s first unless `hurry`.

        Texts may be sent as soon as this returns; they wait in the line's channel for the therapist.

        Raises:
            WrongRole; InvitationMistyped, InvitationExpired, InvitationUsed, CannotBeContacted, InboxFull;
            RelayUnreachable; UsageError: the invitation names another relay, or the name is taken.
        """
        raise NotImplementedError

    def session(self, line: str) -> SessionHandle:
        """A live session on the line: as therapist it offers "now", as client it waits for that offer.

        Raises:
            UnknownLine, LineEnded, DecisionNeeded.
        """
        raise NotImplementedError
