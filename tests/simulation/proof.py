"""Proof that the simulator finds things: for each rule a mutant without it, and the seed that shows it.

Usage: ``python tests/simulation/proof.py [--tries N] [PATCH ...]``. Each patch of ``tests/mutants`` is
applied to a copy of the product; seeds are run against that copy until an invariant breaks. What was found
stands in ``proof.json`` beside this file, and from it the table in ``docs/SIMULATION.md`` is made
(``--table`` makes it anew and runs nothing).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PATCHES = ROOT / "tests" / "mutants"
RECORD = HERE / "proof.json"
DOCUMENT = ROOT / "docs" / "SIMULATION.md"
PRODUCT = ("chatserver", "clients", "crypto", "keys")
SQLITE = "chatserver/store/sqlite"
"""A mutant of the store on disk is looked for on that store; the others on the store in memory."""
RULES = (*(f"R{number}" for number in range(1, 24)), *(f"S{number}" for number in range(1, 8)))
STEPS = 30
LONGEST_RUN_SECONDS = 15.0
"""Processor time that one run of a mutant may take; a usual one takes a third of a second."""
USUAL_ORDER = ("honest", "store", "lying", "vaults", "malice", "removal", "split", "equivocation", "clone")
ORDER: dict[str, tuple[str, ...]] = {
    "R1": ("honest", "removal"),
    "R2": ("other-sizes", "malice", "honest", "session"),
    "R3": ("hanging", "lost-while-away", "honest", "store", "malice", "session"),
    "R4": ("busy-return", "storing", "honest", "store", "malice", "session"),
    "R5": ("races", "full", "honest", "malice", "store"),
    "R6": ("honest", "session", "store", "malice"),
    "R8": ("squat", "gone", "malice", "lying", "honest"),
    "R9": ("vaults", "clone", "store", "lying", "equivocation"),
    "R10": ("two-logs", "after-hole", "lying", "equivocation", "store"),
    "R13": ("honest", "malice", "lying", "store"),
    "R14": ("refused-p1", "refused-p2", "refused-p3", "refused-p4", "refused-p5", "malice", "removal"),
    "R15": ("alone", "expired", "split", "vaults", "lying", "malice"),
    "R16": ("removal", "store", "clone", "honest"),
    "R17": ("honest", "removal"),
    "R18": ("store", "vaults", "removal", "lying", "clone", "split", "equivocation"),
    "R19": ("leaving", "adding", "races", "honest", "store"),
    "R20": ("malice", "lying"),
    "R21": ("intruder", "contact"),
    "R22": ("honest", "malice"),
    "R23": ("honest",),
    **{f"S{number}": ("session",) for number in range(1, 8)},
}
"""Where the fault that a rule is for happens oftest, first."""

BEGIN, END = "<!-- proof: begin -->", "<!-- proof: end -->"


def say(text: str) -> None:
    """A line for the person who waits, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rule_of(patch: str) -> str:
    """``R07-outbox.patch`` is about R7."""
    found = re.match(r"([A-Z])0*(\d+)", patch)
    return f"{found[1]}{found[2]}" if found else patch


@contextmanager
def mutated(patch: Path | None) -> Iterator[Path]:
    """A copy of the product with a patch applied."""
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for folder in PRODUCT:
            shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__"))
        if patch is not None:
            run = ["git", "apply", "--include=*.py", str(patch)]
            subprocess.run(run, cwd=tree, check=True, capture_output=True)
        yield tree


def on_disk(patch: Path | None) -> bool:
    """Whether the mutant shows only with the store on disk."""
    if patch is None:
        return False
    changed = re.findall(r"^\+\+\+ b/(\S+)", patch.read_text(encoding="utf-8"), re.MULTILINE)
    return all(path.startswith("chatserver/store/") and "memory" not in path for path in changed)


