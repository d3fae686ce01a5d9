"""`init`, `passphrase`, `export`, `import`, `wipe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clients.sdk.errors import ExitCode
from clients.sdk.model import Role
from support.fake_device import FakeDevice

RELAY = "https://relay.example.org"


def test_init_makes_a_vault_and_says_that_a_passphrase_cannot_be_recovered(world: Any) -> None:
    assert world.run("init", "--role", "client", "--relay", RELAY) == 0
    made = FakeDevice.vaults[world.home]
    assert (made.role, made.relay_url, made.passphrase, made.open) == (
        Role.CLIENT,
        RELAY,
        "the passphrase",
        False,
    )
    assert "Nobody can recover a forgotten passphrase" in world.err
    assert "connect" in world.out


def test_init_of_a_therapist_prints_the_fingerprint(world: Any) -> None:
    printed = world.json("init", "--role", "therapist", "--relay", RELAY, "--name", "Dr Sara", "--token", "t")
    assert printed["fingerprint"] == bytes(range(32)).hex()
    assert FakeDevice.vaults[world.home].display_name == "Dr Sara"
    assert ("create", "t") in FakeDevice.vaults[world.home].calls


def test_second_init_changes_nothing(world: Any) -> None:
    made = world.vault()
    assert world.run("init", "--role", "therapist", "--relay", RELAY) == ExitCode.VAULT_TROUBLE
    assert FakeDevice.vaults[world.home] is made


def test_client_gives_no_name(world: Any) -> None:
    assert world.run("init", "--role", "client", "--relay", RELAY, "--name", "x") == ExitCode.USAGE
    assert world.home not in FakeDevice.vaults


@pytest.mark.parametrize("content", ["", "\n", "   \nsecond line"])
def test_empty_passphrase_is_refused(world: Any, content: str) -> None:
    world.passphrase_file(content)
    assert world.run("init", "--role", "client", "--relay", RELAY) == ExitCode.WRONG_PASSPHRASE
    assert world.home not in FakeDevice.vaults


def test_passphrase_file_that_is_missing(world: Any) -> None:
    world.environment["AMANAT_PASSPHRASE_FILE"] = "no such file"
    assert world.run("init", "--role", "client", "--relay", RELAY) == ExitCode.MISSING_PREREQUISITE


def test_new_passphrase_is_asked_for_twice(world: Any) -> None:
    world.environment.clear()
    world.answers = ["typed", "typed wrong"]
    assert world.run("init", "--role", "client", "--relay", RELAY, person=True) == ExitCode.WRONG_PASSPHRASE
    assert "differ" in world.err
    world.answers = ["typed", "typed"]
    assert world.run("init", "--role", "client", "--relay", RELAY, person=True) == 0
    assert FakeDevice.vaults[world.home].passphrase == "typed"


def test_wrong_passphrase(world: Any) -> None:
    world.vault()
    world.passphrase_file("another")
    assert world.run("lines") == ExitCode.WRONG_PASSPHRASE
    assert world.err == "This passphrase does not open the vault.\n"


def test_vault_in_use(world: Any) -> None:
    world.vault().open = True
    assert world.run("lines") == ExitCode.VAULT_TROUBLE


def test_passphrase_is_changed(world: Any) -> None:
    vault = world.vault()
    world.passphrase_file("the new one", "AMANAT_NEW_PASSPHRASE_FILE")
    assert world.run("passphrase") == 0
    assert vault.passphrase == "the new one"


def test_change_to_an_empty_passphrase_is_refused(world: Any) -> None:
    vault = world.vault()
    world.passphrase_file("", "AMANAT_NEW_PASSPHRASE_FILE")
    assert world.run("passphrase") == ExitCode.WRONG_PASSPHRASE
    assert vault.passphrase == "the passphrase"


def test_export_and_import(world: Any, tmp_path: Path) -> None:
    world.vault()
    world.passphrase_file("of the export", "AMANAT_EXPORT_PASSPHRASE_FILE")
    file = str(tmp_path / "export")
    assert world.run("export", file) == 0
    assert not FakeDevice.vaults[world.home].open
    other = tmp_path / "other"
    assert world.run("--home", str(other), "import", file) == 0
    assert FakeDevice.vaults[other].passphrase == "the passphrase"
    world.passphrase_file("wrong", "AMANAT_EXPORT_PASSPHRASE_FILE")
    assert world.run("--home", str(tmp_path / "third"), "import", file) == ExitCode.WRONG_PASSPHRASE


def test_wipe_asks_a_person_and_believes_a_script(world: Any) -> None:
    world.vault()
    assert world.run("wipe", person=True, typed="no\n") == ExitCode.FAILED
    assert world.home in FakeDevice.vaults
    assert "keys, lines and texts" in world.err
    assert world.run("wipe", person=True, typed="wipe\n") == 0
    assert world.home not in FakeDevice.vaults
    world.vault()
    assert world.run("wipe") == 0
    assert world.run("wipe") == ExitCode.VAULT_TROUBLE
