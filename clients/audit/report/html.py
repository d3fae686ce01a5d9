"""The report for people who read and print: one file, no script, nothing loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any, Final

from clients.audit.model import Verdict
from clients.audit.report.drawing import drawn

STYLE: Final = """
body{font:16px/1.5 Georgia,serif;max-width:52rem;
margin:2rem auto;padding:0 1rem;color:#1b1b1b;background:#fff}
h1{font-size:1.7rem;margin-bottom:.2rem}h2{margin-top:2.2rem;border-bottom:1px solid #bbb}
.sum{display:flex;gap:1rem;margin:1.2rem 0}
.sum div{flex:1;border:1px solid #bbb;border-radius:6px;padding:.6rem 1rem}
.sum b{display:block;font-size:1.9rem}.card{border-left:6px solid #888;padding:.3rem 1rem;margin:1rem 0;
break-inside:avoid}.holds{border-color:#2a7a3f}.broken{border-color:#b3261e;background:#fdf1f0}
.not{border-color:#b58900;background:#fffaf0}.v{font:bold .8rem sans-serif;text-transform:uppercase;
letter-spacing:.04em}.holds .v{color:#2a7a3f}.broken .v{color:#b3261e}.not .v{color:#7a5c00}
.card p{margin:.3rem 0}.s{font-size:1.08rem}.small{font-size:.86rem;color:#444}code{font-size:.82rem}
details summary{cursor:pointer;font-size:.86rem;color:#444}figure{margin:1rem 0;break-inside:avoid}
figcaption{font-size:.86rem;color:#444}svg{max-width:100%;height:auto}
@media screen and (max-width:36rem){figure{overflow-x:auto}svg{min-width:36rem;max-width:none}}
@media print{body{margin:0;max-width:none;font-size:11pt}details>*{display:block}
details::details-content{content-visibility:visible;height:auto}summary{list-style:none}}
"""
CLASSES: Final = {
    Verdict.HOLDS.value: "holds",
    Verdict.BROKEN.value: "broken",
    Verdict.UNCHECKED.value: "not",
}
GROUPS: Final = {
    "source": "The program's text",
    "store": "What lies on the relay's disk",
    "host": "The machine on which the relay runs",
    "live": "A relay and two devices, watched from all sides",
}


def page(report: dict[str, Any]) -> str:
    """The report (plain data, as in JSON) as one HTML document."""
    return "\n".join(_page(report)) + "\n"


def _page(report: dict[str, Any]) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width,initial-scale=1">'
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield f"<title>Amanat: audit</title><style>{STYLE}</style></head><body>"
    yield "<h1>Are the promises kept?</h1>"
    yield (
        f'<p class="small">An audit of {escape(report["subject"])}, version {escape(report["version"])}, '
        f"{escape(report['begun'][:10])}. Source: {escape(report['revision'][:12] or 'not a checkout')}.</p>"
    )
    yield '<div class="sum">'
    for verdict in Verdict:
        yield f"<div><b>{report['counts'][verdict.value]}</b>{escape(verdict.value)}</div>"
    yield "</div>"
    yield f"<p><strong>{_in_words(report)}</strong></p>"
    yield (
        "<p>Each promise below was checked by a program, which anybody can run again with the command that "
        "stands with it. Every check has been seen to fail on a relay, store, device or machine that breaks "
        "the promise. What a check cannot see stands with it too.</p>"
    )
    for group in report["groups"]:
        yield f"<h2>{escape(GROUPS.get(group, group))}</h2>"
        for result in report["results"]:
            if result["claim"].startswith(f"{group}."):
                yield from _card(result)
    yield (
        '<p class="small">This report holds no names, addresses, keys or texts of anybody. '
        "Groups that come with later parts of the product: directory, web, remote.</p>"
    )
    yield "</body></html>"


def _in_words(report: dict[str, Any]) -> str:
    broken = report["counts"][Verdict.BROKEN.value]
    if broken:
        return f"No: {broken} of {len(report['results'])} promises are broken."
    if not report["good"]:
        return "This audit is not complete: something could not be checked that must be."
    left = report["counts"][Verdict.UNCHECKED.value]
    rest = f" {left} could not be checked here; each says why." if left else ""
    return f"Every promise that could be checked here holds.{rest}"


def _card(result: dict[str, Any]) -> Iterator[str]:
    yield f'<div class="card {CLASSES[result["verdict"]]}"><p class="v">{escape(result["verdict"])}</p>'
    yield f'<p class="s">{escape(result["sentence"])}</p><p>{escape(result["reason"])}</p>'
    if result["evidence"]:
        told = "; ".join(escape(line) for line in result["evidence"] if line)
        yield f'<p class="small">{told}</p>'
    for figure in result["figures"]:
        yield f"<figure>{drawn(figure)}<figcaption>{escape(figure['title'])}. {escape(figure['note'])}"
        yield "</figcaption></figure>"
    yield "<details><summary>How it was checked, and what remains unseen</summary>"
    yield f'<p class="small">Against {escape(result["adversary"])}. {escape(result["how"])}</p>'
    yield f'<p class="small">Not seen: {escape(result["cannot_see"])}</p>'
    yield f'<p class="small"><code>{escape(result["command"])}</code></p></details></div>'
