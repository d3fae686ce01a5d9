"""Every duration and bound of a line, in one place, with its rule."""

from __future__ import annotations

from typing import Final

MINUTE_SECONDS: Final = 60.0
HOUR_SECONDS: Final = 3_600.0
DAY_SECONDS: Final = 86_400.0

HISTORY_ENTRIES: Final = 4_096
"""R7: how many H_n are kept."""
MAX_BEYOND: Final = 256
"""R7: how far beyond the contiguous counter anything is accepted."""
MAX_IN_FLIGHT: Final = 16
"""Cells deposited and not yet STORED; keeps a long queue from filling the relay's limits at once."""
MAX_SEALED_PER_EPOCH: Final = 2_048
"""A self-update is due then: receivers skip at most 4,096 generations (R11), so stay far below."""

RECEIPT_DELAY_SECONDS: Final = 10 * MINUTE_SECONDS
"""R12: a receipt-only cell follows after a random 0 to 10 minutes."""
MESSAGE_TTL_SECONDS: Final = 30 * DAY_SECONDS
"""R6: when the relay deletes a message that not everybody acknowledged."""
EARLY_REQUEUE_SECONDS: Final = 2 * DAY_SECONDS
"""R12: so long before that, content is queued again."""
REQUEST_DELAY_SECONDS: Final = 5.0
"""R11: a gap often closes by itself when the next cells are read; ask after this."""
REQUEST_REPEAT_SECONDS: Final = 6 * HOUR_SECONDS
"""R11: ask again so long after an unanswered request."""

COMMIT_RETRY_SECONDS: Final = 2.0
"""R13: after a lost race wait a random 0 to 2 s."""
CONNECTION_SECONDS: Final = 7 * DAY_SECONDS
"""R6: a connection that stands for so long is made anew. Only an attachment, a deposit or an acknowledgement
keeps a quiet channel; 90 days without one, and the relay deletes it under those who are connected."""
CLOSING_CELL_SECONDS: Final = 60.0
"""R13: CLOSED without a closing cell for so long: reconnect, then alarm."""
LAST_TURN: Final = 3
"""R1, R14: turns 0 to 3."""

SELF_UPDATE_MIN_SECONDS: Final = 7 * DAY_SECONDS
SELF_UPDATE_SPREAD_SECONDS: Final = 7 * DAY_SECONDS
"""R17: at most weekly, at least every 30 days in use: due 7 to 14 days after the last, when next in use."""
UNHEARD_SECONDS: Final = 7 * DAY_SECONDS
"""R17: a new leaf that says nothing for so long is removed by its own identity."""
SILENT_SECONDS: Final = 60 * DAY_SECONDS
"""R17: so is a leaf that has fallen silent for so long."""

LOST_STATE_SECONDS: Final = DAY_SECONDS
"""R9: of own connected time without an authenticated cell of another leaf."""
REJOIN_DELAY_SECONDS: Final = HOUR_SECONDS
"""R18: another person's device answers after a random 0 to 60 minutes."""
STAY_DELAY_SECONDS: Final = HOUR_SECONDS
"""R18: after two branches (and a random part of as long again), or where nobody is sound, a device waits so
long to be let in before it stays: whoever can answer does so within the hour."""
READ_FIRST_SECONDS: Final = MINUTE_SECONDS
"""R18: so long a connection stands before a stranded device stays: what came meanwhile is read first."""
BRANCHES_SECONDS: Final = 2 * DAY_SECONDS
"""R18: how long the people's word about two branches holds for others that ask; how long a request counts."""
REJOIN_INTERVAL_SECONDS: Final = DAY_SECONDS
"""R18: one answer, and one request, a day at most."""
OLD_SECRET_SECONDS: Final = 90 * DAY_SECONDS
"""R18: how long an old R is heard."""
SECOND_WELCOME_SECONDS: Final = MINUTE_SECONDS
"""R18: connected time in which the log may explain a second Welcome, before it counts as another branch."""
WHEREABOUTS_FIRST_SECONDS: Final = DAY_SECONDS
WHEREABOUTS_REPEAT_SECONDS: Final = 7 * DAY_SECONDS
"""docs/adr/0046: who was not heard in an epoch for a day is told where this device is; then every 7 days."""
LEFT_BEHIND_SECONDS: Final = DAY_SECONDS
"""docs/adr/0046: of own connected time in which the way to another's later epoch must have come."""
AHEAD_GRACE_SECONDS: Final = 3 * DAY_SECONDS
"""docs/adr/0046: so long a device left behind waits for the one ahead before it may stay where it is."""
WHEREABOUTS_EPOCHS: Final = 256
"""docs/adr/0046: of how many epochs the hash is kept."""
MAX_REJOIN_KEY_PACKAGES: Final = 8
KEY_PACKAGE_DAYS: Final = 3

BACKOFF_SECONDS: Final = 5.0
"""After RATE, QUOTA and other refusals that time may cure."""
IDLE_WAKEUP_SECONDS: Final = 6 * HOUR_SECONDS
"""Coarse housekeeping: expiry, R17."""
