"""The command line itself: help, exit codes, one sentence for every error, and who gets which arguments."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from clients.commands import tool_commands
from clients.commands.context import Context
from clients.commands.main import COMMANDS, main
from clients.sdk.errors import AmanatError, ExitCode, UsageError
from support.fake_device import FakeDevice

REPOSITORY = Path(__file__).parents[2]
OF_THE_ISSUE = {
    "init", "invite", "connect", "send", "receive", "lines", "safety-number", "resolve", "end", "export",
    "import", "passphrase", "wipe", "offer", "offers", "cancel", "decline", "session", "open", "crisis",
    "relay", "replay", "bench", "vectors",
}  # fmt: skip
FOR_PROGRAMS = {
    "init", "invite", "connect", "send", "receive", "lines", "safety-number", "offers", "offer", "session",
    "crisis",
}  # fmt: skip


def run_program(
    *arguments: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "clients.commands", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_every_command_of_the_issue_is_there() -> None:
    assert {command.name for command in COMMANDS} >= OF_THE_ISSUE
    assert {command.name for command in COMMANDS if command.json} >= FOR_PROGRAMS


def test_names_are_unique() -> None:
    assert len({command.name for command in COMMANDS}) == len(COMMANDS)


OWN_PARSERS = {"relay", *tool_commands.HANDED_ON}


@pytest.mark.parametrize("name", [c.name for c in COMMANDS if c.name not in OWN_PARSERS])
def test_help_of_each_command_lists_its_exit_codes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    printed = capsys.readouterr().out
    command = next(command for command in COMMANDS if command.name == name)
    assert "exit codes:" in printed
    for code in command.exit_codes:
        assert f"\n  {code:d}  " in printed
    assert ("--json" in printed) is command.json


def test_help_lists_every_command_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    for command in COMMANDS:
        assert command.name in printed
    for code in ExitCode:
        assert f"\n  {code:d}  " in printed


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["send"], ["init", "--role", "queen"], ["lines", "--what"]]
)
def test_wrong_use_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == ExitCode.USAGE
    assert "usage:" in capsys.readouterr().err


def raising(error: BaseException) -> Context:
    def device_class() -> type[FakeDevice]:
        raise error

    return Context(home=Path("nowhere"), environment={}, device_class=device_class, ask_hidden=lambda _: "x")


def test_error_is_its_sentence_on_stderr_and_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wipe"], context=raising(UsageError("This makes no sense."))) == ExitCode.USAGE
    assert capsys.readouterr() == ("", "This makes no sense.\n")


def test_defect_is_one_sentence_without_what_it_held(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AMANAT_TRACEBACK", raising=False)
    assert main(["wipe"], context=raising(RuntimeError("a private text"))) == ExitCode.FAILED
    printed = capsys.readouterr()
    assert "RuntimeError" in printed.err
    assert "private" not in printed.err + printed.out
    assert "Traceback" not in printed.err


def test_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["wipe"], context=raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_every_error_has_a_sentence_and_a_code() -> None:
    assert AmanatError("A sentence.").sentence == "A sentence."
    assert AmanatError("A sentence.", exit_code=ExitCode.REFUSED).exit_code == 8


@pytest.mark.parametrize("name", ["replay", "bench"])
def test_arguments_of_replay_and_bench_are_handed_on_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    def handed_on(arguments: list[str]) -> int:
        seen.append(arguments)
        return 4

    module = types.ModuleType(tool_commands.HANDED_ON[name])
    module.main = handed_on  # type: ignore[attr-defined]  # a module made up for this test
    monkeypatch.setitem(sys.modules, tool_commands.HANDED_ON[name], module)
    assert main(["--home", "anywhere", name, "--help", "--json"]) == 4
    assert main([name]) == 4
    assert seen == [["--help", "--json"], []]


def test_command_that_this_copy_does_not_hold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(tool_commands.HANDED_ON, "bench", "clients.no_such_thing")
    assert main(["bench"]) == ExitCode.MISSING_PREREQUISITE
    assert "does not hold" in capsys.readouterr().err


def test_relay_becomes_the_other_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "amanat-relay"
    program.write_text("")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    became: list[tuple[str, list[str]]] = []

    class BecameError(Exception):
        pass

    def execv(path: str, arguments: list[str]) -> None:
        became.append((path, arguments))
        raise BecameError

    monkeypatch.setattr(os, "execv", execv)
    assert main(["relay", "--config", "c.toml"]) == ExitCode.FAILED
    assert became == [(str(program), [str(program), "--config", "c.toml"])]


def test_text_that_is_named_like_a_command_is_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    main(["send", "relay"], context=raising(UsageError("It was send.")))
    assert capsys.readouterr().err == "It was send.\n"


def test_crisis_works_without_vault_network_or_passphrase(tmp_path: Path) -> None:
    result = run_program(
        "--home", str(tmp_path / "none"), "crisis", environment={"AMANAT_PASSPHRASE_FILE": "none"}
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "0311-7786264" in result.stdout
    assert not (tmp_path / "none").exists()


def test_crisis_loads_no_network_and_no_vault() -> None:
    program = (
        "import sys; from clients.commands.main import main; main(['crisis'])\n"
        "heavy = {'aiohttp', 'websockets', 'textual', 'sqlcipher3'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert result.stderr == "[]\n"


def test_output_cut_off_by_its_reader_is_no_traceback() -> None:
    command = f"{sys.executable} -m clients.commands --help | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(
        ["bash", "-c", command], cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in result.stderr


def test_no_terminal_and_no_file_for_the_passphrase(tmp_path: Path) -> None:
    result = run_program("--home", str(tmp_path), "lines", environment={"AMANAT_PASSPHRASE_FILE": ""})
    assert result.returncode == ExitCode.MISSING_PREREQUISITE
    assert result.stderr.count("\n") == 1
    assert "AMANAT_PASSPHRASE_FILE" in result.stderr


def test_stranger_named_crypto_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "crypto.py").write_text("")
    program = (
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import crypto\n"
        "crypto.__file__ = '/elsewhere/site-packages/crypto/__init__.py'\n"
        "from clients.commands.main import main; sys.exit(main(['crisis']))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == ExitCode.MISSING_PREREQUISITE
    assert "hides Amanat's" in result.stderr
