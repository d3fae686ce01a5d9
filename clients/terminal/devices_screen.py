"""The cards of a person's devices: the list, linking one by its code, and the question before a removal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from clients.commands.device_words import device_words
from clients.sdk.model import DeviceState, OwnDeviceSummary
from clients.terminal.dialogs import Card
from clients.terminal.display import printable


class DeviceVerb(Enum):
    """What a person wants done with their devices."""

    LINK = "link"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWish:
    """One verb, with the code to link or the name of the device to remove."""

    verb: DeviceVerb
    value: str


class DevicesScreen(ModalScreen[DeviceWish | None]):
    """This person's devices."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, devices: Sequence[OwnDeviceSummary]) -> None:
        super().__init__()
        self._devices = list(devices)
        self._primary = any(device.this_device and device.state is DeviceState.PRIMARY for device in devices)

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card"):
            yield Label("Your devices", classes="card-title")
            for number, device in enumerate(self._devices):
                with Horizontal(classes="field of-device"):
                    yield Label(printable("\n".join(device_words(device))), classes="device", markup=False)
                    if self._primary and not device.this_device and device.state is not DeviceState.REMOVED:
                        yield Button("Remove …", id=f"remove-{number}", variant="error")
            if self._primary and len(self._devices) == 1:
                yield Static(
                    "A second device of yours: run `amanat init --link` and `amanat link` there, and paste "
                    "the code that it shows. It will read everything that is written from now on.",
                    classes="faint",
                    markup=False,
                )
                with Horizontal(classes="field"):
                    yield Input(placeholder="linking code", id="code")
                    yield Button("Link", id="link")
            elif not self._primary:
                yield Static("Only your first device links and removes devices.", classes="faint")
            with Horizontal(classes="buttons"):
                yield Button("Close", id="close", variant="primary")

    def on_mount(self) -> None:
        """Begin with the harmless answer."""
        self.query_one("#close", Button).focus()

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._link()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        match event.button.id:
            case "link":
                self._link()
            case str(button) if button.startswith("remove-"):
                device = self._devices[int(button.removeprefix("remove-"))]
                self.dismiss(DeviceWish(verb=DeviceVerb.REMOVE, value=device.name))
            case _:
                self.dismiss(None)

    def _link(self) -> None:
        code = self.query_one("#code", Input).value.strip()
        if code:
            self.dismiss(DeviceWish(verb=DeviceVerb.LINK, value=code))


class RemoveDeviceScreen(ModalScreen[bool]):
    """Asks before a device is taken out of every line."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def compose(self) -> ComposeResult:
        """Lay the card out."""
        with Card(classes="card small"):
            yield Label(printable(f"Remove {self._name}?"), classes="card-title", markup=False)
            yield Static(
                "It is taken out of every line, and every line gets new keys. It keeps what it has received, "
                "and reads nothing that is written after the others have heard of it.",
                markup=False,
            )
            with Horizontal(classes="buttons"):
                yield Button("Remove", id="remove", variant="error")
                yield Button("Keep it", id="close", variant="primary")

    def on_mount(self) -> None:
        """Begin with the harmless answer."""
        self.query_one("#close", Button).focus()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        event.stop()
        self.dismiss(event.button.id == "remove")
