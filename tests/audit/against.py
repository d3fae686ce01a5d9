"""Runs `amanat audit` against saboteurs, several at once, each in a process of its own.

    .venv/bin/python tests/audit/against.py [--all] [--at-once N] [--log FILE] [NAME...]

Prints one line of JSON for each: {"name": ..., "right": true, "broken": [claims], "unchecked": [claims],
"seconds": n}, and ends with 1 where a saboteur broke something else than it declares, or something could not
be checked that must be (`may_be_unchecked`, and what the saboteur declares to hinder). Live audits wait most
of their time, so many of them fit on one processor. Coverage is not measured here: it would double the cost.
What is wrong is run once more after all others and alone, and standard error says so: other work may have
kept the devices from theirs.

With --log the lines are kept in a file too, and a saboteur that is right there already is not run again: so
all groups against all saboteurs can be stopped and gone on with.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).resolve().parent / "saboteurs"
for _path in (ROOT, ROOT / "tests"):
    if str(_path) not in sys.path:
        sys.path.insert(0, str(_path))

from clients.audit.claims import load  # noqa: E402 - the path comes first
from clients.audit.model import Group, Result, Verdict  # noqa: E402 - the path comes first
from clients.audit.runner import ORDER, register, run_group  # noqa: E402
from clients.audit.store.snapshot import forget  # noqa: E402
from clients.audit.target import Target  # noqa: E402
from support.audit_saboteurs import SABOTEURS, Saboteur  # noqa: E402

HONEST = "honest"
"""No saboteur: nothing may be broken."""


def load_saboteurs() -> None:
    """Import the files of saboteurs/, which register themselves."""
    for path in sorted(FOLDER.glob("*.py")):
        name = f"audit_saboteurs_{path.stem}"
        if path.stem.startswith("bad_") or name in sys.modules:
            continue
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


def honest(folder: Path) -> Target:
    """A store, a machine and a program in order, as far as a fixture can be."""
    hosts, stores = (sys.modules[f"audit_saboteurs_{name}"] for name in ("hosts", "stores"))
    machine: Target = hosts.good_host(folder / "machine")
    store: Path = stores.good_store(folder / "honest")
    return replace(machine, store=store)


def complete(target: Target, folder: Path) -> Target:
    """A saboteur's target with an honest store and machine where it has none of its own."""
    good = honest(folder)
    if target.root != Path("/"):  # a saboteur of the machine: its store is an empty file
        if target.store is not None and good.store is not None:
            for path in good.store.iterdir():
                place = target.store / path.name
                mode = place.stat().st_mode if place.exists() else path.stat().st_mode
                shutil.copyfile(path, place)
                place.chmod(mode)
        return target
    return replace(
        target,
        root=good.root,
        store=target.store or good.store,
        pid=good.pid,
        log=good.log,
    )


def audited(target: Target, groups: Sequence[Group]) -> list[Result]:
    """Results of these groups. The machine's relay is a fixture: nothing that runs writes to the store."""
    at_rest = replace(target, pid=None)
    try:
        return [
            result
            for group in groups
            for result in run_group(at_rest if group is Group.STORE else target, group, lambda _: None)
        ]
    finally:
        forget()


def names_with(results: Sequence[Result], verdict: Verdict) -> list[str]:
    """Claims of one verdict."""
    return sorted(result.claim.id for result in results if result.finding.verdict is verdict)


def _one(name: str, *, everything: bool) -> dict[str, Any]:
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="amanat-saboteur-") as place:
        folder = Path(place)
        saboteur = SABOTEURS.get(name)
        target = saboteur.make(folder) if saboteur else Target()
        groups = tuple(ORDER) if everything else (saboteur.group if saboteur else Group.LIVE,)
        results = audited(complete(target, folder) if everything else target, groups)
    return {
        "name": name,
        "broken": names_with(results, Verdict.BROKEN),
        "unchecked": names_with(results, Verdict.UNCHECKED),
        "why": {result.claim.id: [result.finding.reason, *result.finding.evidence] for result in results
                if result.finding.verdict is not Verdict.HOLDS},
        "seconds": round(time.monotonic() - begun, 1),
    }  # fmt: skip


def expected(saboteur: Saboteur | None, *, everything: bool) -> set[str]:
    """What must be broken, no more and no less."""
    if saboteur is None:
        return set()
    within = {claim for claim in saboteur.also if claim.startswith(f"{saboteur.group.value}.")}
    return set(saboteur.breaks) | (set(saboteur.also) if everything else within)


def hindered(saboteur: Saboteur | None, told: Sequence[str]) -> set[str]:
    """Claims that could not be checked, and must be."""
    allowed = {claim.id for claim in load() if claim.may_be_unchecked}
    return set(told) - allowed - (saboteur.hinders if saboteur is not None else frozenset())


def judged(name: str, *, everything: bool) -> dict[str, Any]:
    """What the audit finds where this saboteur is at work, and whether that is what it declares."""
    saboteur = SABOTEURS.get(name)
    told = _one(name, everything=everything)
    exact = set(told["broken"]) == expected(saboteur, everything=everything)
    return {**told, "right": exact and not hindered(saboteur, told["unchecked"])}


def _seen_right(log: Path | None) -> set[str]:
    """Saboteurs whose line in an earlier log says that they were right."""
    if log is None or not log.exists():
        return set()
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    return {one["name"] for one in lines if one["right"]}


def _keep(log: Path | None, line: str) -> None:
    os.write(1, line.encode())
    if log is not None:
        with log.open("a", encoding="utf-8") as file:
            file.write(line)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="saboteurs, or `honest`; else all live ones")
    parser.add_argument("--all", action="store_true", help="all groups, not only the saboteur's own")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--log", type=Path, metavar="FILE", help="keep the lines here, and go on from there")
    return parser.parse_args(argv)


def _pass(names: Sequence[str], options: argparse.Namespace, *, at_once: int, last: bool) -> list[str]:
    """Run these; tells of those that are right, in the last pass of all. Returns those that are wrong."""
    waiting = list(names)
    running: dict[int, str] = {}
    wrong: list[str] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            name = waiting.pop(0)
            if pid := os.fork():
                running[pid] = name
                continue
            told = judged(name, everything=options.all)
            line = json.dumps(told) + "\n"
            if told["right"] or last:
                _keep(options.log, line)
            else:
                sys.stderr.write(f"once more, alone: {line}")
                sys.stderr.flush()
            os._exit(0 if told["right"] else 1)
        pid, status = os.wait()
        name = running.pop(pid)
        if status:
            wrong.append(name)
    return wrong


def _main(argv: Sequence[str]) -> int:
    options = _arguments(argv)
    load_saboteurs()
    for group in Group:
        register(group)
    os.environ["PYTHONPATH"] = str(ROOT / "tests")  # devices import the bad front ends from there
    for name in [name for name in os.environ if name.startswith("COV")]:
        del os.environ[name]
    live = [name for name, one in SABOTEURS.items() if options.all or one.group is Group.LIVE]
    done = _seen_right(options.log)
    names = [name for name in options.names or live if name not in done]
    wrong = _pass(names, options, at_once=options.at_once, last=False)
    return 1 if _pass(wrong, options, at_once=1, last=True) else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
