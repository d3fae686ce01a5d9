"""Pre-shared keys of one device: those of the application, and the resumption PSKs of its past epochs.

RFC 9420 sections 8.4 and 8.6. A :class:`PskStore` is shared by all groups of a device, since a resumption PSK
links one group to another (sections 11.2 and 11.3).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from crypto.errors import ValidationError
from crypto.psk_id import PreSharedKeyID, PSKType
from crypto.psk_secret import compute_psk_secret
from crypto.sensitive import Secret
from crypto.suites import CipherSuite

MAX_PAST_EPOCHS: Final = 4096
"""Resumption PSKs kept, over all groups; section 8.6 asks for a limit. Passive clients follow long runs."""


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
