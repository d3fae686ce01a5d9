"""Live sessions with real child processes over a real relay: what two people get, and what may go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clients.sdk.device import Device
from clients.sdk.errors import SessionFailed, TimedOut, UnknownSession
from clients.sdk.model import MessageKind
from clients.sdk.session.control import Kind, Message
from clients.sdk.session.front import EndReason
from clients.sdk.session.handle import PIPE, SCRIPTED, SessionHandle, SessionResult
from support.pair import Pair, line_pair, texts_of, until

pytestmark = pytest.mark.asyncio

TURNS = [
    ["client", "salam"],
    ["therapist", "x" * 3_000],
    ["client", "سلام، میں ٹھیک ہوں"],
    ["therapist", "see you next week"],
]
START_SECONDS = 40.0
END_SECONDS = 60.0


async def play(device: Device, script: str) -> SessionResult:
    async with device.session(device.line().name) as session:
        await session.start(
            front=SCRIPTED,
            script=script,
            options={"report_texts": "1"},
            timeout_seconds=START_SECONDS,
        )
        return await session.wait(END_SECONDS)


@contextlib.asynccontextmanager
async def pipes(pair: Pair) -> AsyncIterator[tuple[SessionHandle, SessionHandle]]:
    """Both sides in a session, with the front end for programs."""
    async with (
        pair.therapist.session("client") as therapist,
        pair.client.session("sara") as client,
        asyncio.TaskGroup() as group,
    ):
        for handle in (therapist, client):
            group.create_task(handle.start(front=PIPE, timeout_seconds=START_SECONDS))
        await until_begun(therapist, client)
        yield therapist, client


async def until_begun(*handles: SessionHandle) -> None:
    async with asyncio.timeout(START_SECONDS):
        while not all(handle.begun for handle in handles):  # noqa: ASYNC110 - other processes decide it
            await asyncio.sleep(0.02)


def reported(handle: SessionHandle, kind: str) -> list[str]:
    return [value for found, value in handle._reports if found == kind]


async def test_two_scripted_sides_hold_a_session_from_offer_to_end(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        script = json.dumps({"turns": TURNS})
        async with asyncio.TaskGroup() as group:
            sides = [group.create_task(play(device, script)) for device in pair.both]
        therapist, client = (task.result() for task in sides)
        assert therapist.reason is client.reason is EndReason.ENDED
        assert [value for kind, value in therapist.reports if kind == "text"] == [
            text for who, text in TURNS if who == "client"
        ]
        assert [value for kind, value in client.reports if kind == "text"] == [
            text for who, text in TURNS if who == "therapist"
        ]
        assert not [kind for kind, _ in therapist.reports + client.reports if kind == "mismatch"]
        assert (therapist.sent, therapist.received) == (client.received, client.sent) == (2, 2)
        # nothing of it stands in the lines, and the lines still work
        await pair.settle()
        assert texts_of(pair.therapist, "them") == texts_of(pair.client, "them") == []
        pair.client.send_text("sara", "thank you")
        await pair.settle()
        assert texts_of(pair.therapist, "them") == ["thank you"]


async def test_s7_nothing_of_a_session_enters_a_vault_and_the_children_are_gone(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        async with pipes(pair) as (therapist, client):
            pids = [therapist.pid, client.pid]
            assert None not in pids
            before = [_everything(device) for device in pair.both]
            client.command("text", "only in the session")
            await until(lambda: "only in the session" in reported(therapist, "text"))
            for device, known in zip(pair.both, before, strict=True):
                assert b"only in the session" not in b"".join(_everything(device))
                assert len(_everything(device)) == len(known)
            client.command("end", "")
            results = [await handle.wait(END_SECONDS) for handle in (therapist, client)]
            assert [result.reason for result in results] == [EndReason.ENDED] * 2
        for pid in pids:
            assert pid is not None
            with pytest.raises(ProcessLookupError):
                os.kill(pid, 0)


async def test_s7_text_is_kept_in_both_vaults_only_if_both_agree_and_after_the_end(tmp_path: Path) -> None:
    said = ["between the two of us", "اور ہمارے درمیان"]
    async with line_pair(tmp_path) as pair:
        for agreed in (False, True):
            async with pipes(pair) as (therapist, client):
                passed = [spy(handle) for handle in (therapist, client)]
                client.command("text", said[0])
                await until(lambda: said[0] in reported(therapist, "text"))
                therapist.command("text", said[1])
                await until(lambda: said[1] in reported(client, "text"))
                client.command("keep", "1")
                await until(lambda: reported(therapist, "keep")[-1:] == ["0 1"])
                therapist.command("keep", "1" if agreed else "0")
                settled = "1 1" if agreed else "0 0"
                await until(lambda: reported(client, "keep")[-1:] == [settled])  # noqa: B023 - awaited here
                for device in pair.both:  # agreed or not, before END nothing is in a vault
                    assert not any(text.encode() in b"".join(_everything(device)) for text in said)
                client.command("end", "")
                results = [await handle.wait(END_SECONDS) for handle in (therapist, client)]
            assert [result.reason for result in results] == [EndReason.ENDED] * 2
            assert [result.kept for result in results] == ([2, 2] if agreed else [0, 0])
            # what the child hands to its parent, beside what the front end `pipe` reports
            for kinds in passed:
                assert kinds.count(Kind.KEPT) == (2 if agreed else 0)
                assert kinds.count(Kind.ALL_KEPT) == int(agreed)
            for device in pair.both:
                found = b"".join(_everything(device))
                assert all((text.encode() in found) is agreed for text in said)
        for device, senders in ((pair.client, ["me", "them"]), (pair.therapist, ["them", "me"])):
            name = device.line().name
            kept = [message for message in device.messages(name) if message.kind is MessageKind.SESSION]
            assert [(message.sender, message.text) for message in kept] == list(
                zip(senders, said, strict=True)
            )
            assert (device.line().unread, device.new_messages()) == (0, [])
        # it was never sent over the line, and goes where and when its owner wants
        (session,) = pair.client.kept_sessions("sara")
        pair.client.delete_kept_session("sara", session.session_id)
        assert not any(text.encode() in b"".join(_everything(pair.client)) for text in said)
        with pytest.raises(UnknownSession):
            pair.client.delete_kept_session("sara", session.session_id)
        pair.therapist.end_line("client", block=True, delete_texts=True)
        assert not any(text.encode() in b"".join(_everything(pair.therapist)) for text in said)


def spy(handle: SessionHandle) -> list[Kind]:
    """Kinds of all messages that the child sends from now on."""
    kinds: list[Kind] = []
    heed = handle._on_child

    def note(content: Message) -> None:
        kinds.append(content.kind)
        heed(content)

    handle._on_child = note  # type: ignore[method-assign]  # to see what leaves the child
    return kinds


def _everything(device: Device) -> list[bytes]:
    """All values of the vault, whatever the space."""
    with device._vault.transaction() as tx:
        rows = tx._connection.execute("SELECT key, value FROM entries")  # type: ignore[attr-defined]  # test only
        return [bytes(key) + bytes(value) for key, value in rows.fetchall()]


async def test_s6_a_relay_restart_does_not_end_the_session(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair, pipes(pair) as (therapist, client):
        client.command("text", "before")
        await until(lambda: reported(therapist, "text") == ["before"])
        await pair.relay.stop(signal.SIGKILL)
        client.command("text", "while it was down")
        therapist.command("text", "from the other side")
        await pair.relay.start()
        await until(lambda: reported(therapist, "text") == ["before", "while it was down"])
        await until(lambda: reported(client, "text") == ["from the other side"])
        therapist.command("end", "")
        assert (await client.wait(END_SECONDS)).reason is EndReason.ENDED


async def test_s2_whoever_loses_the_session_comes_back_into_a_new_group(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair, pair.therapist.session("client") as therapist:
        async with pair.client.session("sara") as client, asyncio.TaskGroup() as group:
            group.create_task(therapist.start(front=PIPE, timeout_seconds=START_SECONDS))
            group.create_task(client.start(front=PIPE, timeout_seconds=START_SECONDS))
            await until_begun(therapist, client)
            client.command("text", "first segment")
            await until(lambda: reported(therapist, "text") == ["first segment"])
            client.panic()
        async with pair.client.session("sara") as again:
            await again.start(front=PIPE, timeout_seconds=START_SECONDS)
            again.command("text", "second segment")
            await until(lambda: reported(therapist, "text") == ["first segment", "second segment"])
            assert reported(therapist, "returned") == [""]
            therapist.command("text", "welcome back")
            await until(lambda: reported(again, "text") == ["welcome back"])
            again.command("end", "")
            assert (await therapist.wait(END_SECONDS)).reason is EndReason.ENDED


async def test_s7_the_child_ends_with_its_parent(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair, pair.therapist.session("client") as therapist:
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(_fails(therapist))
            await until(lambda: therapist.pid is not None)
            child = therapist._child
            assert child is not None
            await until(therapist._ready.is_set)
            # what the kernel does when the parent is gone
            child._writer.close()
            await starting
        assert not child.running


async def _fails(handle: SessionHandle) -> None:
    with pytest.raises(SessionFailed):
        await handle.start(front=PIPE, timeout_seconds=START_SECONDS)


async def test_nobody_comes(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair:
        async with pair.therapist.session("client") as therapist:
            with pytest.raises(TimedOut, match="The client did not come"):
                await therapist.start(front=PIPE, timeout_seconds=1.0)
        async with pair.client.session("sara") as client:
            with pytest.raises(TimedOut, match="The therapist did not come"):
                await client.start(front=PIPE, timeout_seconds=1.0)


async def test_a_front_end_that_does_not_exist(tmp_path: Path) -> None:
    async with line_pair(tmp_path) as pair, pair.therapist.session("client") as therapist:
        with pytest.raises(SessionFailed, match="no front end"):
            await therapist.start(front="clients.sdk.session.nothing:run", timeout_seconds=START_SECONDS)
