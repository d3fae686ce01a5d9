"""Transcript hashes and the confirmation tag (RFC 9420 sections 8.2 and 6.1).

The confirmed transcript hash covers every Commit with its signature; the interim one adds its confirmation
tag and is the input to the next. The confirmed hash of epoch 0 is empty; the interim hash of a new group
covers the confirmation tag of its creation (section 11).
"""

from __future__ import annotations

from crypto.codec import Writer, encode_opaque
from crypto.errors import ValidationError
from crypto.framed_content import AuthenticatedContent, ContentType, write_framed_content
from crypto.suites import CipherSuite


def next_confirmed_transcript_hash(
    suite: CipherSuite, interim_transcript_hash: bytes, commit: AuthenticatedContent
) -> bytes:
    """confirmed_transcript_hash of the epoch that ``commit`` begins.

    ::

        struct { WireFormat wire_format; FramedContent content; opaque signature<V>; }
            ConfirmedTranscriptHashInput;

    Args:
        suite: The group's suite.
        interim_transcript_hash: Of the epoch in which the commit was sent.
        commit: Its confirmation tag is not used and may still be missing.

    Raises:
        ValidationError: ``commit`` carries no Commit.
    """
    if commit.content.content_type is not ContentType.COMMIT:
        raise ValidationError("transcript.not-a-commit")
    writer = Writer().u16(commit.wire_format)
    write_framed_content(writer, commit.content)
    writer.opaque(commit.auth.signature)
    return suite.hash(interim_transcript_hash + writer.to_bytes())


def next_interim_transcript_hash(
    suite: CipherSuite, confirmed_transcript_hash: bytes, confirmation_tag: bytes
) -> bytes:
    """interim_transcript_hash: ``struct { MAC confirmation_tag; } InterimTranscriptHashInput;``."""
    return suite.hash(confirmed_transcript_hash + encode_opaque(confirmation_tag))


def compute_confirmation_tag(
    suite: CipherSuite, confirmation_key: bytes, confirmed_transcript_hash: bytes
) -> bytes:
    """MAC(confirmation_key, confirmed_transcript_hash), both of the new epoch."""
    return suite.mac(confirmation_key, confirmed_transcript_hash)


def verify_confirmation_tag(
    suite: CipherSuite, confirmation_key: bytes, confirmed_transcript_hash: bytes, tag: bytes | None
) -> None:
    """Check a confirmation tag.

    Raises:
        AuthenticationError: It does not fit, or is missing.
    """
    suite.verify_mac(confirmation_key, confirmed_transcript_hash, tag or b"")
