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


def test_a_wheel_is_kept_in_a_new_folder_and_one_that_is_missing_is_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = wheel(tmp_path / "amanat.whl", "a = 1\n")
    monkeypatch.setattr(rebuild, "copy_of_source", lambda folder: folder)
    monkeypatch.setattr(rebuild, "build", lambda *_, **__: built)
    monkeypatch.setattr(sys, "argv", ["rebuild.py", "--keep", str(tmp_path / "new" / "folder")])
    assert rebuild.main() == 0
    kept = tmp_path / "new" / "folder" / "amanat.whl"
    assert kept.read_bytes() == built.read_bytes()
    monkeypatch.setattr(sys, "argv", ["rebuild.py", "--against", str(kept)])
    assert rebuild.main() == 0
    monkeypatch.setattr(sys, "argv", ["rebuild.py", "--against", str(tmp_path / "none.whl")])
    with pytest.raises(SystemExit):
        rebuild.main()
    assert "there is no wheel" in capsys.readouterr().err
