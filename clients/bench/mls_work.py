"""The work that `amanat bench mls` measures, for one kind of member and one size of group, in one process.

``python -m clients.bench.mls_work KIND SIZE`` prints one JSON object; a process of its own makes its peak
memory that of this work. Times are processor time of the process, user and system, in microseconds for each
operation, the least of several rounds: other programs can only make a round slower.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from typing import Final

from clients.bench.mls_members import Member, make_member

MESSAGE_BYTES: Final = (100, 1024, 12 * 1024)
MESSAGES: Final = 100
"""Application messages of one round."""
ROUNDS: Final = 5

Figures = dict[str, float | int | None]


def build(kind: str, size: int) -> tuple[Member, Member]:
    """A group of ``size`` whose parents are all set, and two of its members, siblings in the tree.

    Each second member, once it has joined, commits and adds the next two: so each path is set by a commit, as
    in a group that has lived for a while, and only its own size is joined and processed again and again.
    """
    committer = make_member(kind, "member 0")
    committer.create()
    last = committer
    for place in range(1, size, 2):
        newcomers = [make_member(kind, f"member {index}") for index in range(place, min(place + 2, size))]
        made = committer.commit([newcomer.key_package() for newcomer in newcomers])
        if made.welcome is None:
            raise RuntimeError("a commit that adds has a Welcome")
        if len(newcomers) == 2 and place + 2 < size:
            newcomers[1].join(made.welcome)
            committer = newcomers[1]
        else:
            for newcomer in newcomers:
                newcomer.join(made.welcome)
            last = newcomers[-1]
    return committer, last


def application(sender: Member, receiver: Member, size: int) -> Figures:
    """Seal and open texts of one size."""
    plaintext = os.urandom(size)
    seal: list[float] = []
    unseal: list[float] = []
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        messages = [sender.protect(plaintext) for _ in range(MESSAGES)]
        between = time.process_time_ns()
        opened = [receiver.unprotect(message) for message in messages]
        unseal.append((time.process_time_ns() - between) / 1000)
        seal.append((between - begun) / 1000)
        if opened != [plaintext] * MESSAGES:
            raise RuntimeError("a text came out changed")
    return {
        f"protect_{size}": min(seal) / MESSAGES,
        f"unprotect_{size}": min(unseal) / MESSAGES,
        f"both_{size}": min(map(sum, zip(seal, unseal, strict=True))) / MESSAGES,
    }


def commits(first: Member, second: Member, rounds: int) -> Figures:
    """Self-update commits by one member, processed by its sibling."""
    made: list[float] = []
    processed: list[float] = []
    for _ in range(rounds):
        begun = time.process_time_ns()
        commit = second.commit(())
        between = time.process_time_ns()
        first.process(commit.message)
        processed.append((time.process_time_ns() - between) / 1000)
        made.append((between - begun) / 1000)
    return {"commit": min(made), "process": min(processed)}


def newcomers(kind: str, first: Member, second: Member, rounds: int) -> Figures:
    """KeyPackages, commits that add one member, joining. The group grows by one in each round."""
    packages: list[float] = []
    adds: list[float] = []
    joins: list[float] = []
    for index in range(rounds):
        newcomer = make_member(kind, f"newcomer {index}")
        begun = time.process_time_ns()
        package = newcomer.key_package()
        made_package = time.process_time_ns()
        made = second.commit([package])
        added = time.process_time_ns()
        if made.welcome is None:
            raise RuntimeError("a commit that adds has a Welcome")
        newcomer.join(made.welcome)
        joins.append((time.process_time_ns() - added) / 1000)
        adds.append((added - made_package) / 1000)
        packages.append((made_package - begun) / 1000)
        first.process(made.message)
    return {"key_package": min(packages), "add": min(adds), "join": min(joins)}


def measure(kind: str, size: int) -> Figures:
    """All figures of one kind at one size; application messages at size 2 only, they do not depend on it."""
    first, second = build(kind, size)
    figures: Figures = {"state_bytes": second.state_bytes()}
    rounds = 10 if size <= 64 else 4
    figures |= commits(first, second, rounds)
    if size == 2:
        for message_bytes in MESSAGE_BYTES:
            figures |= application(first, second, message_bytes)
    figures |= newcomers(kind, first, second, min(rounds, 5))
    figures["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return figures


def main(argv: Sequence[str]) -> int:
    """Entry point of the child; returns the exit code."""
    try:
        print(json.dumps(measure(argv[0], int(argv[1]))))
    except ImportError as error:
        print(json.dumps({"left_out": f"not installed here: {error.name}"}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
