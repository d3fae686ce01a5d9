"""Claims that rest on rules of the protocol: the lines that enforce them stand in the code.

Each rule has patches in `tests/mutants/` that take it out, and `./test` demands that a test notices each.
Such a patch says precisely which lines enforce the rule. This check reads the patches and looks for those
lines; it needs no test to run, and it fails where somebody took them out.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clients.audit.claims import load
from clients.audit.model import Claim, Finding, Group, judge, unchecked
from clients.audit.registry import check
from clients.audit.source.trees import cone, modules
from clients.audit.target import Target

PATCHES: Final = Path("tests") / "mutants"
FILE: Final = re.compile(r"^--- a/", re.MULTILINE)
HUNK: Final = re.compile(r"^@@[^@]*@@[^\n]*\n", re.MULTILINE)
POST_QUANTUM: Final = 0xF002
"""MLS_128_MLKEM768X25519_AES256GCM_SHA384_Ed25519, private use until IANA assigns a code point."""


def _rule_of(patch: str) -> str:
    match = re.search(r"^# rule: (\S+)$", patch, re.MULTILINE)
    return match[1] if match else ""


def _pieces(patch: str) -> Iterator[tuple[str, str]]:
    """(file, text that stands in it where the rule is enforced) of each hunk."""
    for part in FILE.split(patch)[1:]:
        name, _, rest = part.partition("\n")
        for hunk in HUNK.split(rest)[1:]:
            lines = hunk.splitlines()
            taken_out = [line[1:] for line in lines if line[:1] == "-"]
            yield name.strip(), "\n".join(taken_out or [line[1:] for line in lines if line[:1] == " "])


def _faults(target: Target, claim: Claim) -> tuple[list[str], int]:
    faults, seen = [], 0
    wanted = dict.fromkeys(claim.rules, 0)
    for path in sorted((target.tree / PATCHES).glob("*.patch")):
        patch = path.read_text(encoding="utf-8")
        if (rule := _rule_of(patch)) not in wanted:
            continue
        for name, text in _pieces(patch):
            wanted[rule] += 1
            seen += 1
            file = target.tree / name
            if not file.is_file() or text not in file.read_text(encoding="utf-8"):
                faults.append(f"{rule}: what enforces it in {name} is not there ({path.stem})")
    faults += [f"{rule}: no patch says what enforces it" for rule, places in wanted.items() if not places]
    return faults, seen


def _register(claim: Claim) -> None:
    @check(claim.id)
    def rules_stand(target: Target) -> Finding:
        if not (target.tree / PATCHES).is_dir():
            return unchecked("The tests are not here: this is an installed program, not its source tree.")
        faults, seen = _faults(target, claim)
        return judge(
            faults,
            f"The rules that keep this promise ({', '.join(claim.rules)}) stand in the code.",
            "A rule that keeps this promise is not in the code any more.",
            f"{seen} places in the code",
        )


for _claim in load():
    if _claim.group is Group.SOURCE and _claim.rules:
        _register(_claim)


@check("source.post-quantum")
def post_quantum(target: Target) -> Finding:
    """`PRODUCT` of crypto.suites, and no other suite named by what the product runs."""
    found = modules(target.tree)
    codes = [
        ast.unparse(keyword.value)
        for node in found["crypto.suites"].tree.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "PRODUCT"
        if isinstance(node.value, ast.Call)
        for keyword in node.value.keywords
        if keyword.arg == "code"
    ]
    faults = [] if codes == [str(POST_QUANTUM)] else ["the product's suite is another one"]
    reached = cone(found, "crypto.suites")
    if "crypto.xwing" not in reached:
        faults.append("the suite does not reach ML-KEM-768 with X25519")
    return judge(
        faults,
        "Conversations are sealed by ML-KEM-768 together with X25519.",
        "Conversations are not sealed by the post-quantum suite.",
    )
