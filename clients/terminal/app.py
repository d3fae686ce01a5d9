"""The full-screen app: `amanat --home DIR open`, for both roles.

One app owns one device. What the device does on the network runs in one worker (`_stay_online`); everything
that a person starts and that takes time runs in one more. A lock (F8) clears the screen first and closes
the vault then; nothing of a conversation survives it in the app.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Final

from textual import on, work
from textual.binding import BindingType
from textual.worker import Worker

from clients.commands.session_command import end_sentence
from clients.commands.times import parse_time
from clients.sdk.device import Device
from clients.sdk.errors import AmanatError, ExitCode
from clients.sdk.model import LinePhase, LineSummary, Role
from clients.sdk.session.front import EndReason
from clients.sdk.session.handle import TERMINAL, SessionHandle, SessionResult
from clients.terminal.base import CalmApp, key
from clients.terminal.devices_screen import DevicesScreen, DeviceVerb, RemoveDeviceScreen
from clients.terminal.dialogs import (
    AcceptScreen,
    Answer,
    EndScreen,
    InvitationScreen,
    SafetyNumberScreen,
    WaitingScreen,
)
from clients.terminal.home_screen import HomeScreen
from clients.terminal.line_screen import LineScreen, LineVerb
from clients.terminal.session_view import BEGIN, WAIT_FOR_BEGIN
from clients.terminal.unlock_screen import UnlockScreen
from keys.device_vault import Vault

_FAREWELL_SECONDS: Final = 3.0
"""How long quitting waits for what is still to be handed to the relay."""
_SESSION_WAIT_SECONDS: Final = 900.0


class AmanatApp(CalmApp[int]):
    """See the module's docstring."""

    TITLE = "Amanat"
    BINDINGS: ClassVar[list[BindingType]] = [
        key("f8", "lock", "Lock now"),
        key("ctrl+q", "leave", "Quit"),
    ]

    def __init__(
        self, home: Path, *, device_class: type[Device] = Device, now: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._home = home
        self._device_class = device_class
        self._now = now
        self._device: Device | None = None
        self._online_worker: Worker[None] | None = None
        self._session: SessionHandle | None = None
        self._in_session = False

    def on_mount(self) -> None:
        """Begin locked."""
        self.push_screen(UnlockScreen(vault_exists=Vault.exists(self._home)))

    # -- unlocking, locking, leaving

    @on(UnlockScreen.Given)
    def _unlock_soon(self, event: UnlockScreen.Given) -> None:
        # Stretching the passphrase takes a moment and holds the loop: first let the screen say so.
        self.call_after_refresh(self._unlock, event.passphrase)

    @work(group="unlock", exclusive=True)
    async def _unlock(self, passphrase: str) -> None:
        screen = self.screen
        if not isinstance(screen, UnlockScreen) or self._device is not None:
            return
        try:
            self._device = self._device_class.open(self._home, passphrase)
        except AmanatError as error:
            screen.say(error.sentence)
            return
        await self.switch_screen(HomeScreen(self._device, now=self._now))
        self._online_worker = self._stay_online(self._device)

    @work(exit_on_error=True)
    async def _stay_online(self, device: Device) -> None:
        async with device.online():
            async for event in device.events():
                home = self._home_screen
                if home is not None and not self._in_session:
                    await home.device_event(event)

    @work(group="lock", exclusive=True)
    async def action_lock(self) -> None:
        """Clear the screen and lock the vault, at once; whatever was being written is gone."""
        if self._session is not None:
            self._session.panic()
        # The screen goes first: closing can take a moment, and eyes are faster than disks.
        while len(self.screen_stack) > 1:
            await self.pop_screen()
        await self.push_screen(UnlockScreen(vault_exists=True, sentence="Locked."))
        self.clear_notifications()
        await self._close_device()

    @work(group="leave", exclusive=True)
    async def action_leave(self) -> None:
        """Hand over what is queued, close the vault, and end."""
        if self._device is not None:
            with suppress(AmanatError, TimeoutError):
                await asyncio.wait_for(self._device.settle(_FAREWELL_SECONDS), _FAREWELL_SECONDS)
        await self._close_device()
        self.exit(ExitCode.OK)

    async def _close_device(self) -> None:
        device, self._device = self._device, None
        if device is None:
            return
        self.workers.cancel_group(self, "task")
        if self._online_worker is not None:
            self._online_worker.cancel()
            with suppress(Exception):  # a cancelled worker says so by an error; the vault closes all the same
                await self._online_worker.wait()
            self._online_worker = None
        device.close()

    async def on_unmount(self) -> None:
        """Whatever ends the app closes the vault."""
        await self._close_device()

    # -- what the person wants

    @property
    def _home_screen(self) -> HomeScreen | None:
        for screen in self.screen_stack:
            if isinstance(screen, HomeScreen):
                return screen
        return None

    def _selected(self) -> tuple[Device, HomeScreen, LineSummary] | None:
        """Device, screen and line of what is shown; None (and a word) where there is none."""
        home = self._home_screen
        if self._device is None or home is None or self.screen is not home:
            return None
        line = home.selected
        if line is None:
            self.notify("Choose a line first.")
            return None
        return self._device, home, line

    def _complain(self, error: AmanatError) -> None:
        self.notify(error.sentence, severity="error", timeout=12, markup=False)

    @on(HomeScreen.Send)
    def _send(self, event: HomeScreen.Send) -> None:
        home = self._home_screen
        if self._device is None or home is None:
            return
        try:
            self._device.send_text(event.line, event.text)
        except AmanatError as error:
            self._complain(error)
            home.sent(text=event.text)
            return
        home.sent()
        self.run_worker(home.bring_up_to_date(), group="refresh")

    def action_invitation(self) -> None:
        """Make an invitation (therapist) or accept one (client)."""
        if self._device is not None and self.screen is self._home_screen:
            if self._device.role is Role.THERAPIST:
                self._invite(self._device)
            else:
                self._accept(self._device)

    @work(group="task")
    async def _invite(self, device: Device) -> None:
        try:
            async with self._waiting(WaitingScreen("Asking the relay to admit one client …", can_stop=False)):
                invitation = await device.invite()
        except AmanatError as error:
            self._complain(error)
            return
        until = datetime.fromtimestamp(invitation.expires_day * 86_400, tz=UTC).date().isoformat()
        await self.push_screen_wait(InvitationScreen(link=invitation.link, until=until))

    @work(group="task")
    async def _accept(self, device: Device) -> None:
        accepted = await self.push_screen_wait(AcceptScreen())
        if accepted is None:
            return
        sentence = "Opening the line …"
        if not accepted.hurry:
            sentence += "\n\nThis waits up to a minute, so that no time tells the relay who begins to write."
        try:
            async with self._waiting(WaitingScreen(sentence, can_stop=False)):
                line = await device.connect(accepted.link, name=accepted.name or None, hurry=accepted.hurry)
        except AmanatError as error:
            self._complain(error)
            return
        home = self._home_screen
        if home is not None:
            await home.select(line.name)

    def action_safety_number(self) -> None:
        """Show the safety number and take the answer."""
        if chosen := self._selected():
            self._compare(*chosen)

    @work(group="task")
    async def _compare(self, device: Device, home: HomeScreen, line: LineSummary) -> None:
        stopped = line.phase is LinePhase.STOPPED
        answer = await self.push_screen_wait(
            SafetyNumberScreen(
                line=line.name,
                groups=tuple(device.safety_number(line.name).split()),
                payload=device.safety_number_qr(line.name).decode("ascii"),
                confirmed=line.safety_number_confirmed,
                must_decide=stopped,
            )
        )
        try:
            if answer is Answer.SAME:
                device.confirm_safety_number(line.name)
            if answer is not None and stopped:
                device.resolve(line.name, same=answer is Answer.SAME)
        except AmanatError as error:
            self._complain(error)
        await home.bring_up_to_date()

    def action_line(self) -> None:
        """Rename, appointments, end."""
        if chosen := self._selected():
            self._change_line(*chosen)

    @work(group="task")
    async def _change_line(self, device: Device, home: HomeScreen, line: LineSummary) -> None:
        wish = await self.push_screen_wait(
            LineScreen(line=line, offers=device.offers(line.name), role=device.role)
        )
        if wish is None:
            return
        try:
            match wish.verb:
                case LineVerb.RENAME:
                    home.rename(line.name, device.rename_line(line.name, wish.value))
                case LineVerb.OFFER:
                    device.offer(line.name, parse_time(wish.value, self._now()))
                case LineVerb.CANCEL:
                    device.cancel_offer(line.name, wish.value)
                case LineVerb.DECLINE:
                    device.decline_offer(line.name, wish.value)
                case LineVerb.END:
                    await self._end_line(device, line)
        except AmanatError as error:
            self._complain(error)
        await home.bring_up_to_date()

    async def _end_line(self, device: Device, line: LineSummary) -> None:
        ending = await self.push_screen_wait(EndScreen(line=line.name, undelivered=line.undelivered))
        if ending is not None:
            device.end_line(line.name, block=ending.block, delete_texts=ending.delete_texts)

    def action_devices(self) -> None:
        """Show this person's devices; link one, or remove one."""
        if self._device is not None and self.screen is self._home_screen:
            self._change_devices(self._device)

    @work(group="task")
    async def _change_devices(self, device: Device) -> None:
        wish = await self.push_screen_wait(DevicesScreen(device.devices()))
        if wish is None:
            return
        try:
            match wish.verb:
                case DeviceVerb.REMOVE:
                    if await self.push_screen_wait(RemoveDeviceScreen(wish.value)):
                        device.remove_device(wish.value)
                        self.notify(f"{wish.value} is being removed from every line.", markup=False)
                case DeviceVerb.LINK:
                    card = WaitingScreen("Linking your other device …", can_stop=False)
                    async with self._waiting(card):
                        linked = await device.link(wish.value)
                    self.notify(
                        f"{linked.name} is linked; it is in {linked.lines_joined} of {linked.lines} lines.",
                        markup=False,
                    )
        except AmanatError as error:
            self._complain(error)

    # -- live sessions

    def action_live_session(self) -> None:
        """Offer a live session and wait (therapist), or wait for the offer (client)."""
        if chosen := self._selected():
            self._hold_session(*chosen)

    @work(group="task")
    async def _hold_session(self, device: Device, home: HomeScreen, line: LineSummary) -> None:
        waiting = WaitingScreen(
            f"A live session is offered to {line.name}. Waiting for them to join …"
            if device.role is Role.THERAPIST
            else f"Waiting for {line.name} to open the live session …"
        )
        result: SessionResult | None = None
        try:
            async with device.session(line.name) as session:
                self._session = session
                async with self._waiting(waiting):
                    both_there = await self._bring_about(session, waiting)
                if both_there:
                    result = await self._lend_terminal(session)
        except AmanatError as error:
            self._complain(error)
        finally:
            self._session = None
        if result is not None and result.reason is EndReason.PANIC:
            self.action_lock()  # who wipes a session in a hurry does not want the line on the screen either
            return
        if result is not None:
            self.notify(end_sentence(result.reason, kept=result.kept), timeout=12)
        await home.bring_up_to_date()

    async def _bring_about(self, session: SessionHandle, waiting: WaitingScreen) -> bool:
        """Wait until both sides are there; False if the person gave up."""
        start = asyncio.ensure_future(
            session.start(
                front=TERMINAL, options={WAIT_FOR_BEGIN: "yes"}, timeout_seconds=_SESSION_WAIT_SECONDS
            )
        )
        stop = asyncio.ensure_future(waiting.gone.wait())
        try:
            await asyncio.wait({start, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not start.done():
                return False
            start.result()
            return True
        finally:
            for task in (start, stop):
                task.cancel()
            await asyncio.gather(start, stop, return_exceptions=True)

    async def _lend_terminal(self, session: SessionHandle) -> SessionResult:
        """Let the session's process have the terminal until it has ended.

        The child waits for `BEGIN` before it draws, so the two never write at once. Nothing of this app is
        drawn meanwhile: writing to a terminal that was let go would block.
        """
        self._in_session = True
        try:
            with self.batch_update(), self.suspend():
                session.command(BEGIN, "")
                return await session.wait()
        finally:
            self._in_session = False

    @asynccontextmanager
    async def _waiting(self, card: WaitingScreen) -> AsyncIterator[None]:
        """Show a card for the length of the block; it is gone before anything is said about how it went."""
        await self.push_screen(card)
        try:
            yield
        finally:
            if card in self.screen_stack and not card.gone.is_set():
                await card.dismiss()
