"""clients.sdk.hardening: what every process of a device does first."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROBE = """
import ctypes, resource, sys
from clients.commands.main import main
code = main(["crisis"]) if sys.argv[1] == "program" else 0
dumpable = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE
sys.stderr.write(f"{code} {dumpable} {resource.getrlimit(resource.RLIMIT_CORE)[1]}")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
@pytest.mark.parametrize(("what", "dumpable"), [("program", "0"), ("control", "1")])
def test_program_that_opens_a_vault_dumps_no_core_and_is_not_traced(what: str, dumpable: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, what], capture_output=True, text=True, check=True, timeout=60
    )
    code, found, limit = done.stderr.split()[-3:]
    assert (code, found) == ("0", dumpable)
    assert what == "control" or limit == "0"
