"""A world for commands: a home, fake devices, and what was printed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from clients.commands.context import Context
from clients.commands.main import main
from clients.sdk.model import Role
from support.fake_device import NOW, FakeDevice, FakeVault
from support.terminal_ends import Keyboard, Screen


@dataclass
class World:
    """Runs commands in one home."""

    home: Path
    capsys: pytest.CaptureFixture[str]
    environment: dict[str, str] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)
    """What a person types when asked for something hidden, in order."""
    out: str = ""
    err: str = ""

    def run(self, *arguments: str, typed: str = "", person: bool = False, terminal: bool = False) -> int:
        """Run one command; `out` and `err` hold what it printed."""
        out, err = Screen(terminal=terminal), Screen()
        context = Context(
            home=self.home,
            out=out,
            err=err,
            stdin=Keyboard(typed, person=person),
            environment=self.environment,
            device_class=lambda: FakeDevice,
            ask_hidden=lambda _: self.answers.pop(0),
            now=lambda: NOW,
        )
        code = main(list(arguments), context=context)
        printed = self.capsys.readouterr()
        self.out, self.err = out.getvalue() + printed.out, err.getvalue() + printed.err
        return code

    def json(self, *arguments: str) -> Any:
        """Run a command that must succeed, and read its JSON."""
        assert self.run(*arguments, "--json") == 0, self.err
        return json.loads(self.out)

    def vault(self, role: Role = Role.CLIENT) -> FakeVault:
        """A vault in this home, whose passphrase the environment names."""
        FakeDevice.vaults[self.home] = vault = FakeVault(role, "https://relay.example.org", "the passphrase")
        return vault

    def passphrase_file(self, text: str, variable: str = "AMANAT_PASSPHRASE_FILE") -> None:
        """Let a variable name a file with this content."""
        path = self.home.with_name(variable)
        path.write_text(text)
        self.environment[variable] = str(path)


@pytest.fixture
def world(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[World]:
    """A home without a vault."""
    made = World(tmp_path / "home", capsys)
    made.passphrase_file("the passphrase\n")
    yield made
    FakeDevice.vaults.clear()
