"""Writes docs/RULES.md: for each numbered rule a line, where it is enforced, how tested, how taken out.

    .venv/bin/python scripts/ledger.py            writes the document
    .venv/bin/python scripts/ledger.py --check    ends with 1 where it is not as it should be

Enforced "where" means: the modules in which the rule's number stands. `tests/test_ledger.py` runs the check.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "RULES.md"
PACKAGES = ("chatserver", "clients", "crypto", "keys")

RULES = {
    "R1": "keys of an epoch's channel come from the exporter, then wiped; a cell is sealed under them",
    "R2": "a channel's id binds class and number of readers; one size of cell per class; at most 4 leaves",
    "R3": "slots are held by tokens; nobody acknowledges for another; the newest connection of a slot wins",
    "R4": "consecutive numbers; STORED only after the disk has it; the same deposit id gives the same number",
    "R5": "a closing cell closes in its transaction; one is accepted even at quota",
    "R6": "deleted when all have acknowledged; expiry is announced; tombstones; live cells in a ring of 64",
    "R7": "one transaction per step, before anything is sent or shown; no generation is used twice",
    "R8": "FULL before one's own slot exists is an alarm; GONE in an unfinished epoch leads back by R18",
    "R9": "an old or cloned vault never sends; a relay that lost state is noticed; exports hold no ratchets",
    "R10": "a hash chain over the log, compared in every message; a mismatch is a fork, and sending stops",
    "R11": "counters across epochs; each message once; gaps are shown and asked for; no skipped keys",
    "R12": "receipts end to end; honest states; content is kept until delivered",
    "R13": "a commit is stored before it is sent, merged when it is read; losers drop theirs, think anew",
    "R14": "the predicate P decides from bytes alone whether a commit stands; four turns, then fault",
    "R15": "P holds but processing fails: this device is alone and comes back by R18",
    "R16": "the Welcome follows the merge; a joiner checks group, signer and members, and takes the counters",
    "R17": "returning devices read on to the closing cell; self-updates; removal of silent leaves",
    "R18": "the way back for a stranded device, without a server's word; after a fork people decide",
    "R19": "every crash point leads on: stubs, outbox and state outlive it",
    "R20": "every cell is counted and acknowledged; one that does not open stops nothing",
    "R21": "inboxes open by signature, register by admission, take drops of one size, up to a limit",
    "R22": "ending a line destroys its keys; texts stay or go as the person chooses",
    "R23": "the sender's time is a claim; a text is one cell; later kinds are kept until they can be read",
    "S1": "OFFER, JOIN, WELCOME: first valid wins, nothing of them in the clear in a vault",
    "S2": "two leaves, one epoch, a live channel; apart too long means a new group",
    "S3": "both sides hold both signing keys, so a signature proves nothing to others",
    "S4": "the session credential, and from whom a Welcome is accepted",
    "S5": "one cell a second, filled or empty; repeated in new messages; never made up for",
    "S6": "a restarted relay is a new incarnation; the session goes on",
    "S7": "everything in memory only, in a process that ends with the session",
    "H1": "what was deleted is gone from the files, the log overwritten before it is truncated",
}

HEADER = """\
# The rules, and where they live

Made by `scripts/ledger.py`; a test compares. Each rule has tests that bear its number and at least one patch
in `tests/mutants/` that takes it out, upon which a test must fail. In full: [PROTOCOL.md](PROTOCOL.md).
"""


def _files(*folders: str, suffix: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob(f"*{suffix}"))


def modules_that_name(rule: str) -> list[str]:
    """Modules in which the rule's number stands, alone or as one end of a range."""
    pattern = re.compile(rf"\b{rule}\b")
    return [
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")
        for path in _files(*PACKAGES, suffix=".py")
        if pattern.search(path.read_text())
    ]


def tests_of(rule: str) -> int:
    """How many test functions bear the rule's number."""
    number = f"r{int(rule[1:]):02d}" if rule[0] == "R" else rule.lower()
    pattern = re.compile(rf"def test_{number}_")
    return sum(len(pattern.findall(path.read_text())) for path in _files("tests", suffix=".py"))


def patches_of(rule: str) -> list[str]:
    """Patches that take the rule out."""
    pattern = re.compile(rf"^# rule: {rule}$", re.MULTILINE)
    return [
        path.stem for path in _files("tests/mutants", suffix=".patch") if pattern.search(path.read_text())
    ]


def document() -> str:
    """The whole document."""
    rows = []
    for rule, meaning in RULES.items():
        modules = ", ".join(f"`{name}`" for name in modules_that_name(rule)) or "-"
        patches = ", ".join(patches_of(rule)) or "-"
        rows.append(f"| {rule} | {meaning} | {modules} | {tests_of(rule)} | {patches} |")
    table = ["| rule | in a line | named in | tests | taken out by |", "|---|---|---|---|---|", *rows]
    return HEADER + "\n" + "\n".join(table) + "\n"


def main(argv: list[str]) -> int:
    """Write the document, or check it."""
    wanted = document()
    if argv == ["--check"]:
        if DOCUMENT.exists() and DOCUMENT.read_text() == wanted:
            return 0
        print("docs/RULES.md is not up to date: run `.venv/bin/python scripts/ledger.py`.")
        return 1
    DOCUMENT.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
