"""The head of a WebSocket handshake: what is let through, what is refused, and what is handed on."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatserver.upgrade import MAX_FIELDS, NoUpgrade, Upgrade, canonical_request, read_head, wants_upgrade

KEY = base64.b64encode(bytes(range(16))).decode()
LINE = "GET /v1/ws HTTP/1.1"
FIELDS = {
    "Host": "relay.example",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Protocol": "amanat.v1",
}


def head(*more: str, line: str = LINE, without: str = "", **changed: str) -> bytes:
    """The usual head with fields changed (`Sec_WebSocket_Key` for `Sec-WebSocket-Key`), left out or added."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if name != without]
    return "\r\n".join((line, *lines, *more)).encode("latin-1")


def refused(judged: bytes) -> bool:
    try:
        read_head(judged)
    except NoUpgrade:
        return True
    return False


def test_the_usual_head_is_taken() -> None:
    assert read_head(head()) == Upgrade(key=KEY, forwarded_for=())


@pytest.mark.parametrize(
    "judged",
    [
        head(line="GET /v1/ws?a=b&c HTTP/1.1"),
        head(line="GET /v1/ws? HTTP/1.1"),
        head(Connection="keep-alive, Upgrade"),
        head(Connection="UPGRADE"),
        head("Connection: keep-alive", Connection="upgrade"),
        head(Upgrade="h2c, WebSocket"),
        head(Sec_WebSocket_Protocol="other, amanat.v1"),
        head("Sec-WebSocket-Protocol: other"),
        head("Content-Length: 0"),
        head("Sec-WebSocket-Extensions: permessage-deflate"),
        head("X-Empty:"),
        head("X-Latin: \xe9\t\xff"),
        head().replace(b"Host:", b"hOST:"),
        head().replace(b"Sec-WebSocket-Key: ", b"SEC-WEBSOCKET-KEY:\t "),
    ],
)
def test_what_rfc_6455_and_browsers_allow_is_taken(judged: bytes) -> None:
    assert read_head(judged).key == KEY


@pytest.mark.parametrize(
    "line",
    [
        "POST /v1/ws HTTP/1.1",
        "get /v1/ws HTTP/1.1",
        "GET /v1/ws HTTP/1.0",
        "GET /v1/ws HTTP/2.0",
        "GET /v1/ws HTTP/1.10",
        "GET /v1/wss HTTP/1.1",
        "GET /v1/ws/ HTTP/1.1",
        "GET /v1/ws#a HTTP/1.1",
        "GET /v1/ws?a b HTTP/1.1",
        "GET /v1/ws?\xe9 HTTP/1.1",
        "GET /v1/ws?\x7f HTTP/1.1",
        "GET  /v1/ws HTTP/1.1",
        "GET /v1/ws  HTTP/1.1",
        " GET /v1/ws HTTP/1.1",
        "GET /v1/ws HTTP/1.1 ",
        "GET /v1/ws HTTP/1.1\n",
        "GET http://relay.example/v1/ws HTTP/1.1",
        "",
    ],
)
def test_another_request_line_is_refused(line: str) -> None:
    assert refused(head(line=line))


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_must_be_there(name: str) -> None:
    assert refused(head(without=name))


@pytest.mark.parametrize("name", ["Host", "Sec-WebSocket-Version", "Sec-WebSocket-Key"])
def test_what_must_be_there_once_may_not_come_twice(name: str) -> None:
    """Two readers of a head could believe different ones."""
    assert refused(head(f"{name.lower()}: {FIELDS[name]}"))


@pytest.mark.parametrize(
    "judged",
    [
        head(Upgrade="websockets"),
        head(Upgrade="web socket"),
        head(Connection="keep-alive"),
        head(Connection="not-upgrade"),
        head(Sec_WebSocket_Version="8"),
        head(Sec_WebSocket_Version="013"),
        head(Sec_WebSocket_Version="13, 8"),
        head(Sec_WebSocket_Protocol="amanat.v2"),
        head(Sec_WebSocket_Protocol="AMANAT.V1"),
        head(Sec_WebSocket_Protocol="amanat.v1 amanat.v2"),
    ],
)
def test_another_handshake_is_refused(judged: bytes) -> None:
    assert refused(judged)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    assert refused(head(Sec_WebSocket_Key=base64.b64encode(bytes(size)).decode()))


