"""Saboteurs of the program's text."""

from __future__ import annotations

import subprocess
from pathlib import Path

from clients.audit.target import Target
from support.audit_saboteurs import ROOT, copied_tree, insert, replace, saboteur


@saboteur(
    "lazy-decryption",
    "source.relay-cannot-open",
    what="a function of the relay imports what decrypts, never called",
)
def lazy_decryption(folder: Path) -> Target:
    tree = copied_tree(folder)
    path = tree / "chatserver" / "channel_desk.py"
    path.write_text(
        path.read_text() + "\n\ndef peek() -> None:\n    from crypto import channel  # noqa: F401\n"
    )
    return Target(tree=tree)


@saboteur(
    "smuggled-decryption",
    "source.relay-has-not-loaded",
    what="the relay loads what decrypts without an import statement",
)
def smuggled_decryption(folder: Path) -> Target:
    tree = copied_tree(folder)
    insert(tree, "chatserver/relay.py", "import pkgutil\n_found = pkgutil.resolve_name('crypto.channel')")
    return Target(tree=tree)


@saboteur("external-commits", "source.refused", what="the SDK reaches the code that lets outsiders join")
def external_commits(folder: Path) -> Target:
    tree = copied_tree(folder)
    insert(tree, "clients/sdk/upkeep.py", "from crypto.rfc9420 import external_commit as _external")
    return Target(tree=tree)


@saboteur(
    "session-with-a-notebook", "source.session-has-no-vault", what="the session's process writes a file"
)
def session_with_a_notebook(folder: Path) -> Target:
    tree = copied_tree(folder)
    path = tree / "clients" / "sdk" / "session" / "stream.py"
    path.write_text(
        path.read_text() + "\n\ndef note(text: str) -> None:\n    open('notes', 'a').write(text)\n"
    )
    return Target(tree=tree)


@saboteur("length-on-the-wire", "source.wire-fields", what="DEPOSIT says how long the message really is")
def length_on_the_wire(folder: Path) -> Target:
    tree = copied_tree(folder)
    replace(
        tree,
        "chatserver/wire/client_frames.py",
        "    deposit_id: bytes\n",
        "    deposit_id: bytes\n    length: int = 0\n",
    )
    return Target(tree=tree)


@saboteur(
    "column-with-a-time", "source.schema", what="the store's schema has a column for the time of arrival"
)
def column_with_a_time(folder: Path) -> Target:
    tree = copied_tree(folder)
    replace(
        tree,
        "chatserver/store/schema.py",
        "deposit_id BLOB NOT NULL, body",
        "arrived INTEGER, deposit_id BLOB NOT NULL, body",
    )
    return Target(tree=tree)


@saboteur("printed-frames", "source.log-calls", what="the relay prints what a device sends")
def printed_frames(folder: Path) -> Target:
    tree = copied_tree(folder)
    path = tree / "chatserver" / "peer.py"
    path.write_text(path.read_text() + "\n\ndef trace(frame: object) -> None:\n    print(repr(frame))\n")
    return Target(tree=tree)


@saboteur("unpinned-part", "source.pinned", what="a foreign part without version or hash")
def unpinned_part(folder: Path) -> Target:
    tree = copied_tree(folder)
    path = tree / "requirements" / "run.txt"
    path.write_text(path.read_text() + "helpful>=1\n")
    return Target(tree=tree)


@saboteur("other-version", "source.installed", what="another version is installed than the one pinned")
def other_version(folder: Path) -> Target:
    tree = copied_tree(folder)
    path = tree / "requirements" / "run.txt"
    path.write_text(path.read_text().replace("\ncryptography==", "\ncryptography==1."))
    return Target(tree=tree)


@saboteur("classical-suite", "source.post-quantum", what="the product's suite is a classical one")
def classical_suite(folder: Path) -> Target:
    tree = copied_tree(folder)
    replace(tree, "crypto/suites.py", "code=0xF002", "code=0x0001")
    return Target(tree=tree)


RULES = {
    "source.sealed": "R01",
    "source.tampering-noticed": "R10",
    "source.no-added-device": "R14-P2-stranger",
    "source.removed-reads-nothing": "R17-unheard",
    "source.old-copy-noticed": "R09-clone",
    "source.session-proves-nothing": "S3-join",
    "source.own-inbox": "R21",
}


def _register(claim: str, patch: str) -> None:
    @saboteur(f"without-{patch}", claim, what=f"the code without what enforces {patch}")
    def without(folder: Path) -> Target:
        tree = copied_tree(folder)
        subprocess.run(
            ["patch", "-p1", "-s", "-i", str(ROOT / "tests" / "mutants" / f"{patch}.patch")],
            cwd=tree,
            check=True,
        )
        return Target(tree=tree)


for _claim, _patch in RULES.items():
    _register(_claim, _patch)
