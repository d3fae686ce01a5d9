"""What the parent and the child of a session say to each other, over an inherited socketpair.

A message is `u32 length ‖ u8 kind ‖ opaque parts<V>…`. The parent passes the bodies of S1 and commands; the
child answers with bodies, reports and a result. No key of the session's group and no text passes here, except
texts that a front end reports on purpose (`pipe`, and `scripted` when asked), and, after END, those that both
people agreed to keep (S7). The seeds of S3 stand in JOIN and WELCOME, which the line carries anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from clients.sdk.model import Role
from clients.sdk.session.front import EndReason
from crypto.codec import CodecError, Reader, Writer, decode

MAX_MESSAGE_BYTES: Final = 1 << 20
MAX_PARTS: Final = 64


class Kind(IntEnum):
    """Kinds of messages; below 0x80 from the parent."""

    START = 0x01
    """The first message: see `StartInfo`."""
    MAKE_JOIN = 0x02
    """session id, therapist's clock, end of validity in it: make a KeyPackage and answer JOIN_MADE."""
    JOIN = 0x03
    """JOIN's body: make the group and answer WELCOME_MADE, or REFUSED."""
    WELCOME = 0x04
    """WELCOME's body: enter the group; answered by ENTERED or REFUSED."""
    COMMAND = 0x05
    """kind, value: for the front end."""
    END = 0x06
    """Begin the END handshake."""

    READY = 0x81
    """The child is hardened and its front end is loaded."""
    JOIN_MADE = 0x82
    WELCOME_MADE = 0x83
    ENTERED = 0x84
    REFUSED = 0x85
    """rule: a JOIN or WELCOME was not valid; nothing changed."""
    HEARD = 0x86
    """The peer is heard in the group: the session has begun, or goes on."""
    QUIET = 0x87
    """The peer has not been heard for a while."""
    REPORT = 0x88
    """kind, value: from the front end."""
    RESULT = 0x89
    """See `ResultInfo`; the last message."""
    FAILED = 0x8A
    """sentence: the child cannot go on; the last message."""
    KEPT = 0x8B
    """own (1 or 0), seconds, text: one of the texts that both agreed to keep, after END, in their order."""
    ALL_KEPT = 0x8C
    """session id, number of texts: that was all of them; without it nothing is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message."""

    kind: Kind
    parts: tuple[bytes, ...] = field(default=(), repr=False)

    def part(self, index: int) -> bytes:
        """One part.

        Raises:
            CodecError: there is none.
        """
        if index >= len(self.parts):
            raise CodecError(0, "a part is missing")
        return self.parts[index]

    def text(self, index: int) -> str:
        """One part as text.

        Raises:
            CodecError: there is none, or it is not UTF-8.
        """
        try:
            return self.part(index).decode("utf-8")
        except UnicodeDecodeError:
            raise CodecError(0, "not UTF-8") from None

    def number(self, index: int) -> int:
        """One part as a decimal number.

        Raises:
            CodecError: it is none.
        """
        text = self.text(index)
        if not text.isdecimal() or len(text) > 20:
            raise CodecError(0, "not a number")
        return int(text)


def message(kind: Kind, *parts: bytes | str | int) -> Message:
    """A message of bytes, texts and numbers."""
    encoded = tuple(part if isinstance(part, bytes) else str(part).encode("utf-8") for part in parts)
    return Message(kind=kind, parts=encoded)


def encode_message(content: Message) -> bytes:
    """With its length."""
    writer = Writer().u8(content.kind)
    for part in content.parts:
        writer.opaque(part)
    body = writer.to_bytes()
    return len(body).to_bytes(4, "big") + body


def decode_message(body: bytes) -> Message:
    """Inverse of `encode_message`, without the length.

    Raises:
        CodecError: malformed.
    """
    return decode(body, _read)


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other end is gone.

    Raises:
        CodecError: malformed.
    """
    try:
        length = int.from_bytes(await reader.readexactly(4), "big")
        if length > MAX_MESSAGE_BYTES:
            raise CodecError(0, "message is too long")
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    return decode_message(body)


def _read(reader: Reader) -> Message:
    number = reader.u8()
    kind = next((kind for kind in Kind if kind == number), None)
    if kind is None:
        raise reader.error("unknown kind of message")
    parts: list[bytes] = []
    while reader.remaining:
        if len(parts) == MAX_PARTS:
            raise reader.error("too many parts")
        parts.append(reader.opaque(MAX_MESSAGE_BYTES))
    return Message(kind=kind, parts=tuple(parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class StartInfo:
    """What a child is to be."""

    role: Role
    relay_url: str
    peer_name: str
    session_id: bytes
    """Therapist: of the own OFFER. Client: empty, MAKE_JOIN names it."""
    session_seconds: int
    suite: int
    front: str
    options: Mapping[str, str] = field(repr=False)

    def to_message(self) -> Message:
        """START."""
        flat = [text for pair in self.options.items() for text in pair]
        return message(
            Kind.START,
            self.role.value,
            self.relay_url,
            self.peer_name,
            self.session_id,
            self.session_seconds,
            self.suite,
            self.front,
            *flat,
        )

    @staticmethod
    def from_message(content: Message) -> StartInfo:
        """Inverse of `to_message`.

        Raises:
            CodecError: it is no START, or malformed.
        """
        if content.kind is not Kind.START:
            raise CodecError(0, "START must come first")
        role = next((role for role in Role if role.value == content.text(0)), None)
        if role is None:
            raise CodecError(0, "unknown role")
        flat = [content.text(index) for index in range(7, len(content.parts))]
        if len(flat) % 2:
            raise CodecError(0, "an option without a value")
        return StartInfo(
            role=role,
            relay_url=content.text(1),
            peer_name=content.text(2),
            session_id=content.part(3),
            session_seconds=content.number(4),
            suite=content.number(5),
            front=content.text(6),
            options=dict(zip(flat[::2], flat[1::2], strict=True)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInfo:
    """How the session went: numbers only."""

    reason: EndReason
    texts_delivered: int = 0
    texts_received: int = 0
    milliseconds: int = 0
    cells_sent: int = 0
    cells_received: int = 0

    def to_message(self) -> Message:
        """RESULT."""
        return message(
            Kind.RESULT,
            self.reason.value,
            self.texts_delivered,
            self.texts_received,
            self.milliseconds,
            self.cells_sent,
            self.cells_received,
        )

    @staticmethod
    def from_message(content: Message) -> ResultInfo:
        """Inverse of `to_message`.

        Raises:
            CodecError: malformed.
        """
        reason = next((reason for reason in EndReason if reason.value == content.text(0)), None)
        if reason is None:
            raise CodecError(0, "unknown reason")
        return ResultInfo(
            reason=reason,
            texts_delivered=content.number(1),
            texts_received=content.number(2),
            milliseconds=content.number(3),
            cells_sent=content.number(4),
            cells_received=content.number(5),
        )
