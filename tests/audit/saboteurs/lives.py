"""Saboteurs that show only when a relay runs, or two devices talk."""

from __future__ import annotations

import sys
from pathlib import Path

from clients.audit.target import Target
from support.audit_saboteurs import copied_tree, replace, saboteur

HERE = Path(__file__).resolve().parent


def _relay(what: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / "bad_relay.py"), what)


def _party(what: str) -> tuple[str, ...]:
    return (sys.executable, str(HERE / "bad_party.py"), what)


def _register(
    name: str, claim: str | tuple[str, ...], what: str, target: Target, also: frozenset[str] = frozenset()
) -> None:
    @saboteur(name, *((claim,) if isinstance(claim, str) else claim), what=what, also=also)
    def make(folder: Path) -> Target:
        return target


_register(
    "core-left", "live.core-none", "a relay that lets the kernel keep its core", Target(relay=_relay("cores"))
)
_register(
    "foreign-acks",
    "live.own-slot",
    "an acknowledgement taken for another's slot",
    Target(relay=_relay("foreign_acks")),
)
_register(
    "open-house",
    "live.no-further-reader",
    "a channel that lets in a third",
    Target(relay=_relay("full_house")),
)
_register(
    "let-back",
    "live.finished-stays-finished",
    "a removed member let back",
    Target(relay=_relay("no_tombstones")),
)
_register(
    "forgetful-stop",
    "live.restart",
    "a relay that loses cells when it restarts",
    Target(relay=_relay("forgetful_stop")),
)
_register(
    "forgetful-kill",
    "live.kill",
    "a relay that loses cells when it dies",
    Target(relay=_relay("forgetful_after_a_kill")),
)
_register(
    "noted-frames",
    "live.files",
    "a relay that writes down what devices send",
    Target(relay=_relay("noted_frames")),
    frozenset({"live.session-writes-nothing"}),
)
_register(
    "chatty-log",
    "live.log",
    "a relay that logs frames",
    Target(relay=_relay("chatty_log")),
    frozenset({"live.files", "live.session-writes-nothing"}),
)
_register(
    "printing-relay",
    "live.log",
    "a relay that prints frames to its standard output",
    Target(relay=_relay("printed_frames")),
    frozenset({"live.files", "live.session-writes-nothing"}),
)
_register(
    "live-on-disk",
    "live.session-writes-nothing",
    "live cells written to disk",
    Target(relay=_relay("live_on_disk")),
)
_register(
    "kept-cells", "live.deleted", "acknowledged cells kept in a file", Target(relay=_relay("kept_cells"))
)
_register(
    "talking-ids",
    ("live.traffic", "live.memory"),
    "a device that sends text where an id should be, and a relay that keeps what it got: without the first "
    "there is no text that the second could keep",
    Target(party=_party("talking_ids"), relay=_relay("kept_frames")),
    frozenset({"live.files"}),
)
_register(
    "drafts", "live.vault-sealed", "a device that keeps drafts in plain files", Target(party=_party("drafts"))
)
_register(
    "telling-session",
    "live.session-gone",
    "a session's process that tells the main one what was said",
    Target(session_front="support.audit_fronts:telling"),
)
_register(
    "typing-shows",
    "live.constant-rate",
    "a cell rate that follows the typing",
    Target(session_front="support.audit_fronts:saving"),
)


@saboteur(
    "other-size",
    "live.cell-size",
    what="live cells of another size",
    also=frozenset({"live.traffic"}),
    hinders=frozenset(
        {
            "live.deleted",
            "live.finished-stays-finished",
            "live.kill",
            "live.own-slot",
            "live.restart",
        }
    ),
)
def other_size(folder: Path) -> Target:
    tree = copied_tree(folder)
    replace(
        tree,
        "chatserver/wire/limits.py",
        "STORED_CELL_BYTES: Final = 16_384",
        "STORED_CELL_BYTES: Final = 12_288",
    )
    for path in (*(tree / "chatserver").rglob("*.py"), *(tree / "crypto").rglob("channel.py")):
        path.write_text(path.read_text().replace("16_384", "12_288"))
    return Target(tree=tree)
