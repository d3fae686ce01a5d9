"""transcript-hashes: confirmed and interim hash and the confirmation tag (RFC 9420 sections 8.2 and 6.1)."""

from __future__ import annotations

from clients.conformance.case import Case, Mismatch, expect_equal, integer, unhex
from crypto import transcript
from crypto.codec import decode, encode
from crypto.framed_content import ContentType, read_authenticated_content, write_authenticated_content
from crypto.suites import suite


def check(case: Case) -> None:
    """Update both hashes with the commit and verify its tag."""
    algorithms = suite(integer(case, "cipher_suite"))
    encoded = unhex(case, "authenticated_content")
    message = decode(encoded, read_authenticated_content)
    expect_equal(
        "authenticated_content, encoded again", encode(message, write_authenticated_content), encoded
    )
    tag = message.auth.confirmation_tag
    if message.content.content_type is not ContentType.COMMIT or tag is None:
        raise Mismatch("authenticated_content holds no commit")
    before = unhex(case, "interim_transcript_hash_before")
    confirmed = transcript.next_confirmed_transcript_hash(algorithms, before, message)
    expect_equal("confirmed_transcript_hash_after", confirmed, unhex(case, "confirmed_transcript_hash_after"))
    transcript.verify_confirmation_tag(algorithms, unhex(case, "confirmation_key"), confirmed, tag)
    interim = transcript.next_interim_transcript_hash(algorithms, confirmed, tag)
    expect_equal("interim_transcript_hash_after", interim, unhex(case, "interim_transcript_hash_after"))
