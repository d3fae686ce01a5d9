"""Limits on what a peer can make a member do: each a named constant with its reason.

They are wider than the product needs, which policy narrows further (4 leaves, cells of 16 KiB: CHANNELS R2,
R14), and bound what ``crypto`` does for anybody else. Elsewhere, because they belong to one module:
``codec.MAX_VECTOR_BYTES`` (the form's own limit), ``secret_tree.MAX_GENERATION`` (uint32 on the wire),
``RatchetPolicy.max_forward`` (R11: generations that one message may skip).
"""

from __future__ import annotations

from typing import Final

MAX_TREE_DEPTH: Final = 14
"""Levels above the leaves. Work for one commit grows with the depth, work for joining with the leaves."""

MAX_TREE_LEAVES: Final = 1 << MAX_TREE_DEPTH
"""16,384 members: sixteen times the largest group measured. A blank node takes one byte on the wire and some
hundred in memory, so that a tree must be bounded in nodes, not only in bytes."""

MAX_MESSAGE_BYTES: Final = 32 << 20
"""32 MiB. At 0xF002 a leaf takes about 1.6 KB and a parent 1.3 KB: a full group's Welcome for one joiner has
at most some 3 KB for each leaf, for 10,000 members 30 MB. Decoding takes memory in proportion."""

MAX_STORED_BYTES: Final = 2 * MAX_MESSAGE_BYTES
"""64 MiB of stored state. A tree may outgrow the message that brought it, by members who came one by one:
with 16,384 of them at 0xF002 it takes some 48 MB, the secrets of the epoch at most some 5 MB more."""

MAX_PROPOSALS: Final = 4096
"""In one commit: four times the largest group measured, added at once. An Add costs two signatures to verify,
some 0.3 ms, so that the costliest commit takes its receiver seconds, not minutes."""
