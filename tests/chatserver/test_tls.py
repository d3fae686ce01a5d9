"""TLS in the relay itself: what it speaks and refuses, a new certificate on SIGHUP, real devices over it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from chatserver.config import Config, ConfigError, TlsFiles, parse
from chatserver.main import main
from chatserver.tls import TlsTrouble, read_again, server_context
from clients.sdk.bundles import fetch_bucket
from clients.sdk.connection import open_connection
from clients.sdk.errors import RelayUnreachable
from support.certificates import Authority
from support.relay import running_relay

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 60.0


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    made = TlsFiles(certificate=tmp_path / "relay.pem", key=tmp_path / "relay.key")
    authority.server(made.certificate, made.key)
    return made


def client_context(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.path))


@contextmanager
def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> Iterator[tuple[ssl.SSLObject, ssl.SSLObject]]:
    """A handshake in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for _ in range(4):
        for side in (theirs, ours):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    yield ours, theirs


def test_versions_ciphers_and_no_tickets(files: TlsFiles, authority: Authority) -> None:
    server = server_context(files)
    newest = client_context(authority)
    with agreed(server, newest) as (_, theirs):
        assert theirs.version() == "TLSv1.3"
    older = client_context(authority)
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with agreed(server, older) as (_, theirs):
        assert theirs.version() == "TLSv1.2"
        cipher = theirs.cipher()
        assert cipher is not None
        assert re.fullmatch(r"ECDHE-.*(GCM-SHA\d+|CHACHA20-POLY1305)", cipher[0])
        assert theirs.session is not None
        assert not theirs.session.has_ticket
    assert server.num_tickets == 0


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"])
def test_without_forward_secrecy_or_aead_there_is_no_agreement(
    ciphers: str, files: TlsFiles, authority: Authority
) -> None:
    weak = client_context(authority)
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError), agreed(server_context(files), weak):
        pass


def test_tls_1_1_is_refused(files: TlsFiles) -> None:
    assert server_context(files).minimum_version == ssl.TLSVersion.TLSv1_2


def test_files_that_cannot_be_used_are_named(tmp_path: Path, files: TlsFiles, authority: Authority) -> None:
    with pytest.raises(TlsTrouble, match="cannot be read"):
        server_context(TlsFiles(certificate=tmp_path / "none.pem", key=files.key))
    other = TlsFiles(certificate=tmp_path / "other.pem", key=tmp_path / "other.key")
    authority.server(other.certificate, other.key)
    with pytest.raises(TlsTrouble, match="belong together"):
        server_context(TlsFiles(certificate=files.certificate, key=other.key))
    files.key.write_text("-----BEGIN PRIVATE KEY-----\nno\n")
    with pytest.raises(TlsTrouble, match=r"relay\.key"):
        server_context(files)


def test_a_bad_new_pair_leaves_the_old_one(files: TlsFiles, authority: Authority) -> None:
    server = server_context(files)
    files.certificate.write_text("nothing")
    with pytest.raises(TlsTrouble):
        read_again(server, files)
    with agreed(server, client_context(authority)) as (_, theirs):
        assert theirs.version() == "TLSv1.3"


def test_both_settings_or_none() -> None:
    assert Config().tls is None
    for text in ('certificate = "a"', 'key = "b"'):
        with pytest.raises(ConfigError, match="both or not at all"):
            parse(f"[listen]\n{text}\n")
    found = parse('[listen]\ncertificate = "a"\nkey = "/b"\n', base=Path("/etc/amanat")).tls
    assert found == TlsFiles(certificate=Path("/etc/amanat/a"), key=Path("/b"))


