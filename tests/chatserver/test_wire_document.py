"""Section 3 of docs/PROTOCOL.md says what the code does: types, fields, codes, numbers."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from chatserver.wire import frames as f
from chatserver.wire.errors import Blame, ErrorCode

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "PROTOCOL.md").read_text()
SECTION = TEXT[TEXT.index("## 3 Relay wire protocol v1") : TEXT.index("## 4 Store of the relay")]
WHO = {Blame.REQUEST: "nobody", Blame.PEER: "the peer", Blame.LIMIT: "a limit", Blame.RELAY: "the relay"}


def frame_rows() -> dict[int, tuple[str, str]]:
    return {
        int(code, 16): (name.replace("_", "").lower(), fields)
        for code, name, fields in re.findall(
            r"^\| ([0-9A-F]{2}) \| ([A-Z_]+) \| `([^`]*)`", SECTION, re.MULTILINE
        )
    }


def test_every_frame_stands_in_the_table_by_its_type_and_name() -> None:
    kinds = [decode.__self__ for decode in (*f.CLIENT_DECODERS.values(), *f.SERVER_DECODERS.values())]  # type: ignore[attr-defined]  # bound
    rows = frame_rows()
    assert {code: name for code, (name, _) in rows.items()} == {
        kind.TYPE: kind.__name__.lower() for kind in kinds
    }


@pytest.mark.parametrize("kind", [f.Hello, f.Attach, f.Ack, f.ServerHello, f.Attached, f.OwnCell, f.Expired])
def test_the_fields_of_fixed_frames_make_up_their_length(kind: type[f.Frame]) -> None:
    sizes = {"u8": 1, "u16": 2, "u32": 4, "u64": 8}
    _, fields = frame_rows()[kind.TYPE]
    length = 1
    for field in fields.split("; "):
        array = re.search(r"\[(\d+)\]", field)
        length += int(array[1]) if array else sizes[field.split()[0]]
    decode = f.CLIENT_DECODERS.get(kind.TYPE) or f.SERVER_DECODERS[kind.TYPE]
    message = bytearray(struct.pack(">B", kind.TYPE) + bytes(length - 1))
    if kind is f.Attach:
        message[5:7] = b"\x01\x01"
    assert isinstance(decode(bytes(message)), kind)


def test_the_table_of_codes_is_the_codes() -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \| ([a-z ]+) \| (.*) \|$", SECTION, re.MULTILINE)
    assert rows == [(str(int(code)), code.name, WHO[code.blame], code.sentence) for code in ErrorCode]
