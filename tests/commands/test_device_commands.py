"""`init --link`, `link`, `devices`."""

from __future__ import annotations

from typing import Any

from clients.sdk.errors import ExitCode
from clients.sdk.linking.errors import CodeWasUsed, NewDeviceSilent, NotLinkedYet
from support.fake_device import FakeDevice, own_device_summary

RELAY = "https://relay.example.org"
CODE = "https://relay.example.org/l#code"


def test_init_link_makes_an_empty_vault_and_says_what_comes_next(world: Any) -> None:
    assert world.run("init", "--link", "--relay", RELAY) == 0
    assert FakeDevice.vaults[world.home].code == CODE
    assert "link" in world.out


def test_init_is_for_a_role_or_for_linking(world: Any) -> None:
    assert world.run("init", "--link", "--role", "client", "--relay", RELAY) == ExitCode.USAGE
    assert world.run("init", "--relay", RELAY) == ExitCode.USAGE
    assert world.run("init", "--link", "--relay", RELAY, "--name", "Dr Sara") == ExitCode.USAGE


def test_the_new_device_shows_its_code_and_a_qr_code_and_waits(world: Any) -> None:
    vault = world.vault()
    vault.code = CODE
    assert world.run("link", "--wait", "7") == 0
    assert CODE in world.out
    assert "▀" in world.out
    assert ("wait_linked", 7.0) in vault.calls
    assert "Linked." in world.out
    vault.trouble["wait_linked"] = NotLinkedYet()
    assert world.run("link") == ExitCode.TIMED_OUT
    assert "shows the same code" in world.err


def test_a_device_that_has_a_person_shows_no_code(world: Any) -> None:
    world.vault()
    assert world.run("link") == ExitCode.USAGE
    assert "init --link" in world.err
    assert world.run("link", "--name", "phone") == ExitCode.USAGE


def test_the_first_device_reads_the_code(world: Any) -> None:
    vault = world.vault()
    printed = world.json("link", CODE, "--name", "phone")
    assert (printed["name"], printed["state"]) == ("phone", "linked")
    assert ("link", CODE) in vault.calls
    vault.trouble["link"] = CodeWasUsed()
    assert world.run("link", CODE) == ExitCode.REFUSED
    vault.trouble["link"] = NewDeviceSilent()
    assert world.run("link", CODE) == ExitCode.TIMED_OUT


def test_a_person_is_warned_before_linking_and_may_stop(world: Any) -> None:
    vault = world.vault()
    assert world.run("link", CODE, typed="no\n", person=True) == ExitCode.FAILED
    assert "hold in your hands" in world.err
    assert vault.devices == []


def test_devices_are_listed_and_removed(world: Any) -> None:
    vault = world.vault()
    vault.devices.append(own_device_summary("phone"))
    assert world.run("devices") == 0
    assert "this device: first device" in world.out
    assert "phone: linked, in 1 of 1 lines" in world.out
    assert [device["name"] for device in world.json("devices")["devices"]] == ["this device", "phone"]
    assert world.run("devices", "remove") == ExitCode.USAGE
    assert world.run("devices", "remove", "laptop") == ExitCode.USAGE
    assert world.run("devices", "remove", "phone", typed="no\n", person=True) == ExitCode.FAILED
    assert vault.devices
    assert world.json("devices", "remove", "phone") == {"removed": "phone", "done": True}
    assert vault.devices == []
