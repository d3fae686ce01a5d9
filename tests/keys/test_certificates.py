"""Device certificates and device lists: made, read back, refused when anything is not as it should be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.codec import CodecError
from crypto.errors import AuthenticationError, ValidationError
from keys.certificates import (
    CERTIFICATE_BYTES,
    DeviceCertificate,
    DeviceId,
    DeviceList,
    DeviceRole,
    Identity,
    UtcDay,
    fingerprint_of,
    utc_day,
)

THERAPIST = Identity(bytes([1]) * 32)
STRANGER = Identity(bytes([2]) * 32)
TODAY = 20_779
NOON = TODAY * 86_400 + 43_200.0
HOUR = 3_600


def certificate(
    number: int = 1, role: DeviceRole = DeviceRole.PRIMARY, identity: Identity = THERAPIST
) -> DeviceCertificate:
    return identity.certify(
        device_key=Identity(bytes([100 + number]) * 32).public_key,
        device_id=DeviceId(bytes([number]) * 16),
        role=role,
        not_before_day=TODAY,
        not_after_day=TODAY + 365,
    )


def test_certificate_is_read_back_and_verifies() -> None:
    made = certificate()
    assert len(made.encode()) == CERTIFICATE_BYTES
    read = DeviceCertificate.decode(made.encode())
    assert read == made
    read.verify()
    assert read.primary
    assert not certificate(role=DeviceRole.SECONDARY).primary


@given(bit=st.integers(min_value=0, max_value=CERTIFICATE_BYTES * 8 - 1))
def test_flipped_bit_of_a_certificate_fails_closed(bit: int) -> None:
    damaged = bytearray(certificate().encode())
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises((CodecError, AuthenticationError)):
        DeviceCertificate.decode(bytes(damaged)).verify()


@given(data=st.binary(max_size=CERTIFICATE_BYTES + 3))
def test_garbage_is_no_certificate(data: bytes) -> None:
    with pytest.raises((CodecError, AuthenticationError)):
        DeviceCertificate.decode(data).verify()


def test_certificate_that_another_identity_signed() -> None:
    forged = replace(certificate(identity=STRANGER), identity_key=THERAPIST.public_key)
    with pytest.raises(AuthenticationError):
        forged.verify()


@pytest.mark.parametrize(
    ("now", "valid"),
    [
        (NOON, True),
        (TODAY * 86_400 - 26 * HOUR, True),
        (TODAY * 86_400 - 26 * HOUR - 1, False),
        ((TODAY + 366) * 86_400 + 26 * HOUR - 1, True),
        ((TODAY + 366) * 86_400 + 26 * HOUR, False),
    ],
)
def test_validity_is_judged_in_whole_days_with_26_hours_of_tolerance(now: float, *, valid: bool) -> None:
    if valid:
        certificate().check_validity(now)
    else:
        with pytest.raises(ValidationError, match="certificate-validity"):
            certificate().check_validity(now)


def test_device_list_is_read_back_and_names_its_certificates_in_any_order() -> None:
    first, second = certificate(1), certificate(2, DeviceRole.SECONDARY)
    made = THERAPIST.list_devices([first, second], version=7, issued_day=TODAY)
    read = DeviceList.decode(made.encode())
    assert read == made
    read.verify(THERAPIST.public_key)
    read.check_names_exactly([second, first])
    read.check_fresh(NOON)
    for others in ([first], [first, second, certificate(3)], [first, certificate(3)], [first, first]):
        with pytest.raises(ValidationError, match="device-list-certificates"):
            read.check_names_exactly(others)


def test_flipped_bit_of_a_device_list_fails_closed() -> None:
    encoded = THERAPIST.list_devices([certificate()], version=7, issued_day=TODAY).encode()
    for bit in range(len(encoded) * 8):
        damaged = bytearray(encoded)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises((CodecError, AuthenticationError)):
            DeviceList.decode(bytes(damaged)).verify(THERAPIST.public_key)


def test_device_list_of_another_identity() -> None:
    theirs = STRANGER.list_devices([certificate(identity=STRANGER)], version=1, issued_day=TODAY)
    with pytest.raises(AuthenticationError):
        theirs.verify(THERAPIST.public_key)
    with pytest.raises(AuthenticationError):
        replace(theirs, identity_key=THERAPIST.public_key).verify(THERAPIST.public_key)


def test_device_list_is_stale_after_seven_days_and_the_tolerance() -> None:
    made = THERAPIST.list_devices([certificate()], version=7, issued_day=TODAY)
    end = (TODAY + 8) * 86_400 + 26 * HOUR
    made.check_fresh(end - 1)
    with pytest.raises(ValidationError, match="device-list-validity"):
        made.check_fresh(end)


def test_device_list_valid_longer_than_seven_days_is_not_made_and_not_read() -> None:
    with pytest.raises(ValueError, match="7 days"):
        THERAPIST.list_devices([certificate()], version=1, issued_day=TODAY, not_after_day=TODAY + 8)
    long = replace(
        THERAPIST.list_devices([certificate()], version=1, issued_day=TODAY), not_after_day=UtcDay(TODAY + 8)
    )
    with pytest.raises(CodecError):
        DeviceList.decode(long.encode())


def test_what_is_not_certified() -> None:
    with pytest.raises(ValueError, match="another identity"):
        THERAPIST.list_devices([certificate(identity=STRANGER)], version=1, issued_day=TODAY)
    with pytest.raises(ValueError, match="1 to 8"):
        THERAPIST.list_devices([], version=1, issued_day=TODAY)
    with pytest.raises(ValueError, match="in order"):
        THERAPIST.certify(
            device_key=bytes(32),
            device_id=DeviceId(bytes(16)),
            role=DeviceRole.PRIMARY,
            not_before_day=2,
            not_after_day=1,
        )


def test_identity_does_not_show_its_seed() -> None:
    assert "01" * 4 not in repr(THERAPIST)
    assert "\\x01" not in repr(THERAPIST)
    assert THERAPIST.fingerprint == fingerprint_of(THERAPIST.public_key)
    assert len(THERAPIST.fingerprint) == 32


def test_utc_day() -> None:
    assert utc_day(0) == 0
    assert utc_day(86_399.9) == 0
    assert utc_day(NOON) == TODAY
