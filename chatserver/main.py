"""The command `amanat-relay`: starts the relay, makes its store, gives out tokens, checks a configuration.

Exit codes: 0 ended in order; 1 failed; 2 usage; 3 something is missing (no store, a foreign package
`crypto`); 4 `check-config` found something unsafe; 7 the store is damaged, in use, or of a later version.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import signal
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import chatserver
import crypto
from chatserver import errands
from chatserver.config import Config, ConfigError, TlsFiles, load, render_defaults
from chatserver.errands import FAILED, MISSING, OK, USAGE, Stop, store_errors
from chatserver.wire.limits import BODY_BYTES, ChannelClass

if TYPE_CHECKING:
    from chatserver.events import Log
    from chatserver.operator_server import OperatorServer
    from chatserver.relay import Relay

DEFAULT_CONFIG: Final = Path("config.toml")

INTERRUPTED: Final = 130

PATIENCE_SECONDS: Final = 0.02
"""An acknowledgement waits so long for a cell, to share its transaction: nobody waits for its answer."""

SWEEP_SECONDS: Final = 1.0
"""How often the relay looks for what is late."""

_DESCRIPTION: Final = """\
The relay of Amanat: carries sealed cells between devices and can read none of them.
Without a command it runs until SIGTERM or Ctrl-C; it prints one line when it is ready:
  listening on http://127.0.0.1:PORT
