"""The contact bundle: read back, verified in steps, refused when any of them fails."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.codec import CodecError
from crypto.credentials import Credential
from crypto.errors import AuthenticationError, ValidationError
from crypto.key_package import generate_key_package
from crypto.leaf_node import Capabilities, Lifetime
from crypto.suites import PRODUCT
from keys import signing
from keys.certificates import MAX_DEVICES, DeviceCertificate, DeviceId, DeviceRole, Identity, UtcDay
from keys.contact import Admission, ContactBundle, NotContactableNow, check_display_name

THERAPIST = Identity(bytes([1]) * 32)
STRANGER = Identity(bytes([2]) * 32)
TODAY = 20_779
NOW = TODAY * 86_400 + 5_000.0
RANDOM = Random(1)


def device(
    number: int, identity: Identity = THERAPIST, *, key: int | None = None
) -> tuple[DeviceCertificate, bytes]:
    """A device's certificate and KeyPackage; `key` makes the KeyPackage another device's."""
    seed = bytes([100 + number]) * 32
    certificate = identity.certify(
        device_key=signing.public_key(seed),
        device_id=DeviceId(bytes([number]) * 16),
        role=DeviceRole.PRIMARY if number == 1 else DeviceRole.SECONDARY,
        not_before_day=TODAY,
        not_after_day=TODAY + 30,
    )
    bundle = generate_key_package(
        suite=PRODUCT,
        signature_private=seed if key is None else bytes([key]) * 32,
        credential=Credential.basic(certificate.encode()),
        capabilities=Capabilities(
            versions=(1,), cipher_suites=(PRODUCT.code,), extensions=(), proposals=(), credentials=(1,)
        ),
        lifetime=Lifetime(not_before=int(NOW), not_after=int(NOW) + 86_400),
        rng=RANDOM.randbytes,
    )
    return certificate, bundle.key_package.to_bytes()


FIRST, SECOND = device(1), device(2)


def bundle(*devices: tuple[DeviceCertificate, bytes], listed: int | None = None) -> ContactBundle:
    certificates = tuple(certificate for certificate, _ in devices)
    return ContactBundle(
        identity_key=THERAPIST.public_key,
        certificates=certificates,
        device_list=THERAPIST.list_devices(certificates[:listed], version=3, issued_day=TODAY),
        inbox_id=bytes(16),
        inbox_public_key=bytes(1216),
        key_packages=tuple(key_package for _, key_package in devices),
        display_name="ڈاکٹر Sara",
        admission=Admission.INVITE,
        bundle_day=UtcDay(TODAY),
    )


def verify(encoded: bytes, now: float = NOW) -> ContactBundle:
    return ContactBundle.decode(encoded).verify(fingerprint=THERAPIST.fingerprint, now=now)


@pytest.mark.parametrize("devices", [(FIRST,), (FIRST, SECOND)])
def test_bundle_is_read_back_and_verifies(devices: tuple[tuple[DeviceCertificate, bytes], ...]) -> None:
    made = bundle(*devices)
    assert verify(made.encode()) == made


def test_a_bundle_of_the_most_devices_is_read_back() -> None:
    made = bundle(*(device(number) for number in range(1, MAX_DEVICES + 1)))
    assert verify(made.encode()) == made


def test_bundle_of_another_therapist_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        ContactBundle.decode(bundle(FIRST).encode()).verify(fingerprint=STRANGER.fingerprint, now=NOW)


def test_certificate_of_a_stranger_is_refused() -> None:
    made = bundle(FIRST)
    with pytest.raises(AuthenticationError):
        verify(replace(made, certificates=(device(1, STRANGER)[0],)).encode())


def test_device_that_the_list_does_not_name_is_refused() -> None:
    with pytest.raises(ValidationError, match="device-list-certificates"):
        verify(bundle(FIRST, SECOND, listed=1).encode())


def test_device_list_of_a_stranger_is_refused() -> None:
    theirs = STRANGER.list_devices([device(1, STRANGER)[0]], version=3, issued_day=TODAY)
    with pytest.raises(AuthenticationError):
        verify(replace(bundle(FIRST), device_list=theirs).encode())


def test_key_package_of_another_key_or_certificate_is_refused() -> None:
    made = bundle(FIRST, SECOND)
    swapped = replace(made, key_packages=made.key_packages[::-1])
    with pytest.raises(ValidationError, match="contact-key-package-credential"):
        verify(swapped.encode())
    with pytest.raises(ValidationError, match="contact-key-package-key"):
        verify(bundle(device(1, key=77)).encode())


def test_two_primaries_or_one_device_twice_are_refused() -> None:
    with pytest.raises(ValidationError, match="contact-one-primary"):
        verify(bundle(SECOND).encode())
    with pytest.raises(ValidationError, match="contact-device-id-twice"):
        verify(bundle(FIRST, FIRST, listed=1).encode())


@pytest.mark.parametrize("days", [-3, 10, 40])
def test_stale_or_future_bundle_is_genuine_but_not_contactable_now(days: int) -> None:
    with pytest.raises(NotContactableNow):
        verify(bundle(FIRST).encode(), now=NOW + days * 86_400)


@settings(max_examples=200)
@given(data=st.data())
def test_changed_bundle_fails_closed(data: st.DataObject) -> None:
    encoded = bytearray(bundle(FIRST).encode())
    # Left out is what other signatures protect: the SignedBundle's around this covers inbox, name and day,
    # and the KeyPackage's own its content.
    at = data.draw(st.integers(min_value=0, max_value=33 + 2 + 154 + 2 + 140))
    encoded[at] ^= 1 << data.draw(st.integers(min_value=0, max_value=7))
    with pytest.raises((CodecError, AuthenticationError, ValidationError)):
        verify(bytes(encoded))


@given(data=st.binary(max_size=400))
def test_garbage_is_a_codec_error(data: bytes) -> None:
    with pytest.raises(CodecError):
        ContactBundle.decode(b"\x01" + data)


def test_too_long_is_a_codec_error() -> None:
    with pytest.raises(CodecError):
        ContactBundle.decode(bytes(70_000))


@pytest.mark.parametrize("name", ["", "Dr Sara Malik", "ڈاکٹر سارہ", "می\u200cخواهم", "x" * 64])
def test_names_that_may_be_shown(name: str) -> None:
    check_display_name(name)


@pytest.mark.parametrize(
    "name", ["x" * 65, "a\nb", "\x1b[31m", "a\u202eb", "a\u2066b", "e\u0301", "\ud800", "a\u2028b"]
)
def test_names_that_may_not_be_shown(name: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_display_name(name)
