"""Reads `claims.toml`, the one list of what is promised (docs/claims.toml is the same file)."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any, Final

from clients.audit.model import Claim, Group

FILE: Final = "claims.toml"
_TEXTS: Final = ("sentence", "urdu", "audience", "adversary", "how", "blind")
_OPTIONAL: Final = {
    "may_be_unchecked": str,
    "summary": bool,
    "urdu_blind": str,
    "rules": list,
    "shows": list,
    "asvs": list,
    "hipaa": list,
    "gdpr": list,
}


class ClaimsError(Exception):
    """`claims.toml` is not as it must be; the message says where."""


def parse(text: str) -> tuple[Claim, ...]:
    """All claims of a file's text, in its order.

    Raises:
        ClaimsError: a key is missing, unknown or of a wrong type, or an id stands twice.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ClaimsError(f"{FILE}: {error}") from None
    audiences = document.get("audiences", {})
    claims = tuple(_claim(table, audiences) for table in document.get("claim", ()))
    seen: set[str] = set()
    for claim in claims:
        if claim.id in seen:
            raise ClaimsError(f"{claim.id} stands twice")
        seen.add(claim.id)
    return claims


@cache
def load() -> tuple[Claim, ...]:
    """The claims that came with the program.

    Raises:
        ClaimsError: see `parse`.
    """
    return parse(files("clients.audit").joinpath(FILE).read_text(encoding="utf-8"))


def _claim(table: dict[str, Any], audiences: dict[str, str]) -> Claim:
    name = str(table.get("id", "a claim without id"))
    if name.partition(".")[0] not in {group.value for group in Group}:
        raise ClaimsError(f"{name}: the id begins with no group")
    for key in _TEXTS:
        if not isinstance(table.get(key), str) or not table[key].strip():
            raise ClaimsError(f"{name}: {key} is missing")
    for key, value in table.items():
        if key in ("id", *_TEXTS):
            continue
        if key not in _OPTIONAL:
            raise ClaimsError(f"{name}: {key} is no key")
        if not isinstance(value, _OPTIONAL[key]):
            raise ClaimsError(f"{name}: {key} is of a wrong type")
    if table["audience"] not in audiences:
        raise ClaimsError(f"{name}: its audience has no name in Urdu")
    if table.get("summary") and "urdu_blind" not in table:
        raise ClaimsError(f"{name}: urdu_blind is missing, and the apps show it")
    lists: dict[str, Any] = {
        key: tuple(table[key]) for key in ("rules", "shows", "asvs", "hipaa", "gdpr") if key in table
    }
    given: dict[str, Any] = {**table, **lists, "urdu_audience": audiences[table["audience"]]}
    return Claim(**given)
