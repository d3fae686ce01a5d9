"""Two devices, a relay in a process of its own, a WebSocket between them: what a person does with lines."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from chatserver.wire.bundle import SignedBundle
from clients.sdk import online
from clients.sdk.bundles import choose_bundle, fetch_bucket
from clients.sdk.device import Device
from clients.sdk.errors import (
    CannotBeContacted,
    ContactWaiting,
    DecisionNeeded,
    ExportTrouble,
    InvitationExpired,
    InvitationMistyped,
    InvitationUsed,
    NotARelay,
    RelayUnreachable,
    SettleTimedOut,
    TextTooLong,
    TherapistTokenNeeded,
    UsageError,
    WrongRole,
)
from clients.sdk.model import ConnectionState, LinePhase, MessageArrived, MessageState, OfferState, Role
from crypto.suites import PRODUCT
from keys.certificates import UtcDay
from keys.invitations import parse_link
from keys.passphrase import TEST_COST
from support.pair import (
    PASSPHRASE,
    WAIT_SECONDS,
    devices,
    line_pair,
    make_device,
    relay_again,
    shown,
    states_of,
    texts_of,
    until,
    until_texts,
)
from support.relay_process import relay

pytestmark = pytest.mark.asyncio


async def test_texts_go_both_ways_and_are_receipted(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        said = ["salam", "میں ٹھیک نہیں ہوں and mixed", "x" * 12_288]
        for text in said:
            pair.client.send_text("sara", text)
        assert await until_texts(pair.therapist, 3) == said
        pair.therapist.send_text("client", "wa alaikum salam")
        assert await until_texts(pair.client, 1) == ["wa alaikum salam"]
        await pair.settle()
        assert states_of(pair.client) == [MessageState.DELIVERED] * 3
        assert states_of(pair.therapist) == [MessageState.DELIVERED]
        assert pair.client.line().phase is LinePhase.OPEN
        assert pair.client.safety_number("sara") == pair.therapist.safety_number("client")
        pair.client.confirm_safety_number("sara")
        assert pair.client.line().safety_number_confirmed


async def test_first_messages_wait_while_the_therapist_is_offline(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair:
        async with pair.therapist.online():
            link = (await pair.therapist.invite()).link
        async with pair.client.online():
            line = await pair.client.connect(link, hurry=True)
            assert line.phase is LinePhase.OPENING
            assert line.name == "dr-sara"
            pair.client.send_text(line.name, "are you there?")
            pair.client.send_text(line.name, "second")
            await pair.client.settle(WAIT_SECONDS)
            assert states_of(pair.client) == [MessageState.STORED] * 2
        async with pair.therapist.online():
            assert await until_texts(pair.therapist, 2) == ["are you there?", "second"]
            pair.therapist.send_text("client", "yes")
            await pair.therapist.settle(WAIT_SECONDS)
        async with pair.client.online():
            assert await until_texts(pair.client, 1) == ["yes"]
            await pair.client.settle(WAIT_SECONDS)
            assert states_of(pair.client) == [MessageState.DELIVERED] * 2


async def test_one_shot_use_over_many_short_connections(tmp_path: Path) -> None:
    async with line_pair(tmp_path):
        pass
    # every step reopens its vault, as commands do
    async with relay_again(tmp_path):
        for number in range(3):
            client = Device.open(tmp_path / "client", PASSPHRASE)
            client.send_text("sara", f"text {number}")
            async with client.online():
                await client.settle(WAIT_SECONDS)
            client.close()
            therapist = Device.open(tmp_path / "therapist", PASSPHRASE)
            async with therapist.online():
                await therapist.settle(WAIT_SECONDS)
            new = therapist.new_messages()
            assert [message.text for _, message in new] == [f"text {number}"]
            therapist.mark_told("client", [message.item_id for _, message in new])
            assert therapist.new_messages() == []
            therapist.close()


async def test_events_tell_each_message_once(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        heard: list[str] = []

        async def listen() -> None:
            async for event in pair.therapist.events():
                if isinstance(event, MessageArrived):
                    heard.append(event.message.text)  # noqa: PERF401 - it is looked at meanwhile

        async with asyncio.TaskGroup() as group:
            task = group.create_task(listen())
            for number in range(20):
                pair.client.send_text("sara", str(number))
            await until(lambda: len(heard) >= 20)
            task.cancel()
        assert heard == [str(number) for number in range(20)]
        assert len(pair.therapist.new_messages()) <= 1


async def test_a_relay_restart_in_mid_line_loses_and_doubles_nothing(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        for number in range(5):
            pair.client.send_text("sara", f"before {number}")
        await pair.relay.stop(signal.SIGKILL)
        for number in range(5):
            pair.client.send_text("sara", f"during {number}")
            pair.therapist.send_text("client", f"answer {number}")
        await pair.relay.start()
        wanted = [f"before {n}" for n in range(5)] + [f"during {n}" for n in range(5)]
        assert await until_texts(pair.therapist, 10) == wanted
        assert await until_texts(pair.client, 5) == [f"answer {n}" for n in range(5)]
        await pair.settle()
        assert states_of(pair.client) == [MessageState.DELIVERED] * 10


async def test_a_relay_that_shuts_down_in_order_is_found_again(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        await pair.relay.restart(signal.SIGTERM)
        pair.client.send_text("sara", "after")
        assert await until_texts(pair.therapist, 1) == ["after"]


async def test_a_relay_that_lost_its_store_is_recovered_from(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "delivered before")
        await pair.settle()
        await pair.relay.stop(signal.SIGKILL)
        pair.client.send_text("sara", "written meanwhile")
        await pair.relay.lose_store()
        assert await until_texts(pair.therapist, 2) == ["delivered before", "written meanwhile"]
        pair.therapist.send_text("client", "still here")
        assert await until_texts(pair.client, 1) == ["still here"]
        await pair.settle()
        # the person is told once; what was read goes, and comes back only with another loss
        (alarm,) = pair.client.tell_new_alarms()
        assert (alarm.line, alarm.kind, alarm.decision_needed) == ("sara", "relay-lost-state", False)
        assert pair.client.tell_new_alarms() == []
        assert pair.client.line().alarms == (alarm.sentence,)
        assert pair.client.acknowledge_alarms("sara") == [alarm]
        assert pair.client.line().alarms == ()
        # and a new invitation works on the new store
        invitation = await pair.therapist.invite()
        second = make_device(tmp_path / "second", Role.CLIENT, pair.relay.url)
        async with second.online():
            await second.connect(invitation.link, hurry=True)
            await second.settle(WAIT_SECONDS)
        second.close()


# -- invitations


async def test_an_invitation_works_once(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        invitation = await pair.therapist.invite()
        second = make_device(tmp_path / "second", Role.CLIENT, pair.relay.url)
        third = make_device(tmp_path / "third", Role.CLIENT, pair.relay.url)
        async with second.online(), third.online():
            await second.connect(invitation.link, hurry=True)
            with pytest.raises(InvitationUsed):
                await third.connect(invitation.link, hurry=True)
            assert third.lines() == []
        second.close()
        third.close()


async def test_a_link_that_is_pressed_twice_at_once_leads_to_one_line_or_none(tmp_path: Path) -> None:
    """Campaign, seed 2027 (contact): the first refusal forgot the line, and the second broke on that."""
    async with devices(tmp_path) as pair:
        third = make_device(tmp_path / "third", Role.CLIENT, pair.relay.url)
        async with pair.therapist.online(), pair.client.online(), third.online():
            link = (await pair.therapist.invite()).link
            first, second = await asyncio.gather(*(pair.client.connect(link, hurry=True) for _ in range(2)))
            assert first.name == second.name
            assert len(pair.client.lines()) == 1
            refused = await asyncio.gather(
                *(third.connect(link, hurry=True) for _ in range(2)), return_exceptions=True
            )
            assert [type(error) for error in refused] == [InvitationUsed, InvitationUsed]
            assert third.lines() == []
        third.close()


async def test_a_first_contact_that_lost_the_relay_goes_out_later_and_once(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair:
        async with pair.therapist.online():
            link = (await pair.therapist.invite()).link
        engine = pair.client._engine
        deliver = engine.first_drops.deliver

        async def lost(line_id: bytes) -> None:
            raise RelayUnreachable(pair.relay.url, "connection lost")

        engine.first_drops.deliver = lost  # type: ignore[method-assign]  # the relay goes at just this moment
        async with pair.client.online():
            with pytest.raises(RelayUnreachable):
                await pair.client.connect(link, name="sara", hurry=True)
        pair.client.send_text("sara", "written before it was dropped")
        pair.client.close()
        assert deliver is not None
        # another process finds it and brings it out; connecting once more with the same link finds the line
        client = Device.open(tmp_path / "client", PASSPHRASE)
        async with pair.therapist.online(), client.online():
            assert await until_texts(pair.therapist, 1) == ["written before it was dropped"]
            assert [line.name for line in client.lines()] == ["sara"]
            assert (await client.connect(link, hurry=True)).name == "sara"
            assert len(client.lines()) == 1
            # a line that has ended does not come back by its invitation
            client.end_line("sara", block=True)
            with pytest.raises(InvitationUsed):
                await client.connect(link, hurry=True)
        client.close()


class AnswerLost:
    """Between the devices and a real relay: lets a drop through once, and cuts before its answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._armed = True
        self.drops_answered_to_nobody = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relay_reader, relay_writer = await asyncio.open_connection("127.0.0.1", self._port)
        carried = 0

        async def up() -> None:
            nonlocal carried
            while data := await reader.read(65_536):
                carried += len(data)
                relay_writer.write(data)
                await relay_writer.drain()
            relay_writer.close()

        async def down() -> None:
            while data := await relay_reader.read(65_536):
                if carried > 16_384 and self._armed:
                    self._armed = False
                    self.drops_answered_to_nobody += 1
                    relay_writer.close()
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(up(), down())


