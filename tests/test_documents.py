"""What the documents show works: their commands are run, their links lead somewhere.

In a block marked `console` every line that begins with `$ ` is run, all of a document in one bash, in an
empty folder, against a fresh relay that stands where the text says port 8440. A block marked `console host`
would change the machine, or takes long: there the syntax is checked, and that the commands exist.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from clients.commands.main import build_parser
from clients.replay.demo_relay import DemoRelay

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
USUAL_ADDRESS = "http://127.0.0.1:8440"
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
OTHER_COMMANDS = {"cd", "export", "pip", "python", "uv", "./run", "./test", "git"}
OUR_PYTHON = ".venv/bin/python"
OF_AN_OPERATOR = {
    *(
        "apt-get",
        "caddy",
        "cat",
        "certbot",
        "cp",
        "cryptsetup",
        "curl",
        "diff",
        "echo",
        "install",
        "journalctl",
    ),
    *("mkdir", "mkfs.ext4", "mount", "nginx", "podman-compose", "rm", "runuser", "sed", "swapoff", "sysctl"),
    *("systemctl", "tor", "useradd"),
}
"""Programs of the host that docs/OPERATIONS.md names; whether they are there is the host's business."""
RELAY_COMMANDS = {
    *("init", "check-config", "restored"),
    *("therapist-token", "therapists", "revoke-token", "remove-therapist"),
}


@dataclass(frozen=True)
class Block:
    document: Path
    mark: str
    commands: tuple[str, ...]


def blocks(document: Path) -> Iterator[Block]:
    for match in FENCE.finditer(document.read_text()):
        mark, body = match[1].strip(), match[2]
        if mark.startswith("console"):
            commands = tuple(line[2:] for line in body.splitlines() if line.startswith("$ "))
            yield Block(document, mark, commands)


ALL_BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
RUN = sorted({block.document for block in ALL_BLOCKS if block.mark == "console"})
HOST = [command for block in ALL_BLOCKS if block.mark == "console host" for command in block.commands]


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_every_console_block_is_of_a_known_mark_and_holds_a_command() -> None:
    for block in ALL_BLOCKS:
        assert block.mark in ("console", "console host"), name_of(block.document)
        assert block.commands, name_of(block.document)


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[str]:
    demo = DemoRelay(tmp_path / "relay")
    running, _ = demo.start(None)
    yield running.url
    demo.stop()


@pytest.mark.parametrize("document", RUN, ids=name_of)
def test_the_commands_shown_do_work(document: Path, tmp_path: Path, relay: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse battery staple\n")
    commands = [
        command for block in blocks(document) if block.mark == "console" for command in block.commands
    ]
    script = "set -eu\n" + "".join(
        f"printf '%s\\n' {shlex.quote(f'$ {command}')} >&2\n{command}\n" for command in commands
    )
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "AMANAT_PASSPHRASE_FILE": str(passphrase),
        "AMANAT_EXPORT_PASSPHRASE_FILE": str(passphrase),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        ["bash", "-c", script.replace(USUAL_ADDRESS, relay)],
        cwd=here,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]


def known_commands() -> set[str]:
    return set(re.findall(r"^  {2,4}([a-z][a-z-]+)\b", build_parser().format_help(), re.MULTILINE))


@pytest.mark.parametrize("command", HOST)
def test_commands_for_the_host_exist(command: str) -> None:
    subprocess.run(["bash", "-n", "-c", command], check=True)
    words = [word for word in shlex.split(command) if not re.match(r"[A-Z_]+=", word)]
    if "--" in words and words[0] == "runuser":  # as another account: what is run then is what counts
        words = ["amanat-relay", *words[words.index("--") + 2 :]]
    if words[0] == "amanat":
        rest = words[3:] if words[1] == "--home" else words[1:]
        assert rest[0] in known_commands()
    elif words[0] == "amanat-relay":
        rest = words[3:] if words[1:2] == ["--config"] else words[1:]
        assert not rest or rest[0] in RELAY_COMMANDS
    elif words[0] == OUR_PYTHON and not words[1].startswith("-"):
        assert (ROOT / words[1]).is_file()
    else:
        assert words[0] in OTHER_COMMANDS | OF_AN_OPERATOR | {OUR_PYTHON}


def anchors(document: Path) -> set[str]:
    headings = HEADING.findall(FENCE.sub("", document.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    dead = []
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path) if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_the_readme_begins_with_the_two_commands() -> None:
    first = next(blocks(ROOT / "README.md"))
    assert first.commands == ("./run", "./test")
    assert len((ROOT / "README.md").read_text().partition("```")[0].splitlines()) <= 6


def test_the_protocol_has_all_its_parts() -> None:
    text = (ROOT / "docs" / "PROTOCOL.md").read_text()
    headings = re.findall(r"^## (\d) (.*)$", text, re.MULTILINE)
    assert [number for number, _ in headings] == [str(number) for number in range(1, 10)]
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        assert len(part.splitlines()) > 5, part.splitlines()[0]


def test_every_source_file_is_licensed_by_the_licence_file() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "GNU AFFERO GENERAL PUBLIC LICENSE" in licence
    assert "Version 3, 19 November 2007" in licence
