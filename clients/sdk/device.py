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

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from clients.sdk import homes
from clients.sdk.alarms import Alarms
from clients.sdk.client_contact import new_device_keys
from clients.sdk.clock import Clock
from clients.sdk.engine import Engine
from clients.sdk.errors import (
    DecisionNeeded,
    EmptyText,
    LineEnded,
    NoLine,
    TextTooLong,
    UnknownLine,
    UnknownOffer,
    UnknownSession,
    UsageError,
    WrongRole,
    translate,
)
from clients.sdk.exports import Export, ExportedLine
from clients.sdk.inbox_keys import new_inbox_key
from clients.sdk.line import events as e
from clients.sdk.line.payloads import (
    MAX_TEXT_BYTES,
    PayloadKind,
    ScheduledOffer,
    encode_scheduled_offer,
)
from clients.sdk.linking.errors import DeviceWasRemoved
from clients.sdk.linking.front import LinkFront
from clients.sdk.linking.linked_device import new_linked_record
from clients.sdk.model import (
    ConnectionState,
    DeviceEvent,
    KeptSession,
    LineAlarm,
    LineMessage,
    LineName,
    LinePhase,
    LineSummary,
    Offer,
    OfferState,
    OwnDeviceSummary,
    Role,
)
from clients.sdk.online import Online, running
from clients.sdk.records import DeviceRecord, LineRecord, TherapistState
from clients.sdk.session.handle import SessionHandle
from clients.sdk.session_line import EngineSessionLine
from clients.sdk.summaries import kept_sessions, list_offers, show_message, summarise
from clients.sdk.upkeep import therapist_of
from crypto.sensitive import Plaintext
from keys.certificates import DeviceCertificate, fingerprint_of
from keys.contact import check_display_name
from keys.device_vault import Vault
from keys.invitations import Invitation
from keys.passphrase import DEVICE_COST, Cost
from keys.safety_number import grouped, qr_payload, safety_number
from keys.vault import VaultStore

MAX_NAME_BYTES = 64
SESSION_MINUTES = 50
ASK_SECONDS = 30.0
"""How long `invite` and `connect` wait for the relay."""