async def test_r21_connecting_again_after_a_lost_answer_goes_on_with_the_same_line(tmp_path: Path) -> None:
    async with relay(tmp_path / "relay") as process:
        between = AnswerLost(process.port)
        async with await asyncio.start_server(between.serve, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            therapist = make_device(tmp_path / "therapist", Role.THERAPIST, process.url)
            async with therapist.online():
                invitation = await therapist.invite()
            therapist.close()
            # the same relay under the address of what stands between
            link = replace(invitation, relay_url=url).link
            client = make_device(tmp_path / "client", Role.CLIENT, url)
            async with client.online():
                with pytest.raises(ContactWaiting, match="is kept on this device as 'sara'"):
                    await client.connect(link, name="sara", hurry=True)
            client.close()
            assert between.drops_answered_to_nobody == 1
            # the person does what the sentence says; so does the device by itself, at the same time
            client = Device.open(tmp_path / "client", PASSPHRASE)
            async with client.online():
                assert (await client.connect(link, name="sara", hurry=True)).name == "sara"
                assert len(client.lines()) == 1
                client.send_text("sara", "and it works")
                await client.settle(WAIT_SECONDS)
            client.close()
            therapist = Device.open(tmp_path / "therapist", PASSPHRASE)
            async with therapist.online():
                assert await until_texts(therapist, 1) == ["and it works"]
                assert len(therapist.lines()) == 1
            therapist.close()


async def test_connecting_again_with_the_same_link_goes_on_where_it_stopped(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair:
        async with pair.therapist.online():
            link = (await pair.therapist.invite()).link
        engine = pair.client._engine
        deliver = engine.first_drops.deliver
        failures = iter([True])

        async def lost_once(line_id: bytes) -> None:
            if next(failures, False):
                raise RelayUnreachable(pair.relay.url, "connection lost")
            await deliver(line_id)

        engine.first_drops.deliver = lost_once  # type: ignore[method-assign]  # the relay goes at just this moment
        async with pair.client.online():
            with pytest.raises(RelayUnreachable):
                await pair.client.connect(link, name="sara", hurry=True)
            line = await pair.client.connect(link, name="sara", hurry=True)
            assert line.name == "sara"
            assert len(pair.client.lines()) == 1


async def test_a_refused_left_over_first_contact_ends_its_line_with_a_sentence(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair:
        async with pair.therapist.online():
            link = (await pair.therapist.invite()).link
        other = make_device(tmp_path / "other", Role.CLIENT, pair.relay.url)
        engine = pair.client._engine

        async def lost(line_id: bytes) -> None:
            raise RelayUnreachable(pair.relay.url, "connection lost")

        engine.first_drops.deliver = lost  # type: ignore[method-assign]  # the relay goes at just this moment
        async with pair.client.online(), other.online():
            with pytest.raises(RelayUnreachable):
                await pair.client.connect(link, name="sara", hurry=True)
            await other.connect(link, hurry=True)
        other.close()
        pair.client.close()
        client = Device.open(tmp_path / "client", PASSPHRASE)
        async with client.online():
            await until(lambda: client.line().phase is LinePhase.ENDED)
        client.close()


async def test_links_that_do_not_check_out_are_told_apart(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair, pair.therapist.online(), pair.client.online():
        link = (await pair.therapist.invite()).link
        flipped = link[:-7] + ("A" if link[-7] != "A" else "B") + link[-6:]
        with pytest.raises(InvitationMistyped):
            await pair.client.connect(flipped, hurry=True)
        with pytest.raises(InvitationMistyped):
            await pair.client.connect(link[:-3], hurry=True)
        old = replace(parse_link(link), expires_day=UtcDay(0)).link
        with pytest.raises(InvitationExpired):
            await pair.client.connect(old, hurry=True)
        elsewhere = replace(parse_link(link), relay_url="https://relay.example").link
        with pytest.raises(UsageError):
            await pair.client.connect(elsewhere, hurry=True)
        unknown = replace(parse_link(link), secret=bytes(16)).link
        with pytest.raises(InvitationUsed):
            await pair.client.connect(unknown, hurry=True)
        with pytest.raises(WrongRole):
            await pair.therapist.connect(link)
        with pytest.raises(WrongRole):
            await pair.client.invite()
        assert pair.client.lines() == []


async def test_only_the_fingerprint_of_the_link_is_accepted(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair, pair.therapist.online(), pair.client.online():
        invitation = await pair.therapist.invite()
        stranger = replace(invitation, fingerprint=bytes(32)).link
        with pytest.raises(CannotBeContacted):
            await pair.client.connect(stranger, hurry=True)
        found = await fetch_bucket(pair.relay.url, bits=0, fingerprint=invitation.fingerprint)
        now = pair.client._engine.clock.now()
        genuine = choose_bundle(found, fingerprint=invitation.fingerprint, now=now, suite=PRODUCT)
        assert genuine.display_name == "Dr Sara"
        forged = [
            SignedBundle(
                identity_key=bundle.identity_key,
                not_after_day=bundle.not_after_day,
                serial=bundle.serial,
                content=bundle.content[:-1] + bytes([bundle.content[-1] ^ 1]),
                signature=bundle.signature,
            )
            for bundle in found
        ]
        with pytest.raises(CannotBeContacted):
            choose_bundle(forged, fingerprint=invitation.fingerprint, now=now, suite=PRODUCT)
        with pytest.raises(CannotBeContacted):
            choose_bundle(found, fingerprint=invitation.fingerprint, now=now + 12 * 86_400, suite=PRODUCT)


async def test_r21_a_therapist_registers_only_with_a_token_where_the_relay_wants_one(
    tmp_path: Path,
) -> None:
    config = '[therapists]\nadmission = "token"\n'
    async with relay(tmp_path / "relay", config=config) as process:
        without = make_device(tmp_path / "without", Role.THERAPIST, process.url)
        async with without.online():
            with pytest.raises(TherapistTokenNeeded):
                await without.invite()
        without.close()
        token = await process.therapist_token()
        with_token = make_device(tmp_path / "with", Role.THERAPIST, process.url, token=token)
        async with with_token.online():
            assert (await with_token.invite()).link.startswith(process.url)
        again = make_device(tmp_path / "again", Role.THERAPIST, process.url, token=token)
        async with again.online():
            with pytest.raises(TherapistTokenNeeded):
                await again.invite()
        # a fresh token of the operator is taken by the device that is there already
        again.use_therapist_token(await process.therapist_token())
        async with again.online():
            assert (await again.invite()).link.startswith(process.url)
        again.close()
        # registered once, the inbox opens without a token
        async with with_token.online():
            await with_token.wait_online(WAIT_SECONDS)
        with_token.close()


# -- no relay, wrong relay


async def test_texts_are_queued_while_there_is_no_relay(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        await pair.relay.stop(signal.SIGKILL)
        pair.client.send_text("sara", "later")
        with pytest.raises((RelayUnreachable, SettleTimedOut)):
            await pair.client.settle(1.0)
        assert states_of(pair.client) == [MessageState.QUEUED] or states_of(pair.client) == [
            MessageState.SEALED
        ]
        assert pair.client.line().waiting_to_send == 1
        await pair.relay.start()
        assert await until_texts(pair.therapist, 1) == ["later"]


async def test_a_relay_that_is_not_there_and_one_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "FIRST_CONNECTION_SECONDS", 600.0)
    nobody = make_device(tmp_path / "nobody", Role.CLIENT, "http://127.0.0.1:9")
    async with nobody.online():
        with pytest.raises(RelayUnreachable, match="nothing listens"):
            await nobody.wait_online(600.0)
        # a one-shot command does not wait for what was refused; the connection itself is tried again
        for ask in (nobody.settle, nobody.wait_online):
            async with asyncio.timeout(200):  # against hanging: it would wait for ten minutes
                with pytest.raises(RelayUnreachable, match="nothing listens"):
                    await ask(600.0)
        assert nobody.connection_state is ConnectionState.WAITING
    nobody.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        other = make_device(tmp_path / "other", Role.CLIENT, f"http://127.0.0.1:{port}")
        async with other.online():
            with pytest.raises(NotARelay):
                await other.wait_online(3.0)
        other.close()


# -- limits


async def test_oversize_text_is_refused_before_anything_is_queued(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        with pytest.raises(TextTooLong) as told:
            pair.client.send_text("sara", "س" * 6_150)
        assert told.value.bytes_over == 12
        assert shown(pair.client) == []


# -- old copies and exports


async def test_r09_a_vault_copied_back_never_sends_from_the_old_state(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "one")
        await pair.settle()
    shutil.copytree(tmp_path / "client", tmp_path / "old")
    async with relay_again(tmp_path):
        therapist = Device.open(tmp_path / "therapist", PASSPHRASE)
        client = Device.open(tmp_path / "client", PASSPHRASE)
        restored = Device.open(tmp_path / "old", PASSPHRASE)
        async with therapist.online():
            async with client.online():
                client.send_text("sara", "two")
                assert await until_texts(therapist, 2) == ["one", "two"]
                await client.settle(WAIT_SECONDS)
            await therapist.settle(WAIT_SECONDS)
            async with restored.online():
                restored.send_text("sara", "three, from the old copy")
                await until(lambda: restored.line().phase is not LinePhase.OPEN)
                assert restored.line().phase is LinePhase.RETURNING
                assert restored.line().alarms
                assert texts_of(therapist, "them") == ["one", "two"]
        for device in (therapist, client, restored):
            device.close()


async def test_a_device_may_be_closed_at_once_while_it_is_online(tmp_path: Path) -> None:
    async with devices(tmp_path) as pair, pair.therapist.online():
        await pair.therapist.invite()
        async with pair.client.online():
            await pair.client.wait_online(WAIT_SECONDS)
            pair.client.close()


async def test_r18_an_export_comes_back_as_a_new_leaf(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "kept")
        await pair.settle()
        export = tmp_path / "export.amanat"
        pair.client.export_to(export, "another passphrase", cost=TEST_COST)
        with pytest.raises(ExportTrouble):
            pair.client.export_to(export, "another passphrase", cost=TEST_COST)
        assert b"kept" not in export.read_bytes()
        imported = Device.import_from(
            export,
            home=tmp_path / "imported",
            passphrase="another passphrase",
            new_passphrase=PASSPHRASE,
            cost=TEST_COST,
            time_scale=3_600.0,
        )
        assert [message.text for message in imported.messages("sara")] == ["kept"]
        assert imported.line().phase is LinePhase.RETURNING
        imported.close()
    # The old phone is lost. The peer answers after 0 to 60 minutes; its time runs 3,600 times as fast.
    async with relay_again(tmp_path):
        therapist = Device.open(tmp_path / "therapist", PASSPHRASE, time_scale=3_600.0)
        returned = Device.open(tmp_path / "imported", PASSPHRASE, time_scale=3_600.0)
        async with therapist.online(), returned.online():
            await until(lambda: returned.line().phase is LinePhase.OPEN)
            returned.send_text("sara", "I have a new phone")
            assert await until_texts(therapist, 2) == ["kept", "I have a new phone"]
            therapist.send_text("client", "welcome back")
            assert await until_texts(returned, 1) == ["welcome back"]
        therapist.close()
        returned.close()


# -- ending, appointments


async def test_r22_ending_a_line_tells_the_peer(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        pair.client.send_text("sara", "goodbye")
        await pair.settle()
        pair.client.end_line("sara")
        await until(lambda: pair.therapist.line().phase is LinePhase.ENDED)
        assert texts_of(pair.therapist, "them") == ["goodbye"]
        with pytest.raises(UsageError):
            pair.therapist.send_text("client", "wait")


async def test_appointments_are_offered_cancelled_and_declined(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        at = int(pair.therapist._engine.clock.now()) + 86_400
        first = pair.therapist.offer("client", at)
        second = pair.therapist.offer("client", at + 3_600)
        await pair.settle()
        assert [offer.at for offer in pair.client.offers("sara")] == [at, at + 3_600]
        pair.client.decline_offer("sara", first.offer_id)
        pair.therapist.cancel_offer("client", second.offer_id)
        await pair.settle()
        for device in pair.both:
            states = [offer.state for offer in device.offers(device.line().name)]
            assert states == [OfferState.DECLINED, OfferState.CANCELLED]
        with pytest.raises(UsageError):
            pair.therapist.offer("client", 5)
        with pytest.raises(WrongRole):
            pair.client.offer("sara", at)
        with pytest.raises(UsageError):
            pair.client.decline_offer("sara", first.offer_id)


async def test_what_needs_no_decision_cannot_be_resolved(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        with pytest.raises(UsageError):
            pair.client.resolve("sara", same=True)
        assert DecisionNeeded("x").exit_code == 9
