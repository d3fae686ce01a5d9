"""Pre-shared keys of one device: those of the application, and the resumption PSKs of its past epochs.

RFC 9420 sections 8.4 and 8.6. A :class:`PskStore` is shared by all groups of a device, since a resumption PSK
links one group to another (sections 11.2 and 11.3).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from crypto.codec import Reader, Writer
from crypto.errors import ValidationError
from crypto.group_codec import open_stored, seal_stored
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.psk_secret import compute_psk_secret
from crypto.sensitive import Secret
from crypto.suites import CipherSuite

MAX_PAST_EPOCHS: Final = 4096
"""Resumption PSKs kept, over all groups; section 8.6 asks for a limit. Passive clients follow long runs."""


PSKS_MAGIC: Final = b"AMNTPSK\0"


def _write_external(writer: Writer, item: tuple[bytes, Secret]) -> None:
    psk_id, psk = item
    writer.opaque(psk_id).opaque(psk.reveal())


def _read_external(reader: Reader) -> tuple[bytes, bytes]:
    return reader.opaque(), reader.opaque()


def _write_resumption(writer: Writer, item: tuple[tuple[bytes, int], Secret]) -> None:
    (group_id, epoch), psk = item
    writer.opaque(group_id).u64(epoch).opaque(psk.reveal())


def _read_resumption(reader: Reader) -> tuple[bytes, int, bytes]:
    return reader.opaque(), reader.u64(), reader.opaque()


class PskStore:
    """Looks PSKs up by their names."""

    __slots__ = ("_external", "_max_past_epochs", "_resumption")

    def __init__(self, *, max_past_epochs: int = MAX_PAST_EPOCHS) -> None:
        self._external: dict[bytes, Secret] = {}
        self._resumption: OrderedDict[tuple[bytes, int], Secret] = OrderedDict()
        self._max_past_epochs = max_past_epochs

    def add_external(self, psk_id: bytes, psk: bytes | Secret) -> None:
        """Take in a PSK that the application provides."""
        self._external[psk_id] = psk if isinstance(psk, Secret) else Secret(psk)

    def add_resumption(self, group_id: bytes, epoch: int, psk: bytes | Secret) -> None:
        """Take in the ``resumption_psk`` of an epoch; the oldest one goes where there are too many."""
        self._resumption[group_id, epoch] = psk if isinstance(psk, Secret) else Secret(psk)
        while len(self._resumption) > self._max_past_epochs:
            self._resumption.popitem(last=False)

    def to_bytes(self) -> bytes:
        """The stored form, framed as by :mod:`crypto.group_codec`; it holds secrets."""
        writer = Writer().vector(self._external.items(), _write_external)
        writer.vector(self._resumption.items(), _write_resumption)
        return seal_stored(PSKS_MAGIC, writer.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, *, max_past_epochs: int = MAX_PAST_EPOCHS) -> PskStore:
        """Read the stored form.

        Raises:
            CodecError: Damaged, or not of this kind.
            StateError: Written by a newer version of this program.
        """
        store = cls(max_past_epochs=max_past_epochs)

        def read(reader: Reader) -> None:
            for psk_id, psk in reader.vector(_read_external):
                store.add_external(psk_id, psk)
            for group_id, epoch, psk in reader.vector(_read_resumption):
                store.add_resumption(group_id, epoch, psk)

        open_stored(data, PSKS_MAGIC, read)
        return store

    def find(self, psk_id: PreSharedKeyID) -> Secret:
        """The PSK of that name.

        Raises:
            ValidationError: ``psk.unknown``.
        """
        if psk_id.psktype is PSKType.EXTERNAL:
            found = self._external.get(psk_id.psk_id)
        else:
            found = self._resumption.get((psk_id.psk_group_id, psk_id.psk_epoch))
        if found is None:
            raise ValidationError("psk.unknown")
        return found

    def secret_for(self, suite: CipherSuite, psk_ids: Sequence[PreSharedKeyID]) -> bytes:
        """``psk_secret`` over these PSKs in their order.

        Raises:
            ValidationError: ``psk.unknown``: one of them is not there.
        """
        return compute_psk_secret(suite, [(psk_id, self.find(psk_id).reveal()) for psk_id in psk_ids])
