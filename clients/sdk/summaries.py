"""What applications see of a line, made from what its machine shows. Reads only; decides nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clients.sdk.line.events import DeliveryState
from clients.sdk.line.events import LinePhase as MachinePhase
from clients.sdk.line.kept import SESSION_ID_BYTES
from clients.sdk.line.payloads import (
    PayloadKind,
    decode_offer_id,
    decode_scheduled_offer,
)
from clients.sdk.line.view import LineMessage as MachineMessage
from clients.sdk.line.view import LineView
from clients.sdk.model import (
    KeptSession,
    LineMessage,
    LineName,
    LinePhase,
    LineSummary,
    MessageKind,
    MessageState,
    Offer,
    OfferState,
    Role,
)
from clients.sdk.records import LineRecord
from crypto.codec import CodecError

_PHASES: Final = {
    MachinePhase.ACTIVE: LinePhase.OPEN,
    MachinePhase.STRANDED: LinePhase.RETURNING,
    MachinePhase.UNDECIDED: LinePhase.STOPPED,
    MachinePhase.ENDING: LinePhase.ENDED,
    MachinePhase.ENDED: LinePhase.ENDED,
    MachinePhase.FAULTED: LinePhase.ENDED,
}
_STATES: Final = {
    DeliveryState.QUEUED: MessageState.QUEUED,
    DeliveryState.SEALED: MessageState.SEALED,
    DeliveryState.STORED: MessageState.STORED,
    DeliveryState.DELIVERED: MessageState.DELIVERED,
    DeliveryState.FAILED: MessageState.FAILED,
}
FIRST_EPOCH: Final = 1
"""Of a line: the client's commit led to it; the therapist's first self-update ends it (R17)."""


def summarise(record: LineRecord, view: LineView, *, role: Role, offered_now: bool) -> LineSummary:
    """One row of the list of lines."""
    phase = _PHASES[view.phase]
    if phase is LinePhase.OPEN and role is Role.CLIENT and view.epoch <= FIRST_EPOCH:
        phase = LinePhase.OPENING
    return LineSummary(
        name=LineName(record.name),
        peer_name=record.peer_name,
        phase=phase,
        unread=view.unread,
        last_activity=view.last_activity_utc or None,
        waiting_to_send=view.waiting_to_send,
        undelivered=view.undelivered,
        alarms=tuple(alarm.sentence for alarm in view.alarms),
        safety_number_confirmed=record.confirmed,
        offered_now=offered_now,
    )


def show_state(state: DeliveryState) -> MessageState:
    """The state of an own message."""
    return _STATES[state]


def item_id_of(message: MachineMessage) -> str:
    """Stable name of a message on this device."""
    if message.item_id:
        return message.item_id.hex()
    return f"{message.sender_device.hex()}-{message.counter}"


def show_message(message: MachineMessage) -> LineMessage:
    """One message as the application shows it."""
    kind, text = _kind_and_text(message)
    if message.kept:
        state = MessageState.DELIVERED if message.mine else MessageState.RECEIVED
    elif message.mine:
        state = MessageState.QUEUED if message.state is None else show_state(message.state)
    else:
        state = MessageState.MISSING if message.missing else MessageState.RECEIVED
    return LineMessage(
        item_id=item_id_of(message),
        sender="me" if message.mine else "them",
        text=text,
        utc_seconds=message.utc_seconds,
        counter=message.counter,
        state=state,
        kind=kind,
        session_id=message.item_id[:SESSION_ID_BYTES].hex() if message.kept else "",
    )


def kept_sessions(messages: Iterable[LineMessage]) -> list[KeptSession]:
    """The live sessions whose texts stand in a conversation, in its order."""
    found: dict[str, list[LineMessage]] = {}
    for message in messages:
        if message.kind is MessageKind.SESSION:
            found.setdefault(message.session_id, []).append(message)
    return [
        KeptSession(session_id=session_id, texts=len(texts), first_utc_seconds=texts[0].utc_seconds)
        for session_id, texts in found.items()
    ]


def _kind_and_text(message: MachineMessage) -> tuple[MessageKind, str]:
    if message.kept:
        return MessageKind.SESSION, message.body.reveal_text()
    if message.missing:
        return MessageKind.MISSING, ""
    if message.needs_newer_version:
        return MessageKind.NEWER_VERSION, ""
    match message.kind:
        case PayloadKind.TEXT:
            return MessageKind.TEXT, message.body.reveal_text()
        case PayloadKind.OFFER_SCHEDULED:
            return MessageKind.OFFER, ""
        case PayloadKind.OFFER_CANCEL:
            return MessageKind.NOTICE, "An appointment was cancelled."
        case PayloadKind.OFFER_DECLINE:
            return MessageKind.NOTICE, "An appointment was declined."
        case _:
            return MessageKind.NEWER_VERSION, ""


def is_new(message: MachineMessage) -> bool:
    """Whether a received message is one that an application is told of."""
    return not message.mine and not message.missing and not message.kept


def list_offers(messages: Iterable[MachineMessage], *, now: float) -> list[Offer]:
    """The appointments of a line, by time. What contradicts itself is left out.

    An appointment belongs to the side that made it: nobody else changes or cancels it, and only the other
    side declines it.
    """
    found: dict[bytes, Offer] = {}
    for message in messages:
        if message.missing or message.needs_newer_version or message.kept:
            continue
        sender = "me" if message.mine else "them"
        try:
            if message.kind == PayloadKind.OFFER_SCHEDULED:
                scheduled = decode_scheduled_offer(message.body)
                made = found.get(scheduled.offer_id)
                if made is not None and made.sender != sender:
                    continue
                found[scheduled.offer_id] = Offer(
                    offer_id=scheduled.offer_id.hex(),
                    at=scheduled.start_utc_seconds,
                    sender=sender,
                    state=OfferState.OFFERED if scheduled.start_utc_seconds > now else OfferState.PAST,
                )
            elif message.kind in {PayloadKind.OFFER_CANCEL, PayloadKind.OFFER_DECLINE}:
                offer_id = decode_offer_id(message.body)
                known = found.get(offer_id)
                cancelled = message.kind == PayloadKind.OFFER_CANCEL
                if known is not None and (known.sender == sender) == cancelled:
                    found[offer_id] = Offer(
                        offer_id=known.offer_id,
                        at=known.at,
                        sender=known.sender,
                        state=OfferState.CANCELLED if cancelled else OfferState.DECLINED,
                    )
        except CodecError:
            continue
    return sorted(found.values(), key=lambda offer: offer.at)
