"""What `./run` shows: one conversation, seen by the client, by the relay and by the therapist, side by side.

The relay is left running for the terminal app, and so are the two devices' vaults, under `.amanat/demo`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from clients.replay import session_front
from clients.replay.columns import Columns
from clients.replay.conversations import Conversation, Turn, bundled_shapes, choose, load_shapes
from clients.replay.demo_relay import DemoRelay, Running
from clients.replay.live import Seat, Stage
from clients.sdk.device import Device
from clients.sdk.errors import AmanatError
from clients.sdk.model import MessageKind, Role
from clients.sdk.session.handle import SessionHandle

HOME: Final = Path(".amanat")
PASSPHRASE: Final = "amanat-demo"  # noqa: S105 - said on the screen; the vaults hold made-up texts only
CONVERSATION: Final = 90
TURNS_ON_THE_LINE: Final = 2
ONLINE_SECONDS: Final = 20.0
ESTABLISH_SECONDS: Final = 60.0
TURN_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the demonstration works with."""

    relay: DemoRelay
    running: Running
    homes: Path
    columns: Columns

    def holds(self) -> str:
        """What the relay has on its disk, in words."""
        left = self.relay.left()
        waiting = left.cells + left.drops
        if waiting == 0:
            return "on disk: nothing"
        return f"on disk: {waiting} cell{'s' if waiting > 1 else ''}, {left.bytes:,} bytes"

    def newest_cell(self) -> str:
        """The first bytes of a cell in the store: all that there is to see."""
        database = next(iter(sorted(self.relay.store.glob("*.db"))))
        with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            row = connection.execute(
                "SELECT substr(body, 1, 10) FROM cells ORDER BY seq DESC LIMIT 1"
            ).fetchone()
        return f"{bytes(row[0]).hex(' ')} ..." if row else ""

    def row(self, actor: Role, text: str, relay: str, other: str = "") -> None:
        """A row in which `actor` says or does something."""
        client, therapist = (text, other) if actor is Role.CLIENT else (other, text)
        self.columns.row(client, relay, therapist)


async def play(scene: Scene, conversation: Conversation) -> None:
    """The whole demonstration."""
    columns = scene.columns
    columns.row("THE CLIENT SEES", "THE RELAY HOLDS", "THE THERAPIST SEES")
    columns.rule()
    with contextlib.ExitStack() as stack:
        devices = {role: _device(scene, role) for role in (Role.THERAPIST, Role.CLIENT)}
        for device in devices.values():
            stack.callback(device.close)
        therapist, client = devices[Role.THERAPIST], devices[Role.CLIENT]
        async with therapist.online():
            await therapist.wait_online(ONLINE_SECONDS)
            invitation = await therapist.invite()
            await therapist.settle()
        columns.row("", scene.holds(), "makes an invitation, gives it to the client in person, goes offline")
        async with client.online():
            await client.connect(invitation.link, name="therapist", hurry=True)
            await client.settle()
        columns.row("follows the invitation", f"{scene.holds()} (a first contact)", "(offline)")
        first, rest = conversation.turns[:TURNS_ON_THE_LINE], conversation.turns[TURNS_ON_THE_LINE:]
        for turn in first:
            await _over_the_line(scene, devices, turn)
        columns.rule()
        await _live(scene, devices, rest)


def _device(scene: Scene, role: Role) -> Device:
    return Device.create(
        scene.homes / role.value,
        role=role,
        relay_url=scene.running.url,
        passphrase=PASSPHRASE,
        display_name="Demo therapist" if role is Role.THERAPIST else "",
    )


async def _over_the_line(scene: Scene, devices: dict[Role, Device], turn: Turn) -> None:
    """One message while the other side is offline; then the other side comes and fetches it."""
    sender, receiver = devices[turn.speaker], devices[turn.speaker.other]
    async with sender.online():
        await sender.wait_online(ONLINE_SECONDS)
        sender.send_text(sender.line().name, turn.text)
        await sender.settle()
    scene.row(turn.speaker, f"writes: {turn.text}", f"{scene.holds()}: {scene.newest_cell()}", "(offline)")
    async with receiver.online():
        await receiver.wait_online(ONLINE_SECONDS)
        await receiver.settle(idle_seconds=0.5)
    async with sender.online():
        await sender.wait_online(ONLINE_SECONDS)
        await sender.settle(idle_seconds=0.5)
    received = [
        message.text
        for message in receiver.messages(receiver.line().name)
        if message.sender == "them" and message.kind is MessageKind.TEXT
    ]
    if turn.text not in received:
        raise AmanatError("The message did not arrive.")
    scene.row(turn.speaker, "delivered", scene.holds(), f"comes online, reads: {received[-1]}")


