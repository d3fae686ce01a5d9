"""The process that holds a live session, and ends with it (S7): `python -m clients.sdk.session.child FD`.

FD is the inherited end of a socketpair to the parent (`control`). Everything secret of the session is in this
process and nowhere else: the KeyPackage's private keys, the group, the texts, the connection. It writes no
file, dumps no core, cannot be traced by processes of the same user (Linux), and is gone after END, after 10
minutes of silence, on panic, and when its parent is gone.

It imports the front end's module first, before it makes any key.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from clients.sdk.errors import AmanatError
from clients.sdk.hardening import harden
from clients.sdk.session.control import (
    Kind,
    Message,
    StartInfo,
    encode_message,
    message,
    read_message,
)
from clients.sdk.session.establish import SessionJoin, prepare_join, welcome_client
from clients.sdk.session.front import EndReason, SessionPort
from clients.sdk.session.rendezvous import JoinBody, WelcomeBody
from clients.sdk.session.runner import SessionRunner
from crypto.codec import CodecError
from crypto.errors import AuthenticationError, StateError, ValidationError
from crypto.suites import suite

FrontEnd = Callable[[SessionPort], Awaitable[None]]

MAX_JOINS: Final = 3
"""JOINs made anew whose WELCOME may still come."""


def load_front(name: str) -> FrontEnd:
    """Import `module:function`.

    Raises:
        AmanatError: there is no such front end.
    """
    module_name, _, function_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError, ValueError):
        raise AmanatError(f"There is no front end {name!r}.") from None
    run: FrontEnd = found
    return run


class Child:
    """One session in this process: the parent's messages on one side, the runner on the other."""

    def __init__(self, info: StartInfo, send: Callable[[Message], None]) -> None:
        self._info = info
        self._send = send
        self._suite = suite(info.suite)
        self._joins: deque[SessionJoin] = deque(maxlen=MAX_JOINS)
        self.runner = SessionRunner(
            role=info.role,
            relay_url=info.relay_url,
            peer_name=info.peer_name,
            session_seconds=info.session_seconds,
            options=info.options,
            report=lambda kind, value: send(message(Kind.REPORT, kind, value)),
            heard=self._on_heard,
            rng=os.urandom,
            utc=time.time,
        )
        self.begun = asyncio.Event()

    def on_message(self, content: Message) -> None:
        """Do what the parent says.

        Raises:
            CodecError: the parent speaks nonsense.
        """
        match content.kind:
            case Kind.MAKE_JOIN:
                self._make_join(content)
            case Kind.JOIN:
                self._try(lambda: self._welcome(content.part(0)))
            case Kind.WELCOME:
                self._try(lambda: self._enter(content.part(0)))
            case Kind.COMMAND:
                self.runner.command(content.text(0), content.text(1))
            case Kind.END:
                if self.begun.is_set():
                    self.runner.end()
                else:
                    self.runner.stop(EndReason.NOT_JOINED)
            case _:
                raise CodecError(0, "a message that only the child sends")

    def hand_over(self) -> None:
        """Give the parent the texts that both people agreed to keep (S7); there are none otherwise."""
        kept = self.runner.take_kept()
        if kept is None:
            return
        for text in kept.texts:
            self._send(message(Kind.KEPT, int(text.mine), text.utc_seconds, text.text.reveal()))
        self._send(message(Kind.ALL_KEPT, kept.session_id, len(kept.texts)))

    def _on_heard(self, heard: bool) -> None:  # noqa: FBT001 - a callback with one flag
        if heard:
            self.begun.set()
            self._joins.clear()
        self._send(message(Kind.HEARD if heard else Kind.QUIET))

    def _make_join(self, content: Message) -> None:
        join = prepare_join(
            session_id=content.part(0),
            therapist_now=content.number(1),
            valid_until=content.number(2),
            suite=self._suite,
            rng=os.urandom,
        )
        self._joins.append(join)
        self._send(message(Kind.JOIN_MADE, join.body.encode()))

    def _welcome(self, body: bytes) -> None:
        group, welcome = welcome_client(
            JoinBody.decode(body), session_id=self._info.session_id, suite=self._suite, rng=os.urandom
        )
        self.runner.begin(group)
        self._send(message(Kind.WELCOME_MADE, welcome.encode()))

    def _enter(self, body: bytes) -> None:
        welcome = WelcomeBody.decode(body)
        failure: Exception = ValidationError("S1-no-join")
        for join in reversed(self._joins):
            try:
                group = join.enter(welcome)
            except (AuthenticationError, CodecError, StateError, ValidationError) as error:
                failure = error
                continue
            self.runner.begin(group)
            self._send(message(Kind.ENTERED))
            return
        raise failure

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except ValidationError as error:
            self._send(message(Kind.REFUSED, error.rule))
        except (AuthenticationError, CodecError, StateError) as error:
            self._send(message(Kind.REFUSED, type(error).__name__))


async def serve(control: socket.socket) -> int:
    """Hold one session for the parent at the other end of `control`. Returns the exit code."""
    reader, writer = await asyncio.open_connection(sock=control)

    def send(content: Message) -> None:
        if not writer.is_closing():
            writer.write(encode_message(content))

    try:
        first = await read_message(reader)
        if first is None:
            return 1
        info = StartInfo.from_message(first)
        front = load_front(info.front)
    except (AmanatError, CodecError) as error:
        send(message(Kind.FAILED, str(error)))
        await _flush(writer)
        return 1
    child = Child(info, send)
    send(message(Kind.READY))
    failure = await _hold(child, reader, front)
    if failure:
        send(message(Kind.FAILED, failure))
    send(child.runner.result().to_message())
    await _flush(writer)
    return 1 if failure else 0


async def _hold(child: Child, reader: asyncio.StreamReader, front: FrontEnd) -> str:
    """Run until the session is over; returns a sentence if it broke."""
    failure = ""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_listen(child, reader)),
                group.create_task(_show(child, front)),
            ]
            await child.runner.run()
            child.hand_over()
            if child.begun.is_set():
                # The front end returns by itself after `Ended`; a person may still look at its last screen.
                await tasks[1]
            for task in tasks:
                task.cancel()
    except* Exception as errors:  # noqa: BLE001 - whatever it is, all is wiped and its name is told
        child.runner.stop(EndReason.PANIC)
        kinds = sorted({type(error).__name__ for error in _leaves(errors)})
        failure = f"The session broke off ({', '.join(kinds)})."
    return failure


async def _listen(child: Child, reader: asyncio.StreamReader) -> None:
    while (content := await read_message(reader)) is not None:
        child.on_message(content)
    child.runner.stop(EndReason.PARENT_GONE)
    # Without a parent nobody may wait for a person to look at the last screen.
    await asyncio.sleep(1.0)
    os._exit(1)


async def _show(child: Child, front: FrontEnd) -> None:
    await child.begun.wait()
    await front(child.runner)
    child.runner.end()


def _leaves(group: BaseExceptionGroup[Exception]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _flush(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        await writer.drain()
        writer.close()
        await writer.wait_closed()


def main(argv: list[str] | None = None) -> int:
    """Entry point; the only argument is the number of the inherited socket."""
    arguments = sys.argv[1:] if argv is None else argv
    harden()
    # Ctrl-C belongs to the front end or to the parent, not to the keys.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(arguments[0])) as control:
        control.setblocking(False)
        return asyncio.run(serve(control))


if __name__ == "__main__":
    sys.exit(main())
