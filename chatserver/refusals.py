"""How the store's refusals are said on the wire: under the same names."""

from __future__ import annotations

from typing import Final

from chatserver.store.protocol import Refusal
from chatserver.wire.errors import ErrorCode

CODES: Final = {refusal: ErrorCode[refusal.name] for refusal in Refusal}
