"""`./test --long` goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.resume import Resume, digest_of_tree

pytest_plugins = ["pytester"]

CONFTEST = """
from pathlib import Path
import pytest
from support.resume import Resume
def pytest_configure(config):
    config.addinivalue_line("markers", "long: long")
    config.pluginmanager.register(Resume(Path("record.json"), "this tree"))
"""
TESTS = """
import os, pytest
@pytest.mark.long
def test_slow(): print("slow ran")
@pytest.mark.long
def test_other(): assert os.path.exists("mended")
def test_quick(): print("quick ran")
"""


def test_what_passed_is_left_out_until_all_has_passed(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)  # one of several processes notes nothing itself
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(TESTS)
    pytester.runpytest_inprocess().assert_outcomes(passed=2, failed=1)
    again = pytester.runpytest_inprocess()
    again.assert_outcomes(passed=1, failed=1, deselected=1)
    pytester.path.joinpath("mended").touch()
    pytester.runpytest_inprocess().assert_outcomes(passed=2, deselected=1)
    assert not pytester.path.joinpath("record.json").exists()
    pytester.runpytest_inprocess().assert_outcomes(passed=3)


def test_a_record_counts_for_one_state_of_the_tree(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    record.write_text('{"tree": "this tree", "passed": ["a::b"]}')
    assert Resume(record, "this tree").passed == {"a::b"}
    assert Resume(record, "another tree").passed == set()


def test_the_digest_sees_every_source(tmp_path: Path) -> None:
    (tmp_path / "crypto").mkdir()
    (tmp_path / "crypto" / "a.py").write_text("1")
    before = digest_of_tree(tmp_path)
    (tmp_path / "crypto" / "a.py").write_text("2")
    assert digest_of_tree(tmp_path) != before
