"""Linking as an application sees it: what `clients.sdk.device.Device` offers about a person's devices."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final

from clients.sdk.engine import Engine
from clients.sdk.errors import UsageError
from clients.sdk.line.company import short_name
from clients.sdk.line.events import LinePhase
from clients.sdk.linking import mailbox
from clients.sdk.linking.carrying import export_links
from clients.sdk.linking.errors import (
    CodeTampered,
    CodeWasUsed,
    DeviceLimit,
    DeviceWasRemoved,
    LinkingCodeRefused,
    NewDeviceSilent,
    NotLinkable,
    NotLinkedYet,
    PrimaryOnly,
    UnknownDevice,
    WaitsToBeLinked,
)
from clients.sdk.linking.first_device import CodeUsed, TooManyDevices
from clients.sdk.linking.siblings import (
    Sibling,
    SiblingPhase,
    load_sibling,
    load_sibling_lines,
    load_siblings,
)
from clients.sdk.model import DeviceState, OwnDeviceSummary, Role
from clients.sdk.records import LinkPhase, load_device, save_device
from keys.certificates import DeviceCertificate
from keys.contact import check_display_name
from keys.invitations import normalise_relay_url
from keys.linking import LinkingCode, LinkingCodeError, parse_code

Until = Callable[[Callable[[], bool], float], Awaitable[bool]]
"""Waits until a condition is true, for so many seconds at most; says whether it became true."""

_STATES: Final = {
    SiblingPhase.OPENING: DeviceState.LINKING,
    SiblingPhase.OFFERED: DeviceState.LINKING,
    SiblingPhase.LINKED: DeviceState.LINKED,
    SiblingPhase.REMOVED: DeviceState.REMOVED,
}
_LINKED_STATES: Final = {
    LinkPhase.WAITING: DeviceState.LINKING,
    LinkPhase.LINKED: DeviceState.LINKED,
    LinkPhase.REMOVED: DeviceState.REMOVED,
}
_OVER: Final = frozenset({LinePhase.ENDED, LinePhase.FAULTED, LinePhase.ENDING})
MAX_NAME_BYTES: Final = 64


class LinkFront:
    """See the module.

    Args:
        engine: Of the device.
        until: Waits on the running engine.
    """

    def __init__(self, engine: Engine, until: Until) -> None:
        self._engine = engine
        self._until = until

    @property
    def removed(self) -> bool:
        """Whether the first device has removed this one."""
        state = self._engine.record.linked
        return state is not None and state.phase is LinkPhase.REMOVED

    def check_alive(self) -> None:
        """Check that this device is somebody's and was not removed.

        Raises:
            WaitsToBeLinked, DeviceWasRemoved.
        """
        state = self._engine.record.linked
        if state is not None and state.phase is LinkPhase.REMOVED:
            raise DeviceWasRemoved
        if state is not None and state.phase is LinkPhase.WAITING:
            raise WaitsToBeLinked

    def check_primary(self) -> None:
        """Check that this is its person's first device.

        Raises:
            WaitsToBeLinked, DeviceWasRemoved, PrimaryOnly.
        """
        self.check_alive()
        if not self._engine.record.primary:
            raise PrimaryOnly

    def export(self) -> bytes:
        """What an export carries about this person's devices (R9)."""
        with self._engine.vault.transaction() as tx:
            return export_links(tx, self._engine.record.linked)

    # -- the new device

    def show_code(self) -> str:
        """See `Device.show_linking_code`."""
        engine = self._engine
        state = engine.record.linked
        if state is None:
            raise NotLinkable
        if state.phase is LinkPhase.REMOVED:
            raise DeviceWasRemoved
        now = engine.clock.now()
        if state.phase is LinkPhase.LINKED:
            raise UsageError(f"This device is linked already; it is called {state.device_name!r}.")
        if state.code and parse_code(state.code).expires > now:
            return state.code
        with engine.vault.transaction() as tx:
            record = engine.linking.linked.show_code(tx, engine.record, now)
        engine.became(record)
        engine.work_on_links()
        return record.linked.code if record.linked is not None else ""

    async def wait_linked(self, timeout_seconds: float, lines_seconds: float) -> None:
        """See `Device.wait_linked`."""
        engine = self._engine

        def phase() -> LinkPhase | None:
            return None if engine.record.linked is None else engine.record.linked.phase

        if not await self._until(lambda: phase() is not LinkPhase.WAITING, timeout_seconds):
            raise NotLinkedYet
        if phase() is LinkPhase.REMOVED:
            raise DeviceWasRemoved
        promised = 0 if engine.record.linked is None else engine.record.linked.lines_promised
        await self._until(lambda: len(engine.lines) >= promised, lines_seconds)

    # -- the first device

    def read_code(self, text: str) -> LinkingCode:
        """Read a code and check that it can be for this device.

        Raises:
            LinkingCodeRefused.
        """
        engine = self._engine
        try:
            code = parse_code(text)
            code.check_not_expired(engine.clock.now())
        except LinkingCodeError as error:
            raise LinkingCodeRefused(str(error)) from None
        if code.relay_url != normalise_relay_url(engine.record.relay_url):
            raise LinkingCodeRefused(
                f"The new device was made for the relay {code.relay_url}; yours is "
                f"{engine.record.relay_url}. Make the new one again for that relay."
            )
        return code

    async def link(
        self, text: str, *, name: str | None, timeout_seconds: float, lines_seconds: float
    ) -> OwnDeviceSummary:
        """See `Device.link`."""
        self.check_primary()
        engine = self._engine
        code = self.read_code(text)
        with engine.vault.transaction() as tx:
            taken = {sibling.name for sibling in load_siblings(tx) if sibling.code_digest != code.digest}
            chosen = _free_name(name, taken)
            try:
                sibling = engine.linking.first.begin(tx, code, name=chosen)
            except CodeUsed:
                raise CodeWasUsed from None
            except TooManyDevices:
                raise DeviceLimit from None
        engine.work_on_links()
        sibling_id = sibling.sibling_id

        def decided() -> bool:
            return self._refusal(sibling_id) is not None or self._phase(sibling_id) is SiblingPhase.LINKED

        if not await self._until(decided, timeout_seconds):
            raise NewDeviceSilent
        refusal = self._refusal(sibling_id)
        if refusal is not None:
            with engine.vault.transaction() as tx:
                engine.linking.first.give_up(tx, sibling)
            engine.work_on_links()
            raise refusal

        def all_joined() -> bool:
            found = self._summary_of(sibling_id)
            return found is None or found.lines_joined >= found.lines

        await self._until(all_joined, lines_seconds)
        summary = self._summary_of(sibling_id)
        if summary is None:
            raise UnknownDevice(chosen)
        return summary

    def _phase(self, sibling_id: bytes) -> SiblingPhase | None:
        with self._engine.vault.transaction() as tx:
            sibling = load_sibling(tx, sibling_id)
        return None if sibling is None else sibling.phase

    def _refusal(self, sibling_id: bytes) -> LinkingCodeRefused | None:
        """Why linking cannot go on, if it cannot."""
        with self._engine.vault.transaction() as tx:
            sibling = load_sibling(tx, sibling_id)
            if sibling is None or not sibling.opening_box:
                return None
            box = mailbox.load_box(tx, sibling.opening_box)
        if sibling.tampered:
            return CodeTampered()
        full = box is not None and box.full and sibling.phase is SiblingPhase.OPENING
        return CodeWasUsed() if full else None

    def find(self, name: str) -> OwnDeviceSummary:
        """See `Device.find_device`."""
        self.check_primary()
        for summary in self.devices():
            if summary.name == name and not summary.this_device:
                return summary
        raise UnknownDevice(name)

    def remove(self, name: str) -> None:
        """See `Device.remove_device`."""
        self.check_primary()
        engine = self._engine
        with engine.vault.transaction() as tx:
            sibling = next((found for found in load_siblings(tx) if found.name == name), None)
            if sibling is None:
                raise UnknownDevice(name)
            engine.linking.first.remove(tx, sibling)
            record = load_device(tx) or engine.record
            if record.therapist is not None:
                # The next bundle carries a device list of a higher version.
                record = replace(record, therapist=replace(record.therapist, published_day=0))
                save_device(tx, record)
        engine.became(record)
        engine.work_on_links()

    # -- both

    def devices(self) -> list[OwnDeviceSummary]:
        """See `Device.devices`."""
        engine = self._engine
        state = engine.record.linked
        lines = sum(engine.view(line_id).phase not in _OVER for line_id in engine.lines)
        own = OwnDeviceSummary(
            name="this device" if state is None or not state.device_name else state.device_name,
            state=DeviceState.PRIMARY if state is None else _LINKED_STATES[state.phase],
            this_device=True,
            short_id=self._own_short_id(),
            lines_joined=lines,
            lines=lines if state is None else max(lines, state.lines_promised),
            linked_at=None,
            heard_at=None,
        )
        with engine.vault.transaction() as tx:
            siblings = load_siblings(tx)
        others = [self._summarise(sibling) for sibling in siblings]
        if state is not None and state.phase is LinkPhase.LINKED:
            others.append(_FIRST)
        return [own, *others]

    def _own_short_id(self) -> str:
        engine = self._engine
        if engine.record.role is not Role.THERAPIST:
            return ""
        if engine.record.therapist is not None:
            certificate = engine.record.therapist.keys.certificate
        else:
            line = next(iter(engine.lines), None)
            if line is None:
                return ""
            certificate = engine.keys_of(line).certificate
        return short_name(DeviceCertificate.decode(certificate).device_id)

    def _summary_of(self, sibling_id: bytes) -> OwnDeviceSummary | None:
        with self._engine.vault.transaction() as tx:
            sibling = load_sibling(tx, sibling_id)
        return None if sibling is None else self._summarise(sibling)

    def _summarise(self, sibling: Sibling) -> OwnDeviceSummary:
        engine = self._engine
        with engine.vault.transaction() as tx:
            known = load_sibling_lines(tx, sibling.sibling_id)
        open_lines = {line_id for line_id in engine.lines if engine.view(line_id).phase not in _OVER}
        joined = [line for line in known if line.joined and line.line_id in open_lines]
        short_id = ""
        if engine.record.role is Role.THERAPIST:
            short_id = next((short_name(line.device_id) for line in known if line.device_id), "")
        return OwnDeviceSummary(
            name=sibling.name,
            state=_STATES[sibling.phase],
            this_device=False,
            short_id=short_id,
            lines_joined=len(joined),
            lines=len(open_lines),
            linked_at=int(sibling.linked_at) or None,
            heard_at=int(sibling.heard_at) or None,
        )


_FIRST: Final = OwnDeviceSummary(
    name="your first device",
    state=DeviceState.PRIMARY,
    this_device=False,
    short_id="",
    lines_joined=0,
    lines=0,
    linked_at=None,
    heard_at=None,
)


def _free_name(name: str | None, taken: set[str]) -> str:
    """A name for a new device: the one wished for, or a number.

    Raises:
        UsageError: the name is empty, too long, taken, or not fit to be shown.
    """
    if name is None:
        number = 2
        while f"device-{number}" in taken:
            number += 1
        return f"device-{number}"
    wish = name.strip()
    if not wish:
        raise UsageError(f"A device's name has 1 to {MAX_NAME_BYTES} bytes.")
    try:
        check_display_name(wish)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if wish in taken:
        raise UsageError(f"There is a device named {wish!r} already.")
    return wish
