"""The head of an HTTP request that wants to become a WebSocket (RFC 6455 section 4.2.1), sans-I/O.

`wants_upgrade` tells by the first bytes of a connection whether it goes to the WebSocket or to the small HTTP
routes; `read_head` judges a whole head and refuses everything that is not exactly what a client of this
protocol sends. Deliberately not here: HTTP in general (the routes are aiohttp's), who may connect, time.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from chatserver.wire.limits import SUBPROTOCOL, WEBSOCKET_PATH

MAX_HEAD_BYTES: Final = 8_192
"""Longest head of a request, request line and empty line included."""
MAX_FIELDS: Final = 64

END: Final = b"\r\n\r\n"
_LINE: Final = f"GET {WEBSOCKET_PATH}".encode()
_REQUEST: Final = re.compile(rb"GET " + re.escape(WEBSOCKET_PATH.encode()) + rb"(?:\?[!-~]*)? HTTP/1\.1")
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_KEY_BYTES: Final = 16


class NoUpgrade(Exception):
    """The head is none that may become a WebSocket; the answer is 400."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upgrade:
    """What of the head matters.

    Attributes:
        key: Sec-WebSocket-Key, base64 of 16 bytes, as it came.
        forwarded_for: the values of X-Forwarded-For, in order.
    """

    key: str
    forwarded_for: tuple[str, ...]


def wants_upgrade(begun: bytes) -> bool | None:
    """Whether a request that begins so is one for the WebSocket's path; None: that cannot be told yet."""
    if len(begun) <= len(_LINE):
        return None if _LINE.startswith(begun) else False
    return begun.startswith(_LINE) and begun[len(_LINE)] in b" ?"


def read_head(head: bytes) -> Upgrade:
    """Judge a head, its empty line excluded.

    Raises:
        NoUpgrade: it is malformed, or no handshake of RFC 6455 for this protocol.
    """
    first, *lines = head.split(b"\r\n")
    if not _REQUEST.fullmatch(first) or len(lines) > MAX_FIELDS:
        raise NoUpgrade
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise NoUpgrade
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    key = _only(fields, b"sec-websocket-key")
    if (
        len(fields.get(b"host", ())) != 1
        or b"websocket" not in _tokens(fields, b"upgrade")
        or b"upgrade" not in _tokens(fields, b"connection")
        or _only(fields, b"sec-websocket-version") != b"13"
        or SUBPROTOCOL.encode() not in _list(fields, b"sec-websocket-protocol")
        or b"transfer-encoding" in fields
        or fields.get(b"content-length", [b"0"]) != [b"0"]
        or not _is_key(key)
    ):
        raise NoUpgrade
    return Upgrade(
        key=key.decode("ascii"),
        forwarded_for=tuple(value.decode("latin-1") for value in fields.get(b"x-forwarded-for", ())),
    )


def canonical_request(upgrade: Upgrade) -> bytes:
    """The same request with nothing in it but what was judged: all that a WebSocket library gets to see."""
    return (
        f"GET {WEBSOCKET_PATH} HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {upgrade.key}\r\n\r\n"
    ).encode("ascii")


def _only(fields: dict[bytes, list[bytes]], name: bytes) -> bytes:
    values = fields.get(name, [])
    if len(values) != 1:
        raise NoUpgrade
    return values[0]


def _list(fields: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    return [part.strip(b" \t") for value in fields.get(name, []) for part in value.split(b",")]


def _tokens(fields: dict[bytes, list[bytes]], name: bytes) -> list[bytes]:
    return [part.lower() for part in _list(fields, name)]


def _is_key(key: bytes) -> bool:
    try:
        return len(base64.b64decode(key, validate=True)) == _KEY_BYTES
    except binascii.Error:
        return False