def test_a_relay_does_not_start_with_what_cannot_be_used(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[listen]\nport = 0\ncertificate = "a.pem"\nkey = "b.pem"\n[store]\ndirectory = "s"\n')
    assert main(["--config", str(config), "init"]) == 0
    assert main(["--config", str(config)]) == 1
    assert "a.pem" in capfd.readouterr().err


@asynccontextmanager
async def relay_with_tls(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A relay in a process of its own, with the pair `relay.pem`, `relay.key` of a folder."""
    config = folder / "config.toml"
    config.write_text(
        '[listen]\nport = 0\ncertificate = "relay.pem"\nkey = "relay.key"\n'
        '[store]\ndirectory = "store"\n[times]\nhandshake_seconds = 2\n'
    )
    command = [sys.executable, "-m", "chatserver.main", "--config", str(config)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert main(["--config", str(config), "init"]) == 0
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS)).decode()
    assert line.startswith("listening on https://127.0.0.1:")
    try:
        yield process, int(line.rsplit(":", 1)[1])
    finally:
        process.terminate()
        await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)


def serial(port: int, context: ssl.SSLContext) -> str:
    with (
        socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as wire,
    ):
        certificate = wire.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


@pytest.mark.asyncio
async def test_sighup_brings_a_new_certificate_and_a_silent_peer_is_cut_off(
    tmp_path: Path, files: TlsFiles, authority: Authority
) -> None:
    context = client_context(authority)
    async with relay_with_tls(tmp_path) as (process, port):
        assert process.stderr is not None
        with socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS) as silent:
            first = await asyncio.to_thread(serial, port, context)
            authority.server(files.certificate, files.key)
            process.send_signal(signal.SIGHUP)
            while b"tls_read" not in (line := await process.stderr.readline()):
                assert line
            assert line == b"tls_read ok=1\n"
            second = await asyncio.to_thread(serial, port, context)
            assert second != first
            files.key.write_text("nothing")
            process.send_signal(signal.SIGHUP)
            assert await process.stderr.readline() == b"tls_read ok=0\n"
            assert await asyncio.to_thread(serial, port, context) == second
            # Whoever does not finish the handshake within handshake_seconds is cut off.
            assert await asyncio.to_thread(silent.recv, 1) == b""


TALK = """
import asyncio, sys
from pathlib import Path
from clients.sdk.model import Role
from support.pair import make_device, until_texts

async def talk(folder, url):
    therapist = make_device(folder / "therapist", Role.THERAPIST, url)
    client = make_device(folder / "client", Role.CLIENT, url)
    async with therapist.online(), client.online():
        invitation = await therapist.invite()
        assert invitation.link.startswith(url + "/i#")
        await client.connect(invitation.link, name="sara", hurry=True)
        client.send_text("sara", "salam over TLS")
        print(await until_texts(therapist, 1))

asyncio.run(talk(Path(sys.argv[1]), sys.argv[2]))
"""


@pytest.mark.asyncio
async def test_devices_talk_over_it(tmp_path: Path, files: TlsFiles, authority: Authority) -> None:
    async with relay_with_tls(tmp_path) as (_, port):
        # In a process of its own: aiohttp reads the list of authorities once, when it is imported.
        talk = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", TALK, str(tmp_path), f"https://127.0.0.1:{port}"),
            env={
                **os.environ,
                "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
                "SSL_CERT_FILE": str(authority.path),
            },
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(talk.communicate(), PATIENCE_SECONDS)
        assert out.decode().strip() == "['salam over TLS']"


async def refused(url: str) -> str:
    """The one sentence that a device says of a relay to which it does not connect."""
    with pytest.raises(RelayUnreachable) as over_websocket:
        async with open_connection(url):
            pass
    with pytest.raises(RelayUnreachable) as over_http:
        await fetch_bucket(url, bits=0, fingerprint=bytes(32))
    assert over_websocket.value.sentence == over_http.value.sentence
    return over_http.value.sentence


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("host", "days", "known"),
    [("127.0.0.1", 30, False), ("relay.example", 30, True), ("127.0.0.1", -1, True)],
)
async def test_a_certificate_that_proves_nothing_is_refused_in_one_sentence(
    host: str, days: int, known: bool, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TlsFiles(certificate=tmp_path / "relay.pem", key=tmp_path / "relay.key")
    authority.server(files.certificate, files.key, host=host, days=days)
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", client_context(authority))
    async with running_relay(tls=server_context(files)) as running:
        sentence = await refused(f"https://127.0.0.1:{running.port}")
    assert "not of a known authority, not for this name, or not valid today" in sentence
    assert sentence.count(".") == 4  # three in the address


@pytest.mark.asyncio
async def test_a_plain_port_behind_https_is_said() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        assert "does not speak TLS there" in await refused(
            f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        )
