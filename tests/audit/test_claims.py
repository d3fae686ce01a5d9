"""Every promise of the documents and the apps is in claims.toml, and what is there is shown as it stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.audit import shown
from clients.audit.claims import ClaimsError, load, parse
from clients.audit.live.judging import JUDGES
from clients.audit.live.wire_probes import PROBES
from clients.audit.main import claims_main
from clients.audit.model import Group
from clients.audit.registry import CHECKS
from clients.audit.runner import register
from support.audit_promises import marked, unmarked

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/THREAT_MODEL.md")
APP_PROMISE = re.compile(
    r"\b(end-to-end|encrypted export|texts are gone|opens nothing any more|no time tells"
    r"|nobody sits between|nobody else sees|cannot be read by)\b",
    re.IGNORECASE,
)
"""Words by which a sentence of the apps promises something about secrecy."""
LATIN = re.compile(r"[A-Za-z][A-Za-z-]*")
LATIN_IN_URDU = {"SSD", "copy-on-write", "encrypted", "test"}
ARABIC_NOT_URDU = set("يكىة")
"""Letters of Arabic keyboards that Urdu writes otherwise: a search for the right word would not find it."""


def _sentences(tree: ast.AST) -> Iterator[str]:
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield " ".join(node.value.split())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_sentence_that_promises_carries_the_id_of_its_claim(document: str) -> None:
    text = (ROOT / document).read_text()
    assert unmarked(text) == []
    assert marked(text) <= {claim.id for claim in load()}


def test_a_promise_without_a_mark_is_found() -> None:
    assert unmarked("Nobody can read this.") == ["Nobody can read this."]
    assert unmarked("Nobody can read this. <!-- claim: live.traffic -->") == []
    assert unmarked("| can | cannot |\n|---|---|\n| see | hear |") == ["cannot hear"]
    assert unmarked("Nobody came. <!-- no claim: a story -->") == []


def test_sentences_of_the_apps_that_promise_are_in_the_claims() -> None:
    known = [sentence for claim in load() for sentence in claim.shows]
    found = {
        sentence
        for package in ("clients/commands", "clients/terminal", "clients/sdk")
        for path in sorted((ROOT / package).rglob("*.py"))
        for sentence in _sentences(ast.parse(path.read_text()))
        if APP_PROMISE.search(sentence)
    }
    assert sorted(one for one in found if not any(sentence in one for sentence in known)) == []
    assert sorted(one for one in known if not any(one in sentence for sentence in found)) == []


def test_the_readme_shows_the_claims_as_they_stand() -> None:
    text = (ROOT / "README.md").read_text()
    assert shown.with_section(text) == text


def test_the_guide_maps_the_claims_as_they_stand() -> None:
    text = (ROOT / "docs" / "AUDIT.md").read_text()
    assert shown.with_mapping(text) == text


def test_each_claim_has_exactly_one_check() -> None:
    for group in Group:
        register(group)
    assert {claim.id for claim in load()} == {*CHECKS, *JUDGES, *PROBES}


def test_both_names_are_one_file() -> None:
    assert (ROOT / "docs" / "claims.toml").resolve() == ROOT / "clients" / "audit" / "claims.toml"


def test_every_claim_can_be_read_in_english_and_in_urdu() -> None:
    claims = load()
    assert len({claim.urdu for claim in claims}) == len(claims)
    assert len({claim.urdu_audience for claim in claims}) == len({claim.audience for claim in claims})
    for claim in claims:
        assert claim.sentence.isascii()
        for urdu in (claim.urdu, claim.urdu_blind) if claim.summary else (claim.urdu,):
            assert urdu.endswith("۔"), claim.id
            assert set(LATIN.findall(urdu)) <= LATIN_IN_URDU, claim.id
            assert not set(urdu) & ARABIC_NOT_URDU, claim.id
        assert not LATIN.search(claim.urdu_audience)


def test_the_list_can_be_read_in_urdu(capsys: pytest.CaptureFixture[str]) -> None:
    assert claims_main(["--urdu"]) == 0
    told = capsys.readouterr().out
    assert all(claim.urdu in told and claim.urdu_audience in told for claim in load())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda text: text.replace('audience = "auditors"', "", 1), "audience is missing"),
        (lambda text: text + text[text.index("[[claim]]") :], "stands twice"),
        (lambda text: text.replace("summary = true", 'summary = "yes"', 1), "wrong type"),
        (lambda text: text.replace("summary = true", "colour = 1", 1), "no key"),
        (lambda text: re.sub('\nurdu = ".*"', "", text, count=1), "urdu is missing"),
        (lambda text: re.sub('\nurdu_blind = ".*"', "", text, count=1), "urdu_blind is missing"),
        (lambda text: re.sub('\n"operators" = ".*"', "", text), "no name in Urdu"),
    ],
)
def test_a_damaged_list_is_refused(spoil: object, complaint: str) -> None:
    text = (ROOT / "clients" / "audit" / "claims.toml").read_text()
    with pytest.raises(ClaimsError, match=complaint):
        parse(spoil(text))  # type: ignore[operator]  # parametrised lambdas
