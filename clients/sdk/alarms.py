"""Alarms of lines as applications see them: which stand, which are new, and acknowledging them.

An alarm stands in its line's machine until what it was about is over or the person acknowledges it; that the
person was *told* of it is noted here, by kind and by when it was raised, so that the same alarm raised once
more is told once more.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from clients.sdk.engine import Engine
from clients.sdk.line.events import AlarmKind, DismissAlarm
from clients.sdk.line.events import LinePhase as MachinePhase
from clients.sdk.line.view import Alarm
from clients.sdk.model import LineAlarm, LineName
from clients.sdk.records import TOLD_ALARMS

DECIDED_BY_RESOLVE: Final = frozenset({AlarmKind.FORK, AlarmKind.TWO_BRANCHES})
"""R10, R18: while the line is stopped for one of these, only the outcome of the comparison clears it."""


def _key(line_id: bytes, kind: AlarmKind) -> bytes:
    return line_id + kind.value.to_bytes(8, "big")


def _since(alarm: Alarm) -> bytes:
    return alarm.utc_seconds.to_bytes(8, "big")


class Alarms:
    """The alarms of one device's lines.

    Args:
        engine: Of the device.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def standing(self, line_id: bytes) -> list[LineAlarm]:
        """All alarms of a line that were not acknowledged."""
        return [self._show(line_id, alarm) for alarm in self._of(line_id)]

    def tell_new(self, line_ids: Iterable[bytes]) -> list[LineAlarm]:
        """Alarms that the person was not told of; from now on they count as told."""
        found: list[LineAlarm] = []
        for line_id in line_ids:
            alarms = self._of(line_id)
            with self._engine.vault.transaction() as tx:
                fresh = [
                    alarm
                    for alarm in alarms
                    if tx.get(TOLD_ALARMS, _key(line_id, alarm.kind)) != _since(alarm)
                ]
                for alarm in fresh:
                    tx.put(TOLD_ALARMS, _key(line_id, alarm.kind), _since(alarm))
            found += [self._show(line_id, alarm) for alarm in fresh]
        return found

    def acknowledge(self, line_id: bytes) -> list[LineAlarm]:
        """The person has read them: all go but those that wait for a decision. Returns what went."""
        gone: list[LineAlarm] = []
        for alarm in self._of(line_id):
            shown = self._show(line_id, alarm)
            if shown.decision_needed:
                continue
            self._engine.handle(line_id, DismissAlarm(kind=alarm.kind))
            with self._engine.vault.transaction() as tx:
                # Raised once more within the same second it is still a new one.
                tx.delete(TOLD_ALARMS, _key(line_id, alarm.kind))
            gone.append(shown)
        return gone

    def _of(self, line_id: bytes) -> tuple[Alarm, ...]:
        return self._engine.drivers[line_id].machine.view().alarms

    def _show(self, line_id: bytes, alarm: Alarm) -> LineAlarm:
        stopped = self._engine.drivers[line_id].machine.view().phase is MachinePhase.UNDECIDED
        return LineAlarm(
            line=LineName(self._engine.lines[line_id].name),
            kind=alarm.kind.name.lower().replace("_", "-"),
            sentence=alarm.sentence,
            since=alarm.utc_seconds,
            decision_needed=stopped and alarm.kind in DECIDED_BY_RESOLVE,
        )