(https where it speaks TLS itself). SIGHUP: read certificate and key again. docs/OPERATIONS.md leads from an
empty machine to a running service.
"""

_EPILOG: Final = """\
exit codes:
  0  ended in order
  1  failed (port in use, setting that cannot be used, disk full)
  2  usage
  3  something is missing: no store yet (`amanat-relay init` makes it), no configuration file
  4  check-config: something is unsafe on this machine or with these settings
  7  the store is damaged, in use by another relay, or of a later version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `amanat-relay`; returns the exit code. See `--help`."""
    if _root(crypto.__file__) != _root(chatserver.__file__):
        _complain(
            "another package named `crypto` hides Amanat's; install Amanat in an environment of its own"
        )
        return MISSING
    try:
        options = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what it had to say
        return end.code if isinstance(end.code, int) else USAGE
    try:
        return _run(options)
    except Stop as stop:
        _complain(str(stop))
        return stop.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", metavar="FILE", type=Path, default=argparse.SUPPRESS)
    common.add_argument("--store", metavar="DIR", type=Path, default=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(
        prog="amanat-relay",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=None,
        help="settings; without it config.toml of this folder, and the defaults where there is none",
    )
    parser.add_argument(
        "--store", metavar="DIR", type=Path, default=None, help="store; overrides [store] directory"
    )
    parser.add_argument(
        "--port", type=int, default=None, help="TCP port, 0 = any free one; overrides [listen] port"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("init", parents=[common], help="make an empty store")
    token = commands.add_parser(
        "therapist-token", parents=[common], help="print a token with which one therapist can register (R21)"
    )
    token.add_argument("--days", type=int, default=14, help="days for which it is good (default 14)")
    token.add_argument("--json", action="store_true", help="for programs")
    listed = commands.add_parser(
        "therapists", parents=[common], help="list registered therapists, by fingerprint, and unused tokens"
    )
    listed.add_argument("--json", action="store_true", help="for programs")
    revoked = commands.add_parser(
        "revoke-token", parents=[common], help="take back a token that nobody has used"
    )
    revoked.add_argument("token", metavar="ID", help="as `therapists` lists it; or the token itself")
    revoked.add_argument("--json", action="store_true", help="for programs")
    removed = commands.add_parser(
        "remove-therapist",
        parents=[common],
        help="close a therapist's inbox, with the first contacts in it, and withdraw their contact",
    )
    removed.add_argument("fingerprint", metavar="FINGERPRINT", help="or its first 16 digits")
    removed.add_argument(
        "--yes", action="store_true", help="do it; without it only what would be lost is said"
    )
    removed.add_argument("--json", action="store_true", help="for programs")
    check = commands.add_parser("check-config", parents=[common], help="check the settings and this machine")
    check.add_argument("--defaults", action="store_true", help="print config.toml with all defaults")
    check.add_argument("--json", action="store_true", help="for programs")
    check.add_argument(
        "--root",
        metavar="DIR",
        type=Path,
        default=Path("/"),
        help="look at a machine whose disk is mounted at DIR",
    )
    again = commands.add_parser(
        "restored",
        parents=[common],
        help="begin every channel of a store anew that was put back from a backup or a snapshot",
    )
    again.add_argument("--json", action="store_true", help="for programs")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "check-config" and options.defaults:
        sys.stdout.write(render_defaults())
        return OK
    path: Path | None = options.config
    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    if path is not None and not path.is_file():
        raise Stop(f"there is no configuration file {path}", MISSING)
    try:
        config = load(path) if path is not None else Config()
    except ConfigError as error:
        raise Stop(str(error), FAILED) from None
    store = options.store if options.store is not None else config.store_directory
    if options.command is not None:
        return _errand(options, path, config, store)
    if options.port is not None and not 0 <= options.port <= 65_535:
        raise Stop("--port wants 0 to 65535", USAGE)
    return serve(config, store, config.listen.port if options.port is None else options.port)


def _errand(options: argparse.Namespace, path: Path | None, config: Config, store: Path) -> int:
    match options.command:
        case "init":
            return errands.init(store)
        case "therapist-token":
            return errands.therapist_token(store, days=options.days, as_json=options.json)
        case "therapists":
            return errands.therapists(store, as_json=options.json)
        case "revoke-token":
            return errands.revoke_token(store, options.token, as_json=options.json)
        case "remove-therapist":
            return errands.remove_therapist(
                store, options.fingerprint, confirmed=options.yes, as_json=options.json
            )
        case "restored":
            return errands.restored(store, as_json=options.json)
        case _:
            return errands.check_config(path, config, store, root=options.root, as_json=options.json)


def serve(
    config: Config, store: Path, port: int, *, cell_bytes: Mapping[ChannelClass, int] = BODY_BYTES
) -> int:
    """Run the relay until SIGTERM; returns the exit code.

    Args:
        config: settings.
        store: directory of the store.
        port: where to listen, 0 for any port.
        cell_bytes: length of a cell by class; others than the protocol's only where speed is measured.

    Raises:
        Stop: it cannot run, and why.
    """
    from chatserver.hardening import forbid_core_dumps, lock_memory, raise_descriptor_limit

    dumpless = forbid_core_dumps()
    locked = config.process.lock_memory and lock_memory()
    if config.process.lock_memory and not locked:
        raise Stop(
            "the memory cannot be locked; raise LimitMEMLOCK, or set [process] lock_memory = false", FAILED
        )
    descriptors = raise_descriptor_limit()
    process = {"descriptors": descriptors, "dumpless": int(dumpless), "locked": int(locked)}
    with store_errors(store), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve_until_stopped(config, store, port, process, cell_bytes))


async def _serve_until_stopped(
    config: Config,
    directory: Path,
    port: int,
    process: Mapping[str, int],
    cell_bytes: Mapping[ChannelClass, int],
) -> int:
    from chatserver.events import Event, Log, loop_handler, silence_libraries
    from chatserver.relay import Relay
    from chatserver.server import RelayServer
    from chatserver.service_manager import Word, notify
    from chatserver.store.sqlite import SqliteStore

    log = Log()
    silence_libraries()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_handler(log))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    tls = _tls_context(config.tls)
    loop.add_signal_handler(signal.SIGHUP, _read_tls_again, tls, config.tls, log)
    settings = replace(config.store_settings(), patience_seconds=PATIENCE_SECONDS)
    store = await SqliteStore.open(directory, settings, cell_bytes=cell_bytes[ChannelClass.STORED])
    try:
        async with Relay(config, store, log=log, cell_bytes=cell_bytes) as relay:
            server = RelayServer(relay)
            await relay.expire()
            with _port_errors(config.listen.host, port):
                port = await server.start(config.listen.host, port, tls=tls)
            operator = await _start_operator(relay, directory)
            log.event(Event.STARTED, **process)
            log.event(Event.HOST, **_host(config, directory))
            gc.collect()
            gc.freeze()
            host = f"[{config.listen.host}]" if ":" in config.listen.host else config.listen.host
            print(f"listening on {'https' if tls else 'http'}://{host}:{port}", flush=True)
            notify(Word.READY)
            while not stopping.is_set() and relay.broken is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), SWEEP_SECONDS)
                await server.sweep()
                if operator is not None:
                    operator.sweep()
            notify(Word.STOPPING)
            await server.stop()
            if operator is not None:
                await operator.stop()
    finally:
        await store.close()
    if relay.broken is not None:
        raise relay.broken
    return OK


async def _start_operator(relay: Relay, store: Path) -> OperatorServer | None:
    port = relay.config.operator.port
    if port == 0:
        return None
    from chatserver.operator_server import HOST, OperatorServer

    operator = OperatorServer(relay, store)
    with _port_errors(HOST, port):
        await operator.start(port)
    return operator


def _host(config: Config, store: Path) -> dict[str, int]:
    """What is unsafe on this machine, in numbers for the log; `check-config` says it in words."""
    from chatserver.host import Host
    from chatserver.host_checks import Subject, core_dumps, swap, unsafe, volume

    subject = Subject(config=config, config_path=None, store=store.absolute(), host=Host())
    return {
        "swap": unsafe(swap(subject)),
        "core_dumps": unsafe(core_dumps(subject)),
        "volume": unsafe(volume(subject)),
    }


@contextlib.contextmanager
def _port_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Stop(f"cannot listen on {host}:{port} ({error.strerror})", FAILED) from None


def _tls_context(files: TlsFiles | None) -> ssl.SSLContext | None:
    if files is None:
        return None
    from chatserver.tls import TlsTrouble, server_context

    try:
        return server_context(files)
    except TlsTrouble as error:
        raise Stop(str(error), FAILED) from None


def _read_tls_again(context: ssl.SSLContext | None, files: TlsFiles | None, log: Log) -> None:
    """SIGHUP. The log carries numbers only; `check-config` says in words what is wrong with the files."""
    from chatserver.events import Event
    from chatserver.tls import TlsTrouble, read_again

    if context is None or files is None:
        return
    try:
        read_again(context, files)
    except TlsTrouble:
        log.event(Event.TLS_READ, ok=0)
    else:
        log.event(Event.TLS_READ, ok=1)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # no uvloop for Windows; the relay runs, slower
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _root(file: str | None) -> Path | None:
    return Path(file).resolve().parents[1] if file is not None else None


def _complain(sentence: str) -> None:
    print(f"amanat-relay: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
