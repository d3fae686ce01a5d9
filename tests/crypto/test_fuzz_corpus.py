"""The committed fuzzing corpus, replayed with a few changes of each input; at length the fuzzer itself."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from support.fuzz_targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
SECONDS = 20


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_lets_only_documented_errors_out(name: str) -> None:
    inputs = sorted((CORPUS / name).iterdir()) if (CORPUS / name).is_dir() else []
    changes = random.Random(name)
    for data in [b"", *(path.read_bytes() for path in inputs)]:
        TARGETS[name](data)
        for _ in range(4 if data else 0):
            position = changes.randrange(len(data))
            TARGETS[name](data[:position])
            TARGETS[name](data[:position] + changes.randbytes(1) + data[position + 1 :])


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_the_fuzzer_finds_nothing_in_a_while(name: str) -> None:
    pytest.importorskip("atheris", reason="Atheris has wheels for Linux and a few versions of Python only")
    run = [sys.executable, str(ROOT / "tests" / "fuzz" / "run.py"), f"--seconds={SECONDS}", name]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
