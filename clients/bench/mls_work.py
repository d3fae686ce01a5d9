"""The work that `amanat bench mls` measures, for one kind of member and one size of group, in one process.

``python -m clients.bench.mls_work KIND MEMBERS`` prints a JSON object after each part of the work, each with
all figures so far: who stops it has what was measured. A process of its own makes its peak memory that of
this work. Times are processor time of the process, user and system, in microseconds for each operation, the
median of several rounds.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

from clients.bench.mls_members import Member, make_member
from crypto.suites import PRODUCT, X25519_AES128

MESSAGE_BYTES: Final = (100, 1024, 12 * 1024)
MESSAGES: Final = 50
"""Application messages of one round."""
MOST_ROUNDS: Final = 15
LEAST_ROUNDS: Final = 3
PART_SECONDS: Final = 8.0
"""After so long by the clock a part of the work begins no further round, once it has had the least."""

T = TypeVar("T")


class Figures:
    """Medians of what was measured, printed as one line of JSON each time that they are shown."""

    def __init__(self) -> None:
        self._times: defaultdict[str, list[float]] = defaultdict(list)
        self._sizes: dict[str, int | None] = {}

    def timed(self, name: str, work: Callable[[], T], *, operations: int = 1) -> T:
        """Do the work, and keep the processor time of each of its operations, in microseconds."""
        begun = time.process_time_ns()
        result = work()
        self._times[name].append((time.process_time_ns() - begun) / 1000 / operations)
        return result

    def add(self, name: str, first: str, second: str) -> None:
        """Keep the sums of two times, round by round."""
        self._times[name] = [sum(both) for both in zip(self._times[first], self._times[second], strict=True)]

    def size(self, name: str, value: int | None) -> None:
        """Keep a size."""
        self._sizes[name] = value

    def show(self) -> None:
        """Print all figures so far."""
        figures = {name: round(median(times), 1) for name, times in self._times.items()} | self._sizes
        rounds = {name: len(times) for name, times in self._times.items()}
        print(json.dumps({"figures": figures, "rounds": rounds}), flush=True)


def rounds() -> Iterator[int]:
    """Numbers of rounds, as many as there is time for."""
    begun = time.monotonic()
    for number in range(MOST_ROUNDS):
        if number >= LEAST_ROUNDS and time.monotonic() - begun > PART_SECONDS:
            return
        yield number


def peak_kib() -> int | None:
    """Most memory that this process had in RAM; None where the kernel does not tell."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text("ascii"), re.MULTILINE)
    except OSError:
        return None
    return None if found is None else int(found[1])


def meet(kind: str, size: int) -> tuple[Member, Member]:
    """Two members of a group of ``size``, siblings in its tree if that is even; all parents above are set."""
    first, second = make_member(kind, "first"), make_member(kind, "second")
    if size == 2:
        first.create()
        welcome = first.commit([second.key_package()]).welcome
        if welcome is None:
            raise RuntimeError("a commit that adds has a Welcome")
    else:
        code = PRODUCT.code if kind == "amanat-0xF002" else X25519_AES128.code
        welcome = founded(code, size - 2, [first.key_package(), second.key_package()])
        first.join(welcome)
    second.join(welcome)
    first.process(second.commit(()).message)
    second.process(first.commit(()).message)
    return first, second


def founded(code: int, size: int, key_packages: Sequence[bytes]) -> bytes:
    """The Welcome into a group of ``size``, made by a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "clients.bench.mls_group", str(code), str(size)],
        input=json.dumps({"key_packages": [key_package.hex() for key_package in key_packages]}),
        capture_output=True,
        text=True,
        check=True,
    )
    return bytes.fromhex(json.loads(done.stdout)["welcome"])


def talk(figures: Figures, sender: Member, receiver: Member, size: int) -> None:
    """Seal and open texts of one size."""
    plaintext = os.urandom(size)

    def seal() -> list[bytes]:
        return [sender.protect(plaintext) for _ in range(MESSAGES)]

    for _ in rounds():
        messages = figures.timed(f"protect_{size}", seal, operations=MESSAGES)

        def unseal(messages: Sequence[bytes] = messages) -> list[bytes]:
            return [receiver.unprotect(message) for message in messages]

        if figures.timed(f"unprotect_{size}", unseal, operations=MESSAGES) != [plaintext] * MESSAGES:
            raise RuntimeError("a text came out changed")
    figures.add(f"both_{size}", f"protect_{size}", f"unprotect_{size}")


def update(figures: Figures, first: Member, second: Member) -> None:
    """Self-update commits by one member, processed by its sibling."""
    for _ in rounds():
        made = figures.timed("commit", partial(second.commit, ()))
        figures.timed("process", partial(first.process, made.message))


def grow(figures: Figures, kind: str, first: Member, second: Member, size: int) -> None:
    """KeyPackages, commits that add one member, joining; each newcomer is removed again, unmeasured."""
    for number in rounds():
        newcomer = make_member(kind, f"newcomer {number}")
        package = figures.timed("key_package", newcomer.key_package)
        made = figures.timed("add", partial(second.commit, [package]))
        if made.welcome is None:
            raise RuntimeError("a commit that adds has a Welcome")
        figures.timed("join", partial(newcomer.join, made.welcome))
        first.process(made.message)
        first.process(second.remove(newcomer, size))


def measure(kind: str, size: int) -> None:
    """All figures of one kind at one size; application messages at size 2 only, they do not depend on it."""
    figures, base = Figures(), peak_kib()
    first, second = meet(kind, size)
    figures.size("state_bytes", second.state_bytes())
    update(figures, first, second)
    figures.show()
    for message_bytes in MESSAGE_BYTES if size == 2 else ():
        talk(figures, first, second, message_bytes)
        figures.show()
    grow(figures, kind, first, second, size)
    peak = peak_kib()
    figures.size("peak_kib", peak)
    figures.size("growth_kib", None if peak is None or base is None else peak - base)
    figures.show()


def main(argv: Sequence[str]) -> int:
    """Entry point of the child; returns the exit code."""
    try:
        measure(argv[0], int(argv[1]))
    except ImportError as error:
        print(json.dumps({"left_out": f"not installed here: {error.name}"}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
