"""Invitation links: what people do to links, and the binding that only an invitation's holder can make."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import AuthenticationError
from keys.certificates import UtcDay
from keys.invitations import (
    Invitation,
    InvitationError,
    binding,
    normalise_relay_url,
    parse_link,
    verify_binding,
)

NOW = 1_795_000_000.0


def invitation(relay_url: str = "https://relay.example.org") -> Invitation:
    counter = iter(range(256))
    return Invitation.make(
        relay_url=relay_url,
        fingerprint=hashlib.sha256(b"identity").digest(),
        rng=lambda length: bytes(next(counter) for _ in range(length)),
        now=NOW,
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://relay.example.org",
        "https://relay.example.org:8443",
        "http://127.0.0.1:8440",
        "http://localhost:1",
        "http://[::1]:8440",
    ],
)
def test_link_is_read_back(url: str) -> None:
    made = invitation(url)
    assert made.link.startswith(url + "/i#")
    assert parse_link(made.link) == made


def test_link_is_short_enough_for_a_qr_code_in_a_terminal() -> None:
    assert len(invitation().link) <= 106  # version 5 at level L, byte mode: 37 modules


def test_link_broken_over_lines_and_in_brackets_is_forgiven() -> None:
    link = invitation().link
    assert parse_link(f"  <{link[:40]}\n   {link[40:80]}\r\n{link[80:]}>\n") == invitation()


@given(data=st.data())
def test_one_mistyped_character_of_the_fragment_is_found(data: st.DataObject) -> None:
    link = invitation().link
    start = link.index("#") + 1
    at = data.draw(st.integers(min_value=start, max_value=len(link) - 1))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = data.draw(st.sampled_from([c for c in alphabet if c != link[at]]))
    with pytest.raises(InvitationError, match="incomplete or mistyped"):
        parse_link(link[:at] + other + link[at + 1 :])


@given(cut=st.integers(min_value=1, max_value=100))
def test_link_that_lost_its_end_is_found(cut: int) -> None:
    link = invitation().link
    with pytest.raises(InvitationError):
        parse_link(link[:-cut])


def test_mistyped_relay_is_found() -> None:
    with pytest.raises(InvitationError, match="incomplete or mistyped"):
        parse_link(invitation().link.replace("relay.example", "relax.example"))


@given(text=st.text(max_size=200))
def test_any_text_is_an_invitation_error_and_nothing_else(text: str) -> None:
    for candidate in (text, "https://relay.example.org/i#" + text):
        with pytest.raises(InvitationError):
            parse_link(candidate)


@pytest.mark.parametrize(
    "link",
    [
        "",
        "https://relay.example.org",
        "https://relay.example.org/i",
        "https://relay.example.org/j#AAAA",
        "x" * 5000,
    ],
)
def test_what_is_no_invitation(link: str) -> None:
    with pytest.raises(InvitationError):
        parse_link(link)


def test_link_of_a_newer_version_says_so() -> None:
    import base64

    body = bytes([2]) + bytes(60)
    checksum = hashlib.sha256(b"amanat invitation" + b"https://relay.example.org" + body).digest()[:4]
    fragment = base64.urlsafe_b64encode(body + checksum).rstrip(b"=").decode()
    with pytest.raises(InvitationError, match="newer version"):
        parse_link("https://relay.example.org/i#" + fragment)


def test_invitation_expires_after_fourteen_days_and_the_tolerance() -> None:
    made = invitation()
    last_second = (made.expires_day + 1) * 86_400 + 26 * 3_600 - 1
    assert made.expires_day == NOW // 86_400 + 14
    made.check_not_expired(NOW)
    made.check_not_expired(last_second)
    with pytest.raises(InvitationError, match="expired"):
        made.check_not_expired(last_second + 1)


def test_values_derived_from_the_secret() -> None:
    # RFC 5869 by hand: HKDF-SHA256 without a salt, info "admit" and "bind".
    import hmac

    made = invitation()
    prk = hmac.digest(bytes(32), made.secret, "sha256")
    assert made.admit_value == hmac.digest(prk, b"admit\x01", "sha256")
    assert made.bind_key == hmac.digest(prk, b"bind\x01", "sha256")


def test_secret_is_not_in_the_repr() -> None:
    made = Invitation(
        relay_url="https://a", fingerprint=bytes(32), secret=b"\xee" * 16, expires_day=UtcDay(1)
    )
    assert "\\xee" not in repr(made)


BOUND = {"group_id": b"group", "client_identity_key": bytes(32), "epoch_authenticator": bytes(48)}


def test_binding_is_the_hmac_that_the_protocol_names_and_verifies() -> None:
    import hmac

    key = invitation().bind_key
    value = binding(key, **BOUND)
    assert value == hmac.digest(key, b"group" + bytes(80), "sha256")
    verify_binding(value, key, **BOUND)


@pytest.mark.parametrize("field", list(BOUND))
def test_binding_of_anything_else_fails(field: str) -> None:
    key = invitation().bind_key
    value = binding(key, **BOUND)
    changed = {**BOUND, field: b"\x01" + BOUND[field][1:]}
    with pytest.raises(AuthenticationError):
        verify_binding(value, key, **changed)
    with pytest.raises(AuthenticationError):
        verify_binding(value, invitation().admit_value, **BOUND)
    with pytest.raises(AuthenticationError):
        verify_binding(b"", key, **BOUND)


@pytest.mark.parametrize(
    ("url", "normal"),
    [
        ("https://Relay.Example.org/", "https://relay.example.org"),
        (" http://127.0.0.1:8440 ", "http://127.0.0.1:8440"),
        ("http://[::1]:8440/", "http://[::1]:8440"),
    ],
)
def test_relay_address_in_its_normal_form(url: str, normal: str) -> None:
    assert normalise_relay_url(url) == normal


@pytest.mark.parametrize(
    "url",
    [
        "",
        "relay.example.org",
        "ftp://relay.example.org",
        "https://",
        "https://relay.example.org/path",
        "https://relay.example.org?x",
        "https://user@relay.example.org",
        "https://relay.example.org:port",
        "https://relay.example.org:99999",
        "https://ریلے.example",
        "http://[::1",
    ],
)
def test_what_is_no_relay_address(url: str) -> None:
    with pytest.raises(InvitationError, match=r"https://relay\.example\.org"):
        normalise_relay_url(url)


def test_relay_on_another_machine_without_tls_is_refused() -> None:
    with pytest.raises(InvitationError, match="https:// only"):
        normalise_relay_url("http://192.0.2.1:8440")
