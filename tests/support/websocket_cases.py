"""Autobahn's cases as data, under its numbers (docs/adr/0028).

A case is what the client says, piece by piece, and how it must end: `echoes` (all messages come back, and a
CLOSE is answered by one of the same code), or `fails` with one of the close codes (the server may also just
drop the connection, section 7.1.7). Text is no part of this protocol: section 6 (UTF-8 of text) has nothing
to judge but the reasons of CLOSE frames, which stand under 7.5.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from support.raw_websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, closing, frame

PROTOCOL_ERROR, BAD_UTF8, TOO_BIG = 1002, 1007, 1009
LARGEST = 65_536


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        number: as in Autobahn's testsuite; a letter behind it marks a variation of ours.
        says: what the client writes, in pieces.
        echoes: payloads of binary messages that come back, in order.
        pongs: payloads of PONGs that come back, in order.
        ends: code of the CLOSE that the client has sent; the server answers it, at most by 1000 instead.
        fails: codes of the server's CLOSE, where the client broke the protocol.
    """

    number: str
    says: tuple[bytes, ...]
    echoes: tuple[bytes, ...] = ()
    pongs: tuple[bytes, ...] = ()
    ends: int | None = None
    fails: tuple[int, ...] = ()


def by_octets(data: bytes, size: int = 1) -> tuple[bytes, ...]:
    return tuple(data[at : at + size] for at in range(0, len(data), size))


def message(payload: bytes) -> bytes:
    return frame(BINARY, payload)


def parts(*payloads: bytes, between: bytes = b"") -> bytes:
    """One binary message in fragments."""
    last = len(payloads) - 1
    return between.join(
        frame(BINARY if number == 0 else CONTINUATION, payload, fin=number == last)
        for number, payload in enumerate(payloads)
    )


def framing() -> Iterator[Case]:
    for number, length in enumerate((0, 125, 126, 127, 128, 65_535, LARGEST), 1):
        yield Case(f"1.2.{number}", (message(b"\xfe" * length),), echoes=(b"\xfe" * length,))
    body = b"\xfe" * LARGEST
    yield Case("1.2.8", by_octets(message(body), 997), echoes=(body,))


