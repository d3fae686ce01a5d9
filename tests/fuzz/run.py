"""Coverage-guided fuzzing of ``crypto`` by Atheris (libFuzzer).

Usage: ``python tests/fuzz/run.py [--seconds N] [--seeds | --merge] [TARGET ...]``. Each target runs for so
long in a process of its own, from the committed corpus in ``tests/fuzz/corpus``; what it finds goes to
``.cache/fuzz``, from where a later run goes on. ``--seeds`` writes the valid inputs from which the corpus
began; ``--merge`` takes over, for each target, inputs found that add coverage, of all lengths. Ends with 0 if
nothing but documented exceptions left the targets.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
FOUND = ROOT / ".cache" / "fuzz"
MAX_INPUT_BYTES = 4096
"""Longest input that the fuzzer makes; the largest message of the product is four times as long."""
MAX_CORPUS_BYTES = 2048
"""Longest input that is taken over into the committed corpus."""
MAX_CORPUS_FILES = 12
"""Taken over for one target in one merge: the corpus is to be replayed by the quick tests."""
RSS_MIB = 1024
"""An input that makes a target use more memory than this counts as a crash."""
ONE_INPUT_SECONDS = 10
"""An input that takes longer counts as a crash."""


def child(target: str, arguments: Sequence[str]) -> None:
    """Fuzz one target in this process; libFuzzer ends it."""
    atheris: Any = importlib.import_module("atheris")  # has no stubs, and no wheels for some platforms
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    with atheris.instrument_imports(include=["crypto", "keys", "chatserver"]):
        from support.fuzz_targets import TARGETS
    atheris.Setup([str(program(target)), *arguments], TARGETS[target])
    atheris.Fuzz()


def program(target: str) -> Path:
    """An executable that fuzzes one target: libFuzzer starts itself anew while it merges."""
    path = FOUND / f"{target}.sh"
    if not path.is_file():
        FOUND.mkdir(parents=True, exist_ok=True)
        command = shlex.join([sys.executable, str(Path(__file__).resolve()), "--child", target])
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        path.chmod(0o755)
    return path


def run(target: str, seconds: int) -> bool:
    """Fuzz one target; whether nothing was found."""
    found, corpus = FOUND / target, CORPUS / target
    found.mkdir(parents=True, exist_ok=True)
    corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        f"-timeout={ONE_INPUT_SECONDS}",
        f"-rss_limit_mb={RSS_MIB}",
        f"-artifact_prefix={FOUND}/{target}-",
        "-print_final_stats=1",
    ]
    command = [sys.executable, __file__, "--child", target, *options, str(found), str(corpus)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    lines = done.stderr.splitlines()
    executed = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "?")
    coverage = next((line.split("cov: ")[1].split()[0] for line in reversed(lines) if "cov: " in line), "?")
    verdict = "nothing" if done.returncode == 0 else "SOMETHING"
    say(f"{target}: {executed} inputs, {coverage} edges, found {verdict}")
    if done.returncode != 0:
        say("\n".join(lines[-40:]))
    return done.returncode == 0


def merge(target: str) -> None:
    """Add to a corpus what adds coverage, from the smallest to the largest, within the limits above."""
    corpus, chosen = CORPUS / target, FOUND / f"{target}-merged"
    for folder in (corpus, chosen, FOUND / target):
        folder.mkdir(parents=True, exist_ok=True)
    for old in chosen.iterdir():
        old.unlink()
    folders = [str(chosen), str(corpus), str(FOUND / target)]
    command = [str(program(target)), "-merge=1", *folders]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    inputs = sorted((path.read_bytes() for path in chosen.iterdir()), key=len)
    small = [data for data in inputs if len(data) <= MAX_CORPUS_BYTES]
    for data in small[:: max(1, -(-len(small) // MAX_CORPUS_FILES))]:
        write(target, data)


def write(target: str, data: bytes) -> None:
    """Put one input into the corpus, named by its digest."""
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def say(text: str) -> None:
    """A line for the person who waits, at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    """Entry point; returns the exit code."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from support.fuzz_targets import TARGETS, seeds

    parser = argparse.ArgumentParser(description="Fuzz the decoders and the receiving side of crypto.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--seeds", action="store_true", help="write the seeds into the corpus and end")
    parser.add_argument("--merge", action="store_true", help="take over what was found, and end")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args(argv)
    if options.seeds:
        for target, data in seeds():
            write(target, data)
        return 0
    wanted = options.targets or list(TARGETS)
    if options.merge:
        for target in wanted:
            merge(target)
        return 0
    outcomes = [run(target, options.seconds) for target in wanted]
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        sys.exit(main(sys.argv[1:]))
