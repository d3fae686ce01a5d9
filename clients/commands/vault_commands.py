"""`init`, `passphrase`, `export`, `import`, `wipe`: a device's vault. None touches the network."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Final

from clients.commands.command import Command, offline_codes
from clients.commands.context import EXPORT_PASSPHRASE_FILE, NEW_PASSPHRASE_FILE, Context
from clients.sdk.errors import ExitCode, UsageError
from clients.sdk.model import Role

NO_RECOVERY: Final = (
    "Nobody can recover a forgotten passphrase, and without an export a lost device means a new invitation."
)


def _init_arguments(parser: argparse.ArgumentParser) -> None:
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--role", choices=[role.value for role in Role])
    whose.add_argument(
        "--link", action="store_true", help="make an empty vault for a second device of yours; `link` goes on"
    )
    parser.add_argument(
        "--relay",
        required=True,
        metavar="URL",
        help="https://relay.example.org, or http://127.0.0.1:PORT for a relay on this machine",
    )
    parser.add_argument("--name", default="", help="therapist: the name that clients see, at most 64 bytes")
    parser.add_argument(
        "--token",
        metavar="TOKEN",
        help="therapist: one-use token of the relay's operator, if it asks for one",
    )


def _init_linked(context: Context, arguments: argparse.Namespace) -> int:
    """A vault that waits to be linked."""
    if arguments.name or arguments.token:
        raise UsageError("--name and --token are for a therapist's first device.")
    context.note(NO_RECOVERY)
    passphrase = context.new_passphrase(what="Choose a passphrase")
    device = context.device_class().create_linked(
        context.home, relay_url=arguments.relay, passphrase=passphrase
    )
    with closing(device):
        if arguments.json:
            context.print_json(
                {"home": str(context.home), "role": None, "relay": device.relay_url, "fingerprint": None}
            )
        else:
            context.print(f"Made an empty device in {context.home}.")
            context.print(f"Next: amanat --home {context.home} link")
    return ExitCode.OK


def _init(context: Context, arguments: argparse.Namespace) -> int:
    if arguments.link:
        return _init_linked(context, arguments)
    role = Role(arguments.role)
    if role is Role.CLIENT and (arguments.name or arguments.token):
        raise UsageError("--name and --token are for therapists; a client gives no name to anybody.")
    context.note(NO_RECOVERY)
    passphrase = context.new_passphrase(what="Choose a passphrase")
    device = context.device_class().create(
        context.home,
        role=role,
        relay_url=arguments.relay,
        passphrase=passphrase,
        display_name=arguments.name,
        therapist_token=arguments.token,
    )
    with closing(device):
        if arguments.json:
            fingerprint = device.fingerprint.hex() if role is Role.THERAPIST else None
            context.print_json(
                {
                    "home": str(context.home),
                    "role": role.value,
                    "relay": device.relay_url,
                    "fingerprint": fingerprint,
                }
            )
        else:
            context.print(f"Made a {role.value}'s device in {context.home}.")
            if role is Role.THERAPIST:
                context.print(
                    f"The relay's operator can tell you by this fingerprint: {device.fingerprint.hex()}"
                )
            following = "invite" if role is Role.THERAPIST else "connect LINK"
            context.print(f"Next: amanat --home {context.home} {following}")
    return ExitCode.OK


def _passphrase(context: Context, arguments: argparse.Namespace) -> int:
    old = context.passphrase("Passphrase until now: ")
    new = context.new_passphrase(variable=NEW_PASSPHRASE_FILE)
    context.device_class().change_passphrase(context.home, old, new)
    context.result(
        {"home": str(context.home), "changed": True},
        "The passphrase is changed; the old one opens nothing any more.",
        as_json=arguments.json,
    )
    return ExitCode.OK


def _file_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path)


def _export(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        passphrase = context.new_passphrase(
            variable=EXPORT_PASSPHRASE_FILE, what="Choose a passphrase for the export"
        )
        device.export_to(arguments.file, passphrase)
        names = [line.name for line in device.lines()]
    context.result(
        {"file": str(arguments.file), "bytes": arguments.file.stat().st_size, "lines": names},
        f"Exported to {arguments.file}; keep it as carefully as the device itself.",
        as_json=arguments.json,
    )
    return ExitCode.OK


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    _file_argument(parser)
    parser.add_argument("--relay", metavar="URL", help="use this relay instead of the one in the export")


def _import(context: Context, arguments: argparse.Namespace) -> int:
    passphrase = context.import_passphrase()
    new = context.new_passphrase(what="Choose a passphrase for this device")
    device = context.device_class().import_from(
        arguments.file,
        home=context.home,
        passphrase=passphrase,
        new_passphrase=new,
        relay_url=arguments.relay,
    )
    with closing(device):
        names = [line.name for line in device.lines()]
        if arguments.json:
            context.print_json({"home": str(context.home), "role": device.role.value, "lines": names})
        else:
            context.print(f"Made a {device.role.value}'s device in {context.home}; lines: {len(names)}.")
            if names:
                context.print("Each line works again once the other side's device has answered.")
    return ExitCode.OK


def _wipe(context: Context, arguments: argparse.Namespace) -> int:
    context.confirm(
        f"This destroys the vault in {context.home}: keys, lines and texts. The other side is not told.",
        word="wipe",
    )
    context.device_class().wipe(context.home)
    context.result(
        {"home": str(context.home), "wiped": True}, "The vault is destroyed.", as_json=arguments.json
    )
    return ExitCode.OK


COMMANDS: Final = (
    Command(
        name="init",
        help="make this device's vault",
        description="Make this device's vault in the folder named by --home, under a passphrase.\n\n"
        + NO_RECOVERY,
        run=_init,
        add_arguments=_init_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="passphrase",
        help="change the vault's passphrase",
        description="Change the vault's passphrase; an empty one is refused.\n\n"
        "Without a terminal the new one is read from the file named in AMANAT_NEW_PASSPHRASE_FILE.",
        run=_passphrase,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="export",
        help="write an encrypted export of this device",
        description="Write identity, device key, lines and texts to FILE, under a passphrase of its own.\n"
        "A device made from it comes back to each line as a new member (it holds no message keys).\n\n"
        "Without a terminal the passphrase is read from the file named in AMANAT_EXPORT_PASSPHRASE_FILE.",
        run=_export,
        add_arguments=_file_argument,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="import",
        help="make this device's vault from an export",
        description="Make a vault in the folder named by --home from the export FILE.\n\nWithout a terminal "
        "the export's passphrase is read from the file named in AMANAT_EXPORT_PASSPHRASE_FILE.",
        run=_import,
        add_arguments=_import_arguments,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="wipe",
        help="destroy this device's vault",
        description="Destroy the vault: keys, lines and texts. Needs no passphrase and cannot be undone.\n"
        "The other side is not told: end a line first (`amanat end`) where it should be.",
        run=_wipe,
        exit_codes=(ExitCode.OK, ExitCode.FAILED, ExitCode.USAGE, ExitCode.VAULT_TROUBLE),
        json=True,
    ),
)
