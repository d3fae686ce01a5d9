"""What every command needs: where the vault is, how to ask for a passphrase, how to print.

Passphrases are asked for on the terminal, without echo, or read from a file named in the environment: never
from an argument, which other users of the machine could see. Results go to stdout, everything else to
stderr.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

from clients.sdk.errors import AmanatError, ExitCode, PassphraseRefused, UsageError
from clients.terminal.display import printable

_C1_CONTROLS: Final = re.compile("[\x7f-\x9f]")
"""What JSON leaves as it is and a terminal may obey."""

if TYPE_CHECKING:
    # Only for the annotations: `amanat crisis` and `--help` must not load half the program.
    from clients.sdk.device import Device

PASSPHRASE_FILE: Final = "AMANAT_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
NEW_PASSPHRASE_FILE: Final = "AMANAT_NEW_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable
EXPORT_PASSPHRASE_FILE: Final = "AMANAT_EXPORT_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable


class MissingPrerequisite(AmanatError):
    """Something outside Amanat is not there."""

    exit_code = ExitCode.MISSING_PREREQUISITE


class Stopped(AmanatError):
    """The person said no."""

    def __init__(self) -> None:
        super().__init__("Nothing was done.")


def _device_class() -> type[Device]:
    from clients.sdk.device import Device

    return Device


@dataclass(slots=True, kw_only=True)
class Context:
    """The world of one run of `amanat`; tests put fakes in its place."""

    home: Path
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    stdin: TextIO = field(default_factory=lambda: sys.stdin)
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    device_class: Callable[[], type[Device]] = _device_class
    ask_hidden: Callable[[str], str] = getpass.getpass
    now: Callable[[], float] = time.time

    @property
    def interactive(self) -> bool:
        """Whether a person sits at stdin."""
        return self.stdin.isatty()

    def open_device(self) -> Device:
        """Open the vault, asking for the passphrase.

        Raises:
            AmanatError: whatever `Device.open` says.
        """
        return self.device_class().open(self.home, self.passphrase())

    def passphrase(self, prompt: str = "Passphrase: ") -> str:
        """The vault's passphrase.

        Raises:
            MissingPrerequisite: the file named does not exist, or there is nobody to ask.
        """
        return self._from_file(PASSPHRASE_FILE) or self._ask(prompt, PASSPHRASE_FILE)

    def new_passphrase(self, *, variable: str = PASSPHRASE_FILE, what: str = "New passphrase") -> str:
        """A passphrase that is being chosen: asked for twice.

        Raises:
            PassphraseRefused: it is empty, or the two differ.
            MissingPrerequisite: as `passphrase`.
        """
        from keys.passphrase import check_passphrase
        from keys.vault import EmptyPassphrase

        chosen = self._from_file(variable)
        if chosen is None:
            chosen = self._ask(f"{what}: ", variable)
            if chosen.strip() and self._ask("The same once more: ", variable) != chosen:
                raise PassphraseRefused("The two passphrases differ; nothing was done.")
        try:
            check_passphrase(chosen)
        except EmptyPassphrase as error:
            raise PassphraseRefused(str(error)) from None
        return chosen

    def import_passphrase(self) -> str:
        """The passphrase of an export that is being read.

        Raises:
            MissingPrerequisite: as `passphrase`.
        """
        return self._from_file(EXPORT_PASSPHRASE_FILE) or self._ask(
            "Passphrase of the export: ", EXPORT_PASSPHRASE_FILE
        )

    def print(self, text: str = "") -> None:
        """A line of the result."""
        print(text, file=self.out, flush=True)

    def print_theirs(self, text: str) -> None:
        """A line that holds words of the peer: as it came, but on a terminal without control characters."""
        self.print(printable(text) if self.out.isatty() else text)

    def print_qr(self, payload: str) -> None:
        """A QR code: black on white on a terminal, else bare half blocks, to be shown dark on light."""
        from clients.terminal.qr import qr_for_terminal, qr_lines

        code = qr_for_terminal(payload) if self.out.isatty() else "\n".join(qr_lines(payload))
        self.print("\n" + code)

    def print_json(self, value: dict[str, Any]) -> None:
        """The result for a program: one object on one line, without raw control characters of a peer."""
        text = json.dumps(value, ensure_ascii=False)
        self.print(_C1_CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))

    def result(self, value: dict[str, Any], sentence: str, *, as_json: bool) -> None:
        """The result of a command that has one: an object for a program, or a sentence for a person."""
        if as_json:
            self.print_json(value)
        else:
            self.print(sentence)

    def note(self, sentence: str) -> None:
        """Something for the person that is no result."""
        print(sentence, file=self.err, flush=True)

    def confirm(self, question: str, *, word: str = "yes") -> None:
        """Ask before something that cannot be undone; with nobody at stdin the command itself is the yes.

        Raises:
            Stopped: the answer is not `word`.
        """
        if not self.interactive:
            return
        print(f"{question} Type {word} to go on: ", end="", file=self.err, flush=True)
        if self.stdin.readline().strip().lower() != word:
            raise Stopped

    def _from_file(self, variable: str) -> str | None:
        """The first line of the file that the variable names, or None if it names none."""
        name = self.environment.get(variable)
        if not name:
            return None
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise MissingPrerequisite(f"The file named in {variable} cannot be read.") from None
        passphrase = text.split("\n", 1)[0].removesuffix("\r")
        if not passphrase.strip():
            raise PassphraseRefused(f"The file named in {variable} holds no passphrase.")
        return passphrase

    def _ask(self, prompt: str, variable: str) -> str:
        if not self.interactive:
            raise MissingPrerequisite(
                f"There is no terminal to ask for the passphrase; name a file that holds it in {variable}."
            )
        try:
            return self.ask_hidden(prompt)
        except EOFError:
            raise UsageError("No passphrase was given.") from None
