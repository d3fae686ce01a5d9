"""Makes ``.venv`` from the lock files, once; a second call finds that nothing has changed and does nothing.

Runs on the system's Python, with the standard library only. ``setup.py run`` installs what runs,
``setup.py test`` also what the checks need. Needs the network only when the lock files have changed since.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CACHE = ROOT / ".cache"
VENV_PYTHON = VENV / "bin" / "python"

LOCK_FILES = {"run": ROOT / "requirements" / "run.txt", "test": ROOT / "requirements" / "test.txt"}
"""``test.txt`` contains everything of ``run.txt``, in the same versions."""


PEERS = ROOT / "tests" / "peers" / "ts"
"""ts-mls under Node, for tests; its own lock file, with hashes and without a registry."""
NODE_MAJOR = 20


class SetupError(Exception):
    """Set-up cannot go on; the text says what the person can do."""


def stamp(purpose: str) -> str:
    """What the virtual environment was made from: interpreter, place, lock file and project file."""
    digest = hashlib.sha256()
    digest.update(f"{sys.version_info[:2]} {ROOT}\n".encode())
    for path in (LOCK_FILES[purpose], ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(purpose: str) -> bool:
    """Whether ``.venv`` holds what ``purpose`` needs, unchanged since it was made."""
    candidates = ("run", "test") if purpose == "run" else ("test",)
    return VENV_PYTHON.exists() and any(
        (VENV / f"amanat-{name}.stamp").is_file()
        and (VENV / f"amanat-{name}.stamp").read_text() == stamp(name)
        for name in candidates
    )


def _works() -> bool:
    """Whether ``.venv`` holds an interpreter of this version that starts, lies here, and has pip."""
    if not VENV_PYTHON.exists():
        return False
    code = "import sys, pip; print(sys.prefix, *sys.version_info[:2])"
    done = subprocess.run([str(VENV_PYTHON), "-c", code], capture_output=True, text=True, check=False)
    wanted = f"{VENV} {sys.version_info[0]} {sys.version_info[1]}"
    return done.returncode == 0 and done.stdout.strip() == wanted


def _run(command: list[str], log: Path, what_to_do: str) -> None:
    with log.open("a") as out:
        out.write(f"$ {' '.join(command)}\n")
        out.flush()
        done = subprocess.run(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False
        )
    if done.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise SetupError(f"{tail}\n\n{what_to_do} (The whole log: {log.relative_to(ROOT)})")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Two set-ups at once wait for each other, where the system has file locks."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "setup.lock").open("w") as lock:
        try:
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        except ImportError:
            pass
        yield


def set_up(purpose: str) -> None:
    """Bring ``.venv`` up to date for ``run`` or ``test``.

    Raises:
        SetupError: A step failed; the text holds the end of its output and what to do.
    """
    if is_current(purpose):
        return
    with _alone():
        if is_current(purpose):
            return
        log = CACHE / "setup.log"
        log.write_text("")
        again = f"try again: ./{purpose} --setup"
        if not _works():
            print("Set-up: making .venv ...", flush=True)
            if VENV.exists():
                shutil.rmtree(VENV)
            _run([sys.executable, "-m", "venv", str(VENV)], log, f"Making .venv failed; {again}.")
        for old in VENV.glob("amanat-*.stamp"):
            old.unlink()
        print(
            f"Set-up: installing {LOCK_FILES[purpose].relative_to(ROOT)}, versions and hashes pinned ...",
            flush=True,
        )
        pip = [str(VENV_PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
        network = "The packages could not be installed. Is the network there? Then"
        _run(
            [*pip, "--require-hashes", "--no-deps", "-r", str(LOCK_FILES[purpose])],
            log,
            f"{network} {again}.",
        )
        _run(
            [*pip, "--no-deps", "--no-build-isolation", "--no-index", "-e", "."],
            log,
            f"Amanat itself could not be installed into .venv; {again}.",
        )
        (VENV / f"amanat-{purpose}.stamp").write_text(stamp(purpose))
        print("Set-up: done.", flush=True)


def set_up_peers() -> None:
    """Bring ``tests/peers/ts/node_modules`` up to date with its lock file (``npm ci``).

    Raises:
        SetupError: Node is too old, or a step failed; the last line says what to do.
    """
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = said.removeprefix("v").partition(".")[0]
    if not major.isdecimal() or int(major) < NODE_MAJOR:
        raise SetupError(
            f"ts-mls needs Node {NODE_MAJOR} or newer, found {said or 'none'}; its tests are left out."
        )
    digest = hashlib.sha256(said.encode())
    for name in ("package.json", "package-lock.json", ".npmrc"):
        digest.update((PEERS / name).read_bytes())
    stamp_file = PEERS / "node_modules" / ".amanat.stamp"
    if stamp_file.is_file() and stamp_file.read_text() == digest.hexdigest():
        return
    with _alone():
        print("Set-up: installing ts-mls into tests/peers/ts/node_modules (npm ci) ...", flush=True)
        log = CACHE / "setup-peers.log"
        log.write_text("")
        again = "ts-mls could not be installed. Is the network there? Then try again: ./test --setup."
        _run(["npm", "--prefix", str(PEERS), "ci"], log, again)
        stamp_file.write_text(digest.hexdigest())


def main(argv: list[str]) -> int:
    """Entry point; returns the exit code."""
    if len(argv) != 1 or argv[0] not in LOCK_FILES:
        print("usage: setup.py run|test", file=sys.stderr)
        return 2
    try:
        set_up(argv[0])
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
