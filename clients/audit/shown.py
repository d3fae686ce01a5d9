"""The promises as README and apps show them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clients.audit.claims import load

BEGIN: Final = "<!-- claims: written from docs/claims.toml by `python -m clients.audit.shown README.md` -->"
END: Final = "<!-- end of claims -->"


def listed(*, in_full: bool = False) -> Iterator[str]:
    """Every promise in plain lines; with `in_full` also how it is checked and what is not seen."""
    for claim in load():
        yield f"{claim.id}: {claim.sentence}"
        if in_full:
            yield f"    against {claim.adversary}, for {claim.audience}"
            yield f"    checked: {claim.how}"
            yield f"    not seen: {claim.blind}"


def readme_section() -> str:
    """The promises that the README shows, between two marks."""
    lines = [f"- {claim.sentence} <!-- claim: {claim.id} -->" for claim in load() if claim.summary]
    return "\n".join([BEGIN, *lines, END])


def with_section(document: str) -> str:
    """A document with its section written anew.

    Raises:
        ValueError: the marks are not in it.
    """
    begin, end = document.index(BEGIN), document.index(END)
    return document[:begin] + readme_section() + document[end + len(END) :]


if __name__ == "__main__":
    import sys
    from pathlib import Path

    place = Path(sys.argv[1])
    place.write_text(with_section(place.read_text(encoding="utf-8")), encoding="utf-8")
