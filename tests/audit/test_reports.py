"""Reports: what they say, that they name nobody, that they can be signed and compared."""

from __future__ import annotations

import datetime as dt
import json
import sys
import uuid
from pathlib import Path

import pytest

from clients.audit.claims import load
from clients.audit.host.advice import told_by_the_relay
from clients.audit.main import main
from clients.audit.model import (
    AuditReport,
    Figure,
    Finding,
    Group,
    Result,
    Verdict,
    broken,
    holds,
    unchecked,
)
from clients.audit.report import html, oscal, plain, terminal
from clients.audit.target import Target

FIGURE = Figure(title="T", x="x", y="y", series={"a": ((1.0, 2.0), (2.0, 3.0))}, kind="line")


def report(*findings: Finding) -> AuditReport:
    results = tuple(
        Result(claim=claim, finding=finding, command="amanat audit source", seconds=0.1)
        for claim, finding in zip(load(), findings, strict=False)
    )
    return AuditReport(
        begun="2030-01-01T10:00Z",
        version="1",
        revision="0" * 40,
        subject="a test",
        groups=(Group.SOURCE,),
        results=results,
        seconds=1.0,
    )


def test_good_is_what_holds_or_may_be_unchecked() -> None:
    assert report(holds("yes")).good
    assert not report(holds("yes"), broken("no")).good
    assert not report(unchecked("?")).good  # the first claim must always be checkable
    assert not report().good


def test_the_page_stands_by_itself_and_shows_every_verdict() -> None:
    page = html.page(plain.as_data(report(holds("yes", figures=(FIGURE,)), broken("no <b>", "5 & 6"))))
    assert "<svg" in page
    assert "&lt;b&gt;" in page
    assert "http" not in page.replace("http-equiv", "")
    assert "<script" not in page
    for verdict in (Verdict.HOLDS, Verdict.BROKEN):
        assert f">{verdict.value}<" in page


def test_oscal_has_a_finding_for_each_verdict_and_none_for_what_was_not_checked() -> None:
    told = json.loads(oscal.document(plain.as_data(report(holds("yes"), broken("no"), unchecked("?")))))
    (result,) = told["assessment-results"]["results"]
    assert len(result["observations"]) == 3
    assert [finding["target"]["status"]["state"] for finding in result["findings"]] == [
        "satisfied",
        "not-satisfied",
    ]


REQUIRED = {
    (): {"uuid", "metadata", "import-ap", "results"},
    ("metadata",): {"title", "last-modified", "version", "oscal-version"},
    ("import-ap",): {"href"},
    ("results",): {"uuid", "title", "description", "start", "reviewed-controls"},
    ("results", "observations"): {"uuid", "description", "methods", "collected"},
    ("results", "findings"): {"uuid", "title", "description", "target"},
    ("results", "findings", "target"): {"type", "target-id", "status"},
    ("results", "findings", "target", "status"): {"state"},
}
"""What the model of assessment results demands of OSCAL 1.2.1, for the parts that we write."""


def test_oscal_has_every_field_that_the_model_demands() -> None:
    told = json.loads(oscal.document(plain.as_data(report(holds("yes"), broken("no"), unchecked("?")))))
    for path, fields in REQUIRED.items():
        places = [told["assessment-results"]]
        for name in path:
            inner = [place[name] for place in places]
            places = [one for found in inner for one in (found if isinstance(found, list) else [found])]
        assert places, path
        for place in places:
            assert fields <= set(place), path
            if "uuid" in fields:
                assert str(uuid.UUID(place["uuid"])) == place["uuid"]
    moment = told["assessment-results"]["metadata"]["last-modified"]
    assert dt.datetime.fromisoformat(moment).tzinfo is not None


def test_what_check_config_says_stands_beside_what_was_seen(tmp_path: Path) -> None:
    said = {"findings": [
        {"id": "swap", "sentence": "Swap is off."},
        {"id": "reach", "sentence": "It is reached at 203.0.113.9."},
        {"id": "other", "sentence": "Something."},
    ]}  # fmt: skip
    config = tmp_path / "config.toml"
    config.touch()
    relay = (sys.executable, "-c", f"print({json.dumps(json.dumps(said))})")
    told = told_by_the_relay(Target(relay=relay, config=config))
    assert told == {"host.no-swap": ["amanat-relay check-config: Swap is off."]}
    assert told_by_the_relay(Target(relay=(sys.executable, "-c", ""), config=config)) == {}
    assert told_by_the_relay(Target(relay=relay)) == {}


def test_a_report_is_searched_for_what_identifies() -> None:
    assert plain.identifying(plain.as_json(report(holds("yes", "3 files")))) == []
    assert plain.identifying('{"evidence": "203.0.113.9"}') == ["a network address"]
    assert plain.identifying("ab" * 32) == ["a long identifier"]


def test_signed_compared_and_refused_when_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text(plain.as_json(report(holds("yes"), holds("yes"))))
    new.write_text(plain.as_json(report(holds("yes"), broken("no"))))
    assert main(["sign", "old.json"]) == 0
    fingerprint = capsys.readouterr().out.split()[-1]
    assert main(["verify", "old.json", "--by", fingerprint]) == 0
    assert main(["verify", "old.json", "--by", "0" * 64]) == 1
    old.write_text(old.read_text() + " ")
    assert main(["verify", "old.json"]) == 1
    assert main(["compare", "old.json", "new.json"]) == 1
    assert "worse" in capsys.readouterr().out
    assert main(["compare", "new.json", "old.json"]) == 0
    assert (tmp_path / "auditor.key").stat().st_mode & 0o077 == 0


def test_the_summary_says_why() -> None:
    told = "\n".join(terminal.summary(report(broken("It is open."))))
    assert "BROKEN" in told
    assert "It is open." in told


@pytest.mark.parametrize("arguments", [["web"], ["nothing"], ["source", "--claim", "source.none"]])
def test_what_does_not_exist_is_said_in_a_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_one_promise_can_be_checked_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["source", "--claim", "source.wire-fields", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [result["verdict"] for result in told["results"]] == ["holds"]
    assert plain.identifying(json.dumps(told)) == []