def try_seeds(
    patch: Path | None, runs: Sequence[tuple[str, int]], *, seconds: float, disk: bool = False
) -> dict[str, Any]:
    """Run (profile, seed) pairs against a mutant until one breaks an invariant; what came of it."""
    with mutated(patch) as tree:
        how = {"runs": list(runs), "seconds": seconds, "disk": disk or on_disk(patch)}
        run = [sys.executable, str(HERE / "proof.py"), "--child", str(tree), json.dumps(how)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        try:
            done = subprocess.run(
                run, capture_output=True, text=True, check=False, timeout=3 * seconds + 60, env=environment
            )
        except subprocess.TimeoutExpired:
            return {"kind": "endless", "tried": 0, "what": "a run does not end"}
    if done.returncode != 0:
        return {"kind": "does not start", "tried": 0, "what": done.stderr.strip().splitlines()[-1][:200]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class TooLong(BaseException):
    """A run has used up its processor time; no handler of the product's may take it for an error."""


def _too_long(number: int, frame: object) -> None:
    raise TooLong


def child(tree: str, runs: Sequence[tuple[str, int]], *, seconds: float, disk: bool) -> None:
    """In the child: our packages come from the copy. Ends at the first find, or when the time is up."""
    here = {str(ROOT), str(HERE)}
    sys.path[:] = [tree, str(ROOT / "tests"), *(entry for entry in sys.path if entry not in here)]
    from simulation.aimed import AIMS
    from simulation.run import plan_of, simulate

    signal.signal(signal.SIGVTALRM, _too_long)
    end = time.monotonic() + seconds
    tried = 0
    for profile, seed in runs:
        tried += 1
        store = Path(tree) / f"store-{tried}" if disk else None
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, LONGEST_RUN_SECONDS, 0.5)
            steps = 0 if profile in AIMS else STEPS  # an aim has a length of its own
            outcome = simulate(plan_of(seed, profile=profile, steps=steps), store=store)
        except TooLong:
            continue  # says nothing: another seed may show it in less time
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if outcome.kind:
            found = {
                "profile": profile,
                "seed": seed,
                "kind": outcome.kind,
                "what": outcome.what,
                "tried": tried,
            }
            say(json.dumps(found))
            return
        if time.monotonic() >= end:
            break
    say(json.dumps({"kind": "", "tried": tried, "what": ""}))


def runs_for(patch: str, seeds: Sequence[int], profiles: Sequence[str] = ()) -> list[tuple[str, int]]:
    """Which seeds to try, in which order."""
    order = profiles or ORDER.get(rule_of(patch), USUAL_ORDER)
    return [(profile, seed) for seed in seeds for profile in order]


@cache
def _fails_anyway(profile: str, seed: int, disk: bool) -> bool:
    return bool(try_seeds(None, [(profile, seed)], seconds=300, disk=disk)["kind"])


def prove(
    patch: Path, seeds: Sequence[int], *, seconds: float, profiles: Sequence[str] = ()
) -> dict[str, Any]:
    """Look for a seed that breaks an invariant with the mutant, and none without it."""
    runs = runs_for(patch.name, seeds, profiles)
    tried = 0
    end = time.monotonic() + seconds
    while True:
        found = try_seeds(patch, runs[tried:], seconds=max(1.0, end - time.monotonic()))
        found["tried"] += tried
        if not found["kind"] or "profile" not in found:
            return found
        if not _fails_anyway(found["profile"], found["seed"], on_disk(patch)):
            return found
        tried = found["tried"]
        if tried >= len(runs) or time.monotonic() >= end:
            return {"kind": "", "tried": tried, "what": ""}


def commit() -> str:
    """What the product is now: the commit, and a plus if something of it is not committed."""
    run = ["git", "rev-parse", "--short=7", "HEAD"]
    head = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    run = ["git", "status", "--porcelain", "--", *PRODUCT, "tests/simulation/*.py"]
    changed = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    return f"{head}+" if changed else head


def verify(name: str, *, seconds: float) -> str:
    """What is no longer so of a recorded find: "" if it breaks the same invariant, and none without it."""
    entry = known()[name]
    pair = (str(entry["profile"]), int(entry["seed"]))
    found = try_seeds(PATCHES / name, [pair], seconds=seconds)
    if not found["kind"]:
        return "shows nothing"
    if "profile" not in found:
        return str(found["kind"])
    if found["kind"] != entry["kind"]:
        return f"breaks another invariant, {found['kind']},"
    return "fails without the mutant too" if _fails_anyway(*pair, on_disk(PATCHES / name)) else ""


def known() -> dict[str, dict[str, Any]]:
    """The record."""
    if not RECORD.is_file():
        return {}
    found: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))
    return found


