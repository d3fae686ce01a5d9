"""A device without keys, network or disk, for tests of the commands and the app.

`FakeDevice` keeps its "vaults" in a dictionary of the class, one for each home, so that one command can
make what the next one opens. `fake_vault(home)` gives a test the inside: put lines there, let messages
arrive, let calls fail.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from clients.sdk.device import Device
from clients.sdk.errors import (
    MAX_TEXT_BYTES,
    AmanatError,
    EmptyText,
    InvitationMistyped,
    LineEnded,
    NoLine,
    PassphraseRefused,
    TextTooLong,
    UnknownLine,
    UnknownOffer,
    UsageError,
    VaultTrouble,
    WrongRole,
)
from clients.sdk.linking.errors import NotLinkable, UnknownDevice
from clients.sdk.model import (
    ConnectionState,
    DeviceEvent,
    DeviceState,
    LineAlarm,
    LineMessage,
    LineName,
    LinePhase,
    LineSummary,
    MessageArrived,
    MessageKind,
    MessageState,
    Offer,
    OfferState,
    OwnDeviceSummary,
    Role,
)
from clients.sdk.session.front import EndReason
from clients.sdk.session.handle import SessionHandle, SessionResult
from keys.certificates import UtcDay
from keys.invitations import Invitation, InvitationError, parse_link
from keys.passphrase import TEST_COST, Cost

NOW = 1_795_000_000


def own_device_summary(name: str, *, this_device: bool = False) -> OwnDeviceSummary:
    """A device of the person."""
    return OwnDeviceSummary(
        name=name,
        state=DeviceState.PRIMARY if this_device else DeviceState.LINKED,
        this_device=this_device,
        short_id="",
        lines_joined=1,
        lines=1,
        linked_at=None if this_device else NOW,
        heard_at=None if this_device else NOW,
    )


@dataclass
class FakeLine:
    """One line and its messages."""

    summary: LineSummary
    messages: list[LineMessage] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    told: set[str] = field(default_factory=set)
    told_alarms: set[str] = field(default_factory=set)


@dataclass
class FakeVault:
    """What a fake device keeps between openings."""

    role: Role
    relay_url: str
    passphrase: str
    display_name: str = ""
    lines: dict[str, FakeLine] = field(default_factory=dict)
    open: bool = False
    events: asyncio.Queue[DeviceEvent] = field(default_factory=asyncio.Queue)
    trouble: dict[str, AmanatError] = field(default_factory=dict)
    """Name of a method to the error that it shall raise."""
    calls: list[tuple[str, object]] = field(default_factory=list)
    session_result: SessionResult | None = None
    state: ConnectionState = ConnectionState.ONLINE
    counter: int = 0
    devices: list[OwnDeviceSummary] = field(default_factory=list)
    """Linked ones."""
    code: str = ""
    """What `show_linking_code` shows."""
    keeps_texts: bool = False
    """`settle` hands nothing over: the device may not use its lines now."""

    def add_line(self, name: str, **changes: object) -> FakeLine:
        """A new open line; `changes` are fields of `LineSummary`."""
        summary = LineSummary(
            name=LineName(name),
            peer_name="",
            phase=LinePhase.OPEN,
            unread=0,
            last_activity=None,
            waiting_to_send=0,
            undelivered=0,
            alarms=(),
            safety_number_confirmed=False,
            offered_now=False,
        )
        line = self.lines[name] = FakeLine(replace(summary, **changes))  # type: ignore[arg-type]  # a test's shorthand
        return line

    def arrive(
        self,
        name: str,
        text: str,
        *,
        at: int = NOW,
        sender: str = "them",
        kind: MessageKind = MessageKind.TEXT,
        state: MessageState | None = None,
        session_id: str = "",
    ) -> LineMessage:
        """A message enters the vault."""
        self.counter += 1
        line = self.lines[name]
        default = MessageState.RECEIVED if sender == "them" else MessageState.DELIVERED
        message = LineMessage(
            item_id=f"item-{self.counter}",
            sender=sender,
            text=text,
            utc_seconds=at,
            counter=self.counter,
            state=default if state is None else state,
            kind=kind,
            session_id=session_id,
        )
        line.messages.append(message)
        unread = line.summary.unread + (sender == "them")
        line.summary = replace(line.summary, unread=unread, last_activity=at)
        self.events.put_nowait(MessageArrived(line=LineName(name), message=message))
        return message


class FakeDevice(Device):
    """See the module's docstring."""

    vaults: ClassVar[dict[Path, FakeVault]] = {}

    def __init__(self, home: Path, vault: FakeVault) -> None:
        self.home = home
        self.vault = vault
        vault.open = True

    def _call(self, name: str, argument: object = None) -> None:
        self.vault.calls.append((name, argument))
        if name in self.vault.trouble:
            raise self.vault.trouble[name]

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
        cost: Cost = TEST_COST,
        time_scale: float = 1.0,
    ) -> FakeDevice:
        if home in cls.vaults:
            raise VaultTrouble("There is a vault in this folder already; it was left as it is.")
        cls.vaults[home] = FakeVault(role, relay_url, passphrase, display_name)
        cls.vaults[home].calls.append(("create", therapist_token))
        return cls(home, cls.vaults[home])

    @classmethod
    def open(cls, home: Path, passphrase: str, *, time_scale: float = 1.0) -> FakeDevice:
        if home not in cls.vaults:
            raise VaultTrouble("There is no vault in this folder.")
        vault = cls.vaults[home]
        if vault.passphrase != passphrase:
            raise PassphraseRefused("This passphrase does not open the vault.")
        if vault.open:
            raise VaultTrouble("Another program has this vault open; close it first.")
        return cls(home, vault)

    @classmethod
    def import_from(
        cls,
        path: Path,
        *,
        home: Path,
        passphrase: str,
        new_passphrase: str,
        relay_url: str | None = None,
        cost: Cost = TEST_COST,
        time_scale: float = 1.0,
    ) -> FakeDevice:
        if path.read_text() != f"export under {passphrase}":
            raise PassphraseRefused("This passphrase does not open the export.")
        cls.vaults[home] = FakeVault(Role.CLIENT, relay_url or "https://relay.example", new_passphrase)
        return cls(home, cls.vaults[home])

    @staticmethod
    def wipe(home: Path) -> None:
        if home not in FakeDevice.vaults:
            raise VaultTrouble("There is no vault in this folder.")
        del FakeDevice.vaults[home]

    def close(self) -> None:
        self.vault.open = False

    def export_to(self, path: Path, passphrase: str, *, cost: Cost = TEST_COST) -> None:
        path.write_text(f"export under {passphrase}")

    @staticmethod
    def change_passphrase(home: Path, old: str, new: str, *, cost: Cost = TEST_COST) -> None:
        FakeDevice.open(home, old).close()
        FakeDevice.vaults[home].passphrase = new

    @property
    def role(self) -> Role:
        return self.vault.role

    @property
    def relay_url(self) -> str:
        return self.vault.relay_url

    @property
    def display_name(self) -> str:
        return self.vault.display_name

    @property
    def fingerprint(self) -> bytes:
        return bytes(range(32))

    @property
    def connection_state(self) -> ConnectionState:
        return self.vault.state

    def _line(self, name: str) -> FakeLine:
        if name not in self.vault.lines:
            raise UnknownLine(name)
        return self.vault.lines[name]

    def lines(self) -> list[LineSummary]:
        summaries = [line.summary for line in self.vault.lines.values()]
        return sorted(summaries, key=lambda line: -(line.last_activity or 0))

    def line(self, name: str | None = None) -> LineSummary:
        if name is not None:
            return self._line(name).summary
        if len(self.vault.lines) != 1:
            raise NoLine(len(self.vault.lines))
        return next(iter(self.vault.lines.values())).summary

    @classmethod
    def create_linked(
        cls,
        home: Path,
        *,
        relay_url: str,
        passphrase: str,
        time_scale: float = 1.0,
        cost: Cost = TEST_COST,
    ) -> FakeDevice:
        del time_scale, cost
        cls.vaults[home] = FakeVault(Role.CLIENT, relay_url, passphrase)
        cls.vaults[home].code = "https://relay.example.org/l#code"
        return cls.open(home, passphrase)

    def devices(self) -> list[OwnDeviceSummary]:
        return [own_device_summary("this device", this_device=True), *self.vault.devices]

    def find_device(self, name: str) -> OwnDeviceSummary:
        for device in self.vault.devices:
            if device.name == name:
                return device
        raise UnknownDevice(name)

    def show_linking_code(self) -> str:
        if not self.vault.code:
            raise NotLinkable
        return self.vault.code

    async def wait_linked(self, timeout_seconds: float, *, lines_seconds: float = 60.0) -> None:
        self._call("wait_linked", timeout_seconds)

    async def link(
        self,
        code: str,
        *,
        name: str | None = None,
        timeout_seconds: float = 60.0,
        lines_seconds: float = 60.0,
    ) -> OwnDeviceSummary:
        self._call("link", code)
        self.vault.devices.append(own_device_summary(name or "device-2"))
        return self.vault.devices[-1]

    def remove_device(self, name: str) -> None:
        self._call("remove_device", name)
        self.vault.devices.remove(self.find_device(name))

    def rename_line(self, name: str, new_name: str) -> LineName:
        if not new_name or new_name in self.vault.lines:
            raise UsageError("This name is taken or empty.")
        line = self.vault.lines.pop(name)
        line.summary = replace(line.summary, name=LineName(new_name))
        self.vault.lines[new_name] = line
        return LineName(new_name)

    def messages(self, line: str, *, limit: int | None = None) -> list[LineMessage]:
        messages = self._line(line).messages
        return messages[-limit:] if limit else list(messages)

    def mark_read(self, line: str) -> None:
        found = self._line(line)
        found.summary = replace(found.summary, unread=0)

    def new_messages(self) -> list[tuple[LineName, LineMessage]]:
        return [
            (LineName(name), message)
            for name, line in self.vault.lines.items()
            for message in line.messages
            if message.sender == "them" and message.item_id not in line.told
        ]

    def mark_told(self, line: str, item_ids: Iterable[str]) -> None:
        self._line(line).told.update(item_ids)

    def alarms(self, line: str) -> list[LineAlarm]:
        summary = self._line(line).summary
        stopped = summary.phase is LinePhase.STOPPED
        return [
            LineAlarm(
                line=summary.name,
                kind="fork" if stopped else "relay-lost-state",
                sentence=sentence,
                since=NOW,
                decision_needed=stopped,
            )
            for sentence in summary.alarms
        ]

    def tell_new_alarms(self, line: str | None = None) -> list[LineAlarm]:
        fresh = []
        for name in [line] if line is not None else list(self.vault.lines):
            told = self._line(name).told_alarms
            fresh += [alarm for alarm in self.alarms(name) if alarm.sentence not in told]
            told.update(self._line(name).summary.alarms)
        return fresh

    def acknowledge_alarms(self, line: str) -> list[LineAlarm]:
        gone = [alarm for alarm in self.alarms(line) if not alarm.decision_needed]
        if gone:
            found = self._line(line)
            found.summary = replace(found.summary, alarms=())
        return gone

    def send_text(self, line: str, text: str) -> str:
        self._call("send_text", text)
        found = self._line(line)
        if found.summary.phase is LinePhase.ENDED:
            raise LineEnded
        if not text:
            raise EmptyText
        if (over := len(text.encode()) - MAX_TEXT_BYTES) > 0:
            raise TextTooLong(over)
        message = self.vault.arrive(line, text, sender="me", state=MessageState.QUEUED)
        return message.item_id

    def safety_number(self, line: str) -> str:
        self._line(line)
        return " ".join(f"{number:05d}" for number in range(12345, 12345 + 12 * 4321, 4321))

    def safety_number_qr(self, line: str) -> bytes:
        return b"AMANAT:SN1:" + self.safety_number(line).replace(" ", "").encode()

    def confirm_safety_number(self, line: str) -> None:
        found = self._line(line)
        found.summary = replace(found.summary, safety_number_confirmed=True)

    def resolve(self, line: str, *, same: bool) -> None:
        found = self._line(line)
        if found.summary.phase is not LinePhase.STOPPED:
            raise UsageError("There is nothing to decide on this line.")
        phase = LinePhase.RETURNING if same else LinePhase.ENDED
        found.summary = replace(found.summary, phase=phase, alarms=())

    def end_line(self, line: str, *, block: bool = False, delete_texts: bool = False) -> None:
        self._call("end_line", (line, block, delete_texts))
        found = self._line(line)
        if found.summary.phase is LinePhase.ENDED:
            raise LineEnded
        found.summary = replace(found.summary, phase=LinePhase.ENDED)
        if delete_texts:
            found.messages.clear()

    def delete_kept_session(self, line: str, session_id: str) -> None:
        found = self._line(line)
        found.messages[:] = [message for message in found.messages if message.session_id != session_id]

    def offer(self, line: str, at: int) -> Offer:
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        offer = Offer(offer_id=f"{at:032x}", at=at, sender="me", state=OfferState.OFFERED)
        self._line(line).offers.append(offer)
        return offer

    def offers(self, line: str) -> list[Offer]:
        return list(self._line(line).offers)

    def _set_offer(self, line: str, offer_id: str, state: OfferState) -> None:
        offers = self._line(line).offers
        for number, offer in enumerate(offers):
            if offer.offer_id == offer_id:
                offers[number] = replace(offer, state=state)
                return
        raise UnknownOffer

    def cancel_offer(self, line: str, offer_id: str) -> None:
        self._set_offer(line, offer_id, OfferState.CANCELLED)

    def decline_offer(self, line: str, offer_id: str) -> None:
        self._set_offer(line, offer_id, OfferState.DECLINED)

    @asynccontextmanager
    async def online(self) -> AsyncIterator[Device]:
        yield self

    async def wait_online(self, timeout_seconds: float = 10.0) -> None:
        self._call("wait_online")

    async def events(self) -> AsyncIterator[DeviceEvent]:
        while True:
            yield await self.vault.events.get()

    async def settle(self, timeout_seconds: float = 30.0, *, idle_seconds: float = 0.0) -> None:
        self._call("settle")
        for line in [] if self.vault.keeps_texts else self.vault.lines.values():
            line.messages[:] = [
                replace(message, state=MessageState.STORED)
                if message.state is MessageState.QUEUED
                else message
                for message in line.messages
            ]

    def use_therapist_token(self, token: str) -> None:
        self._call("use_therapist_token", token)

    async def invite(self) -> Invitation:
        self._call("invite")
        if self.role is not Role.THERAPIST:
            raise WrongRole("therapist")
        return Invitation(
            relay_url=self.relay_url,
            fingerprint=self.fingerprint,
            secret=bytes(16),
            expires_day=UtcDay(20_790),
        )

    async def connect(self, link: str, *, name: str | None = None, hurry: bool = False) -> LineSummary:
        self._call("connect", hurry)
        try:
            parse_link(link)
        except InvitationError:
            raise InvitationMistyped from None
        return self.vault.add_line(name or "therapist", peer_name="Dr Sara", phase=LinePhase.OPENING).summary

    def session(self, line: str) -> FakeSessionHandle:
        self._line(line)
        return FakeSessionHandle(self)


