"""The command `amanat-relay`: starts the relay, makes its store, gives out tokens, checks a configuration.

Exit codes: 0 ended in order; 1 failed; 2 usage; 3 something is missing (no store, a foreign package
`crypto`); 7 the store is damaged, in use, or of a later version.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import chatserver
import crypto
from chatserver.config import Config, ConfigError, load, render_defaults

DEFAULT_CONFIG: Final = Path("config.toml")

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
MISSING: Final = 3
STORE_UNUSABLE: Final = 7
INTERRUPTED: Final = 130

SWEEP_SECONDS: Final = 1.0
"""How often the relay looks for what is late."""

MAX_TOKEN_DAYS: Final = 366

_DESCRIPTION: Final = """\
The relay of Amanat: carries sealed cells between devices and can read none of them.
Without a command it runs until SIGTERM or Ctrl-C; it prints one line when it is ready:
  listening on http://127.0.0.1:PORT
"""

_EPILOG: Final = """\
exit codes:
  0  ended in order
  1  failed (port in use, setting that cannot be used, disk full)
  2  usage
  3  something is missing: no store yet (`amanat-relay init` makes it), no configuration file
  7  the store is damaged, in use by another relay, or of a later version
"""


class _Stop(Exception):
    """Ends the command with a sentence and an exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


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
    except _Stop as stop:
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
    check = commands.add_parser("check-config", parents=[common], help="check the settings and this machine")
    check.add_argument("--defaults", action="store_true", help="print config.toml with all defaults")
    check.add_argument("--json", action="store_true", help="for programs")
    return parser


def _run(options: argparse.Namespace) -> int:
    if options.command == "check-config" and options.defaults:
        sys.stdout.write(render_defaults())
        return OK
    path: Path | None = options.config
    if path is None and DEFAULT_CONFIG.is_file():
        path = DEFAULT_CONFIG
    if path is not None and not path.is_file():
        raise _Stop(f"there is no configuration file {path}", MISSING)
    try:
        config = load(path) if path is not None else Config()
    except ConfigError as error:
        raise _Stop(str(error), FAILED) from None
    store = options.store if options.store is not None else config.store_directory
    match options.command:
        case "init":
            return _init(store)
        case "therapist-token":
            return _therapist_token(store, days=options.days, as_json=options.json)
        case "check-config":
            return _check_config(path, store, as_json=options.json)
        case _:
            if options.port is not None and not 0 <= options.port <= 65_535:
                raise _Stop("--port wants 0 to 65535", USAGE)
            return _serve(config, store, config.listen.port if options.port is None else options.port)


def _init(store: Path) -> int:
    from chatserver.store.errors import StoreError, StoreExists
    from chatserver.store.sqlite import init_store

    try:
        init_store(store)
    except StoreExists:
        raise _Stop(f"there is a store in {store} already; it was left alone", FAILED) from None
    except StoreError as error:
        raise _Stop(f"{store}: {error}", FAILED) from None
    print(f"made an empty store in {store}")
    return OK


def _therapist_token(store: Path, *, days: int, as_json: bool) -> int:
    from chatserver.clock import SystemClock
    from chatserver.store.protocol import Day, day_of, hash_token
    from chatserver.store.sqlite import add_therapist_token

    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise _Stop(f"--days wants 1 to {MAX_TOKEN_DAYS}", USAGE)
    token = secrets.token_urlsafe(32)
    expires_day = Day(day_of(SystemClock().utc_seconds()) + days)
    with _store_errors(store):
        add_therapist_token(store, hash_token(token.encode("ascii")), expires_day=expires_day)
    print(json.dumps({"token": token, "expires_day": expires_day}) if as_json else token)
    return OK


def _check_config(path: Path | None, store: Path, *, as_json: bool) -> int:
    from chatserver.machine import advice

    notes = advice(store)
    if as_json:
        print(json.dumps({"config": str(path) if path else None, "store": str(store), "advice": notes}))
        return OK
    print(f"settings: {path} is in order" if path else "settings: the defaults (no configuration file)")
    print(f"store: {store}")
    for note in notes:
        print(f"advice: {note}")
    return OK


def _serve(config: Config, store: Path, port: int) -> int:
    from chatserver.hardening import forbid_core_dumps, raise_descriptor_limit

    dumpless = forbid_core_dumps()
    descriptors = raise_descriptor_limit()
    with _store_errors(store), asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve_until_stopped(config, store, port, descriptors, dumpless=dumpless))


async def _serve_until_stopped(
    config: Config, directory: Path, port: int, descriptors: int, *, dumpless: bool
) -> int:
    from chatserver.events import Event, Log, loop_handler, silence_libraries
    from chatserver.relay import Relay
    from chatserver.server import RelayServer
    from chatserver.store.sqlite import SqliteStore

    log = Log()
    silence_libraries()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_handler(log))
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    store = await SqliteStore.open(directory, config.store_settings())
    try:
        async with Relay(config, store, log=log) as relay:
            server = RelayServer(relay)
            await relay.expire()
            try:
                port = await server.start(config.listen.host, port)
            except OSError as error:
                raise _Stop(
                    f"cannot listen on {config.listen.host}:{port} ({error.strerror})", FAILED
                ) from None
            log.event(Event.STARTED, descriptors=descriptors, dumpless=int(dumpless))
            gc.collect()
            gc.freeze()
            host = f"[{config.listen.host}]" if ":" in config.listen.host else config.listen.host
            print(f"listening on http://{host}:{port}", flush=True)
            while not stopping.is_set():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), SWEEP_SECONDS)
                await server.sweep()
            await server.stop()
    finally:
        await store.close()
    return OK


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # no uvloop for Windows; the relay runs, slower
        return asyncio.new_event_loop
    return uvloop.new_event_loop


@contextlib.contextmanager
def _store_errors(store: Path) -> Iterator[None]:
    from chatserver.store import errors

    try:
        yield
    except errors.StoreMissing:
        raise _Stop(f"there is no store in {store}; `amanat-relay init` makes one", MISSING) from None
    except (errors.StoreBusy, errors.StoreDamaged, errors.StoreTooNew) as error:
        raise _Stop(f"{store}: {error}", STORE_UNUSABLE) from None
    except errors.StoreError as error:
        raise _Stop(f"{store}: {error}", FAILED) from None


def _root(file: str | None) -> Path | None:
    return Path(file).resolve().parents[1] if file is not None else None


def _complain(sentence: str) -> None:
    print(f"amanat-relay: {sentence}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
