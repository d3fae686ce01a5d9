"""clients/conformance: recognising files, counting, and never taking a broken vector for a good one."""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clients.conformance import command
from clients.conformance.case import Mismatch, expect_equal, integer, items, text, unhex, unhex_optional
from clients.conformance.registry import KINDS, recognise
from clients.conformance.runner import MAX_REASONS, run, run_file
from support.vectors import vector_cases

GOOD = {"vlbytes_header": "4040", "length": 64}
BAD = {"vlbytes_header": "4001", "length": 1}


def write(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def exit_code(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.main(parser.parse_args(arguments))


def test_a_good_file_passes_under_any_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, "whatever.json", [GOOD, GOOD])
    assert exit_code(str(path), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["passed"], printed["failed"], printed["skipped"]) == (2, 0, 0)
    assert printed["files"][0]["kind"] == "deserialization"
    assert printed["files"][0]["suites"] == {"none": {"passed": 2, "failed": 0, "skipped": 0}}


def test_one_bad_case_fails_the_run_and_the_others_go_on(tmp_path: Path) -> None:
    report = run([write(tmp_path, "x.json", [GOOD, BAD, GOOD])])
    assert (report.total.passed, report.total.failed) == (2, 1)
    assert not report.ok(allow_skips=True)
    assert "case 1" in report.files[0].reasons[0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\x00", "not JSON"),
        ([], "known kind"),
        ([{"a": 1}], "known kind"),
        (["text"], "known kind"),
        (17, "known kind"),
    ],
)
def test_a_file_that_is_no_vector_file_fails(tmp_path: Path, content: object, reason: str) -> None:
    report = run([write(tmp_path, "x.json", content)])
    assert reason in report.files[0].reasons[0]
    assert exit_code(str(tmp_path / "x.json"), "--allow-skips") == 1


def test_a_missing_file_fails(tmp_path: Path) -> None:
    assert run([tmp_path / "missing.json"]).total.failed == 1


def test_an_empty_file_or_folder_is_no_success(tmp_path: Path) -> None:
    assert exit_code(str(tmp_path), "--allow-skips") == 1
    write(tmp_path, "tree-math.json", [])
    assert exit_code(str(tmp_path), "--allow-skips") == 1
    assert "no cases" in run([tmp_path]).files[0].reasons[0]


def test_unknown_suites_are_skipped_and_skips_count_unless_allowed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, "x.json", [{"cipher_suite": 0x0A0A, "psks": [], "psk_secret": ""}])
    assert run([path]).files[0].suites["2570"].skipped == 1
    assert exit_code(str(path)) == 1
    assert exit_code(str(path), "--allow-skips") == 0
    assert "not implemented" in capsys.readouterr().out


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    write(tmp_path, "b.json", [GOOD])
    write(tmp_path, "a.json", [GOOD])
    write(tmp_path, "c.txt", "no")
    assert [Path(file.path).name for file in run([tmp_path]).files] == ["a.json", "b.json"]


def test_reasons_are_bounded_but_all_failures_count(tmp_path: Path) -> None:
    report = run_file(write(tmp_path, "x.json", [BAD] * (MAX_REASONS + 5)))
    assert (report.total.failed, len(report.reasons)) == (MAX_REASONS + 5, MAX_REASONS)


def test_a_single_object_counts_as_one_case(tmp_path: Path) -> None:
    assert run_file(write(tmp_path, "x.json", GOOD)).total.passed == 1


def test_the_fields_go_before_the_name() -> None:
    kind = recognise([GOOD], "treekem")
    assert kind is not None
    assert kind.name == "deserialization"


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        ("passive-client-random", "passive-client"),
        ("psk_secret", "psk_secret"),
        ("tree-validation-2", "tree-validation"),
        ("treekem", "treekem"),
        ("message_protection", "message-protection"),
    ],
)
def test_the_name_decides_where_the_fields_tell_nothing(stem: str, name: str) -> None:
    kind = recognise([{}], stem)
    assert kind is not None
    assert kind.name == name


def test_a_kind_without_a_module_is_known_but_has_no_check() -> None:
    kinds = {kind.name: kind for kind in KINDS}
    assert kinds["tree-math"].load() is not None
    if kinds["passive-client"].load() is not None:  # the next issue adds it
        pytest.skip("the passive client is checked by now")


@pytest.mark.parametrize("value", [None, "zz", 5, ["00"]])
def test_fields_that_are_not_hexadecimal_are_mismatches(value: object) -> None:
    with pytest.raises(Mismatch):
        unhex({"x": value}, "x")


def test_fields_of_the_wrong_form_are_mismatches() -> None:
    for read, value in ((integer, "1"), (integer, -1), (integer, True), (text, 1), (items, {})):
        with pytest.raises(Mismatch, match="x"):
            read({"x": value}, "x")
        with pytest.raises(Mismatch, match="missing"):
            read({}, "x")
    assert unhex_optional({"x": None}, "x") is None
    assert unhex_optional({}, "x") is None
    assert unhex_optional({"x": "00"}, "x") == b"\0"
    with pytest.raises(Mismatch, match="secret differs"):
        expect_equal("secret", 1, 2)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to every string and number in a JSON value."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    elif value is not None:
        yield path


def _corrupted(case: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(case)
    target = changed
    for step in path[:-1]:
        target = target[step]
    value = target[path[-1]]
    if isinstance(value, int):
        target[path[-1]] = value + 1
    else:
        target[path[-1]] = ("1" if value[:1] == "0" else "0") + value[1:]
    return changed


@pytest.mark.workload
@pytest.mark.parametrize(
    "name",
    [
        "crypto-basics",
        "deserialization",
        "key-schedule",
        "message-protection",
        "psk_secret",
        "secret-tree",
        "transcript-hashes",
        "tree-math",
    ],
)
def test_a_vector_with_any_field_changed_fails(name: str, tmp_path: Path) -> None:
    """Each check really compares: the negative control of the vector files, on one case of each."""
    case = vector_cases(f"{name}.json")[1]
    paths = [path for path in _leaves(case) if path != ("cipher_suite",)][:60]
    for path in paths:
        report = run_file(write(tmp_path, f"{name}.json", [_corrupted(case, path)]))
        assert report.total.passed == 0, path
