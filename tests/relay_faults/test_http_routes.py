"""Every HTTP route is described (docs/openapi.json), and answers as described, whatever it is asked.

Schemathesis makes the requests and judges the answers (docs/adr/0028). Left out of its judgement is only that
valid requests must be taken: what makes a request to /v1/ws valid is a WebSocket handshake, which OpenAPI
cannot say.
"""

from __future__ import annotations

import ast
import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chatserver.wire import limits
from support.relay_process import ROOT, free_port, relay

DESCRIPTION = ROOT / "docs" / "openapi.json"
CONFIG = """
[limits]
bundle_fetches_per_minute = 1000000
"""


def described() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(DESCRIPTION.read_text())
    return document


def run_schemathesis(url: str, tag: str, folder: Path, *, examples: int) -> subprocess.CompletedProcess[str]:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        str(DESCRIPTION),
        *("--url", url, "--include-tag", tag, "--max-examples", str(examples), "--seed", "1"),
        *("--checks", "all", "--exclude-checks", "positive_data_acceptance"),
        *("--continue-on-failure", "--warnings", "off", "--no-color", "--generation-database", "none"),
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)


async def judged(tmp_path: Path, examples: int) -> None:
    async with relay(tmp_path / "relay", config=CONFIG) as process:
        done = await asyncio.to_thread(run_schemathesis, process.url, "public", tmp_path, examples=examples)
        assert done.returncode == 0, done.stdout[-4_000:] + done.stderr
        assert "Tested: 3" in done.stdout, done.stdout
        async with aiohttp.ClientSession() as session, session.get(process.url + "/v1/health") as answer:
            assert (answer.status, await answer.read()) == (200, b"ok\n")


@pytest.mark.asyncio
async def test_every_route_answers_as_described(tmp_path: Path) -> None:
    await judged(tmp_path, examples=15)


@pytest.mark.long
@pytest.mark.asyncio
async def test_every_route_answers_as_described_to_much_more(tmp_path: Path) -> None:
    await judged(tmp_path, examples=1_000)


@pytest.mark.asyncio
async def test_every_route_of_the_operators_port_answers_as_described(tmp_path: Path) -> None:
    port = free_port()
    async with relay(tmp_path / "relay", config=f"[operator]\nport = {port}\n"):
        url = f"http://127.0.0.1:{port}"
        done = await asyncio.to_thread(run_schemathesis, url, "operator", tmp_path, examples=5)
        assert done.returncode == 0, done.stdout[-4_000:] + done.stderr
        assert "Tested: 3" in done.stdout, done.stdout


def named_in(module: str) -> set[str]:
    """Every path that a server's source compares with: texts that begin with `/`, and `limits.…_PATH`."""
    tree = ast.parse((ROOT / "chatserver" / module).read_text())
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    constants = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    found = {text for text in texts if isinstance(text, str) and re.fullmatch(r"/\S+", text)}
    return found | {getattr(limits, name) for name in constants if name.endswith("_PATH")}


@pytest.mark.parametrize(("tag", "module"), [("public", "server.py"), ("operator", "operator_server.py")])
def test_every_route_is_described(tag: str, module: str) -> None:
    """A route more, or one less, in the source or in the description is noticed."""
    paths = {path for path, item in described()["paths"].items() if item["get"]["tags"] == [tag]}
    assert {path.partition("/{")[0] for path in paths} == named_in(module)
    assert all(set(item) <= {"get", "parameters"} for item in described()["paths"].values())


@pytest.mark.asyncio
async def test_the_paths_of_the_operators_port_are_unknown_on_the_public_one(tmp_path: Path) -> None:
    operators = [path for path, item in described()["paths"].items() if item["get"]["tags"] == ["operator"]]
    async with relay(tmp_path) as process, aiohttp.ClientSession() as session:
        for path in [*operators, "/", "/metrics", "/v1", "/v1/bundles", "/v1/health/", "/v1/ws/"]:
            for method, status in (("GET", 404), ("POST", 405), ("OPTIONS", 405)):
                async with session.request(method, process.url + path) as answer:
                    assert answer.status == status, (method, path)
                    assert await answer.read() == b""
                    assert answer.headers["Cache-Control"] == "no-store"
