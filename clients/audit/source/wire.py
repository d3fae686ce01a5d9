"""Every field that goes over the wire, against a list that says what each is for: routing or opaque."""

from __future__ import annotations

import ast
from typing import Final

from clients.audit.model import Finding, judge
from clients.audit.registry import check
from clients.audit.source.trees import Module, modules
from clients.audit.target import Target

ROUTING: Final = frozenset(
    {
        "request", "handle", "version", "cls", "readers", "position", "seq", "head", "acked", "closed_seq",
        "close", "code", "seconds", "first", "last", "bucket_bits", "pow_bits", "draining", "waiting",
        "admission", "expires_day", "not_after_day", "serial",
    }
)  # fmt: skip
"""Numbers that the relay needs: which channel and cell, how it stands, until which day."""

OPAQUE: Final = {
    "k": "bytes", "token": "bytes", "incarnation": "bytes", "deposit_id": "bytes", "drop_id": "bytes",
    "inbox_id": "bytes", "digest": "bytes", "nonce": "bytes", "admit_hash": "bytes",
    "admission_value": "bytes", "body": "bytes", "identity_key": "bytes", "signature": "bytes",
    "content": "bytes", "bundle": "bytes",
}  # fmt: skip
"""Byte strings that tell the relay nothing but themselves: random, hashed, sealed, or (a therapist's identity
key, signature and bundle) public."""

NUMBERS: Final = frozenset({"int", "bool", "ChannelClass", "AdmissionKind"})


@check("source.wire-fields")
def wire_fields(target: Target) -> Finding:
    """The frames' dataclasses, field by field."""
    found = {
        name: module
        for name, module in modules(target.tree, "chatserver").items()
        if name.startswith("chatserver.wire.")
    }
    fields = [
        (frame, field, kind)
        for name, module in found.items()
        if name.rpartition(".")[2] in {"client_frames", "server_frames", "bundle"}
        for frame, field, kind in _fields(module)
    ]
    faults = [
        f"{frame}.{field} ({kind}) is neither routing nor opaque"
        for frame, field, kind in fields
        if not _is_allowed(field, kind)
    ]
    if not fields:
        faults = ["no frames were found"]
    return judge(
        faults,
        "Every field that a device sends is needed to deliver, or tells the relay nothing.",
        "A frame has a field that is neither needed to deliver nor sealed.",
        f"{len(fields)} fields of {len({frame for frame, _, _ in fields})} frames",
    )


def _is_allowed(field: str, kind: str) -> bool:
    return (field in ROUTING and kind in NUMBERS) or OPAQUE.get(field) == kind


def _fields(module: Module) -> list[tuple[str, str, str]]:
    return [
        (node.name, line.target.id, ast.unparse(line.annotation))
        for node in module.tree.body
        if isinstance(node, ast.ClassDef)
        for line in node.body
        if isinstance(line, ast.AnnAssign)
        and isinstance(line.target, ast.Name)
        and not ast.unparse(line.annotation).startswith("ClassVar")
    ]