class Device:
    """See the module's docstring. Made by `create`, `open` or `import_from`, let go by `close`."""

    def __init__(self, vault: VaultStore, clock: Clock) -> None:
        self._vault = vault
        self._engine = Engine(vault, rng=os.urandom, clock=clock)
        self._online = Online(self._engine)
        self._links = LinkFront(self._engine, self._online.until)
        self._alarms = Alarms(self._engine)

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
        time_scale: float = 1.0,
        cost: Cost = DEVICE_COST,
    ) -> Device:
        """Make a vault with a new identity in `home`. Touches no network (a therapist registers when online).

        Args:
            home: Folder; made with mode 0700 if it is missing.
            role: Client or therapist.
            relay_url: `https://HOST[:PORT]` or `http://127.0.0.1:PORT`.
            passphrase: Cannot be recovered if forgotten; say so to the person.
            display_name: A therapist's name in the contact bundle, at most 64 bytes of UTF-8.
            therapist_token: One-use token of the relay's operator, where the relay demands one (R21).
            time_scale: How much faster than real time the delays of lines run; for replays.
            cost: Of the passphrase's stretching; weaker in tests only.

        Raises:
            BadRelayUrl, PassphraseRefused (empty), VaultTrouble (there is one already), UsageError.
        """
        url = homes.checked_relay_url(relay_url)
        try:
            check_display_name(display_name)
        except ValueError as error:
            raise UsageError(str(error)) from None
        clock = Clock(time_scale)
        therapist = None
        if role is Role.THERAPIST:
            keys = new_device_keys(os.urandom, now=clock.now())
            therapist = TherapistState(
                keys=keys, inbox_private=new_inbox_key(os.urandom), token=therapist_token or ""
            )
        record = DeviceRecord(role=role, relay_url=url, display_name=display_name, therapist=therapist)
        vault = homes.make_home(home, record, passphrase, cost=cost)
        with translate(), homes.closed_on_error(vault):
            return cls(vault, clock)

    @classmethod
    def create_linked(
        cls,
        home: Path,
        *,
        relay_url: str,
        passphrase: str,
        time_scale: float = 1.0,
        cost: Cost = DEVICE_COST,
    ) -> Device:
        """Make an empty vault in `home` for a further device of a person; `show_linking_code` goes on.

        Args:
            home: As for `create`.
            relay_url: As for `create`; the same that the first device uses.
            passphrase: Of this vault alone.
            time_scale: As for `create`.
            cost: As for `create`.

        Raises:
            BadRelayUrl, PassphraseRefused (empty), VaultTrouble (there is one already).
        """
        record = new_linked_record(homes.checked_relay_url(relay_url))
        vault = homes.make_home(home, record, passphrase, cost=cost)
        with translate(), homes.closed_on_error(vault):
            return cls(vault, Clock(time_scale))

    @classmethod
    def open(cls, home: Path, passphrase: str, *, time_scale: float = 1.0) -> Device:
        """Open the vault in `home`.

        Raises:
            PassphraseRefused: wrong passphrase.
            VaultTrouble: missing, damaged, in use by another process, or newer than this program.
        """
        with translate():
            vault = Vault.open(home, passphrase)
            with homes.closed_on_error(vault):
                return cls(vault, Clock(time_scale))

    @classmethod
    def import_from(
        cls,
        path: Path,
        *,
        home: Path,
        passphrase: str,
        new_passphrase: str,
        relay_url: str | None = None,
        time_scale: float = 1.0,
        cost: Cost = DEVICE_COST,
    ) -> Device:
        """Make a vault from an export (R9); lines come back as new leaves once their peers answer (R18).

        Args:
            path: The export file.
            home: Where the new vault goes; there must be none.
            passphrase: Of the export.
            new_passphrase: Of the new vault.
            relay_url: Instead of the one in the export.
            time_scale: As for `create`.
            cost: As for `create`.

        Raises:
            ExportTrouble, PassphraseRefused, VaultTrouble.
        """
        clock = Clock(time_scale)
        export = homes.read_export(path, passphrase)
        url = export.relay_url if relay_url is None else homes.checked_relay_url(relay_url)
        vault = homes.make_home_of_export(
            home, export, new_passphrase, relay_url=url, now=clock.now(), cost=cost
        )
        with translate(), homes.closed_on_error(vault):
            return cls(vault, clock)

    @staticmethod
    def wipe(home: Path) -> None:
        """Destroy the vault in `home` without its passphrase. Nobody is told; lines stay open at the peers.

        Raises:
            VaultTrouble: there is none, or another process has it open.
        """
        with translate():
            Vault.wipe(home)

    def close(self) -> None:
        """Let go of the vault and forget its keys, at once, also inside `online()`. Twice is no error."""
        self._engine.close()
        with translate():
            self._vault.close()

    def export_to(self, path: Path, passphrase: str, *, cost: Cost = DEVICE_COST) -> None:
        """Write identity, device signature keys, lines' names and texts to a new encrypted file (R9).

        Raises:
            ExportTrouble: the file exists or cannot be written.
            PassphraseRefused: empty.
        """
        therapist = self._engine.record.therapist
        export = Export(
            role=self.role,
            relay_url=self.relay_url,
            display_name=self.display_name,
            keys=None if therapist is None else therapist.keys,
            lines=tuple(
                ExportedLine(record=line, machine=self._engine.drivers[line_id].machine.export())
                for line_id, line in self._engine.lines.items()
            ),
            links=self._links.export(),
        )
        homes.write_export(path, export, passphrase, cost=cost)

    @staticmethod
    def change_passphrase(home: Path, old: str, new: str, *, cost: Cost = DEVICE_COST) -> None:
        """Give the closed vault in `home` another passphrase.

        Raises:
            PassphraseRefused: `old` is wrong, or `new` is empty.
            VaultTrouble: as `open`.
        """
        with translate():
            vault = Vault.open(home, old)
            try:
                vault.change_passphrase(old, new, cost=cost)
            finally:
                vault.close()

    # -- what it is

    @property
    def role(self) -> Role:
        """Client or therapist."""
        return self._engine.record.role

    @property
    def relay_url(self) -> str:
        """The relay this device speaks to."""
        return self._engine.record.relay_url

    @property
    def display_name(self) -> str:
        """A therapist's own name in the contact bundle; empty for a client."""
        return self._engine.record.display_name

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of a therapist's identity key, 32 bytes. Clients have one identity per line.

        Raises:
            WrongRole: on a client's device.
        """
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        linked = self._engine.record.linked
        if linked is not None:
            return fingerprint_of(linked.identity_key)
        certificate = DeviceCertificate.decode(therapist_of(self._engine.record).keys.certificate)
        return fingerprint_of(certificate.identity_key)

    @property
    def connection_state(self) -> ConnectionState:
        """How the connection to the relay stands."""
        return self._engine.state

    # -- lines

    def lines(self) -> list[LineSummary]:
        """All lines, the one with the newest activity first."""
        summaries = [self._summary(line) for line in self._engine.lines.values()]
        return sorted(summaries, key=lambda line: line.last_activity or 0, reverse=True)

    def line(self, name: str | None = None) -> LineSummary:
        """One line; without a name the only one.

        Raises:
            UnknownLine, NoLine.
        """
        if name is not None:
            return self._summary(self._record(name))
        lines = list(self._engine.lines.values())
        if len(lines) != 1:
            raise NoLine(len(lines))
        return self._summary(lines[0])

    def rename_line(self, name: str, new_name: str) -> LineName:
        """Give a line another local name.

        Raises:
            UnknownLine; UsageError: the new name is empty, too long (64 bytes) or taken.
        """
        record = self._record(name)
        wish = new_name.strip()
        if not wish or len(wish.encode("utf-8")) > MAX_NAME_BYTES:
            raise UsageError(f"A line's name has 1 to {MAX_NAME_BYTES} bytes.")
        if any(line.name == wish for line in self._engine.lines.values() if line is not record):
            raise UsageError(f"There is a line named {wish!r} already.")
        self._engine.change_line(replace(record, name=wish))
        return LineName(wish)

    def messages(self, line: str, *, limit: int | None = None) -> list[LineMessage]:
        """The conversation as it is to be shown, oldest first; with `limit` only the newest so many.

        Raises:
            UnknownLine.
        """
        machine = self._engine.drivers[self._record(line).line_id].machine
        return [show_message(message) for message in machine.messages(limit)]

    def mark_read(self, line: str) -> None:
        """The person has seen everything on the line. Nothing is sent about it.

        Raises:
            UnknownLine.
        """
        self._engine.handle(self._record(line).line_id, e.MarkRead())

    def new_messages(self) -> list[tuple[LineName, LineMessage]]:
        """Received messages that neither `events()` nor `mark_told` has dealt with yet, per line in order."""
        return self._engine.news.new_messages()

    def mark_told(self, line: str, item_ids: Iterable[str]) -> None:
        """The application has taken these received messages over; they are not told again.

        Raises:
            UnknownLine.
        """
        news_line = self._engine.news_line(self._record(line).line_id)
        self._engine.news.mark_ids(news_line, item_ids)

    def alarms(self, line: str) -> list[LineAlarm]:
        """What the person has to know about a line and has not acknowledged.

        Raises:
            UnknownLine.
        """
        return self._alarms.standing(self._record(line).line_id)

    def tell_new_alarms(self, line: str | None = None) -> list[LineAlarm]:
        """Alarms (of one line, or of all) that were never told before; from now on they count as told.

        Raises:
            UnknownLine.
        """
        lines = [self._record(line).line_id] if line is not None else list(self._engine.drivers)
        return self._alarms.tell_new(lines)

    def acknowledge_alarms(self, line: str) -> list[LineAlarm]:
        """The person has read a line's alarms: they go, but for those that wait for `resolve`.

        Returns:
            What is gone.

        Raises:
            UnknownLine.
        """
        return self._alarms.acknowledge(self._record(line).line_id)

    def send_text(self, line: str, text: str) -> str:
        """Queue a text; works offline. Returns the `item_id` that `messages` shows it under.

        Raises:
            UnknownLine, LineEnded, EmptyText.
            TextTooLong: says by how many bytes; nothing was queued.
            DecisionNeeded: the line is stopped (fork); nothing was queued.
        """
        if not text:
            raise EmptyText
        try:
            over = len(text.encode("utf-8")) - MAX_TEXT_BYTES
        except UnicodeEncodeError:
            raise UsageError("This text is no valid Unicode; nothing was sent.") from None
        if over > 0:
            raise TextTooLong(over)
        record = self._writable(line)
        item_id = e.ItemId(os.urandom(16))
        self._engine.handle(record.line_id, e.SendText(item_id=item_id, text=Plaintext(text)))
        return item_id.hex()

    # -- devices of one person

    def devices(self) -> list[OwnDeviceSummary]:
        """This person's devices, this one first."""
        return self._links.devices()

    def show_linking_code(self) -> str:
        """New device: the code that the first device reads, as text and for a QR code. Good for an hour.

        The same code until it has expired, then a new one. Touches no network; `wait_linked` does.

        Raises:
            NotLinkable: this vault was not made by `create_linked`.
            UsageError: it is linked already.
            DeviceWasRemoved.
        """
        return self._links.show_code()

    async def wait_linked(self, timeout_seconds: float, *, lines_seconds: float = 60.0) -> None:
        """New device: wait until the first device has read the code, then until its lines are here.

        Args:
            timeout_seconds: For the code to be read.
            lines_seconds: For the lines. Those that take longer follow whenever both devices are online.

        Raises:
            NotLinkedYet: nobody read the code in time; it stays good until it expires.
            RelayUnreachable, DeviceWasRemoved.
        """
        await self._links.wait_linked(timeout_seconds, lines_seconds)

    async def link(
        self,
        code: str,
        *,
        name: str | None = None,
        timeout_seconds: float = 60.0,
        lines_seconds: float = 60.0,
    ) -> OwnDeviceSummary:
        """First device: make the device that shows `code` one of this person's.

        It reads everything that is written on every line from now on, and nothing from before. Interrupted,
        linking goes on by itself once both devices are online; the same call with the same code waits for it.

        Args:
            code: As the new device shows it.
            name: What this person calls it; "device-2" unless given.
            timeout_seconds: For the new device to answer.
            lines_seconds: For it to be in all lines; the rest follows whenever both are online.

        Raises:
            LinkingCodeRefused: mistyped, expired, used (CodeWasUsed), for another relay, or CodeTampered.
            DeviceLimit: this person has two devices.
            NewDeviceSilent: it has not answered yet.
            PrimaryOnly, DeviceWasRemoved, RelayUnreachable, UsageError (name).
        """
        return await self._links.link(
            code, name=name, timeout_seconds=timeout_seconds, lines_seconds=lines_seconds
        )

    def find_device(self, name: str) -> OwnDeviceSummary:
        """First device: another device of this person, by its name.

        Raises:
            UnknownDevice, PrimaryOnly, DeviceWasRemoved.
        """
        return self._links.find(name)

    def remove_device(self, name: str) -> None:
        """First device: take a device out of every line; works offline, and goes out when online.

        Whoever holds it reads what was written before; nothing that anybody writes after having read the
        removal (R14, R18: every line gets new keys and a new way back).

        Raises:
            UnknownDevice, PrimaryOnly, DeviceWasRemoved.
        """
        self._links.remove(name)

    # -- trust

    def safety_number(self, line: str) -> str:
        """60 digits in 12 groups of 5, the same on both sides.

        Raises:
            UnknownLine.
        """
        return " ".join(grouped(self._safety_digits(line)))

    def safety_number_qr(self, line: str) -> bytes:
        """What the QR code of the safety number holds.

        Raises:
            UnknownLine.
        """
        return qr_payload(self._safety_digits(line)).encode("ascii")

    def confirm_safety_number(self, line: str) -> None:
        """Note on this device that the two people compared the number and found it the same.

        Raises:
            UnknownLine.
        """
        self._engine.change_line(replace(self._record(line), confirmed=True))

    def resolve(self, line: str, *, same: bool) -> None:
        """After a fork (R18): `same` lets the line come back once, otherwise it ends.

        Raises:
            UnknownLine; UsageError: there is nothing to decide on this line.
        """
        record = self._record(line)
        if self._summary(record).phase is not LinePhase.STOPPED:
            raise UsageError("There is nothing to decide on this line.")
        self._engine.handle(record.line_id, e.Resolve(same=same))

    def end_line(self, line: str, *, block: bool = False, delete_texts: bool = False) -> None:
        """End the line (R22): the peer is told and keys go after its receipt; with `block` at once.

        Raises:
            UnknownLine, LineEnded.
        """
        record = self._record(line)
        if self._summary(record).phase is LinePhase.ENDED:
            if not delete_texts:
                raise LineEnded
            self._engine.handle(record.line_id, e.DeleteTexts())
            return
        self._engine.handle(record.line_id, e.EndLine(block=block, keep_texts=not delete_texts))

    # -- live sessions that both agreed to keep (S7)

    def kept_sessions(self, line: str) -> list[KeptSession]:
        """Live sessions whose texts stand in the line's conversation (`messages`, kind SESSION).

        Raises:
            UnknownLine.
        """
        return kept_sessions(self.messages(line))

    def delete_kept_session(self, line: str, session_id: str) -> None:
        """Delete the kept texts of a live session from this device; the other person's copy is theirs.

        Raises:
            UnknownLine, UnknownSession.
        """
        if not any(kept.session_id == session_id for kept in self.kept_sessions(line)):
            raise UnknownSession
        self._engine.handle(self._record(line).line_id, e.ForgetSession(session_id=bytes.fromhex(session_id)))

    # -- appointments

    def offer(self, line: str, at: int) -> Offer:
        """Therapist: offer a live session at `at` (UTC seconds, in the future).

        Raises:
            WrongRole, UnknownLine, LineEnded; UsageError: `at` is not in the future.
        """
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        record = self._writable(line)
        if at <= self._engine.clock.now():
            raise UsageError("An appointment must lie in the future.")
        offer_id = os.urandom(16)
        scheduled = ScheduledOffer(
            offer_id=offer_id, start_utc_seconds=at, minutes=SESSION_MINUTES, note=Plaintext("")
        )
        self._send_content(record, PayloadKind.OFFER_SCHEDULED, encode_scheduled_offer(scheduled))
        return Offer(offer_id=offer_id.hex(), at=at, sender="me", state=OfferState.OFFERED)

    def offers(self, line: str) -> list[Offer]:
        """Appointments of a line, by time.

        Raises:
            UnknownLine.
        """
        machine = self._engine.drivers[self._record(line).line_id].machine
        return list_offers(machine.messages(), now=self._engine.clock.now())

    def cancel_offer(self, line: str, offer_id: str) -> None:
        """Therapist: take an appointment back.

        Raises:
            WrongRole, UnknownLine, UnknownOffer, LineEnded.
        """
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        self._answer_offer(line, offer_id, PayloadKind.OFFER_CANCEL)

    def decline_offer(self, line: str, offer_id: str) -> None:
        """Client: decline an appointment.

        Raises:
            WrongRole, UnknownLine, UnknownOffer, LineEnded.
        """
        if self.role is not Role.CLIENT:
            raise WrongRole("client")
        self._answer_offer(line, offer_id, PayloadKind.OFFER_DECLINE)

    # -- online

    @asynccontextmanager
    async def online(self) -> AsyncIterator[Device]:
        """Hold a connection to the relay for the length of the block; it comes back by itself.

        Entering does not wait for the connection: a relay that is down is no error here, see `wait_online`.
        Leaving closes at once; call `settle` before, where something should still go out.
        """
        async with running(self._engine):
            yield self

    async def wait_online(self, timeout_seconds: float = 10.0) -> None:
        """Wait until the relay has answered and every line is attached.

        Raises:
            RelayUnreachable, NotARelay: not within `timeout_seconds` seconds; says why.
            TherapistTokenNeeded: the relay does not register this therapist.
        """
        await self._online.wait_online(timeout_seconds)

    def events(self) -> AsyncIterator[DeviceEvent]:
        """What happens from now on, and first every message that no `events()` told before. One consumer."""
        return self._engine.news.events()

    async def settle(self, timeout_seconds: float = 30.0, *, idle_seconds: float = 0.0) -> None:
        """Wait until the relay has all of ours and all that waits for us was read; due receipts go.

        Args:
            timeout_seconds: Seconds at most.
            idle_seconds: Also wait until nothing has arrived for so long.

        Raises:
            SettleTimedOut: what was not handed over stays queued.
            RelayUnreachable: no connection within `timeout_seconds`.
        """
        await self._online.settle(timeout_seconds, idle_seconds)

    async def invite(self) -> Invitation:
        """Therapist: a new invitation, one use, 14 days. Its `link` and QR code go to one client only.

        Raises:
            WrongRole, RelayUnreachable, TherapistTokenNeeded, Refused.
        """
        if self.role is Role.THERAPIST:
            self._links.check_primary()
        return await self._online.invite(ASK_SECONDS)

    def use_therapist_token(self, token: str) -> None:
        """Therapist: another one-use token of the relay's operator, where the relay asks for one.

        Raises:
            WrongRole.
        """
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        self._links.check_primary()
        self._engine.use_token(token)

    async def connect(self, link: str, *, name: str | None = None, hurry: bool = False) -> LineSummary:
        """Client: open the line that an invitation offers; waits 5 to 60 s first unless `hurry`.

        Texts may be sent as soon as this returns; they wait in the line's channel for the therapist. If the
        relay is lost in the middle, the line stays: its first contact goes out with the next connection, or
        with the next `connect` of the same link; that of a line which is open already finds that line.

        Raises:
            WrongRole; InvitationMistyped, InvitationExpired, InvitationUsed, CannotBeContacted, InboxFull;
            RelayUnreachable; ContactWaiting: as said; UsageError: the invitation names another relay, or the
            name is taken.
        """
        self._links.check_primary()
        line_id = await self._online.connect(link, name=name, hurry=hurry, timeout_seconds=ASK_SECONDS)
        return self._summary(self._engine.lines[line_id])

    def session(self, line: str) -> SessionHandle:
        """A live session on the line: as therapist it offers "now", as client it waits for that offer.

        Raises:
            UnknownLine, LineEnded, DecisionNeeded.
        """
        record = self._writable(line)
        return SessionHandle(EngineSessionLine(self._engine, record.line_id))

    # -- inside

    def _record(self, name: str) -> LineRecord:
        for line in self._engine.lines.values():
            if line.name == name:
                return line
        raise UnknownLine(name)

    def _summary(self, record: LineRecord) -> LineSummary:
        view = self._engine.drivers[record.line_id].machine.view()
        return summarise(record, view, role=self.role, offered_now=self._engine.offered_now(record.line_id))

    def _writable(self, name: str) -> LineRecord:
        """A line on which something may be queued.

        Raises:
            UnknownLine, LineEnded, DecisionNeeded.
        """
        record = self._record(name)
        match self._summary(record).phase:
            case LinePhase.ENDED if self._links.removed:
                raise DeviceWasRemoved
            case LinePhase.ENDED:
                raise LineEnded
            case LinePhase.STOPPED:
                raise DecisionNeeded(
                    f"The line {name!r} is stopped: compare safety numbers with the other person, then run "
                    "`amanat resolve`. Nothing was queued."
                )
            case _:
                return record

    def _send_content(self, record: LineRecord, kind: PayloadKind, body: Plaintext) -> None:
        item_id = e.ItemId(os.urandom(16))
        self._engine.handle(record.line_id, e.SendContent(item_id=item_id, kind=kind, body=body))

    def _answer_offer(self, line: str, offer_id: str, kind: PayloadKind) -> None:
        record = self._writable(line)
        if not any(
            offer.offer_id == offer_id and offer.state is OfferState.OFFERED for offer in self.offers(line)
        ):
            raise UnknownOffer
        self._send_content(record, kind, Plaintext(bytes.fromhex(offer_id)))

    def _safety_digits(self, line: str) -> str:
        record = self._record(line)
        own = DeviceCertificate.decode(self._engine.keys_of(record.line_id).certificate).identity_key
        return safety_number(own, record.peer_identity)
