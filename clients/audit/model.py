"""What an audit speaks of: claims, verdicts, evidence, figures, and the report that holds them.

A claim is a promise in the words of a layperson (`claims.toml`). A check looks whether it holds and answers
with a `Finding`; claim and finding together are a `Result`. A finding has exactly one of three verdicts, and
says why.

Evidence never identifies a person: checks give counts, names of modules, columns and files, never values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum


class Group(Enum):
    """Checks that can be run by themselves."""

    SOURCE = "source"
    """The program's text."""
    STORE = "store"
    """What a relay has on its disk; read only."""
    LIVE = "live"
    """A relay and two devices of the audit's own, from the same configuration."""
    HOST = "host"
    """The machine on which a relay runs."""


LATER_GROUPS = ("directory", "web", "remote")
"""Groups that come with those parts of the product."""


class Verdict(Enum):
    """What a check says of its claim."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNCHECKED = "could not be checked here"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A promise.

    Attributes:
        id: `group.name`; stands in documents, reports and saboteurs.
        sentence: the promise as a layperson reads it.
        urdu: the same in Urdu.
        audience: for whom it is made.
        urdu_audience: the same in Urdu.
        adversary: about whom it is.
        how: how it is checked.
        blind: what the check cannot see.
        may_be_unchecked: why the verdict may be "could not be checked here"; empty where it may not.
        summary: whether the README and the apps show it.
        urdu_blind: what the check cannot see, in Urdu, where the apps show it.
        rules: numbers of the protocol's rules that keep it.
        shows: sentences of the apps that make this promise, word for word.
        asvs, hipaa, gdpr: requirements of OWASP ASVS 5.0, 45 CFR 164.312 and the GDPR that it bears on.
    """

    id: str
    sentence: str
    urdu: str
    audience: str
    urdu_audience: str
    adversary: str
    how: str
    blind: str
    may_be_unchecked: str = ""
    summary: bool = False
    urdu_blind: str = ""
    rules: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    asvs: tuple[str, ...] = ()
    hipaa: tuple[str, ...] = ()
    gdpr: tuple[str, ...] = ()

    @property
    def group(self) -> Group:
        """The group whose check looks at it."""
        return Group(self.id.partition(".")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Numbers worth a picture: series of points under one title.

    Attributes:
        title: what is to be seen, in one sentence.
        x, y: names of the axes, with units.
        series: name → points.
        kind: `bars`, `line` or `dots`.
        note: how to read it.
    """

    title: str
    x: str
    y: str
    series: dict[str, tuple[tuple[float, float], ...]]
    kind: str = "bars"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check saw.

    Attributes:
        verdict: one of three.
        reason: one sentence that a lay board understands.
        evidence: what was counted, where; no value that could identify anybody.
        figures: pictures for the report.
    """

    verdict: Verdict
    reason: str
    evidence: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()


def holds(reason: str, *evidence: str, figures: Sequence[Figure] = ()) -> Finding:
    """The promise holds as far as the check can see."""
    return Finding(verdict=Verdict.HOLDS, reason=reason, evidence=evidence, figures=tuple(figures))


def broken(reason: str, *evidence: str, figures: Sequence[Figure] = ()) -> Finding:
    """The promise is broken."""
    return Finding(verdict=Verdict.BROKEN, reason=reason, evidence=evidence, figures=tuple(figures))


def unchecked(reason: str, *evidence: str) -> Finding:
    """The check could not look; says why."""
    return Finding(verdict=Verdict.UNCHECKED, reason=reason, evidence=evidence)


def judge(faults: Sequence[str], good: str, bad: str, *evidence: str) -> Finding:
    """Broken where there are faults (the first ten are the evidence), else holding."""
    if faults:
        more = (f"and {len(faults) - 10} more",) if len(faults) > 10 else ()
        return broken(bad, *faults[:10], *more, *evidence)
    return holds(good, *evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A claim with what its check found."""

    claim: Claim
    finding: Finding
    command: str
    seconds: float

    @property
    def acceptable(self) -> bool:
        """Whether it holds, or may be unchecked here."""
        verdict = self.finding.verdict
        return verdict is Verdict.HOLDS or (
            verdict is Verdict.UNCHECKED and bool(self.claim.may_be_unchecked)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """A whole audit.

    Attributes:
        begun: UTC day and hour; no finer, so that a report tells nothing of who was online when.
        version: of the product.
        revision: of the source tree, or empty where it is no checkout.
        subject: what kind of relay was looked at, in words.
        results: in the order of the claims.
        figures: pictures that belong to no single claim.
        seconds: how long it took.
    """

    begun: str
    version: str
    revision: str
    subject: str
    groups: tuple[Group, ...]
    results: tuple[Result, ...] = field(repr=False)
    seconds: float

    @property
    def good(self) -> bool:
        """Whether every claim holds that must be checkable."""
        return bool(self.results) and all(result.acceptable for result in self.results)

    def count(self, verdict: Verdict) -> int:
        """Results with that verdict."""
        return sum(result.finding.verdict is verdict for result in self.results)
