"""Which kinds of vector files there are, and how a file of each is recognised.

A file is recognised from the fields of its cases, and only where those tell nothing, from its name. The check
of a kind is ``check(case)`` in ``clients.conformance.kinds.<module>``. A kind without such a module is known,
but not checked in this version: its cases count as skipped. To add one, write the module.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, cast

from clients.conformance.case import Case

KINDS_PACKAGE: Final = "clients.conformance.kinds"

Check = Callable[[Case], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file of the official vectors.

    Attributes:
        name: As the official files are named; a longer name may follow it (``passive-client-welcome``).
        fields: Fields that every case of the kind has, and together no case of another kind.
    """

    name: str
    fields: frozenset[str]

    @property
    def module(self) -> str:
        """Module that checks it."""
        return f"{KINDS_PACKAGE}.{self.name.replace('-', '_')}"

    def load(self) -> Check | None:
        """Its check, or None if this version has none."""
        if importlib.util.find_spec(self.module) is None:
            return None
        return cast("Check", importlib.import_module(self.module).check)


def _kind(name: str, *fields: str) -> Kind:
    return Kind(name=name, fields=frozenset(fields))


KINDS: Final = (
    _kind("tree-math", "n_leaves", "n_nodes", "root", "left", "right"),
    _kind("crypto-basics", "cipher_suite", "ref_hash", "expand_with_label"),
    _kind("secret-tree", "cipher_suite", "sender_data", "encryption_secret", "leaves"),
    _kind("message-protection", "cipher_suite", "proposal_pub", "commit_priv", "application_priv"),
    _kind("key-schedule", "cipher_suite", "initial_init_secret", "epochs"),
    _kind("psk_secret", "cipher_suite", "psks", "psk_secret"),
    _kind("transcript-hashes", "cipher_suite", "confirmation_key", "authenticated_content"),
    _kind("welcome", "cipher_suite", "init_priv", "signer_pub", "key_package", "welcome"),
    _kind("tree-operations", "cipher_suite", "tree_before", "proposal", "tree_after"),
    _kind("tree-validation", "cipher_suite", "tree", "resolutions", "tree_hashes"),
    _kind("treekem", "cipher_suite", "ratchet_tree", "leaves_private", "update_paths"),
    _kind("messages", "mls_welcome", "mls_group_info", "mls_key_package", "add_proposal"),
    _kind("passive-client", "cipher_suite", "welcome", "initial_epoch_authenticator"),
    _kind("deserialization", "vlbytes_header", "length"),
)


def recognise(cases: Iterable[Any], file_stem: str) -> Kind | None:
    """The kind of a file, or None if it is of no known kind.

    Args:
        cases: Its cases.
        file_stem: Its name without the ending; used where no case has the fields of a kind.
    """
    present = [frozenset(case) for case in cases if isinstance(case, dict)]
    for kind in KINDS:
        if any(kind.fields <= names for names in present):
            return kind
    stem = file_stem.lower().replace("_", "-")
    for kind in sorted(KINDS, key=lambda kind: -len(kind.name)):
        if stem.startswith(kind.name.replace("_", "-")):
            return kind
    return None