@pytest.mark.parametrize(
    "key", [KEY[:-2], KEY[:-1], f"{KEY}=", KEY[:8] + " " + KEY[8:], "*" * 24, "\xe9" * 24]
)
def test_a_key_that_is_no_base64_is_refused(key: str) -> None:
    assert refused(head(Sec_WebSocket_Key=key))


@pytest.mark.parametrize(
    "field",
    [
        "Transfer-Encoding: chunked",
        "Transfer-Encoding: identity",
        "Content-Length: 1",
        "Content-Length: 00",
        "Content-Length: -0",
        "Content-Length: 0\r\nContent-Length: 0",
    ],
)
def test_a_body_is_refused(field: str) -> None:
    """What a proxy takes for a body and the relay for frames would be smuggled past the proxy."""
    assert refused(head(field))


@pytest.mark.parametrize(
    "line",
    [
        "no colon",
        "colonless",
        ": no name",
        "",
        "X-Space : a",
        "X Space: a",
        " folded: a",
        "\tfolded",
        "X-\xe9: a",
        "X(Y): a",
        "X-Control: a\x00",
        "X-Control: a\x7f",
        "X-Control: a\rHost: b",
        "X-Control: a\nHost: b",
    ],
)
def test_a_line_that_is_no_field_is_refused(line: str) -> None:
    assert refused(head(line))


def test_so_many_fields_are_taken_and_not_one_more() -> None:
    more = [f"X-{number}: a" for number in range(MAX_FIELDS - len(FIELDS))]
    assert not refused(head(*more))
    assert refused(head(*more, "X: a"))


def test_forwarded_addresses_keep_their_order() -> None:
    upgrade = read_head(head("X-Forwarded-For: 192.0.2.1, 192.0.2.2", "x-forwarded-for:\t198.51.100.7 "))
    assert upgrade.forwarded_for == ("192.0.2.1, 192.0.2.2", "198.51.100.7")


def test_the_library_sees_nothing_of_what_a_peer_wrote_but_the_key() -> None:
    upgrade = read_head(
        head(
            "Sec-WebSocket-Extensions: permessage-deflate",
            "X-Forwarded-For: 192.0.2.1",
            "Cookie: secret",
            line="GET /v1/ws?secret HTTP/1.1",
        )
    )
    assert canonical_request(upgrade) == (
        b"GET /v1/ws HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: " + KEY.encode() + b"\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        (b"", None),
        (b"G", None),
        (b"GET /v1/ws", None),
        (b"GET /v1/ws ", True),
        (b"GET /v1/ws?", True),
        (b"GET /v1/ws/", False),
        (b"GET /v1/wss", False),
        (b"GET /v1/health", False),
        (b"GET /v1/h", False),
        (b"POST", False),
        (b"get", False),
        (b"\x16\x03\x01", False),
    ],
)
def test_the_first_bytes_tell_whose_the_request_is(begun: bytes, told: bool | None) -> None:
    assert wants_upgrade(begun) is told


@given(head=st.binary(max_size=200))
@settings(max_examples=200, derandomize=True)
def test_what_was_told_once_stays(head: bytes) -> None:
    """However a request is cut into pieces, it is decided once."""
    for whole in (head, b"GET /v1/ws" + head, b"GET /v1/" + head):
        told = [wants_upgrade(whole[:cut]) for cut in range(len(whole) + 1)]
        decided = [answer for answer in told if answer is not None]
        assert told == [None] * (len(told) - len(decided)) + decided
        assert len(set(decided)) <= 1


@given(
    cut=st.integers(0, len(head())),
    inserted=st.binary(min_size=1, max_size=3),
    removed=st.integers(0, 2),
)
@settings(max_examples=300, derandomize=True)
def test_a_damaged_head_is_refused_or_says_a_whole_key(cut: int, inserted: bytes, removed: int) -> None:
    """Nothing but NoUpgrade is raised, and what is let through is fit to be handed on."""
    whole = head()
    try:
        upgrade = read_head(whole[:cut] + inserted + whole[cut + removed :])
    except NoUpgrade:
        return
    assert len(base64.b64decode(upgrade.key, validate=True)) == 16
    assert canonical_request(upgrade).count(b"\r\n") == 6