class FakeSessionHandle(SessionHandle):
    """A session that ends with the vault's `session_result`, or waits for ever if there is none."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.device.vault.calls.append(("session closed", None))

    async def start(
        self,
        *,
        front: str = "",
        options: Mapping[str, str] | None = None,
        script: str | None = None,
        session_seconds: int = 3000,
        timeout_seconds: float = 600.0,
    ) -> None:
        self.device._call("session start", (front, script, timeout_seconds))
        self.device.vault.calls.append(("options of session", dict(options or {})))
        if self.device.vault.session_result is None:
            await asyncio.Event().wait()

    async def wait(self, timeout_seconds: float | None = None) -> SessionResult:
        result = self.device.vault.session_result
        if result is None:
            raise UsageError("The test gave this session no result.")
        return result

    def command(self, kind: str, value: str) -> None:
        self.device.vault.calls.append(("session command", kind))

    async def end(self) -> None:
        self.device.vault.calls.append(("session end", None))

    def panic(self) -> None:
        self.device.vault.calls.append(("session panic", None))


def session_result(reason: EndReason = EndReason.ENDED) -> SessionResult:
    """How a session may have gone."""
    return SessionResult(
        reason=reason, sent=3, received=2, seconds=61.5, cells_sent=62, cells_received=61, reports=()
    )
