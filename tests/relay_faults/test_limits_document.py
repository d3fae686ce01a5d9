"""docs/LIMITS.md names every limit that can be set, and tests that exist."""

from __future__ import annotations

import re
from dataclasses import fields

from chatserver.config import SECTIONS
from support.relay_process import ROOT

ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<limit>[^|]+) \| (?P<beyond>[^|]*)\| (?P<test>\S+) \|$", re.MULTILINE
)
DOCUMENT = (ROOT / "docs" / "LIMITS.md").read_text()


def rows() -> list[re.Match[str]]:
    return [row for row in ROW.finditer(DOCUMENT) if "::" in row["test"]]


def test_every_row_names_a_test_that_exists() -> None:
    assert len(rows()) == DOCUMENT.count("\n| ") - 1 > 30
    for row in rows():
        file, name = row["test"].split("::")
        assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(), re.MULTILINE), row["test"]


def test_every_limit_that_can_be_set_is_in_the_table() -> None:
    named = {name for row in rows() for name in re.findall(r"`(\w+\.\w+)`", row["limit"])}
    settings = {f"{section}.{setting.name}" for section, kind in SECTIONS.items() for setting in fields(kind)}
    assert named <= settings
    assert {name for name in settings if name.startswith(("limits.", "times."))} <= named
