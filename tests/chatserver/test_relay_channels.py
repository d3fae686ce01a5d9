"""Channels of both classes on a real relay: R2 to R6, as a client sees them."""

from __future__ import annotations

import asyncio
import hashlib
from typing import ClassVar

import pytest

from chatserver.config import parse
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import (
    CellPage,
    ChannelId,
    ChannelRef,
    Day,
    Deposited,
    ExpiryReport,
    Refused,
    StoredCell,
    StoreSettings,
    hash_token,
)
from chatserver.wire import frames as f
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import channel_id
from chatserver.wire.limits import LIVE_RING_CELLS, ChannelClass
from support.relay import LIVE, STORED, body, code_of, running_relay, seeded, text_of, until

K = b"k" * 32
ALICE = b"a" * 32
BOB = b"b" * 32
EVE = b"e" * 32
DAY_SECONDS = 86_400
BOTH = pytest.mark.parametrize("cls", ChannelClass)


# -- R2 ----------------------------------------------------------------------------------------------------


def test_r02_the_id_binds_class_readers_and_key() -> None:
    expected = hashlib.sha256(b"amanat channel v1" + bytes([1, 2]) + K).digest()
    assert channel_id(STORED, 2, K) == expected
    ids = {channel_id(cls, readers, K) for cls in ChannelClass for readers in range(1, 5)}
    assert len(ids) == 8


