"""Two fresh devices with a line between them, and a conversation over that line."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from clients.replay.conversations import Conversation
from clients.replay.outcome import Outcome, Store, judge
from clients.sdk.device import Device
from clients.sdk.errors import AmanatError
from clients.sdk.line.payloads import PayloadKind
from clients.sdk.model import LineOpened, MessageArrived, MessageKind, Role
from crypto.codec import Writer
from keys.passphrase import TEST_COST

TURN_SECONDS: Final = 60.0
"""Longest wait for one message to arrive."""
CONTACT_SECONDS: Final = 180.0
SETTLE_SECONDS: Final = 60.0


@dataclass(slots=True)
class Party:
    """One device with what has arrived at it."""

    role: Role
    device: Device
    arrived: list[str] = field(default_factory=list, repr=False)
    line: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition, repr=False)

    async def listen(self) -> None:
        """Note what arrives until cancelled."""
        async for event in self.device.events():
            async with self.changed:
                match event:
                    case MessageArrived(message=message):
                        if message.sender == "them" and message.kind is MessageKind.TEXT:
                            self.arrived.append(message.text)
                    case LineOpened(line=line):
                        self.line = line
                    case _:
                        pass
                self.changed.notify_all()

    async def wait_arrived(self, count: int, seconds: float = TURN_SECONDS) -> None:
        """Wait until so many texts have arrived in all; TimeoutError where they do not come in time."""
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(lambda: len(self.arrived) >= count)

    async def wait_line(self) -> None:
        """Wait until there is a line; TimeoutError after 3 minutes."""
        async with asyncio.timeout(CONTACT_SECONDS), self.changed:
            await self.changed.wait_for(lambda: bool(self.line))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A client and a therapist with a line between them."""

    client: Party
    therapist: Party

    def party(self, role: Role) -> Party:
        """The party of that role."""
        return self.client if role is Role.CLIENT else self.therapist

    @property
    def both(self) -> tuple[Party, Party]:
        """Client, therapist."""
        return self.client, self.therapist

    async def settle(self) -> None:
        """Until the relay holds nothing of this pair: one side's receipts may bring the other to answer."""
        for _ in range(3):
            for party in self.both:
                await party.device.settle(SETTLE_SECONDS)

    def names(self) -> list[str]:
        """Names of the lines, which the relay must not learn."""
        return [summary.name for party in self.both for summary in party.device.lines()]


@asynccontextmanager
async def fresh_pair(folder: Path, *, relay_url: str, time_scale: float) -> AsyncIterator[Pair]:
    """Make two devices in `folder`, open a line by an invitation, keep both online for the block."""
    async with contextlib.AsyncExitStack() as stack:
        parties = []
        for role in (Role.THERAPIST, Role.CLIENT):
            device = Device.create(
                folder / role.value,
                role=role,
                relay_url=relay_url,
                passphrase=secrets.token_hex(16),
                time_scale=time_scale,
                cost=TEST_COST,  # the vault's passphrase is random; a slow guess protects nothing here
            )
            stack.callback(device.close)
            await stack.enter_async_context(device.online())
            parties.append(Party(role=role, device=device))
        therapist, client = parties
        group = await stack.enter_async_context(asyncio.TaskGroup())
        listeners = [group.create_task(party.listen()) for party in parties]
        stack.callback(lambda: [listener.cancel() for listener in listeners])
        invitation = await therapist.device.invite()
        name = f"replay-{secrets.token_hex(8)}"
        client.line = (await client.device.connect(invitation.link, name=name)).name
        await therapist.wait_line()
        # A name long enough to be searched for at the relay.
        therapist.line = therapist.device.rename_line(therapist.line, f"replay-{secrets.token_hex(8)}")
        yield Pair(client=client, therapist=therapist)


async def run_over_line(conversation: Conversation, pair: Pair) -> Outcome:
    """Send every turn over the line; a speaker waits until the other has what was said before."""
    due = {Role.CLIENT: 0, Role.THERAPIST: 0}
    trouble = ""
    try:
        for turn in conversation.turns:
            await pair.party(turn.speaker).wait_arrived(due[turn.speaker])
            pair.party(turn.speaker).device.send_text(pair.party(turn.speaker).line, turn.text)
            due[turn.speaker.other] += 1
        for role, count in due.items():
            await pair.party(role).wait_arrived(count)
        await pair.settle()
    except TimeoutError:
        trouble = f"a message did not arrive within {TURN_SECONDS:.0f} seconds"
    except AmanatError as error:
        trouble = error.sentence
    received = {party.role: shown_texts(party) for party in pair.both}
    told = {party.role: party.arrived for party in pair.both}
    if not trouble and told != received:
        trouble = "what was told to the application differs from what is shown"
    return judge(conversation, store=Store.STORED, received=received, trouble=trouble)


def shown_texts(party: Party) -> list[str]:
    """Texts of the other person, in the order in which they are shown."""
    return [
        message.text
        for message in party.device.messages(party.line)
        if message.sender == "them" and message.kind is MessageKind.TEXT
    ]


def payloads_of_short_texts(pair: Pair, longest_bytes: int) -> list[bytes]:
    """Kind, counter and body, as encoded in a payload, of each text up to `longest_bytes` on the line."""
    found = []
    for party in pair.both:
        for message in party.device.messages(party.line):
            body = message.text.encode()
            if message.kind is MessageKind.TEXT and len(body) <= longest_bytes:
                writer = Writer().u16(PayloadKind.TEXT).u64(message.counter).opaque(body)
                found.append(writer.to_bytes())
    return found
