"""A relay with one thing wrong: `python bad_relay.py WHAT [arguments of amanat-relay]`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _append(name: str, data: bytes) -> None:
    with Path(name).open("ab") as file:
        file.write(data)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _complain(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _is_there(path: Path) -> bool:
    return path.exists()


def cores() -> None:
    from chatserver import hardening

    hardening.forbid_core_dumps = lambda: True


def foreign_acks() -> None:
    from chatserver.store import sqlite

    attach, ack = sqlite.SqliteStore.attach, sqlite.SqliteStore.ack
    readers: dict[bytes, set[Any]] = {}

    async def noting(self: Any, channel: Any, token_hash: Any, **named: Any) -> Any:
        readers.setdefault(channel.channel_id, set()).add(token_hash)
        return await attach(self, channel, token_hash, **named)

    async def for_all(self: Any, channel_id: Any, token_hash: Any, seq: int, **named: Any) -> Any:
        for other in readers.get(channel_id, set()) - {token_hash}:
            await ack(self, channel_id, other, seq, **named)
        return await ack(self, channel_id, token_hash, seq, **named)

    sqlite.SqliteStore.attach = noting  # type: ignore[method-assign]
    sqlite.SqliteStore.ack = for_all  # type: ignore[method-assign]


def full_house() -> None:
    from chatserver import live

    live.LiveChannel.take_slot = lambda self, token_hash: True  # type: ignore[method-assign]


def no_tombstones() -> None:
    from chatserver.store import sqlite

    ack = sqlite.SqliteStore.ack

    async def forgetting(self: Any, *args: Any, **named: Any) -> Any:
        result = await ack(self, *args, **named)
        await self._writer.submit(lambda db: db.execute("DELETE FROM tombstones") and None)
        return result

    sqlite.SqliteStore.ack = forgetting  # type: ignore[method-assign]


def forgetful_stop() -> None:
    from chatserver.store import sqlite

    close = sqlite.SqliteStore.close

    async def forgetting(self: Any) -> None:
        await self._writer.submit(lambda db: db.execute("DELETE FROM cells") and None)
        await close(self)

    sqlite.SqliteStore.close = forgetting  # type: ignore[method-assign]


def forgetful_after_a_kill() -> None:
    from chatserver.store import sqlite

    original, close, mark = sqlite.SqliteStore.open.__func__, sqlite.SqliteStore.close, Path("running")  # type: ignore[attr-defined]

    async def opened(cls: Any, *args: Any, **named: Any) -> Any:
        store = await original(cls, *args, **named)
        if _is_there(mark):
            await store._writer.submit(lambda db: db.execute("DELETE FROM cells") and None)
        _append("running", b"")
        return store

    async def closing(self: Any) -> None:
        _remove(mark)
        await close(self)

    sqlite.SqliteStore.open = classmethod(opened)  # type: ignore[assignment]
    sqlite.SqliteStore.close = closing  # type: ignore[method-assign]


def live_on_disk() -> None:
    from chatserver import live

    original = live.LiveChannel.append

    def append(self: Any, deposit_id: bytes, body: bytes) -> Any:
        _append("live.bin", body)
        return original(self, deposit_id, body)

    live.LiveChannel.append = append  # type: ignore[method-assign]


def kept_cells() -> None:
    from chatserver.store import sqlite

    deposit = sqlite.SqliteStore.deposit

    async def keeping(self: Any, *args: Any, **named: Any) -> Any:
        _append("kept.bin", named["body"])
        return await deposit(self, *args, **named)

    sqlite.SqliteStore.deposit = keeping  # type: ignore[method-assign]


def _decoding(see: Callable[[bytes], None]) -> None:
    """Show every frame of a device to `see`."""
    from chatserver.wire.connection import RelayConnection

    receive = RelayConnection.receive

    def seeing(self: Any, message: Any) -> Any:
        see(bytes(message))
        return receive(self, message)

    RelayConnection.receive = seeing  # type: ignore[method-assign]


def chatty_log() -> None:
    _decoding(lambda data: _complain(f"frame {data[:64].hex()}"))


def printed_frames() -> None:
    def show(data: bytes) -> None:
        sys.stdout.write(f"frame {data[:64].hex()}\n")
        sys.stdout.flush()

    _decoding(show)


def noted_frames() -> None:
    def note(data: bytes) -> None:
        _append("frames.bin", data[:64])

    _decoding(note)


def kept_frames() -> None:
    kept: list[bytes] = []
    _decoding(kept.append)


WHAT: dict[str, Callable[[], None]] = {
    name: value
    for name, value in list(globals().items())
    if callable(value) and value.__module__ == __name__ and not name.startswith("_")
}

if __name__ == "__main__":
    from chatserver import main

    what = sys.argv.pop(1)
    WHAT[what]()
    sys.exit(main.main())