@BOTH
@pytest.mark.asyncio
async def test_r02_other_parameters_are_another_channel(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice, running.client() as eve:
        attached = await alice.attached(K, ALICE, cls=cls, readers=2)
        squatted = await eve.attached(K, EVE, cls=cls, readers=1)
        assert attached.incarnation != squatted.incarnation
        await eve.deposit(K, "elsewhere", cls=cls, readers=1)
        assert await alice.nothing_pushed()
        # Eve's slot took none of the two of the real channel.
        async with running.client() as bob:
            await bob.attached(K, BOB, cls=cls, readers=2)


@pytest.mark.asyncio
async def test_r02_the_relay_keeps_the_id_and_not_the_key() -> None:
    async with running_relay() as running, running.client() as alice:
        await alice.attached(K, ALICE)
        await alice.attached(K, ALICE, cls=LIVE)
        assert running.relay.stored.attached(channel_id(STORED, 2, K)) is not None
        assert running.relay.live.get(channel_id(LIVE, 2, K)) is not None
        assert running.relay.stored.attached(K) is None


@pytest.mark.asyncio
async def test_r02_a_cell_of_another_size_ends_the_connection() -> None:
    async with running_relay() as running, running.client() as alice:
        message = alice.deposit_frame(K, "x").encode()
        await alice.socket.send(message[:-1])
        assert await alice.failure() == ErrorCode.BAD_SIZE


# -- R3 ----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.asyncio
async def test_r03_attach_answers_incarnation_head_acked_and_closed(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice:
        first = await alice.attached(K, ALICE, cls=cls)
        assert (first.head, first.acked, first.closed_seq) == (0, 0, 0)
        await alice.deposit(K, "one", cls=cls)
        again = await alice.attached(K, ALICE, cls=cls)
        assert (again.incarnation, again.head) == (first.incarnation, 1)


@pytest.mark.asyncio
async def test_r03_attach_reports_acknowledgement_and_closing_cell() -> None:
    async with running_relay() as running, running.client() as alice:
        attached = await alice.attached(K, ALICE)
        await alice.deposit(K, "one")
        await alice.ack(attached.handle, 1)
        await alice.deposit(K, "end", close=True)
        again = await alice.attached(K, ALICE)
        assert (again.head, again.acked, again.closed_seq) == (2, 1, 2)


@BOTH
@pytest.mark.asyncio
async def test_r03_slots_are_held_by_tokens_and_full_when_taken(cls: ChannelClass) -> None:
    async with (
        running_relay() as running,
        running.client() as alice,
        running.client() as bob,
        running.client() as eve,
    ):
        await alice.attached(K, ALICE, cls=cls)
        await bob.attached(K, BOB, cls=cls)
        assert code_of(await eve.attach(K, EVE, cls=cls)) == ErrorCode.FULL
        # A slot stays taken after its connection left, and its token still opens it.
        await bob.socket.close()
        assert code_of(await eve.attach(K, EVE, cls=cls)) == ErrorCode.FULL
        await eve.attached(K, BOB, cls=cls)


@BOTH
@pytest.mark.asyncio
async def test_r03_the_newest_connection_of_a_slot_wins(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as old, running.client() as new:
        held = await old.attached(K, ALICE, cls=cls)
        await new.attached(K, ALICE, cls=cls)
        assert await old.push() == f.Superseded(handle=held.handle)
        await new.deposit(K, "for the newest", cls=cls)
        await old.deposit(K, "from the old one", cls=cls)
        assert await old.nothing_pushed()
        assert code_of(await old.ack(held.handle, 1)) == ErrorCode.NOT_ATTACHED
        assert isinstance(await new.push(), f.OwnCell)
        assert text_of(await new.push()) == "from the old one"


@BOTH
@pytest.mark.asyncio
async def test_r03_attaching_twice_on_one_connection_voids_the_first_handle(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        first = await alice.attached(K, ALICE, cls=cls)
        second = await alice.attached(K, ALICE, cls=cls)
        assert first.handle != second.handle
        assert await alice.push() == f.Superseded(handle=first.handle)
        await bob.deposit(K, "once", cls=cls)
        cell = await alice.push()
        assert isinstance(cell, f.Cell)
        assert cell.handle == second.handle
        assert await alice.nothing_pushed()


@pytest.mark.asyncio
async def test_r03_nobody_acknowledges_for_another_slot() -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        hers = await alice.attached(K, ALICE)
        await bob.attached(K, BOB)
        await alice.deposit(K, "for both")
        # Handles belong to a connection: the same number on Bob's names Bob's own slot.
        await alice.ack(hers.handle, 1)
        assert (await bob.attached(K, BOB)).acked == 0
        async with running.client() as eve:
            assert code_of(await eve.ack(hers.handle, 1)) == ErrorCode.NOT_ATTACHED
        page = await running.store.read(ChannelId(channel_id(STORED, 2, K)), 0)
        assert [type(item) for item in getattr(page, "items", ())] == [StoredCell]


@pytest.mark.asyncio
async def test_r03_an_acknowledgement_beyond_the_head_is_refused() -> None:
    async with running_relay() as running, running.client() as alice:
        attached = await alice.attached(K, ALICE)
        await alice.deposit(K, "one")
        assert code_of(await alice.ack(attached.handle, 2)) == ErrorCode.ACK_BEYOND_HEAD
        assert isinstance(await alice.ack(attached.handle, 1), f.Acked)


@BOTH
@pytest.mark.asyncio
async def test_r03_reading_goes_on_after_the_position(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice:
        for text in ("one", "two", "three"):
            await alice.deposit(K, text, cls=cls)
        async with running.client() as bob:
            first = await bob.attached(K, BOB, cls=cls)
            assert [text_of(await bob.push()) for _ in range(3)] == ["one", "two", "three"]
            await bob.attached(K, BOB, cls=cls, incarnation=first.incarnation, position=2)
            assert isinstance(await bob.push(), f.Superseded)
            assert text_of(await bob.push()) == "three"
            await bob.attached(K, BOB, cls=cls, incarnation=b"?" * 16, position=2)
            assert isinstance(await bob.push(), f.Superseded)
            assert [text_of(await bob.push()) for _ in range(3)] == ["one", "two", "three"]
            await bob.attached(K, BOB, cls=cls, incarnation=first.incarnation, position=99)
            assert isinstance(await bob.push(), f.Superseded)
            await alice.deposit(K, "four", cls=cls)
            assert text_of(await bob.push()) == "four"


@BOTH
@pytest.mark.asyncio
async def test_r03_a_detached_channel_is_silent_and_its_slot_stays(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        attached = await alice.attached(K, ALICE, cls=cls)
        assert isinstance(await alice.detach(attached.handle), f.Done)
        assert code_of(await alice.detach(attached.handle)) == ErrorCode.NOT_ATTACHED
        await bob.deposit(K, "unheard", cls=cls)
        assert await alice.nothing_pushed()
        await alice.attached(K, ALICE, cls=cls)
        assert text_of(await alice.push()) == "unheard"


# -- R4 ----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.asyncio
async def test_r04_every_reader_gets_every_cell_in_the_same_order(cls: ChannelClass) -> None:
    async with (
        running_relay() as running,
        running.client() as alice,
        running.client() as bob,
        running.client() as carol,
    ):
        people = (alice, bob, carol)
        for person, token in zip(people, (ALICE, BOB, EVE), strict=True):
            await person.attached(K, token, cls=cls, readers=3)
        frames = []
        for turn in range(20):
            person = people[turn % 3]
            frames.append((person, person.deposit_frame(K, f"turn {turn}", cls=cls, readers=3)))
            await person.say(frames[-1][1])
        numbers = {}
        for person, frame in frames:
            stored = await person.answer(frame)
            assert isinstance(stored, f.Stored)
            numbers[stored.seq] = frame.body
        assert sorted(numbers) == list(range(1, 21))
        for person in people:
            for seq in range(1, 21):
                cell = await person.push()
                assert isinstance(cell, f.Cell | f.OwnCell)
                assert cell.seq == seq
                if isinstance(cell, f.Cell):
                    assert cell.body == numbers[seq]
                else:
                    assert cell.digest == hashlib.sha256(numbers[seq]).digest()


@BOTH
@pytest.mark.asyncio
async def test_r04_the_depositor_gets_number_and_digest_before_stored(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice:
        attached = await alice.attached(K, ALICE, cls=cls)
        frame = alice.deposit_frame(K, "mine", cls=cls)
        await alice.say(frame)
        own = await alice.read()
        assert own == f.OwnCell(
            handle=attached.handle, seq=1, close=False, digest=hashlib.sha256(frame.body).digest()
        )
        assert await alice.read() == f.Stored(request=frame.request, seq=1)


@BOTH
@pytest.mark.asyncio
async def test_r04_own_cells_come_whole_after_a_reconnect(cls: ChannelClass) -> None:
    async with running_relay() as running:
        async with running.client() as alice:
            await alice.attached(K, ALICE, cls=cls)
            await alice.deposit(K, "mine", cls=cls)
        async with running.client() as alice:
            await alice.attached(K, ALICE, cls=cls)
            assert text_of(await alice.push()) == "mine"


@BOTH
@pytest.mark.asyncio
async def test_r04_the_same_deposit_id_gives_the_same_number(cls: ChannelClass) -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        await bob.attached(K, BOB, cls=cls)
        for _ in range(3):
            stored = await alice.deposit(K, "once", cls=cls, deposit_id=b"d" * 16)
            assert isinstance(stored, f.Stored)
            assert stored.seq == 1
        assert text_of(await bob.push()) == "once"
        assert await bob.nothing_pushed()
        other = await alice.deposit(K, "once", cls=cls, deposit_id=b"e" * 16)
        assert isinstance(other, f.Stored)
        assert other.seq == 2


@BOTH
@pytest.mark.asyncio
async def test_r04_attach_and_deposit_create_against_a_limit(cls: ChannelClass) -> None:
    config = parse("[limits]\ncreations_per_minute = 2\n")
    async with running_relay(config) as running, running.client() as alice:
        await alice.attached(b"1" * 32, ALICE, cls=cls)
        assert isinstance(await alice.deposit(b"2" * 32, "x", cls=cls), f.Stored)
        assert code_of(await alice.attach(b"3" * 32, ALICE, cls=cls)) == ErrorCode.CREATION_LIMIT
        assert code_of(await alice.deposit(b"4" * 32, "x", cls=cls)) == ErrorCode.CREATION_LIMIT
        # What exists already counts against nothing.
        await alice.attached(b"2" * 32, ALICE, cls=cls)
        assert isinstance(await alice.deposit(b"1" * 32, "x", cls=cls), f.Stored)
        running.clock.advance(30)
        await alice.attached(b"3" * 32, ALICE, cls=cls)
        assert code_of(await alice.attach(b"5" * 32, ALICE, cls=cls)) == ErrorCode.CREATION_LIMIT


class SlowStore(MemoryStore):
    """Commits when told to: nothing may be shown before."""

    def __init__(self) -> None:
        super().__init__(rng=seeded(2))
        self.commits: list[str] = []
        self.gate = False

    async def deposit(
        self,
        channel: ChannelRef,
        *,
        deposit_id: bytes,
        close: bool,
        body: bytes,
        today: Day,
        may_create: bool = True,
    ) -> Deposited | Refused:
        answer = await super().deposit(
            channel, deposit_id=deposit_id, close=close, body=body, today=today, may_create=may_create
        )
        self.commits.append("asked")
        await asyncio.sleep(0)  # answers come in the order of asking
        while not self.gate:  # noqa: ASYNC110 (no task of its own, hence no `until`: chatserver.eager)
            await asyncio.sleep(0)
        return answer


@pytest.mark.asyncio
async def test_r04_nothing_is_shown_before_the_commit() -> None:
    store = SlowStore()
    async with running_relay(store=store) as running, running.client() as alice, running.client() as bob:
        await alice.attached(K, ALICE)
        await bob.attached(K, BOB)
        frame = alice.deposit_frame(K, "on its way")
        await alice.say(frame)
        await until(lambda: bool(store.commits))
        assert await bob.nothing_pushed()
        assert await alice.nothing_pushed()
        store.gate = True
        assert isinstance(await alice.answer(frame), f.Stored)
        assert text_of(await bob.push()) == "on its way"


@pytest.mark.asyncio
async def test_r04_a_committed_cell_reaches_readers_though_its_depositor_left() -> None:
    store = SlowStore()
    async with running_relay(store=store) as running, running.client() as bob:
        await bob.attached(K, BOB)
        async with running.client() as alice:
            await alice.say(alice.deposit_frame(K, "last words"))
            await until(lambda: bool(store.commits))
        await until(lambda: len(running.relay.peers) == 1)
        store.gate = True
        assert text_of(await bob.push()) == "last words"


# -- R5 ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_r05_a_closing_cell_closes_and_all_see_it_last() -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        await bob.attached(K, BOB)
        await alice.deposit(K, "one")
        assert isinstance(await alice.deposit(K, "commit", close=True), f.Stored)
        for close in (False, True):
            assert code_of(await alice.deposit(K, "late", close=close)) == ErrorCode.CLOSED
        assert text_of(await bob.push()) == "one"
        closing = await bob.push()
        assert isinstance(closing, f.Cell)
        assert closing.close
        assert await bob.nothing_pushed()
        assert (await bob.attached(K, BOB)).closed_seq == 2


@pytest.mark.asyncio
async def test_r05_one_closing_cell_passes_a_full_channel() -> None:
    store = MemoryStore(StoreSettings(max_cells_per_channel=2), rng=seeded(2))
    async with running_relay(store=store) as running, running.client() as alice:
        await alice.deposit(K, "one")
        await alice.deposit(K, "two")
        assert code_of(await alice.deposit(K, "three")) == ErrorCode.QUOTA
        assert isinstance(await alice.deposit(K, "end", close=True), f.Stored)


@pytest.mark.asyncio
async def test_r05_the_relay_judges_nothing_else() -> None:
    async with running_relay() as running, running.client() as anybody, running.client() as bob:
        await bob.attached(K, BOB)
        # No slot, no signature, no sense: it is a cell of the right size under the right key.
        assert isinstance(await anybody.deposit(K, ""), f.Stored)
        assert isinstance(await anybody.deposit(K, "\x00\x00"), f.Stored)


@pytest.mark.asyncio
async def test_r05_a_live_channel_knows_no_close_and_no_acknowledgement() -> None:
    async with running_relay() as running, running.client() as alice:
        attached = await alice.attached(K, ALICE, cls=LIVE)
        assert code_of(await alice.deposit(K, "x", cls=LIVE, close=True)) == ErrorCode.UNSUPPORTED
        assert code_of(await alice.ack(attached.handle, 0)) == ErrorCode.UNSUPPORTED


# -- R6 ----------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_r06_a_finished_channel_is_gone() -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        hers, his = await alice.attached(K, ALICE), await bob.attached(K, BOB)
        await alice.deposit(K, "end", close=True)
        await alice.ack(hers.handle, 1)
        await bob.ack(his.handle, 1)
        assert code_of(await alice.attach(K, ALICE)) == ErrorCode.GONE
        assert code_of(await alice.deposit(K, "x")) == ErrorCode.GONE
        running.clock.advance(91 * DAY_SECONDS)
        await running.relay.expire()
        await until(lambda: len(running.relay.peers) == 2)
        await alice.attached(K, ALICE)


@pytest.mark.asyncio
async def test_r06_what_expired_is_announced() -> None:
    async with running_relay() as running, running.client() as alice:
        await alice.deposit(K, "one")
        await alice.deposit(K, "two")
        running.clock.advance(31 * DAY_SECONDS)
        await alice.deposit(K, "three")
        await running.relay.expire()
        async with running.client() as bob:
            attached = await bob.attached(K, BOB)
            assert await bob.push() == f.Expired(handle=attached.handle, first=1, last=2)
            assert text_of(await bob.push()) == "three"


@pytest.mark.asyncio
async def test_r06_expiry_runs_once_when_the_day_changes() -> None:
    class CountingStore(MemoryStore):
        days: ClassVar[list[int]] = []

        async def expire(self, *, today: Day) -> ExpiryReport:
            self.days.append(today)
            return await super().expire(today=today)

    async with running_relay(store=CountingStore()) as running:
        await running.relay.expire()
        await running.relay.expire()
        running.clock.advance(DAY_SECONDS)
        await running.server.sweep()
        assert len(CountingStore.days) == 2
        assert CountingStore.days[1] == CountingStore.days[0] + 1
        assert running.log == []  # a day on which nothing ended is not worth a line
        async with running.client() as alice:
            await alice.deposit(K, "nobody reads this")
        running.clock.advance(40 * DAY_SECONDS)
        await running.relay.expire()
        assert running.log == ["expired cells=10 channels=0 drops=0"]


@pytest.mark.asyncio
async def test_r06_live_cells_never_meet_the_store() -> None:
    class NoStore(MemoryStore):
        def __getattribute__(self, name: str) -> object:
            if name in {"attach", "deposit", "ack", "read"}:
                raise AssertionError(name)
            return super().__getattribute__(name)

    async with running_relay(store=NoStore()) as running, running.client() as alice, running.client() as bob:
        await alice.attached(K, ALICE, cls=LIVE)
        await bob.attached(K, BOB, cls=LIVE)
        await alice.deposit(K, "in memory", cls=LIVE)
        assert text_of(await bob.push()) == "in memory"


@pytest.mark.asyncio
async def test_r06_a_live_ring_holds_64_and_announces_the_rest() -> None:
    lost = 6
    async with running_relay() as running, running.client() as alice:
        for number in range(LIVE_RING_CELLS + lost):
            await alice.deposit(K, f"cell {number + 1}", cls=LIVE)
        async with running.client() as bob:
            attached = await bob.attached(K, BOB, cls=LIVE)
            assert attached.head == LIVE_RING_CELLS + lost
            assert await bob.push() == f.Expired(handle=attached.handle, first=1, last=lost)
            for number in range(lost + 1, LIVE_RING_CELLS + lost + 1):
                cell = await bob.push()
                assert isinstance(cell, f.Cell)
                assert (cell.seq, text_of(cell)) == (number, f"cell {number}")
            # From a position inside the hole, only what is left of it is announced.
            await bob.attached(K, BOB, cls=LIVE, incarnation=attached.incarnation, position=lost - 2)
            assert isinstance(await bob.push(), f.Superseded)
            hole = await bob.push()
            assert isinstance(hole, f.Expired)
            assert (hole.first, hole.last) == (lost - 1, lost)


@pytest.mark.asyncio
async def test_r06_a_deposit_id_is_forgotten_with_its_cell() -> None:
    async with running_relay() as running, running.client() as alice:
        await alice.deposit(K, "first", cls=LIVE, deposit_id=b"d" * 16)
        for number in range(LIVE_RING_CELLS):
            await alice.deposit(K, f"cell {number}", cls=LIVE)
        again = await alice.deposit(K, "first", cls=LIVE, deposit_id=b"d" * 16)
        assert isinstance(again, f.Stored)
        assert again.seq == LIVE_RING_CELLS + 2


@pytest.mark.asyncio
async def test_r06_a_live_channel_goes_ten_minutes_after_its_last_connection() -> None:
    async with running_relay() as running:
        async with running.client() as alice:
            first = await alice.attached(K, ALICE, cls=LIVE)
            await alice.deposit(K, "before", cls=LIVE)
            running.clock.advance(3_600)
            await running.relay.sweep()
            assert len(running.relay.live) == 1  # attached, however long
        await until(lambda: not running.relay.peers)
        running.clock.advance(599)
        await running.relay.sweep()
        async with running.client() as alice:
            kept = await alice.attached(K, ALICE, cls=LIVE, incarnation=first.incarnation, position=1)
            assert (kept.incarnation, kept.head) == (first.incarnation, 1)
        await until(lambda: not running.relay.peers)
        running.clock.advance(600)
        await running.relay.sweep()
        assert len(running.relay.live) == 0
        async with running.client() as alice:
            renewed = await alice.attached(K, ALICE, cls=LIVE, incarnation=first.incarnation, position=1)
            assert renewed.incarnation != first.incarnation
            assert renewed.head == 0


@pytest.mark.asyncio
async def test_r06_after_a_restart_a_live_channel_has_a_new_incarnation_and_counts_from_1() -> None:
    store = MemoryStore(rng=seeded(2))
    incarnations = []
    for run in range(2):
        async with running_relay(store=store) as running, running.client() as alice:
            if run:
                running.relay.live._rng = seeded(99)
            attached = await alice.attached(K, ALICE, cls=LIVE)
            incarnations.append(attached.incarnation)
            assert attached.head == 0
            stored = await alice.deposit(K, "x", cls=LIVE)
            assert isinstance(stored, f.Stored)
            assert stored.seq == 1
        store = MemoryStore(rng=seeded(2))
    assert incarnations[0] != incarnations[1]


@pytest.mark.asyncio
async def test_live_channels_are_limited_in_number() -> None:
    config = parse("[limits]\nlive_channels = 1\n")
    async with running_relay(config) as running, running.client() as alice:
        first = await alice.attached(K, ALICE, cls=LIVE)
        assert code_of(await alice.attach(b"l" * 32, ALICE, cls=LIVE)) == ErrorCode.BUSY
        await alice.detach(first.handle)
        running.clock.advance(600)
        # Making room needs no sweep by the clock.
        await alice.attached(b"l" * 32, ALICE, cls=LIVE)


# -- catching up -------------------------------------------------------------------------------------------


class SlowReads(MemoryStore):
    """Reads when told to."""

    def __init__(self) -> None:
        super().__init__(rng=seeded(2))
        self.asked = 0
        self.gate = asyncio.Event()

    async def read(self, channel_id: ChannelId, position: int, *, max_cells: int = 64) -> CellPage | Refused:
        page = await super().read(channel_id, position, max_cells=max_cells)
        self.asked += 1
        await self.gate.wait()
        return page


@pytest.mark.asyncio
async def test_r04_cells_that_come_while_a_reader_catches_up_keep_their_order() -> None:
    store = SlowReads()
    async with running_relay(store=store) as running, running.client() as alice, running.client() as bob:
        for number in range(40):
            await alice.deposit(K, f"{number}")
        await bob.attached(K, BOB)
        await until(lambda: store.asked == 1)
        # The first page is on its way: these must neither overtake it nor be lost or said twice.
        for number in range(40, 80):
            await alice.deposit(K, f"{number}")
        assert await bob.nothing_pushed()
        store.gate.set()
        assert [text_of(await bob.push()) for _ in range(80)] == [str(number) for number in range(80)]
        await alice.deposit(K, "80")
        assert text_of(await bob.push()) == "80"
        assert await bob.nothing_pushed()


@pytest.mark.asyncio
async def test_r04_an_own_cell_deposited_while_catching_up_comes_as_a_digest_in_its_turn() -> None:
    store = SlowReads()
    async with running_relay(store=store) as running, running.client() as alice, running.client() as bob:
        for number in range(20):
            await alice.deposit(K, f"{number}")
        await bob.attached(K, BOB)
        await until(lambda: store.asked == 1)
        stored = await bob.deposit(K, "mine")
        assert isinstance(stored, f.Stored)
        store.gate.set()
        assert [text_of(await bob.push()) for _ in range(20)] == [str(number) for number in range(20)]
        own = await bob.push()
        assert isinstance(own, f.OwnCell)
        assert (own.seq, own.digest) == (21, hashlib.sha256(body("mine")).digest())


@pytest.mark.asyncio
async def test_a_connection_reads_no_further_while_many_requests_wait_for_the_store() -> None:
    store = SlowStore()
    config = parse("[limits]\nrequests_in_flight = 2\n")
    async with running_relay(config, store=store) as running, running.client() as alice:
        frames = [alice.deposit_frame(K, str(number)) for number in range(6)]
        for frame in frames:
            await alice.say(frame)
        await until(lambda: len(store.commits) == 2)
        async with running.client() as bob:
            await bob.attached(b"o" * 32, BOB)
        assert len(store.commits) == 2
        store.gate = True
        answers = [await alice.answer(frame) for frame in frames]
        assert [answer.seq for answer in answers if isinstance(answer, f.Stored)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.asyncio
async def test_a_channel_begun_anew_supersedes_those_who_hold_the_old_one() -> None:
    async with running_relay() as running, running.client() as alice, running.client() as bob:
        old = await alice.attached(K, ALICE)
        running.clock.advance(92 * DAY_SECONDS)
        await running.relay.expire()
        new = await bob.attached(K, BOB)
        assert new.incarnation != old.incarnation
        assert await alice.push() == f.Superseded(handle=old.handle)


@pytest.mark.asyncio
async def test_a_slot_may_be_resumed_while_its_old_connection_still_catches_up() -> None:
    async with running_relay() as running, running.client() as alice:
        store = running.store
        ref = ChannelRef(channel_id=ChannelId(channel_id(STORED, 2, K)), channel_class=1, readers=2)
        for number in range(100):
            await store.deposit(
                ref,
                deposit_id=number.to_bytes(16, "big"),
                close=False,
                body=body(str(number)),
                today=Day(20_000),
            )
        await store.attach(ref, hash_token(BOB), today=Day(20_000))
        async with running.client() as old, running.client() as new:
            await old.attached(K, ALICE)
            await new.attached(K, ALICE)
            assert [text_of(await new.push()) for _ in range(100)] == [str(n) for n in range(100)]
        await alice.deposit(K, "x")
