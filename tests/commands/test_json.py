"""`--json` wherever a program reads the outcome: one object on stdout, sentences on stderr only."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import pytest

from clients.commands.command import EXIT_CODE_MEANINGS
from clients.commands.main import COMMANDS, build_parser
from clients.sdk.errors import RelayUnreachable
from clients.sdk.model import LinePhase, Offer, OfferState, Role
from support.fake_device import NOW

FOR_PEOPLE = {"open", "crisis", "relay", "replay", "bench", "vectors", "audit", "claims"}
"""Nothing but a screen, read by a parser of their own, or (claims) a file that programs read themselves."""


def test_every_command_that_ends_with_a_result_has_json() -> None:
    without = {command.name for command in COMMANDS if not command.json}
    assert without <= FOR_PEOPLE


def test_every_command_that_opens_a_vault_documents_its_exit_codes() -> None:
    parser = build_parser()
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    for command in COMMANDS:
        if command.name in FOR_PEOPLE - {"open", "crisis"}:
            continue
        text = subparsers.choices[command.name].format_help()
        for code in command.exit_codes:
            assert f"\n  {code:d}  " in text, command.name


@pytest.mark.parametrize("relay", [True, False])
def test_end(world: Any, relay: bool) -> None:
    vault = world.vault()
    vault.add_line("Dr Sara")
    if not relay:
        vault.trouble["settle"] = RelayUnreachable("https://relay.example.org")
    assert world.json("end", "--line", "Dr Sara", "--delete") == {
        "line": "Dr Sara",
        "phase": "ended",
        "relay_reached": relay,
        "texts_deleted": True,
    }


@pytest.mark.parametrize(
    ("role", "command", "state"),
    [(Role.THERAPIST, "cancel", "cancelled"), (Role.CLIENT, "decline", "declined")],
)
def test_cancel_and_decline(world: Any, role: Role, command: str, state: str) -> None:
    made = Offer(offer_id="ab" * 16, at=NOW + 60, sender="me", state=OfferState.OFFERED)
    world.vault(role).add_line("x").offers.append(made)
    assert world.json(command, "ab") == {"id": "ab" * 16, "at": NOW + 60, "from": "me", "state": state}


def test_resolve(world: Any) -> None:
    world.vault().add_line("Dr Sara", phase=LinePhase.STOPPED)
    assert world.json("resolve", "--line", "Dr Sara", "--same") == {
        "line": "Dr Sara",
        "same": True,
        "phase": "returning",
    }


def test_export_import_passphrase_wipe(world: Any, tmp_path: Path) -> None:
    world.vault().add_line("Dr Sara")
    world.passphrase_file("of the export\n", "AMANAT_EXPORT_PASSPHRASE_FILE")
    world.passphrase_file("another one\n", "AMANAT_NEW_PASSPHRASE_FILE")
    file = tmp_path / "export"
    exported = world.json("export", str(file))
    assert exported == {"file": str(file), "bytes": file.stat().st_size, "lines": ["Dr Sara"]}
    assert world.json("passphrase") == {"home": str(world.home), "changed": True}
    assert world.json("wipe") == {"home": str(world.home), "wiped": True}
    assert world.json("import", str(file))["role"] == "client"


def test_a_failure_prints_no_json(world: Any) -> None:
    assert world.run("wipe", "--json") != 0
    assert world.out == ""
    with pytest.raises(json.JSONDecodeError):
        json.loads(world.out)


def test_the_readme_lists_the_exit_codes() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    shown = re.sub(r" <!--.*?-->", "", readme)
    for code, meaning in EXIT_CODE_MEANINGS.items():
        assert f"| {code:d} | {meaning} |" in shown
