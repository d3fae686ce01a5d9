"""A device with one thing wrong: `python bad_party.py WHAT`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any


def talking_ids() -> None:
    """Puts the beginning of what is written where a random id should stand."""
    from chatserver.wire.client_frames import Deposit
    from clients.audit.live import party

    send, encode = party.Actor.send, Deposit.encode
    said: list[str] = []

    async def saying(self: Any, text: str) -> dict[str, Any]:
        said.append(text)
        return await send(self, text)

    def encoding(self: Deposit) -> bytes:
        if not said:
            return encode(self)
        return encode(replace(self, deposit_id=said.pop().encode()[:16]))

    party.Actor.send = saying  # type: ignore[method-assign]
    Deposit.encode = encoding  # type: ignore[method-assign]


def drafts() -> None:
    """Keeps what is written in a plain file beside the vault."""
    from clients.audit.live import party

    send, opened = party.Actor.send, party.Actor.open
    homes: list[Path] = []

    async def opening(self: Any, told: dict[str, Any]) -> dict[str, Any]:
        homes.append(Path(told["home"]))
        return await opened(self, told)

    async def saying(self: Any, text: str) -> dict[str, Any]:
        _write(homes[-1] / "draft.txt", text)
        return await send(self, text)

    party.Actor.open = opening  # type: ignore[method-assign]
    party.Actor.send = saying  # type: ignore[method-assign]


def _write(path: Path, text: str) -> None:
    path.write_text(text)


WHAT: dict[str, Callable[[], None]] = {"talking_ids": talking_ids, "drafts": drafts}

if __name__ == "__main__":
    from clients.audit.live import party as honest

    WHAT[sys.argv.pop(1)]()
    sys.exit(honest.main())
