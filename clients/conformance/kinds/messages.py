"""messages: every struct of RFC 9420 decodes and encodes to the same bytes (sections 6, 10, 12)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from clients.conformance.case import Case, expect_equal, unhex
from crypto.code_points import ProposalType
from crypto.codec import Reader, Writer, decode, encode
from crypto.commit import read_commit, write_commit
from crypto.framed_content import ContentType, WireFormat
from crypto.mls_message import read_mls_message
from crypto.proposals import proposal_type, read_proposal_body, write_proposal_body
from crypto.public_message import PublicMessage
from crypto.tree_nodes import Node, read_ratchet_tree, write_node
from crypto.welcome import read_group_secrets, write_group_secrets

MESSAGES: Final = {
    "mls_welcome": WireFormat.WELCOME,
    "mls_group_info": WireFormat.GROUP_INFO,
    "mls_key_package": WireFormat.KEY_PACKAGE,
    "public_message_application": WireFormat.PUBLIC_MESSAGE,
    "public_message_proposal": WireFormat.PUBLIC_MESSAGE,
    "public_message_commit": WireFormat.PUBLIC_MESSAGE,
    "private_message": WireFormat.PRIVATE_MESSAGE,
}
CONTENT_TYPES: Final = {
    "public_message_application": ContentType.APPLICATION,
    "public_message_proposal": ContentType.PROPOSAL,
    "public_message_commit": ContentType.COMMIT,
}
PROPOSALS: Final = {
    "add_proposal": ProposalType.ADD,
    "update_proposal": ProposalType.UPDATE,
    "remove_proposal": ProposalType.REMOVE,
    "pre_shared_key_proposal": ProposalType.PSK,
    "re_init_proposal": ProposalType.REINIT,
    "external_init_proposal": ProposalType.EXTERNAL_INIT,
    "group_context_extensions_proposal": ProposalType.GROUP_CONTEXT_EXTENSIONS,
}


def check(case: Case) -> None:
    """Decode each field as what its name says, and encode it again."""
    for name, wire_format in MESSAGES.items():
        encoded = unhex(case, name)
        message = decode(encoded, read_mls_message)
        expect_equal(f"wire format of {name}", message.wire_format, wire_format)
        expect_equal(name, message.to_bytes(), encoded)
        if isinstance(message.body, PublicMessage):
            expect_equal(f"content of {name}", message.body.content.content_type, CONTENT_TYPES[name])
    for name, kind in PROPOSALS.items():
        encoded = unhex(case, name)
        proposal = decode(encoded, partial(read_proposal_body, kind=kind))
        expect_equal(f"type of {name}", proposal_type(proposal), kind)
        expect_equal(name, encode(proposal, write_proposal_body), encoded)
    _round_trip(case, "commit", read_commit, write_commit)
    _round_trip(case, "group_secrets", read_group_secrets, write_group_secrets)
    _round_trip(case, "ratchet_tree", read_ratchet_tree, _write_ratchet_tree)


def _round_trip(
    case: Case, name: str, read: Callable[[Reader], Any], write: Callable[[Writer, Any], object]
) -> None:
    encoded = unhex(case, name)
    expect_equal(name, encode(decode(encoded, read), write), encoded)


def _write_ratchet_tree(writer: Writer, nodes: list[Node | None]) -> None:
    writer.vector(nodes, _write_entry)


def _write_entry(writer: Writer, node: Node | None) -> None:
    if node is None:
        writer.u8(0)
    else:
        writer.u8(1)
        write_node(writer, node)
