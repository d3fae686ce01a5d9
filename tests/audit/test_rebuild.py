"""Two wheels are told apart, and what differs is named."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import rebuild  # noqa: E402 - the path comes first

sys.path.pop(0)


def wheel(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("chatserver/relay.py"), text)
        archive.writestr(zipfile.ZipInfo("amanat.dist-info/RECORD"), "")
    return path


def test_the_same_wheels_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = wheel(tmp_path / "one.whl", "a = 1\n"), wheel(tmp_path / "other.whl", "a = 1\n")
    assert rebuild.compare(one, other) == 0
    assert "the same, byte for byte" in capsys.readouterr().out


def test_a_planted_difference_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[list[str]] = []
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("subprocess.run", lambda command, **_: shown.append(command))
    one, other = wheel(tmp_path / "one.whl", "a = 1\n"), wheel(tmp_path / "other.whl", "a = 2\n")
    assert rebuild.compare(one, other) == 1
    assert "NOT the same: chatserver/relay.py" in capsys.readouterr().out
    assert shown == [["diffoscope", str(one), str(other)]]
