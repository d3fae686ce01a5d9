"""The promises as README and apps show them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from clients.audit.claims import load

BEGIN: Final = "<!-- claims: written from docs/claims.toml by `python -m clients.audit.shown README.md` -->"
END: Final = "<!-- end of claims -->"
MAPPING_BEGIN: Final = (
    "<!-- mapping: written from docs/claims.toml by `python -m clients.audit.shown docs/AUDIT.md` -->"
)
MAPPING_END: Final = "<!-- end of mapping -->"
_NUMBER: Final = re.compile(r"(\d+)")


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


def mapping_section() -> str:
    """Requirement → claims that bear on it, as docs/AUDIT.md shows it."""
    found: dict[tuple[int, str], list[str]] = {}
    for claim in load():
        for place, (prefix, names) in enumerate(
            (("ASVS ", claim.asvs), ("", claim.hipaa), ("GDPR ", claim.gdpr))
        ):
            for name in names:
                found.setdefault((place, prefix + name), []).append(f"`{claim.id}`")
    rows = [f"| {name} | {', '.join(ids)} |" for (_, name), ids in sorted(found.items(), key=_by_number)]
    return "\n".join([MAPPING_BEGIN, "", "| requirement | claims |", "|---|---|", *rows, "", MAPPING_END])


def _by_number(item: tuple[tuple[int, str], list[str]]) -> tuple[int, list[tuple[bool, int, str]]]:
    """V2 before V11."""
    (place, name), _ = item
    return place, [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in _NUMBER.split(name)]


def with_mapping(document: str) -> str:
    """docs/AUDIT.md with its table of requirements written anew.

    Raises:
        ValueError: the marks are not in it.
    """
    begin, end = document.index(MAPPING_BEGIN), document.index(MAPPING_END)
    return document[:begin] + mapping_section() + document[end + len(MAPPING_END) :]


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
    text = place.read_text(encoding="utf-8")
    place.write_text(with_section(text) if BEGIN in text else with_mapping(text), encoding="utf-8")
