"""`offer`, `offers`, `cancel`, `decline`: appointments for live sessions."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from clients.commands.alarm_command import note_alarms
from clients.commands.command import Command, add_line_argument, offline_codes, online_codes
from clients.commands.context import Context
from clients.commands.times import FORMS, format_time, parse_time
from clients.sdk.errors import AmanatError, ExitCode, UnknownOffer, UsageError
from clients.sdk.model import LineName, Offer

if TYPE_CHECKING:
    # Only for annotations: `amanat crisis` and `--help` must not load the network's code.
    from clients.sdk.device import Device

_SETTLE_SECONDS: Final = 30.0


def _as_json(offer: Offer) -> dict[str, Any]:
    return {"id": offer.offer_id, "at": offer.at, "from": offer.sender, "state": offer.state.value}


def _change(
    context: Context, name: str | None, change: Callable[[Device, LineName], Offer | None]
) -> Offer | None:
    """Change appointments of a line and hand that to the relay; what cannot go out now stays queued."""

    async def work() -> Offer | None:
        with closing(context.open_device()) as device:
            changed = change(device, device.line(name).name)
            try:
                async with device.online():
                    await device.settle(_SETTLE_SECONDS)
            except AmanatError as error:
                context.note(f"It goes out with the next connection. {error.sentence}")
            note_alarms(context, device.tell_new_alarms(device.line(name).name))
            return changed

    return asyncio.run(work())


def _offer_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument("--at", required=True, metavar="TIME", help=FORMS)


def _offer(context: Context, arguments: argparse.Namespace) -> int:
    at = parse_time(arguments.at, context.now())
    offer = _change(context, arguments.line, lambda device, line: device.offer(line, at))
    if offer is None:
        raise UsageError("No offer was made.")
    if arguments.json:
        context.print_json(_as_json(offer))
    else:
        context.print(f"Offered a live session at {format_time(offer.at)} (id {offer.offer_id[:8]}).")
    return ExitCode.OK


def _offers(context: Context, arguments: argparse.Namespace) -> int:
    with closing(context.open_device()) as device:
        offers = device.offers(device.line(arguments.line).name)
    if arguments.json:
        context.print_json({"offers": [_as_json(offer) for offer in offers]})
        return ExitCode.OK
    for offer in offers:
        context.print(f"{offer.offer_id[:8]}  {format_time(offer.at)}  {offer.state.value}")
    if not offers:
        context.note("No appointments on this line.")
    return ExitCode.OK


def _id_arguments(parser: argparse.ArgumentParser) -> None:
    add_line_argument(parser)
    parser.add_argument("id", metavar="ID", help="of the appointment, as `amanat offers` shows it")


def _find(device: Device, line: LineName, short_id: str) -> str:
    """The whole id that begins with what the person typed.

    Raises:
        UnknownOffer: none, or more than one, begins so.
    """
    found = [offer.offer_id for offer in device.offers(line) if offer.offer_id.startswith(short_id.lower())]
    if len(found) != 1 or not short_id:
        raise UnknownOffer
    return found[0]


def _answer(
    context: Context, arguments: argparse.Namespace, answer: Callable[[Device, LineName, str], None]
) -> Offer:
    """Do something with the appointment that the person named, and show what became of it."""

    def change(device: Device, line: LineName) -> Offer | None:
        offer_id = _find(device, line, arguments.id)
        answer(device, line, offer_id)
        return next((offer for offer in device.offers(line) if offer.offer_id == offer_id), None)

    offer = _change(context, arguments.line, change)
    if offer is None:
        raise UnknownOffer
    return offer


def _cancel(context: Context, arguments: argparse.Namespace) -> int:
    offer = _answer(context, arguments, lambda device, line, offer_id: device.cancel_offer(line, offer_id))
    context.result(_as_json(offer), "The appointment is cancelled.", as_json=arguments.json)
    return ExitCode.OK


def _decline(context: Context, arguments: argparse.Namespace) -> int:
    offer = _answer(context, arguments, lambda device, line, offer_id: device.decline_offer(line, offer_id))
    context.result(_as_json(offer), "The appointment is declined.", as_json=arguments.json)
    return ExitCode.OK


COMMANDS: Final = (
    Command(
        name="offer",
        help="therapist: offer an appointment for a live session",
        run=_offer,
        add_arguments=_offer_arguments,
        exit_codes=offline_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
    Command(
        name="offers",
        help="list a line's appointments, as this device knows them",
        run=_offers,
        add_arguments=add_line_argument,
        exit_codes=offline_codes(),
        json=True,
    ),
    Command(
        name="cancel",
        help="therapist: cancel an appointment",
        run=_cancel,
        add_arguments=_id_arguments,
        exit_codes=online_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
    Command(
        name="decline",
        help="client: decline an appointment",
        run=_decline,
        add_arguments=_id_arguments,
        exit_codes=online_codes(ExitCode.DECISION_NEEDED),
        json=True,
    ),
)
