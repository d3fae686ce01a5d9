"""ts-mls under Node as a member for tests/peers, over the JSON-lines bridge in tests/peers/ts."""

from __future__ import annotations

import itertools
import json
import re
import select
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from support.peer import EXPORT_BYTES, EXPORT_CONTEXT, EXPORT_LABEL, Event, Made, PeerRefused, Text, View

HERE = Path(__file__).resolve().parent.parent / "peers" / "ts"
ANSWER_SECONDS = 60
NODE_MAJOR = 20


def why_not() -> str | None:
    """Why ts-mls cannot be run here, or None."""
    node = shutil.which("node")
    if node is None:
        return "Node is not installed (Debian: apt-get install nodejs npm)"
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    major = re.match(r"v(\d+)\.", said)
    if major is None or int(major[1]) < NODE_MAJOR:
        return f"Node {NODE_MAJOR} or newer is needed, found {said.strip()}"
    if not (HERE / "node_modules" / "ts-mls" / "package.json").is_file():
        return "tests/peers/ts/node_modules is missing: ./test --setup installs it (npm ci)"
    return None


def _to_json(value: object) -> object:
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(item) for item in value]
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"hex"}:
            return bytes.fromhex(value["hex"])
        return {key: _from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return value


class Bridge:
    """One Node process. Use as a context manager."""

    def __init__(self, version: str) -> None:
        self.version = version
        self._ids = itertools.count(1)
        self._buffer = b""

    def __enter__(self) -> Self:
        node = shutil.which("node")
        assert node is not None
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [node, "bridge.js", self.version],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        return self

    def __exit__(self, *exception: object) -> None:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        self._errors.close()

    def ask(self, op: str, **request: object) -> Any:
        """One request and its answer; an error there is PeerRefused here."""
        number = next(self._ids)
        line = json.dumps({"id": number, "op": op} | {key: _to_json(item) for key, item in request.items()})
        assert self._process.stdin is not None
        data = memoryview(line.encode() + b"\n")
        while data:
            data = data[self._process.stdin.write(data) :]
        answer = json.loads(self._read_line())
        assert answer["id"] == number
        if "error" in answer:
            raise PeerRefused(answer["error"])
        return _from_json(answer["result"])

    def _read_line(self) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        chunks = [self._buffer]
        while b"\n" not in chunks[-1]:
            if not select.select([stdout], [], [], ANSWER_SECONDS)[0]:
                raise AssertionError(f"ts-mls gave no answer in {ANSWER_SECONDS} s")
            chunk = stdout.read(1 << 20)
            if not chunk:
                self._errors.seek(0)
                raise AssertionError(f"Node ended: {self._errors.read().decode()[-2000:]}")
            chunks.append(chunk)
        line, _, self._buffer = b"".join(chunks).partition(b"\n")
        return line


class TsPeer:
    """A member that ts-mls holds."""

    kind = "ts-mls"
    _handles = itertools.count(1)

    def __init__(
        self,
        bridge: Bridge,
        suite_code: int,
        identity: bytes,
        *,
        keep_skipped: int = 0,
        keep_epochs: int = 1,
        public: bool = False,
        library_keys: bool = False,
    ) -> None:
        self.bridge = bridge
        self.handle = next(self._handles)
        self.public = public
        settings = {"keepSkipped": keep_skipped, "keepEpochs": keep_epochs, "libraryKeys": library_keys}
        made = self._ask("new", suite=suite_code, identity=identity, settings=settings)
        self._key_package: bytes = made["keyPackage"]

    def _ask(self, op: str, **request: object) -> Any:
        return self.bridge.ask(op, member=self.handle, **request)

    def key_package(self) -> bytes:
        return self._key_package

    def create(self, group_id: bytes) -> None:
        self._ask("create", groupId=group_id)

    def join(self, welcome: bytes, ratchet_tree: bytes | None) -> None:
        self._ask("join", welcome=welcome, tree=ratchet_tree)

    def commit(
        self, *, adds: Sequence[bytes] = (), removes: Sequence[int] = (), tree_in_welcome: bool = True
    ) -> Made:
        made = self._ask(
            "commit",
            adds=list(adds),
            removes=list(removes),
            treeInWelcome=tree_in_welcome,
            publicMessage=self.public,
        )
        return Made(message=made["message"], welcome=made["welcome"], ratchet_tree=made["tree"])

    def process(self, message: bytes, sender: int) -> Text | Event:
        del sender
        got = self._ask("process", message=message)
        if got["kind"] == "application":
            return Text(
                sender=got["sender"],
                plaintext=got["plaintext"],
                authenticated_data=got["authenticatedData"],
            )
        return Event(kind=got["kind"])

    def propose_update(self) -> bytes:
        message: bytes = self._ask("proposeUpdate", publicMessage=self.public)["message"]
        return message

    def protect(self, plaintext: bytes, authenticated_data: bytes) -> bytes:
        made = self._ask("protect", plaintext=plaintext, authenticatedData=authenticated_data)
        message: bytes = made["message"]
        return message

    def epochs_kept(self) -> int:
        """How many past epochs ts-mls still holds keys of."""
        kept: int = self._view()["epochsKept"]
        return kept

    def _view(self) -> Any:
        return self._ask("view", label=EXPORT_LABEL, context=EXPORT_CONTEXT, length=EXPORT_BYTES)

    def view(self) -> View:
        seen = self._view()
        return View(
            epoch=seen["epoch"],
            leaf=seen["leaf"],
            authenticator=seen["authenticator"],
            tree_hash=seen["treeHash"],
            transcript_hash=seen["transcriptHash"],
            leaves=tuple(seen["leaves"]),
            exported=seen["exported"],
        )
