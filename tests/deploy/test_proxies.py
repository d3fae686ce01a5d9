"""nginx and Caddy with the files of deploy/ between clients and a relay: they write nothing about anybody."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import websockets

from chatserver.config import Config, Listen
from chatserver.wire import frames as f
from chatserver.wire.limits import SUBPROTOCOL
from support.certificates import Authority
from support.deployed import Tool, caddyfile, nginx_configuration
from support.relay import Client, Running, running_relay
from support.relay_process import free_port

pytestmark = [pytest.mark.system, pytest.mark.asyncio]

WAIT_SECONDS = 60.0
LOUD = {
    "nginx": ("access_log off;", "access_log /dev/stderr;"),
    "caddy": ("\t\tinclude tls\n", ""),
}
"""How each of them is made to tell, so that the search is seen to find."""

MARK = "find-me-in-a-log"


@dataclass
class Proxy:
    """A proxy that runs, and what it has written."""

    process: asyncio.subprocess.Process
    folder: Path
    port: int
    context: ssl.SSLContext

    async def said(self) -> str:
        """End it; everything it wrote to its outputs and its folder, but its certificate and settings."""
        self.process.terminate()
        out, _ = await asyncio.wait_for(self.process.communicate(), WAIT_SECONDS)
        own = {"relay.pem", "relay.key", "nginx.conf", "Caddyfile", "authority.pem"}
        files = [path for path in self.folder.rglob("*") if path.is_file() and path.name not in own]
        return out.decode() + "".join(path.read_text(errors="replace") for path in files)

    def files_open_in_its_folder(self) -> list[str]:
        """What it buffers on disk: such files are deleted at once and live by their descriptor alone."""
        found = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(link.readlink()))
        return [name for name in found if name.startswith(f"{self.folder}/proxy")]


@asynccontextmanager
async def running(
    name: str, folder: Path, relay_port: int, *, spoilt: tuple[str, str] = ("", "")
) -> AsyncIterator[Proxy]:
    tool = Tool(name)
    folder.mkdir()  # noqa: ASYNC240 - a test waits for nothing else here
    authority = Authority(folder / "authority")
    certificate, key = folder / "relay.pem", folder / "relay.key"
    authority.server(certificate, key)
    dress: Callable[..., Path] = nginx_configuration if name == "nginx" else caddyfile
    port = free_port()
    path = dress(
        folder, certificate=certificate, key=key, port=port, plain_port=free_port(), relay_port=relay_port
    )
    if spoilt[0]:
        assert spoilt[0] in path.read_text()
        path.write_text(path.read_text().replace(*spoilt))
    arguments = (
        ["-e", "stderr", "-p", str(folder), "-c", str(path)]
        if name == "nginx"
        else ["run", "--adapter", "caddyfile", "--config", str(path)]
    )
    process = await asyncio.create_subprocess_exec(
        tool.path,
        *arguments,
        env={
            **tool.environment,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await _answers(port):
                assert process.returncode is None, (await process.communicate())[0].decode()
                await asyncio.sleep(0.05)
        yield Proxy(process, folder, port, ssl.create_default_context(cafile=str(authority.path)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def traffic(proxy: Proxy, relay: Running) -> None:
    """What devices do, and what strangers do."""
    async with websockets.connect(
        f"wss://127.0.0.1:{proxy.port}/v1/ws",
        ssl=proxy.context,
        subprotocols=[websockets.Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=1 << 20,
        close_timeout=1,
        additional_headers={"X-Forwarded-For": "203.0.113.77"},
    ) as socket:
        client = Client(socket)
        await client.greet()
        await client.attached(b"k" * 32, b"t" * 32)
        assert isinstance(await client.deposit(b"k" * 32, "through the proxy"), f.Stored)
        # What a client claims of its address counts for nothing, what the proxy says does.
        assert len(relay.relay.addresses) == 1
        records = relay.relay.addresses._records
        assert relay.relay.addresses.record("127.0.0.1") in records.values()
        assert len(relay.relay.addresses) == 1
    base = f"https://127.0.0.1:{proxy.port}"
    async with aiohttp.ClientSession() as session:
        for path, status in (
            ("/v1/bundles/0/0", 200),
            ("/v1/health", 200),
            (f"/{MARK}", 404),
            (f"/v1/{MARK}", 404),
        ):
            async with session.get(base + path, ssl=proxy.context, headers={"User-Agent": MARK}) as answer:
                assert answer.status == status
    for nonsense in (b"\x16\x03\x01\x00\x02\x01\x00" + MARK.encode(), f"GET /{MARK} HTTP/9\r\n\r\n".encode()):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(nonsense)
        writer.write_eof()
        with contextlib.suppress(OSError):
            await asyncio.wait_for(reader.read(), WAIT_SECONDS)
        writer.close()


async def nobody_there(proxy: Proxy) -> None:
    """A request while the relay is down: proxies like to explain such a thing."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{proxy.port}/v1/{MARK}", ssl=proxy.context) as answer,
    ):
        assert answer.status == 502


async def what_is_said(name: str, folder: Path, spoilt: tuple[str, str] = ("", "")) -> str:
    source = "127.0.0.2/32" if name == "nginx" else "127.0.0.1/32"
    config = Config(listen=Listen(trusted_proxies=(source,)))
    async with contextlib.AsyncExitStack() as stack:
        relay = contextlib.AsyncExitStack()
        up = await relay.enter_async_context(running_relay(config))
        proxy = await stack.enter_async_context(running(name, folder / name, up.port, spoilt=spoilt))
        async with relay:
            await traffic(proxy, up)
        await nobody_there(proxy)
        return await proxy.said()


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_a_proxy_passes_everything_on_and_says_nothing_of_anybody(name: str, tmp_path: Path) -> None:
    said = await what_is_said(name, tmp_path)
    assert MARK not in said
    assert "203.0.113.77" not in said
    assert "remote_ip" not in said
    assert "client: " not in said


@pytest.mark.parametrize("name", ["nginx", "caddy"])
async def test_a_proxy_that_talks_is_noticed(name: str, tmp_path: Path) -> None:
    assert MARK in await what_is_said(name, tmp_path, spoilt=LOUD[name])


async def slow_reader(folder: Path, *, spoilt: tuple[str, str] = ("", "")) -> list[str]:
    """Fetch 16 MiB through nginx and do not read them: what is in its buffers on disk meanwhile."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16777216\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(256):
                writer.write(bytes(65_536))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, running("nginx", folder, server.sockets[0].getsockname()[1], spoilt=spoilt) as proxy:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", proxy.port, ssl=proxy.context, limit=1_024
        )
        writer.write(b"GET /v1/bundles/0/0 HTTP/1.1\r\nHost: relay.example\r\n\r\n")
        assert await reader.read(1) == b"H"
        found: list[str] = []
        # Whoever buffers is given as long as a busy machine needs; whoever does not, a second.
        for _ in range(400 if spoilt[0] else 20):
            found = proxy.files_open_in_its_folder()
            if found:
                break
            await asyncio.sleep(0.05)
        writer.transport.abort()
        return found


async def test_nginx_keeps_nothing_of_an_answer_on_disk(tmp_path: Path) -> None:
    assert await slow_reader(tmp_path / "as-shipped") == []
    buffering = (
        "proxy_buffering off;\n    proxy_request_buffering off;\n    proxy_max_temp_file_size 0;",
        "",
    )
    assert await slow_reader(tmp_path / "buffering", spoilt=buffering) != []
