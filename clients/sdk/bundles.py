"""Fetching a therapist's contact bundle without naming the therapist (DESIGN section 6).

Bundles are served in buckets by the first `bucket_bits` bits of SHA-256(identity key); the relay says in
SERVER_HELLO how many. The client takes the bucket and accepts only what answers to the fingerprint of its
invitation.
"""

from __future__ import annotations

import hashlib
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from chatserver.wire.bundle import SignedBundle, decode_bucket
from chatserver.wire.ids import bundle_path
from clients.sdk.connection import CERTIFICATE_REFUSED, LOOPBACK_HOSTS, NO_COMMON_TLS
from clients.sdk.errors import CannotBeContacted, RelayUnreachable
from crypto.codec import CodecError, decode
from crypto.errors import AuthenticationError, ValidationError
from crypto.key_package import check_key_package, check_lifetime, read_key_package
from crypto.suites import CipherSuite
from keys.certificates import utc_day
from keys.contact import ContactBundle
from keys.signing import AuthenticationFailed

FETCH_SECONDS: Final = 20.0
MAX_BUCKET_BYTES: Final = 32 * 1024 * 1024
"""Longest bucket that is read: 1,024 therapists with the longest bundles."""


def bucket_of(fingerprint: bytes, bits: int) -> int:
    """The first `bits` bits of the fingerprint, which is SHA-256 of the identity key already."""
    return int.from_bytes(fingerprint, "big") >> (256 - bits)


async def fetch_bucket(relay_url: str, *, bits: int, fingerprint: bytes) -> list[SignedBundle]:
    """Get the bucket in which the fingerprint's bundle would lie.

    Raises:
        RelayUnreachable: no answer, or none that makes sense.
    """
    url = relay_url + bundle_path(bits, bucket_of(fingerprint, bits))
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    # A system's proxy is for the world outside: what runs on this machine is spoken to directly.
    through_proxy = urlsplit(relay_url).hostname not in LOOPBACK_HOSTS
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                trust_env=through_proxy,
                skip_auto_headers={"User-Agent", "Accept-Encoding"},
                auto_decompress=False,
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise RelayUnreachable(relay_url, "it does not serve contact bundles")
            body = await _read_bounded(answer.content)
        return decode_bucket(body, max_bytes=MAX_BUCKET_BYTES)
    except aiohttp.ClientConnectorCertificateError:
        raise RelayUnreachable(relay_url, CERTIFICATE_REFUSED) from None
    except aiohttp.ClientSSLError:
        raise RelayUnreachable(relay_url, NO_COMMON_TLS) from None
    except (TimeoutError, aiohttp.ClientError, OSError):
        raise RelayUnreachable(relay_url, "the contact bundles cannot be fetched") from None
    except CodecError:
        raise RelayUnreachable(relay_url, "its contact bundles are malformed") from None


async def _read_bounded(stream: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for chunk in stream.iter_chunked(1 << 16):
        body += chunk
        if len(body) > MAX_BUCKET_BYTES + 4:
            raise CodecError(0, "bucket is too long")
    return bytes(body)


def choose_bundle(
    bundles: list[SignedBundle], *, fingerprint: bytes, now: float, suite: CipherSuite
) -> ContactBundle:
    """The contact of exactly this fingerprint, verified; nothing else in the bucket is looked at.

    Raises:
        CannotBeContacted: there is none, it is not genuine, or it is out of date. A relay that serves a wrong
            one gets no other answer than one that serves none.
    """
    for signed in bundles:
        # 1. The identity key is the one that the invitation names.
        if hashlib.sha256(signed.identity_key).digest() != fingerprint:
            continue
        try:
            # 2. The bundle is signed by it and not past its day.
            signed.verify()
            if utc_day(now) > signed.not_after_day + 1:
                continue
            # 3. Everything inside belongs together and is current.
            contact = ContactBundle.decode(signed.content).verify(fingerprint=fingerprint, now=now)
            # 4. Each KeyPackage may be used now.
            for encoded in contact.key_packages:
                key_package = decode(encoded, read_key_package)
                check_key_package(suite, key_package)
                check_lifetime(key_package, now=now)
        except (AuthenticationFailed, AuthenticationError, CodecError, ValidationError):
            continue
        return contact
    raise CannotBeContacted
