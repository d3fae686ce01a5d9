"""Texts of a live session in the conversation of its line (S7): shown in place, sent to nobody, deletable."""

from __future__ import annotations

import pytest

from clients.sdk.line.events import DeleteTexts, EndLine, ForgetSession, KeepSession, KeptText
from clients.sdk.line.exporting import decode_export
from clients.sdk.summaries import is_new, kept_sessions, show_message
from crypto.errors import StateError
from crypto.sensitive import Plaintext
from support.line_world import World

FIRST, SECOND = b"1" * 16, b"2" * 16


def session(session_id: bytes, *texts: str) -> KeepSession:
    return KeepSession(
        session_id=session_id,
        texts=tuple(
            KeptText(mine=number % 2 == 0, utc_seconds=1_000 + number, text=Plaintext(text))
            for number, text in enumerate(texts)
        ),
    )


@pytest.fixture
def world() -> World:
    made = World()
    made.online(made.client, made.therapist)
    made.say(made.client, "before")
    return made


def rows(world: World) -> list[tuple[bool, bool, str]]:
    return [
        (message.kept, message.mine, message.body.reveal_text())
        for message in world.client.machine.messages()
    ]


def test_s7_kept_texts_stand_where_the_session_ended_and_go_to_nobody(world: World) -> None:
    world.handle(world.client, session(FIRST, "salam", "سلام"))
    world.handle(world.client, session(FIRST, "the same session once more"))
    world.say(world.client, "after")
    assert rows(world) == [
        (False, True, "before"),
        (True, True, "salam"),
        (True, False, "سلام"),
        (False, True, "after"),
    ]
    assert world.therapist.received() == ["before", "after"]
    messages = world.client.machine.messages()
    assert not any(is_new(message) for message in messages)
    assert not any(message.needs_newer_version for message in messages)
    assert world.client.machine.view().unread == 0
    assert world.client.machine.view().waiting_to_send == 0
    (kept,) = kept_sessions(show_message(message) for message in messages)
    assert (kept.session_id, kept.texts, kept.first_utc_seconds) == (FIRST.hex(), 2, 1_000)


def test_s7_one_session_is_deleted_and_the_rest_stays(world: World) -> None:
    world.handle(world.client, session(FIRST, "a", "b"))
    world.handle(world.client, session(SECOND, "c"))
    world.handle(world.client, ForgetSession(session_id=FIRST))
    assert [text for _, _, text in rows(world)] == ["before", "c"]
    world.handle(world.client, ForgetSession(session_id=FIRST))
    exported = decode_export(world.client.machine.export())
    assert [row.body for row in exported.texts] == [b"before", b"c"]


def test_s7_kept_texts_go_with_the_texts_of_the_line(world: World) -> None:
    world.handle(world.client, session(FIRST, "a"))
    world.handle(world.client, EndLine(block=True, keep_texts=True))
    world.handle(world.client, session(SECOND, "the line ended while the session went on"))
    assert len(rows(world)) == 3
    world.handle(world.client, DeleteTexts())
    assert rows(world) == []
    world.handle(world.therapist, EndLine(block=True, keep_texts=False))
    world.handle(world.therapist, session(FIRST, "a"))
    assert world.therapist.machine.messages() == []


def test_a_session_has_an_id_of_16_bytes(world: World) -> None:
    with pytest.raises(StateError):
        world.handle(world.client, session(b"short", "a"))
