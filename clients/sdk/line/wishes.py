"""What people and the device layer ask of a line."""

from __future__ import annotations

from typing import assert_never

from clients.sdk.line import control, ending, kept, outbox, receipts, resolving
from clients.sdk.line.commits import check_leaf, check_own_person
from clients.sdk.line.events import (
    AddDevice,
    AlarmKind,
    DeleteTexts,
    DismissAlarm,
    EndLine,
    FlushReceipts,
    ForgetSession,
    Intent,
    KeepSession,
    LinePhase,
    MarkRead,
    RemovedByOwner,
    RemoveDevice,
    RequestRejoin,
    Resolve,
    SelfUpdate,
    SendContent,
    SendControl,
    SendText,
    WelcomeDelivered,
)
from clients.sdk.line.payloads import SENDABLE_CONTENT, PayloadKind, check_text
from clients.sdk.line.phases import strand
from clients.sdk.line.step import Step
from clients.sdk.line.tables import CommitIntent, IntentRow
from crypto.errors import StateError


def apply(step: Step, intent: Intent) -> None:
    """One wish, by kind.

    Raises:
        StateError: It does not fit the line's phase.
        TextTooLong: R23.
    """
    match intent:
        case SendText():
            check_text(intent.text)
            _queue(step, intent.item_id, PayloadKind.TEXT, intent.text.reveal())
        case SendContent():
            if intent.kind not in SENDABLE_CONTENT:
                raise StateError("this kind of content is not sent in this way")
            _queue(step, intent.item_id, intent.kind, intent.body.reveal())
        case SendControl():
            control.send(step, intent)
        case FlushReceipts():
            receipts.flush(step)
        case MarkRead() | DismissAlarm() | WelcomeDelivered():
            _note(step, intent)
        case Resolve() | EndLine() | DeleteTexts() | RemovedByOwner():
            _decide(step, intent)
        case KeepSession():
            kept.keep(step, intent)
        case ForgetSession():
            kept.forget(step, intent.session_id)
        case SelfUpdate() | AddDevice() | RemoveDevice() | RequestRejoin():
            _members(step, intent)
        case _:
            assert_never(intent)


def _note(step: Step, intent: MarkRead | DismissAlarm | WelcomeDelivered) -> None:
    """What is done with, on this side of the screen."""
    match intent:
        case MarkRead():
            step.state.unread = 0
        case DismissAlarm():
            step.clear_alarm(intent.kind)
        case WelcomeDelivered():
            step.tables.welcomes.delete(intent.welcome_id)
        case _:
            assert_never(intent)


def _decide(step: Step, intent: Resolve | EndLine | DeleteTexts | RemovedByOwner) -> None:
    """What only a person may decide (R18, R22)."""
    match intent:
        case Resolve():
            resolving.resolve(step, same=intent.same)
        case EndLine():
            ending.end(step, block=intent.block, keep_texts=intent.keep_texts)
        case DeleteTexts():
            ending.delete_texts(step)
        case RemovedByOwner():
            ending.removed(step)
        case _:
            assert_never(intent)


def _queue(step: Step, item_id: bytes, kind: PayloadKind, body: bytes) -> None:
    """Content can be queued in every phase but the last ones: it waits until the line can send."""
    if step.state.phase in ending.OVER or step.state.phase is LinePhase.ENDING:
        raise StateError("this line has ended")
    outbox.add_content(step, item_id=item_id, kind=kind, body=body)


def _members(step: Step, intent: SelfUpdate | AddDevice | RemoveDevice | RequestRejoin) -> None:
    """Wishes that lead to a commit, or to R18."""
    if step.state.phase in ending.OVER:
        raise StateError("this line has ended")
    match intent:
        case SelfUpdate():
            step.state.update_due = True
        case AddDevice():
            device_id = check_leaf(check_own_person(step, intent.key_package), step.suite).device_id
            row = IntentRow(intent=CommitIntent.ADD, device_id=device_id, key_package=intent.key_package)
            step.tables.intents.put(device_id, row)
        case RemoveDevice():
            row = IntentRow(intent=CommitIntent.REMOVE, device_id=intent.device_id, key_package=b"")
            step.tables.intents.put(intent.device_id, row)
        case RequestRejoin():
            strand(
                step,
                intent.reason,
                AlarmKind.STRANDED,
                "This device asks the others to let it into the line again.",
            )
        case _:
            assert_never(intent)