async def _live(scene: Scene, devices: dict[Role, Device], turns: Sequence[Turn]) -> None:
    """The rest of the conversation in a live session."""
    columns = scene.columns
    async with contextlib.AsyncExitStack() as stack:
        stage = await stack.enter_async_context(
            Stage(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amanat-"))))
        )
        seats: dict[Role, Seat] = {}
        handles: dict[Role, SessionHandle] = {}
        for role, device in devices.items():
            await stack.enter_async_context(device.online())
            await device.wait_online(ONLINE_SECONDS)
            seats[role] = stage.seat(role.value)
            handles[role] = await stack.enter_async_context(device.session(device.line().name))
        columns.row("joins the live session", "", "offers a live session")
        async with asyncio.TaskGroup() as group:
            for role, handle in handles.items():
                group.create_task(
                    handle.start(
                        front=session_front.NAME,
                        options=stage.options(role.value),
                        timeout_seconds=ESTABLISH_SECONDS,
                    )
                )
        for seat in seats.values():
            await seat.wait(connected=True, seconds=ESTABLISH_SECONDS)
        columns.row("", "passes on one cell of 2,048 bytes a second from each side, filled or empty", "")
        due = dict.fromkeys(Role, 0)
        for turn in turns:
            speaker, listener = turn.speaker, turn.speaker.other
            seats[speaker].say(send=turn.text)
            due[listener] += 1
            await seats[listener].wait(arrived=due[listener], seconds=TURN_SECONDS)
            scene.row(speaker, f"says: {turn.text}", scene.holds(), f"reads: {seats[listener].arrived[-1]}")
        seats[Role.THERAPIST].say(end=True)
        for seat in seats.values():
            await seat.wait(ended=True, seconds=TURN_SECONDS)
        results = {role: await handle.wait(TURN_SECONDS) for role, handle in handles.items()}
        passed = sum(result.cells_sent for result in results.values())
        columns.row(
            "the session is over; its keys and texts are gone",
            f"passed on {passed} live cells. {scene.holds()}",
            "the session is over; its keys and texts are gone",
        )
        for device in devices.values():
            await device.settle()


AFTERWARDS: Final = """
The relay goes on at {url} until ./run --stop. Both devices of the demonstration are yours to open,
each in a terminal of its own (the passphrase of both is {passphrase}):

    .venv/bin/amanat --home {homes}/therapist open
    .venv/bin/amanat --home {homes}/client open

Devices of your own against the same relay, first a therapist's, which makes an invitation:

    .venv/bin/amanat --home my-therapist init --role therapist --relay {url}
    .venv/bin/amanat --home my-therapist invite
    .venv/bin/amanat --home my-therapist open

then a client's, which follows it (`--now` skips the random wait of up to a minute):

    .venv/bin/amanat --home my-client init --role client --relay {url}
    .venv/bin/amanat --home my-client connect --now "LINK"
    .venv/bin/amanat --home my-client open

What the relay learns, on conversations of your own: .venv/bin/amanat replay --help
"""


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two `./run` at once: the second one says so."""
    home.mkdir(exist_ok=True)
    with (home / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AmanatError("Another ./run is at work in this folder; wait until it has ended.") from None
        yield


def _demonstrate(relay: DemoRelay, port: int | None, conversation: Conversation) -> None:
    begun = time.monotonic()
    running = relay.find()
    if running is not None:
        print(f"The relay of an earlier ./run is still there, at {running.url}.")
        if port is not None and not running.url.endswith(f":{port}"):
            print(f"It stays there; for port {port}: ./run --stop, then ./run --port {port}")
    else:
        running, remark = relay.start(port)
        if remark:
            print(remark)
        print(f"The relay has been started, at {running.url}. Its files: {relay.store}")
    homes = HOME / "demo"
    if homes.exists():
        shutil.rmtree(homes)
    homes.mkdir()
    print(f"One conversation (shape {conversation.id}; its texts are made up, their lengths are real):\n")
    scene = Scene(relay=relay, running=running, homes=homes, columns=Columns())
    asyncio.run(play(scene, conversation))
    print(f"\nThat took {time.monotonic() - begun:.0f} seconds.")
    print(AFTERWARDS.format(url=running.url, passphrase=PASSPHRASE, homes=homes))


def _stop(relay: DemoRelay) -> None:
    print("The relay has been stopped." if relay.stop() else "No relay of ./run is running.")


def _reset(relay: DemoRelay) -> None:
    _stop(relay)
    for name in ("relay", "demo"):
        if (HOME / name).exists():
            shutil.rmtree(HOME / name)
    print("The relay's store and the demonstration's devices are deleted.")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `./run`, once the set-up is done."""
    parser = argparse.ArgumentParser(prog="./run")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--stop", action="store_true", help="end the relay that an earlier ./run left running")
    what.add_argument("--reset", action="store_true", help="end it and delete what it and the devices stored")
    parser.add_argument("--port", type=int, metavar="N", help="where the relay listens")
    parser.add_argument("--conversation", type=int, metavar="ID", default=CONVERSATION, help="another shape")
    options = parser.parse_args(argv)
    relay = DemoRelay(HOME / "relay")
    try:
        conversation = choose(load_shapes(bundled_shapes()), options.conversation, every=False)[0]
        with _alone(HOME):
            if options.stop:
                _stop(relay)
            elif options.reset:
                _reset(relay)
            else:
                _demonstrate(relay, options.port, conversation)
    except AmanatError as error:
        print(error.sentence, file=sys.stderr)
        return int(error.exit_code)
    except TimeoutError:
        print(
            "Something did not happen in time; ./run --reset and then ./run starts afresh.", file=sys.stderr
        )
        return 4
    except KeyboardInterrupt:
        print("\nInterrupted. The relay goes on; ./run --stop ends it.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
