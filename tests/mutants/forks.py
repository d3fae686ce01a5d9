"""Runs pytest again and again, each time in a fork of one process that has imported all but our own packages.

Most of a short test run is the importing of pytest, Hypothesis and the libraries; a fork has them at once.
Requests come as JSON lines on standard input, ``{"arguments": [...], "output": PATH, "seconds": N}``; for
each one line goes back: ``{"hung": BOOL}``. The tree whose packages are tested is the working directory.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback

import pytest

BEFORE = (
    "_pytest.assertion.rewrite",
    "aiohttp.web",
    "cryptography.hazmat.primitives.asymmetric.ed25519",
    "cryptography.hazmat.primitives.asymmetric.x25519",
    "cryptography.hazmat.primitives.ciphers.aead",
    "hypothesis.stateful",
    "nacl.bindings",
    "pytest_asyncio.plugin",
    "textual.app",
    "websockets.asyncio.client",
    "xdist.plugin",
)
"""What takes long to import and is none of ours."""

OURS = ("chatserver", "clients", "crypto", "keys", "support")


def main() -> None:
    """Answer requests until standard input ends."""
    for name in BEFORE:
        importlib.import_module(name)
    early = sorted(name for name in sys.modules if name.partition(".")[0] in OURS)
    if early:
        raise SystemExit(f"imported before the fork, so a patch would not be seen: {', '.join(early)}")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _run(request["arguments"], request["output"])
        print(json.dumps({"hung": _hung(child, request["seconds"])}), flush=True)


def _run(arguments: list[str], output: str) -> None:
    """In the fork: print to a file, and end with pytest, without the parent's clean-up."""
    os.setsid()
    target = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(target, 1)
    os.dup2(target, 2)
    code = 1
    try:
        code = int(pytest.main([*arguments, "-W", "ignore::pytest.PytestAssertRewriteWarning"]))
    except BaseException:  # noqa: BLE001 - the fork ends here, and its output must say why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _hung(child: int, seconds: float) -> bool:
    """Wait for the fork; after ``seconds`` end it with all that it started. Whether it had to be ended."""
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return True
        time.sleep(0.01)
    return False


if __name__ == "__main__":
    main()