def table() -> str:
    """The table of docs/SIMULATION.md, a line for each mutant that was tried."""
    heads = (
        "rule",
        "mutant",
        "what is left out",
        "seed",
        "runs until found",
        "invariant that breaks",
        "seen on",
    )
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    record = known()
    for name in sorted(record, key=lambda patch: (rule_of(patch)[0], int(rule_of(patch)[1:]), patch)):
        found = record[name]
        header = (PATCHES / name).read_text(encoding="utf-8")
        what = next(line for line in header.splitlines() if line.startswith("# what: "))[8:]
        seed, tried, kind = "none", f"not in {found['tried']}", found.get("why", "survives")
        if found["kind"]:
            seed, tried, kind = f"{found['profile']} {found['seed']}", found["tried"], f"`{found['kind']}`"
        seen = found.get("stale") or found.get("seen", "") if found["kind"] else ""
        cells = (rule_of(name), name.removesuffix(".patch"), what, seed, tried, kind, seen)
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def keep(name: str, entry: dict[str, Any]) -> None:
    """Write one entry into the record."""
    RECORD.write_text(
        json.dumps(dict(sorted((known() | {name: entry}).items())), indent=1) + "\n", encoding="utf-8"
    )


def verify_all(names: Sequence[str], *, seconds: float) -> bool:
    """Try recorded finds anew; the record says on which commit each was seen, or what is not so."""
    stale = False
    for name in names:
        try:
            wrong = verify(name, seconds=seconds)
        except subprocess.CalledProcessError:
            wrong = "the patch does not apply"
        entry = {key: value for key, value in known()[name].items() if key not in ("seen", "stale")}
        keep(name, entry | ({"stale": f"{wrong} on {commit()}"} if wrong else {"seen": commit()}))
        say(f"{name}: {wrong or 'seen'}")
        stale = stale or bool(wrong)
    return stale


def write_table() -> None:
    """Put the table into the document."""
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")


def main(argv: Sequence[str]) -> int:
    """See the module."""
    if argv[:1] == ["--child"]:
        how = json.loads(argv[2])
        runs = [(str(profile), int(seed)) for profile, seed in how["runs"]]
        child(argv[1], runs, seconds=float(how["seconds"]), disk=bool(how["disk"]))
        return 0
    parser = argparse.ArgumentParser(description="Which seeds find which mutants.")
    parser.add_argument("--tries", type=int, default=4, help="seeds of each profile (4)")
    parser.add_argument("--seconds", type=float, default=120, help="for one mutant (120)")
    parser.add_argument("--seeds", default="", help="which, with commas, instead of the first ones")
    parser.add_argument("--profiles", default="", help="where to look, with commas (what fits the rule)")
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    parser.add_argument(
        "--verify", action="store_true", help="try the recorded finds anew (of the patches named)"
    )
    parser.add_argument("patches", nargs="*", help="names in tests/mutants; all that are not in the record")
    options = parser.parse_args(argv)
    names = options.patches or sorted(p.name for p in PATCHES.glob("[RS]*.patch") if p.name not in known())
    if options.verify:
        found_before = sorted(name for name, entry in known().items() if entry["kind"])
        stale = verify_all(options.patches or found_before, seconds=options.seconds)
        write_table()
        return int(stale)
    for name in [] if options.table else names:
        try:
            profiles = [part for part in options.profiles.split(",") if part]
            seeds = [int(part) for part in options.seeds.split(",") if part] or range(options.tries)
            found = prove(PATCHES / name, seeds, seconds=options.seconds, profiles=profiles)
        except subprocess.CalledProcessError:
            say(f"{name}: does not apply")
            continue
        why = known().get(name, {}).get("why")
        if found["kind"]:
            keep(name, found | {"seen": commit()})
        else:
            keep(name, found if why is None else found | {"why": why})
        say(f"{name}: {found['kind'] or 'survives'} {found.get('profile', '')} {found.get('seed', '')}")
    if DOCUMENT.is_file():
        write_table()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
