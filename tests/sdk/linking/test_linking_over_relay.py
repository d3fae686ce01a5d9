"""A person's second device on a real relay: linked, in every line, removed (PROTOCOL 7.8; R14, R16, R18)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clients.sdk.device import Device
from clients.sdk.errors import UsageError
from clients.sdk.linking.errors import (
    CodeWasUsed,
    DeviceLimit,
    LinkingCodeRefused,
    NewDeviceSilent,
    NotLinkable,
    PrimaryOnly,
    UnknownDevice,
    WaitsToBeLinked,
)
from clients.sdk.model import DeviceState, LinePhase
from keys.linking import LinkingCode
from keys.passphrase import TEST_COST
from support.pair import PASSPHRASE, WAIT_SECONDS, line_pair, until
from support.two_devices import link, linked_pair, make_new_device, settle_all, until_shown

pytestmark = pytest.mark.asyncio


async def test_a_client_links_a_second_device_and_writes_from_both(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "before")
        await pair.settle()
        number = pair.client.safety_number("sara")
        new = make_new_device(tmp_path / "second", pair.relay.url)
        try:
            async with new.online():
                summary = await link(pair.client, new, name="phone")
                assert (summary.name, summary.state) == ("phone", DeviceState.LINKED)
                assert (summary.lines_joined, summary.lines) == (1, 1)
                everybody = [pair.therapist, pair.client, new]
                assert new.messages("sara") == []  # no history
                assert new.safety_number("sara") == number == pair.therapist.safety_number("client")
                pair.therapist.send_text("client", "to both")
                for device in (pair.client, new):
                    await until_shown(device, "to both", sender="them")
                new.send_text("sara", "from the second")
                await until_shown(pair.therapist, "from the second", sender="them")
                await until_shown(pair.client, "from the second", sender="me")
                pair.client.send_text("sara", "from the first")
                await until_shown(new, "from the first", sender="me")
                await settle_all(everybody)
                assert {d.name: d.state for d in new.devices()} == {
                    "phone": DeviceState.LINKED,
                    "your first device": DeviceState.PRIMARY,
                }
                told = pair.therapist.line().alarms
                assert any("other person has added a device" in sentence for sentence in told)
        finally:
            new.close()


async def test_four_devices_on_one_line(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, therapists=2, clients=2) as (_, therapists, clients):
        everybody = [*therapists, *clients]
        for number, device in enumerate(everybody):
            device.send_text(device.line().name, f"text {number}")
        for number, device in enumerate(everybody):
            for reader in everybody:
                same = (reader in therapists) == (device in therapists)
                await until_shown(reader, f"text {number}", sender="me" if same else "them")
        await settle_all(everybody)
        for device in everybody:
            assert device.line().phase is LinePhase.OPEN
            states = [m.state.value for m in device.messages(device.line().name) if m.sender == "me"]
            assert states == ["delivered", "delivered"]


async def test_a_removed_device_ends_and_reads_nothing_more(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, clients=2) as (pair, _, (first, second)):
        name = second.devices()[0].name
        first.remove_device(name)
        await settle_all([first, pair.therapist])
        pair.therapist.send_text("client", "after")
        await until_shown(first, "after", sender="them")
        await second.settle(WAIT_SECONDS)
        assert second.line().phase is LinePhase.ENDED
        assert [device.name for device in first.devices()] == ["this device"]
        assert "after" not in [message.text for message in second.messages(second.line().name)]


async def test_codes_that_do_not_check_out_are_told_apart(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        new = make_new_device(tmp_path / "new", pair.relay.url)
        elsewhere = make_new_device(tmp_path / "elsewhere", "https://relay.example.org")
        late = LinkingCode.make(relay_url=pair.relay.url, public_key=b"p", rng=os.urandom, now=1.0)
        try:
            code = new.show_linking_code()
            assert new.show_linking_code() == code  # the same as long as it is good
            for text, sentence in (
                (code[:-1], "mistyped"),
                (late.text, "expired"),
                (elsewhere.show_linking_code(), "was made for the relay"),
            ):
                with pytest.raises(LinkingCodeRefused, match=sentence):
                    await pair.client.link(text)
            with pytest.raises(NewDeviceSilent):
                await pair.client.link(code, timeout_seconds=0.3)
            assert [device.state for device in pair.client.devices()][1:] == [DeviceState.LINKING]
            async with new.online():
                # What was begun goes on by itself, and the same code only waits for it.
                await pair.client.link(code, timeout_seconds=WAIT_SECONDS, lines_seconds=WAIT_SECONDS)
                await until(lambda: len(new.lines()) == 1)
            with pytest.raises(CodeWasUsed):
                await pair.client.link(code)
        finally:
            new.close()
            elsewhere.close()


async def test_what_only_the_first_device_may_do(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, clients=2) as (pair, _, (first, second)):
        third = make_new_device(tmp_path / "third", pair.relay.url)
        try:
            code = third.show_linking_code()
            with pytest.raises(DeviceLimit):
                await first.link(code)
            for forbidden in (second.link(code), second.connect("https://relay.example.org/i#x")):
                with pytest.raises(PrimaryOnly):
                    await forbidden
            with pytest.raises(PrimaryOnly):
                second.remove_device("device-2")
            with pytest.raises(UnknownDevice):
                first.remove_device("laptop")
            with pytest.raises(WaitsToBeLinked):
                await third.connect("https://relay.example.org/i#x")
            with pytest.raises(NotLinkable):
                first.show_linking_code()
            with pytest.raises(UsageError, match="linked already"):
                second.show_linking_code()
        finally:
            third.close()


async def test_an_export_of_the_first_device_still_knows_the_second(tmp_path: Path) -> None:
    async with linked_pair(tmp_path, clients=2) as (_, _, (first, second)):
        first.export_to(tmp_path / "first.export", "carried", cost=TEST_COST)
        second.export_to(tmp_path / "second.export", "carried", cost=TEST_COST)
    for name, count in (("first", 2), ("second", 2)):
        device = Device.import_from(
            tmp_path / f"{name}.export",
            home=tmp_path / f"{name}-again",
            passphrase="carried",
            new_passphrase=PASSPHRASE,
            cost=TEST_COST,
        )
        assert len(device.devices()) == count
        assert device.devices()[0].state is (DeviceState.PRIMARY if name == "first" else DeviceState.LINKED)
        device.close()
