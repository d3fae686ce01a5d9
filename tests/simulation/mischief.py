"""A dishonest relay: what it shows to one connection is not what it holds. Each lie is armed by a fault.

It sits between the relay's honest core and the wire, and works on frames; so it can say anything that a relay
could say, and knows nothing that a relay does not know.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from crypto.codec import CodecError
from simulation.wire import Assembler, framed

if TYPE_CHECKING:
    from simulation.device import Line

Frames = list[f.ServerFrame]
LIES = (
    "other-bytes",
    "swap",
    "withhold",
    "withhold-echo",
    "withhold-closing",
    "renumber",
    "false-ack",
    "false-head",
    "false-closed",
    "twice",
    "not-own",
    "false-stored",
    "false-gone",
    "false-expired",
    "flag",
    "incarnation",
)
"""What it may do to the frames of one device."""


@dataclass
class Lie:
    """One kind of lie, told to one device, so many times; or only to its session ("client/session")."""

    kind: str
    device: str
    times: int


class Mischief:
    """See the module. Without a lie every byte passes untouched."""

    def __init__(self, dice: random.Random, story: Callable[[str, str], None]) -> None:
        self._dice = dice
        self._story = story
        self.lies: list[Lie] = []
        self._held: dict[str, f.ServerFrame] = {}
        self._shifted: set[str] = set()
        """Connections on which one cell was left out; later ones are numbered as if it had never been."""
        self._late: dict[str, list[f.ServerFrame]] = {}
        """First contacts to be shown to a device again, some connections later."""

    def stop(self) -> None:
        """From now on it is honest."""
        self.lies.clear()
        self._held.clear()
        self._late.clear()
        self._shifted.clear()

    def rewrite(self, line: Line, data: bytes) -> bytes:
        """What is put on the wire instead of ``data``, which are whole messages."""
        names = {line.device.name, line.name.partition("#")[0]}
        lies = [lie for lie in self.lies if lie.device in names and lie.times > 0]
        if line.device.name in self._late and self._dice.random() < 0.1:
            late = self._late.pop(line.device.name)
            self._story("relay", f"shows {line.device.name} {len(late)} first contacts of before")
            data += b"".join(framed(frame.encode()) for frame in late)
        if not lies and line.name not in self._shifted:
            return data
        out = b""
        for message in Assembler().feed(data):
            try:
                frames: Frames = [f.decode_server(message)]
            except CodecError:
                out += framed(message)
                continue
            if line.name in self._shifted:
                frames = [_numbered_down(frame) for frame in frames]
            for lie in lies:
                frames = [said for frame in frames for said in self._tell(lie, line, frame)]
            out += b"".join(framed(frame.encode()) for frame in frames)
        return out

    def _tell(self, lie: Lie, line: Line, frame: f.ServerFrame) -> Frames:
        if lie.times <= 0:
            return [frame]
        told = self._lie(lie.kind, line, frame)
        if told != [frame]:
            lie.times -= 1
            self._story("relay", f"lies to {line.device.name}: {lie.kind} ({type(frame).__name__})")
        return told

    def _lie(self, kind: str, line: Line, frame: f.ServerFrame) -> Frames:
        dice = self._dice
        match kind, frame:
            case "other-bytes", f.Cell():
                return [replace(frame, body=dice.randbytes(len(frame.body)))]
            case "swap", f.Cell() | f.OwnCell():
                held = self._held.pop(line.name, None)
                if held is None:
                    self._held[line.name] = frame
                    return []
                return [frame, held]
            case "withhold", f.Cell():
                return []
            case "shift", f.Cell():
                self._shifted.add(line.name)
                return []
            case "withhold-echo", f.OwnCell():
                return []
            case "withhold-closing", f.Cell() | f.OwnCell() if frame.close:
                return []
            case "renumber", f.Cell() | f.OwnCell():
                return [replace(frame, seq=max(1, frame.seq + dice.choice([-1, 1, 2])))]
            case "flag", f.Cell():
                return [replace(frame, close=not frame.close)]
            case "twice", f.Cell() | f.OwnCell():
                return [frame, frame]
            case "not-own", f.OwnCell():
                return [replace(frame, digest=dice.randbytes(32))]
            case "false-ack", f.Attached():
                return [replace(frame, acked=frame.head + dice.randrange(3))]
            case "false-head", f.Attached():
                return [replace(frame, head=max(0, frame.head + dice.choice([-2, -1, 1])))]
            case "false-closed", f.Attached():
                return [replace(frame, closed_seq=frame.head + 1)]
            case "incarnation", f.Attached():
                return [replace(frame, incarnation=dice.randbytes(16))]
            case "false-stored", f.Refused():
                return [f.Stored(request=frame.request, seq=7)]
            case "false-gone", f.Attached():
                return [f.Refused(request=frame.request, code=ErrorCode.GONE)]
            case "drop-withheld", f.InboxCell():
                return []
            case "drop-twice", f.InboxCell():
                return [frame, frame]
            case "drop-renamed", f.InboxCell():
                return [frame, replace(frame, drop_id=dice.randbytes(16))]
            case "drop-late", f.InboxCell():
                self._late.setdefault(line.device.name, []).append(frame)
                return [] if dice.random() < 0.5 else [frame]
            case "drop-bytes", f.InboxCell():
                return [replace(frame, body=dice.randbytes(len(frame.body)))]
            case "done-withheld", f.Done():
                return []
            case "false-refusal", f.Done():
                code = dice.choice([ErrorCode.ADMISSION_USED, ErrorCode.INBOX_FULL, ErrorCode.NOT_REGISTERED])
                return [f.Refused(request=frame.request, code=code)]
            case "false-done", f.Refused():
                return [f.Done(request=frame.request)]
            case "false-expired", f.Cell():
                return [f.Expired(handle=frame.handle, first=frame.seq, last=frame.seq)]
            case _:
                return [frame]


def _numbered_down(frame: f.ServerFrame) -> f.ServerFrame:
    return replace(frame, seq=frame.seq - 1) if isinstance(frame, f.Cell | f.OwnCell) else frame
