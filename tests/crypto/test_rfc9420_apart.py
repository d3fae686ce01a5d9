"""The product runs without crypto.rfc9420 (DESIGN section 4, docs/adr/0014)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("chatserver", "clients", "crypto", "keys", cache_dir=None)


def test_only_the_vector_checks_import_it(graph: grimp.ImportGraph) -> None:
    apart = {"crypto.rfc9420", *graph.find_descendants("crypto.rfc9420")}
    assert len(apart) > 10
    importers = {importer for module in apart for importer in graph.find_modules_that_directly_import(module)}
    strangers = {name for name in importers - apart if not name.startswith("clients.conformance.kinds.")}
    assert strangers <= {"clients.conformance.x509_authentication"}


@pytest.mark.parametrize("program", ["clients.sdk.device", "clients.commands.main", "chatserver.main"])
def test_the_programs_do_not_load_it(program: str) -> None:
    script = (
        f"import sys, {program}\n"
        "found = [name for name in sys.modules if name.startswith('crypto.rfc9420')]\n"
        "sys.exit(' '.join(found) or None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
