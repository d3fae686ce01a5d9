"""The main job end to end, by the command: devices, a relay process, a real WebSocket, and the search."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKLOAD = ROOT.parent / "shared" / "workload" / "conversation-shapes.json"

TEXTS = {
    "conversations": [
        {
            "id": 1,
            "turns": [
                ["therapist", "السلام علیکم، آپ کیسے ہیں؟ How are you?"],
                ["client", "ٹھیک"],
                ["client", "👩‍⚕️ e\u0301 \u200f mixed متن with marks  and two spaces "],
                ["therapist", "ok"],
                ["client", "line one\nline two\tCREATE TABLE cells"],
                ["client", "long " + "لمبا متن " * 700],
            ],
        }
    ]
}


def replay(*arguments: str, seconds: float) -> dict[str, Any]:
    # Measured processes write their coverage to disk when they end, and a session's child ends while the
    # replay counts what is written: what is not to be written is looked for without that instrument.
    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [sys.executable, "-m", "clients.replay.main", *arguments, "--json"],
        cwd=ROOT,
        env=unmeasured,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.stdout, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == report["ok"]
    return report


def assert_kept(report: dict[str, Any], messages: int) -> None:
    assert [entry for entry in report["conversations"] if entry["trouble"]] == []
    assert report["messages"] == {
        "sent": messages,
        "delivered": messages,
        "in_order": True,
        "identical": True,
    }
    relay = report["relay"]
    assert relay["findings_by_kind"] == []
    assert (relay["cells_left"], relay["drops_left"], relay["bytes_left"]) == (0, 0, 0)
    assert set(relay["cells_seen_by_bytes"]) <= {"16384", "2048"}
    assert relay["searched_for"]["secret"] > 50
    assert relay["searched_for"]["identifier"] > 5
    assert relay["control"]["sought"] == relay["control"]["found"] > 0
    assert not report["live_session_disk_bytes"]
    assert report["ok"]


def test_texts_over_a_line_and_in_a_session(tmp_path: Path) -> None:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(TEXTS))
    report = replay("--texts", str(path), "--store", "both", seconds=240)
    assert_kept(report, 12)
    assert set(report["relay"]["cells_seen_by_bytes"]) == {"16384", "2048"}
    assert report["live_session_disk_method"] in ("strace", "/proc/PID/io")


@pytest.mark.long
@pytest.mark.workload
@pytest.mark.skipif(not WORKLOAD.exists(), reason="../shared is not beside this checkout")
def test_all_shapes_of_the_workload() -> None:
    report = replay("--shapes", str(WORKLOAD), "--all", "--store", "both", seconds=3_000)
    assert_kept(report, 2 * 2625)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--texts", "nowhere.json"], "nowhere.json cannot be read"),
        (["--conversation", "99999"], "no conversation with id 99999"),
        (["--time-scale", "0"], "greater than 0"),
        (["--at-once", "0"], "at least 1"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(arguments: list[str], sentence: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "clients.replay.main", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