def pings() -> Iterator[Case]:
    for number, payload in (
        (1, b""),
        (2, b"Hello, world!"),
        (3, b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff"),
        (4, b"\xfe" * 125),
    ):
        yield Case(f"2.{number}", (frame(PING, payload),), pongs=(payload,))
    yield Case("2.5", (frame(PING, b"\xfe" * 126),), fails=(PROTOCOL_ERROR,))
    yield Case("2.6", by_octets(frame(PING, b"\xfe" * 125)), pongs=(b"\xfe" * 125,))
    yield Case("2.7", (frame(PONG),))
    yield Case("2.8", (frame(PONG, b"unsolicited"),))
    yield Case("2.9", (frame(PONG, b"unsolicited"), frame(PING, b"ping")), pongs=(b"ping",))
    many = tuple(b"payload-%d" % number for number in range(10))
    yield Case("2.10", tuple(frame(PING, payload) for payload in many), pongs=many)
    yield Case("2.11", by_octets(b"".join(frame(PING, payload) for payload in many)), pongs=many)


def reserved_bits() -> Iterator[Case]:
    good = message(b"good")
    for number in range(1, 8):
        bad = frame(BINARY, b"bad", reserved=number)
        if number in {2, 3}:
            yield Case(f"3.{number}", (good, bad, frame(PING)), echoes=(b"good",), fails=(PROTOCOL_ERROR,))
        elif number == 4:
            yield Case("3.4", by_octets(good + bad), echoes=(b"good",), fails=(PROTOCOL_ERROR,))
        elif number == 6:
            yield Case("3.6", (frame(PING, b"bad", reserved=6),), fails=(PROTOCOL_ERROR,))
        elif number == 7:
            yield Case("3.7", (frame(CLOSE, b"\x03\xe8", reserved=7),), fails=(PROTOCOL_ERROR,))
        else:
            yield Case(f"3.{number}", (bad,), fails=(PROTOCOL_ERROR,))


def opcodes() -> Iterator[Case]:
    good = message(b"good")
    for section, first in ((1, 3), (2, 11)):
        for number in range(5):
            opcode = first + number
            payload = b"" if number == 0 else b"reserved opcode payload"
            bad = frame(opcode, payload)
            if number < 2:
                yield Case(f"4.{section}.{number + 1}", (bad,), fails=(PROTOCOL_ERROR,))
            else:
                says = (good, bad, frame(PING)) if number < 4 else by_octets(good + bad + frame(PING))
                yield Case(f"4.{section}.{number + 1}", says, echoes=(b"good",), fails=(PROTOCOL_ERROR,))


def fragments() -> Iterator[Case]:
    two = parts(b"fragment1", b"fragment2")
    both = (b"fragment1fragment2",)
    ping = frame(PING, b"ping")
    yield Case("5.1", (frame(PING, b"f1", fin=False), frame(CONTINUATION, b"f2")), fails=(PROTOCOL_ERROR,))
    yield Case("5.2", (frame(PONG, b"f1", fin=False), frame(CONTINUATION, b"f2")), fails=(PROTOCOL_ERROR,))
    yield Case("5.3", (parts(b"fragment1", b"fragment2"),), echoes=both)
    yield Case("5.4", by_octets(two, 7), echoes=both)
    yield Case("5.5", by_octets(two), echoes=both)
    with_ping = parts(b"fragment1", b"fragment2", between=ping)
    yield Case("5.6", (with_ping,), echoes=both, pongs=(b"ping",))
    yield Case("5.7", by_octets(with_ping, 7), echoes=both, pongs=(b"ping",))
    yield Case("5.8", by_octets(with_ping), echoes=both, pongs=(b"ping",))
    stray = frame(CONTINUATION, b"non-continuation payload")
    good = message(b"Hello, world!")
    yield Case("5.9", (stray + good,), fails=(PROTOCOL_ERROR,))
    yield Case("5.10", (stray, good), fails=(PROTOCOL_ERROR,))
    yield Case("5.11", by_octets(stray + good), fails=(PROTOCOL_ERROR,))
    open_stray = frame(CONTINUATION, b"non-continuation payload", fin=False)
    yield Case("5.12", (open_stray + good,), fails=(PROTOCOL_ERROR,))
    yield Case("5.13", (open_stray, good), fails=(PROTOCOL_ERROR,))
    yield Case("5.14", by_octets(open_stray + good), fails=(PROTOCOL_ERROR,))
    after = two + frame(CONTINUATION, b"fragment3", fin=False) + frame(BINARY, b"fragment4")
    yield Case("5.15", (after,), echoes=both, fails=(PROTOCOL_ERROR,))
    never_begun = frame(CONTINUATION, b"fragment1", fin=False) + parts(b"fragment2", b"fragment3")
    yield Case("5.16", (never_begun,), fails=(PROTOCOL_ERROR,))
    yield Case("5.17", (frame(CONTINUATION, b"fragment1") + two,), fails=(PROTOCOL_ERROR,))
    twice = frame(BINARY, b"fragment1", fin=False) + frame(BINARY, b"fragment2")
    yield Case("5.18", (twice,), fails=(PROTOCOL_ERROR,))
    five = parts(*(b"fragment%d" % number for number in range(1, 6)), between=ping)
    whole = b"".join(b"fragment%d" % number for number in range(1, 6))
    yield Case("5.19", (five,), echoes=(whole,), pongs=(b"ping",) * 4)
    yield Case("5.20", by_octets(five, 11), echoes=(whole,), pongs=(b"ping",) * 4)
    empty = frame(BINARY, b"", fin=False) + frame(BINARY, b"x")
    yield Case("5.18a", (empty,), fails=(PROTOCOL_ERROR,))
    yield Case("5.18b", by_octets(two + empty), echoes=both, fails=(PROTOCOL_ERROR,))
    half = frame(BINARY, b"", fin=False) + frame(CONTINUATION, b"", fin=False)
    yield Case("5.18c", (half + ping + frame(CONTINUATION, b"x"),), echoes=(b"x",), pongs=(b"ping",))


def closes() -> Iterator[Case]:
    bye = closing(1000)
    yield Case("7.1.1", (message(b"Hello"), bye), echoes=(b"Hello",), ends=1000)
    # Autobahn ignores the second; picows, which looks ahead, calls it the breach that it is (section 5.5.1).
    yield Case("7.1.2", (bye + bye,), fails=(PROTOCOL_ERROR, 1000))
    yield Case("7.1.3", (bye + frame(PING),), ends=1000)
    yield Case("7.1.4", (bye + message(b"late"),), ends=1000)
    yield Case("7.1.5", (frame(BINARY, b"f1", fin=False) + bye + frame(CONTINUATION, b"f2"),), ends=1000)
    big = b"BAsd7&jh23" * 6_500
    yield Case("7.1.6", (message(big) + bye + frame(PING),), echoes=(big,), ends=1000)
    yield Case("7.3.1", (frame(CLOSE),), ends=1000)
    yield Case("7.3.2", (frame(CLOSE, b"a"),), fails=(PROTOCOL_ERROR,))
    yield Case("7.3.3", (bye,), ends=1000)
    yield Case("7.3.4", (closing(1000, b"Hello World!"),), ends=1000)
    yield Case("7.3.5", (closing(1000, b"*" * 123),), ends=1000)
    yield Case("7.3.6", (closing(1000, b"*" * 124),), fails=(PROTOCOL_ERROR,))
    bad = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"
    yield Case("7.5.1", (closing(1000, bad),), fails=(BAD_UTF8, PROTOCOL_ERROR))
    yield Case("7.5.1a", (closing(1000, "خدا حافظ".encode()),), ends=1000)
    good = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999)
    for number, code in enumerate(good, 1):
        yield Case(f"7.7.{number}", (closing(code),), ends=code)
    for number, code in enumerate((0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999), 1):
        yield Case(f"7.9.{number}", (closing(code),), fails=(PROTOCOL_ERROR,))
    yield Case(
        "7.9.5a", by_octets(message(b"Hello") + closing(1006)), echoes=(b"Hello",), fails=(PROTOCOL_ERROR,)
    )


def limits() -> Iterator[Case]:
    for number, length in enumerate((1 << 17, 1 << 20, 1 << 24), 1):
        # The header alone is enough: nothing of such a message is waited for.
        head = bytes((0x82, 0xFF)) + length.to_bytes(8, "big") + b"\x11\x22\x33\x44"
        yield Case(f"9.2.{number}", (head,), fails=(TOO_BIG,))
    endless = bytes((0x82, 0xFF)) + b"\xff" * 8 + b"\x11\x22\x33\x44"
    yield Case("9.2.6", (endless,), fails=(TOO_BIG, PROTOCOL_ERROR))
    for number, size in enumerate((64, 256, 1024, 4096, 16_384), 1):
        pieces = parts(*([b"*" * size] * (LARGEST // size)))
        yield Case(f"9.4.{number}", (pieces,), echoes=(b"*" * LARGEST,))
        too_much = frame(BINARY, b"*" * size, fin=False)
        too_much += frame(CONTINUATION, b"*" * size, fin=False) * (LARGEST // size + 256)
        yield Case(f"9.4.{number}a", by_octets(too_much, 65_536), fails=(TOO_BIG,))
    for number, size in enumerate((64, 128, 256, 512, 1024, 2048), 1):
        yield Case(f"9.6.{number}", by_octets(message(b"*" * LARGEST), size), echoes=(b"*" * LARGEST,))
    for number, size in enumerate((0, 16, 64, 256, 1024, 4096), 1):
        payload = b"*" * size
        yield Case(f"9.8.{number}", (message(payload) * 200,), echoes=(payload,) * 200)
    yield Case("10.1.1", (parts(*by_octets(b"*" * LARGEST, 1_300)),), echoes=(b"*" * LARGEST,))


def masks() -> Iterator[Case]:
    """Section 5.1, for which Autobahn has no case: every frame of a client is masked."""
    good = message(b"good")
    bare = frame(BINARY, b"bare", masked=False)
    yield Case("5.1 (1)", (bare,), fails=(PROTOCOL_ERROR,))
    yield Case("5.1 (2)", (good + bare,), echoes=(b"good",), fails=(PROTOCOL_ERROR,))
    yield Case("5.1 (3)", by_octets(good + bare), echoes=(b"good",), fails=(PROTOCOL_ERROR,))
    yield Case("5.1 (4)", (frame(PING, b"ping", masked=False),), fails=(PROTOCOL_ERROR,))
    yield Case("5.1 (5)", (frame(CLOSE, b"\x03\xe8", masked=False),), fails=(PROTOCOL_ERROR,))
    inside = frame(BINARY, b"f1", fin=False) + frame(CONTINUATION, b"f2", masked=False)
    yield Case("5.1 (6)", (inside,), fails=(PROTOCOL_ERROR,))
    wide = frame(BINARY, b"*" * 16_439, masked=False)
    yield Case(
        "5.1 (7)", by_octets(message(b"*" * 300) + wide, 101), echoes=(b"*" * 300,), fails=(PROTOCOL_ERROR,)
    )


def all_cases() -> list[Case]:
    """Every case."""
    return [
        *framing(),
        *pings(),
        *reserved_bits(),
        *opcodes(),
        *fragments(),
        *closes(),
        *limits(),
        *masks(),
    ]
