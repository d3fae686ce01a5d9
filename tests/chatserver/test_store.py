"""R3 to R6 and R21, the part that a store keeps: one suite for every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from chatserver.store.errors import StoreClosed, StoreUsageError
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import (
    CELL_BYTES,
    Acknowledged,
    Attached,
    CellPage,
    ChannelId,
    ChannelRef,
    Day,
    Deposited,
    Done,
    ExpiredRange,
    InboxId,
    InboxOpened,
    Refusal,
    Refused,
    Store,
    StoredCell,
    StoreSettings,
    TokenHash,
    day_of,
    hash_token,
)
from chatserver.store.sqlite import SqliteStore, init_store
from support.marked import Marks

pytestmark = pytest.mark.asyncio

T = TypeVar("T")
TODAY = Day(20_000)
SETTINGS = StoreSettings(max_cells_per_channel=4, inbox_max_waiting=2, max_therapists=12)


def later(days: int) -> Day:
    return Day(TODAY + days)


@pytest_asyncio.fixture(params=["sqlite", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    opened: Store
    if request.param == "sqlite":
        init_store(tmp_path / "store")
        opened = await SqliteStore.open(tmp_path / "store", SETTINGS)
    else:
        opened = MemoryStore(SETTINGS)
    yield opened
    await opened.close()


@pytest.fixture
def marks() -> Marks:
    return Marks()


def ok(result: T | Refused, kind: type[T]) -> T:
    assert isinstance(result, kind), result
    return result


def refused(result: object) -> Refusal:
    assert isinstance(result, Refused), result
    return result.reason


async def attach(store: Store, channel: ChannelRef, token: TokenHash, today: Day = TODAY) -> Attached:
    return ok(await store.attach(channel, token, today=today), Attached)


async def put(
    store: Store, channel: ChannelRef, marks: Marks, *, close: bool = False, today: Day = TODAY
) -> Deposited:
    result = await store.deposit(
        channel, deposit_id=marks.bytes16(), close=close, body=marks.cell(), today=today
    )
    return ok(result, Deposited)


async def page(store: Store, channel: ChannelRef, position: int = 0, max_cells: int = 64) -> CellPage:
    return ok(await store.read(channel.channel_id, position, max_cells=max_cells), CellPage)


def shape(page: CellPage) -> list[int | tuple[int, int]]:
    return [item.seq if isinstance(item, StoredCell) else (item.first, item.last) for item in page.items]


# ------------------------------------------------------------------------------------------------------- R3


async def test_r03_attach_finds_or_creates_channel_and_slot(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(), marks.hash32()
    first = await attach(store, channel, token)
    assert (first.head, first.acked, first.closed_seq, first.created, first.new_slot) == (0, 0, 0, True, True)
    assert len(first.incarnation) == 16
    again = await attach(store, channel, token)
    assert again == replace(first, created=False, new_slot=False)
    other = await attach(store, channel, marks.hash32())
    assert other == replace(first, created=False)


async def test_r03_each_creation_draws_a_new_incarnation(store: Store, marks: Marks) -> None:
    token = marks.hash32()
    incarnations = {(await attach(store, marks.channel(), token)).incarnation for _ in range(8)}
    assert len(incarnations) == 8


async def test_r03_a_slot_too_many_is_refused_as_full(store: Store, marks: Marks) -> None:
    for readers in (1, 2, 3, 4):
        channel = marks.channel(readers)
        tokens = [marks.hash32() for _ in range(readers)]
        for token in tokens:
            await attach(store, channel, token)
        assert refused(await store.attach(channel, marks.hash32(), today=TODAY)) is Refusal.FULL
        for token in tokens:
            assert not (await attach(store, channel, token)).new_slot


async def test_r03_acknowledgements_are_per_slot(store: Store, marks: Marks) -> None:
    channel, mine, theirs = marks.channel(), marks.hash32(), marks.hash32()
    await attach(store, channel, mine)
    await attach(store, channel, theirs)
    await put(store, channel, marks)
    await put(store, channel, marks)
    assert ok(await store.ack(channel.channel_id, mine, 2, today=TODAY), Acknowledged).acked == 2
    assert (await attach(store, channel, mine)).acked == 2
    assert (await attach(store, channel, theirs)).acked == 0
    assert shape(await page(store, channel)) == [1, 2]


async def test_r03_nobody_acknowledges_without_a_slot(store: Store, marks: Marks) -> None:
    channel, mine = marks.channel(1), marks.hash32()
    await attach(store, channel, mine)
    await put(store, channel, marks)
    stranger = await store.ack(channel.channel_id, marks.hash32(), 1, today=TODAY)
    assert refused(stranger) is Refusal.NOT_ATTACHED
    unknown = await store.ack(marks.channel().channel_id, mine, 0, today=TODAY)
    assert refused(unknown) is Refusal.NOT_ATTACHED
    assert shape(await page(store, channel)) == [1]


@pytest.mark.parametrize("seq", [2, 2**63, 2**64 - 1])
async def test_r03_an_acknowledgement_beyond_the_head_is_refused(
    store: Store, marks: Marks, seq: int
) -> None:
    channel, token = marks.channel(1), marks.hash32()
    await attach(store, channel, token)
    await put(store, channel, marks)
    assert refused(await store.ack(channel.channel_id, token, seq, today=TODAY)) is Refusal.ACK_BEYOND_HEAD
    assert shape(await page(store, channel)) == [1]


async def test_r03_an_acknowledgement_never_goes_back(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(2), marks.hash32()
    await attach(store, channel, token)
    for _ in range(3):
        await put(store, channel, marks)
    await store.ack(channel.channel_id, token, 3, today=TODAY)
    again = ok(await store.ack(channel.channel_id, token, 1, today=TODAY), Acknowledged)
    assert again == Acknowledged(acked=3, deleted_cells=0, finished=False)
    assert (await attach(store, channel, token)).acked == 3


# ------------------------------------------------------------------------------------------------------- R4


async def test_r04_deposits_are_numbered_consecutively_and_read_in_order(store: Store, marks: Marks) -> None:
    channel = marks.channel()
    bodies = [marks.cell() for _ in range(4)]
    results = await asyncio.gather(
        *(
            store.deposit(channel, deposit_id=marks.bytes16(), close=False, body=body, today=TODAY)
            for body in bodies
        )
    )
    assert [ok(result, Deposited).seq for result in results] == [1, 2, 3, 4]
    assert [ok(result, Deposited).created for result in results] == [True, False, False, False]
    read = await page(store, channel)
    assert [item.body for item in read.items if isinstance(item, StoredCell)] == bodies
    assert (read.position, read.head) == (4, 4)


async def test_r04_results_resolve_in_the_order_of_the_calls(store: Store, marks: Marks) -> None:
    order: list[int] = []
    channels = [marks.channel() for _ in range(3)]

    async def one(number: int) -> None:
        await put(store, channels[number % 3], marks)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(9):
            group.create_task(one(number))
    assert order == list(range(9))


async def test_r04_the_same_deposit_id_gives_the_same_number(store: Store, marks: Marks) -> None:
    channel, deposit_id = marks.channel(), marks.bytes16()
    await put(store, channel, marks)
    first = ok(
        await store.deposit(channel, deposit_id=deposit_id, close=False, body=marks.cell(), today=TODAY),
        Deposited,
    )
    again = ok(
        await store.deposit(channel, deposit_id=deposit_id, close=False, body=marks.cell(), today=TODAY),
        Deposited,
    )
    assert (first.seq, first.duplicate) == (2, False)
    assert (again.seq, again.duplicate, again.created) == (2, True, False)
    assert shape(await page(store, channel)) == [1, 2]


async def test_r04_the_same_deposit_id_also_after_the_close_and_at_quota(store: Store, marks: Marks) -> None:
    channel, deposit_id, body = marks.channel(), marks.bytes16(), marks.cell()
    await store.deposit(channel, deposit_id=deposit_id, close=False, body=body, today=TODAY)
    for _ in range(3):
        await put(store, channel, marks)
    at_quota = await store.deposit(channel, deposit_id=deposit_id, close=False, body=body, today=TODAY)
    assert ok(at_quota, Deposited).seq == 1
    await put(store, channel, marks, close=True)
    closed = await store.deposit(channel, deposit_id=deposit_id, close=False, body=body, today=TODAY)
    assert ok(closed, Deposited).seq == 1


async def test_r04_a_deposit_id_is_forgotten_with_its_cell_and_belongs_to_its_channel(
    store: Store, marks: Marks
) -> None:
    channel, token, deposit_id = marks.channel(1), marks.hash32(), marks.bytes16()
    await attach(store, channel, token)
    await store.deposit(channel, deposit_id=deposit_id, close=False, body=marks.cell(), today=TODAY)
    other = await store.deposit(
        marks.channel(), deposit_id=deposit_id, close=False, body=marks.cell(), today=TODAY
    )
    assert not ok(other, Deposited).duplicate
    await store.ack(channel.channel_id, token, 1, today=TODAY)
    anew = await store.deposit(channel, deposit_id=deposit_id, close=False, body=marks.cell(), today=TODAY)
    assert (ok(anew, Deposited).seq, ok(anew, Deposited).duplicate) == (2, False)


async def test_r04_attach_and_deposit_create_only_where_the_limit_allows(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(), marks.hash32()
    assert (
        refused(await store.attach(channel, token, today=TODAY, may_create=False)) is Refusal.CREATION_LIMIT
    )
    deposit = await store.deposit(
        channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY, may_create=False
    )
    assert refused(deposit) is Refusal.CREATION_LIMIT
    assert (await store.counts()).channels == 0
    await put(store, channel, marks)
    assert not ok(await store.attach(channel, token, today=TODAY, may_create=False), Attached).created


# ------------------------------------------------------------------------------------------------------- R5


async def test_r05_a_closing_cell_closes_and_later_deposits_are_refused(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(), marks.hash32()
    await put(store, channel, marks)
    assert (await put(store, channel, marks, close=True)).seq == 2
    for close in (False, True):
        late = await store.deposit(
            channel, deposit_id=marks.bytes16(), close=close, body=marks.cell(), today=TODAY
        )
        assert refused(late) is Refusal.CLOSED
    attached = await attach(store, channel, token)
    assert (attached.head, attached.closed_seq) == (2, 2)
    last = (await page(store, channel)).items[-1]
    assert isinstance(last, StoredCell)
    assert last.close


async def test_r05_of_simultaneous_closing_cells_one_wins(store: Store, marks: Marks) -> None:
    channel = marks.channel()
    results = await asyncio.gather(
        *(
            store.deposit(channel, deposit_id=marks.bytes16(), close=True, body=marks.cell(), today=TODAY)
            for _ in range(5)
        )
    )
    assert ok(results[0], Deposited).seq == 1
    assert [refused(result) for result in results[1:]] == [Refusal.CLOSED] * 4


async def test_r05_one_closing_cell_is_accepted_even_at_quota(store: Store, marks: Marks) -> None:
    channel = marks.channel()
    for _ in range(4):
        await put(store, channel, marks)
    over = await store.deposit(
        channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY
    )
    assert refused(over) is Refusal.QUOTA
    assert (await put(store, channel, marks, close=True)).seq == 5
    more = await store.deposit(
        channel, deposit_id=marks.bytes16(), close=True, body=marks.cell(), today=TODAY
    )
    assert refused(more) is Refusal.CLOSED


async def test_r05_acknowledging_makes_room_below_the_quota(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(1), marks.hash32()
    await attach(store, channel, token)
    for _ in range(4):
        await put(store, channel, marks)
    await store.ack(channel.channel_id, token, 1, today=TODAY)
    assert (await put(store, channel, marks)).seq == 5


# ------------------------------------------------------------------------------------------------------- R6


async def test_r06_a_cell_goes_when_all_slots_exist_and_have_acknowledged_it(
    store: Store, marks: Marks
) -> None:
    channel = marks.channel(3)
    tokens = [marks.hash32() for _ in range(3)]
    for token in tokens[:2]:
        await attach(store, channel, token)
    for _ in range(3):
        await put(store, channel, marks)
    for token in tokens[:2]:
        waiting = ok(await store.ack(channel.channel_id, token, 3, today=TODAY), Acknowledged)
        assert waiting.deleted_cells == 0  # the third slot does not exist yet
    await attach(store, channel, tokens[2])
    assert shape(await page(store, channel)) == [1, 2, 3]
    last = ok(await store.ack(channel.channel_id, tokens[2], 2, today=TODAY), Acknowledged)
    assert (last.deleted_cells, last.finished) == (2, False)
    assert shape(await page(store, channel, position=2)) == [3]
    assert (await store.counts()).cells == 1


async def test_r06_messages_expire_after_30_days_and_are_announced_as_ranges(
    store: Store, marks: Marks
) -> None:
    channel = marks.channel()
    for day in (0, 0, 5, 5, 9):
        # At quota 4: the last one is a closing cell.
        await put(store, channel, marks, close=day == 9, today=later(day))
    assert (await store.expire(today=later(30))).cells == 0
    assert shape(await page(store, channel)) == [1, 2, 3, 4, 5]
    assert (await store.expire(today=later(31))).cells == 2
    assert shape(await page(store, channel)) == [(1, 2), 3, 4, 5]
    assert (await store.expire(today=later(36))).cells == 2
    assert shape(await page(store, channel)) == [(1, 4), 5]
    assert shape(await page(store, channel, position=3)) == [(4, 4), 5]


async def test_r06_a_range_reaches_to_the_head_and_pages_follow_each_other(
    store: Store, marks: Marks
) -> None:
    channel, token = marks.channel(1), marks.hash32()
    await attach(store, channel, token)
    for _ in range(2):
        await put(store, channel, marks)
    await store.ack(channel.channel_id, token, 1, today=TODAY)
    for _ in range(2):
        await put(store, channel, marks, today=later(3))
    seen: list[int | tuple[int, int]] = []
    position = 0
    while position < 4:
        piece = await page(store, channel, position, max_cells=1)
        assert len(piece.items) == 1
        seen += shape(piece)
        position = piece.position
    assert seen == [(1, 1), 2, 3, 4]
    await store.expire(today=later(34))
    whole = await page(store, channel)
    assert (shape(whole), whole.position, whole.head) == ([(1, 4)], 4, 4)
    beyond = await page(store, channel, position=2**64 - 1)
    assert (beyond.items, beyond.position) == ((), 4)


async def test_r06_the_acknowledged_closing_cell_leaves_only_a_tombstone(store: Store, marks: Marks) -> None:
    channel, tokens = marks.channel(), [marks.hash32(), marks.hash32()]
    for token in tokens:
        await attach(store, channel, token)
    await put(store, channel, marks)
    await put(store, channel, marks, close=True)
    assert not ok(await store.ack(channel.channel_id, tokens[0], 2, today=TODAY), Acknowledged).finished
    last = ok(await store.ack(channel.channel_id, tokens[1], 2, today=TODAY), Acknowledged)
    assert last == Acknowledged(acked=2, deleted_cells=2, finished=True)
    counts = await store.counts()
    assert (counts.channels, counts.slots, counts.cells, counts.tombstones) == (0, 0, 0, 1)
    assert refused(await store.attach(channel, tokens[0], today=TODAY)) is Refusal.GONE
    deposit = await store.deposit(
        channel, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY
    )
    assert refused(deposit) is Refusal.GONE
    assert refused(await store.ack(channel.channel_id, tokens[0], 2, today=TODAY)) is Refusal.GONE
    assert refused(await store.read(channel.channel_id, 0)) is Refusal.GONE


async def test_r06_a_tombstone_stands_for_90_days(store: Store, marks: Marks) -> None:
    channel, token = marks.channel(1), marks.hash32()
    await attach(store, channel, token)
    await put(store, channel, marks, close=True)
    await store.ack(channel.channel_id, token, 1, today=TODAY)
    assert (await store.expire(today=later(90))).tombstones == 0
    assert refused(await store.attach(channel, token, today=later(90))) is Refusal.GONE
    assert (await store.expire(today=later(91))).tombstones == 1
    assert (await attach(store, channel, token, today=later(91))).created


async def test_r06_a_closing_cell_expires_after_90_days_and_leaves_a_tombstone(
    store: Store, marks: Marks
) -> None:
    channel, token = marks.channel(), marks.hash32()
    await attach(store, channel, token)
    await put(store, channel, marks)
    await put(store, channel, marks, close=True)
    await store.expire(today=later(90))
    assert shape(await page(store, channel)) == [(1, 1), 2]
    report = await store.expire(today=later(91))
    assert (report.cells, report.closed_channels, report.untouched_channels) == (1, 1, 0)
    assert refused(await store.attach(channel, token, today=later(91))) is Refusal.GONE


async def test_r06_a_channel_untouched_for_90_days_goes_without_a_tombstone(
    store: Store, marks: Marks
) -> None:
    channel, token = marks.channel(), marks.hash32()
    first = await attach(store, channel, token)
    assert (await store.expire(today=later(90))).untouched_channels == 0
    assert (await store.expire(today=later(91))).untouched_channels == 1
    counts = await store.counts()
    assert (counts.channels, counts.slots, counts.cells, counts.tombstones) == (0, 0, 0, 0)
    anew = await attach(store, channel, token, today=later(91))
    assert anew.created
    assert anew.incarnation != first.incarnation


@pytest.mark.parametrize("touch", ["attach", "deposit", "ack"])
async def test_r06_attach_deposit_and_acknowledgement_touch(store: Store, marks: Marks, touch: str) -> None:
    channel, token = marks.channel(), marks.hash32()
    await attach(store, channel, token)
    if touch == "attach":
        await attach(store, channel, token, today=later(60))
    elif touch == "deposit":
        await put(store, channel, marks, today=later(60))
    else:
        await store.ack(channel.channel_id, token, 0, today=later(60))
    assert (await store.expire(today=later(150))).untouched_channels == 0
    assert (await store.expire(today=later(151))).untouched_channels == 1


async def test_r06_a_refused_attach_does_not_touch(store: Store, marks: Marks) -> None:
    channel = marks.channel(1)
    await attach(store, channel, marks.hash32())
    assert refused(await store.attach(channel, marks.hash32(), today=later(60))) is Refusal.FULL
    assert (await store.expire(today=later(91))).untouched_channels == 1


async def test_r06_expiry_walks_past_its_step(
    store: Store, marks: Marks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chatserver.store.expiry.STEP_ROWS", 3)
    for number in range(10):
        channel = marks.channel()
        await put(store, channel, marks)
        await put(store, channel, marks, close=number % 2 == 0)
    report = await store.expire(today=later(91))
    assert (report.cells, report.closed_channels, report.untouched_channels) == (20, 5, 5)
    counts = await store.counts()
    assert (counts.channels, counts.cells, counts.tombstones) == (0, 0, 5)
    assert (await store.expire(today=later(182))).tombstones == 5


async def test_r06_the_class_live_never_reaches_a_store(store: Store, marks: Marks) -> None:
    live = replace(marks.channel(), channel_class=2)
    with pytest.raises(StoreUsageError):
        await store.attach(live, marks.hash32(), today=TODAY)
    with pytest.raises(StoreUsageError):
        await store.deposit(live, deposit_id=marks.bytes16(), close=False, body=marks.cell(), today=TODAY)
    assert (await store.counts()).channels == 0


# ------------------------------------------------------------------------------------------- R21, DESIGN 6


async def inbox(store: Store, marks: Marks) -> InboxId:
    opened = await store.open_inbox(marks.hash32(), token_hash=None, admit_all=True, today=TODAY)
    return ok(opened, InboxOpened).inbox_id


async def test_r21_registering_consumes_a_one_use_token(store: Store, marks: Marks) -> None:
    key, token = bytes(marks.hash32()), marks.hash32()
    none = await store.open_inbox(key, token_hash=None, admit_all=False, today=TODAY)
    assert refused(none) is Refusal.TOKEN_REQUIRED
    wrong = await store.open_inbox(key, token_hash=token, admit_all=False, today=TODAY)
    assert refused(wrong) is Refusal.TOKEN_INVALID
    assert await store.add_therapist_token(token, expires_day=later(3)) == Done(repeated=False)
    assert await store.add_therapist_token(token, expires_day=later(9)) == Done(repeated=True)
    late = await store.open_inbox(key, token_hash=token, admit_all=False, today=later(4))
    assert refused(late) is Refusal.TOKEN_INVALID
    opened = ok(await store.open_inbox(key, token_hash=token, admit_all=False, today=later(3)), InboxOpened)
    assert (opened.waiting, opened.created, len(opened.inbox_id)) == (0, True, 16)
    other = await store.open_inbox(bytes(marks.hash32()), token_hash=token, admit_all=False, today=TODAY)
    assert refused(other) is Refusal.TOKEN_INVALID


async def test_r21_so_many_inboxes_are_registered_and_no_token_is_lost_beyond(
    store: Store, marks: Marks
) -> None:
    keys, token = [bytes(marks.hash32()) for _ in range(SETTINGS.max_therapists)], marks.hash32()
    for key in keys:
        ok(await store.open_inbox(key, token_hash=None, admit_all=True, today=TODAY), InboxOpened)
    await store.add_therapist_token(token, expires_day=later(3))
    for admit_all in (True, False):
        more = await store.open_inbox(marks.hash32(), token_hash=token, admit_all=admit_all, today=TODAY)
        assert refused(more) is Refusal.THERAPISTS_FULL
    assert (await store.counts()).tokens == 1
    ok(await store.open_inbox(keys[0], token_hash=None, admit_all=False, today=TODAY), InboxOpened)


async def test_r21_an_inbox_that_exists_opens_without_a_token_and_consumes_none(
    store: Store, marks: Marks
) -> None:
    key, token = bytes(marks.hash32()), marks.hash32()
    first = ok(await store.open_inbox(key, token_hash=None, admit_all=True, today=TODAY), InboxOpened)
    await store.add_therapist_token(token, expires_day=later(3))
    again = ok(await store.open_inbox(key, token_hash=token, admit_all=False, today=TODAY), InboxOpened)
    assert again == replace(first, created=False)
    assert (await store.counts()).tokens == 1


async def test_r21_drops_wait_are_listed_and_go_when_acknowledged(store: Store, marks: Marks) -> None:
    inbox_id = await inbox(store, marks)
    bodies = {marks.bytes16(): marks.cell() for _ in range(2)}
    for drop_id, body in bodies.items():
        done = await store.drop(inbox_id, drop_id=drop_id, body=body, admit_hash=None, today=TODAY)
        assert done == Done(repeated=False)
    again = await store.drop(
        inbox_id, drop_id=next(iter(bodies)), body=marks.cell(), admit_hash=None, today=TODAY
    )
    assert again == Done(repeated=True)
    listed = await store.list_drops(inbox_id)
    assert {drop.drop_id: drop.body for drop in listed} == bodies
    assert [drop.drop_id for drop in listed] == sorted(bodies)
    assert await store.list_drops(inbox_id, limit=1) == listed[:1]
    assert await store.list_drops(inbox_id, after=listed[0].drop_id) == listed[1:]
    assert await store.ack_drop(inbox_id, listed[0].drop_id) == Done(repeated=False)
    assert await store.ack_drop(inbox_id, listed[0].drop_id) == Done(repeated=True)
    assert await store.list_drops(inbox_id) == listed[1:]


async def test_r21_an_inbox_is_limited_and_its_drops_expire_after_30_days(store: Store, marks: Marks) -> None:
    inbox_id = await inbox(store, marks)

    async def drop(today: Day) -> Done | Refused:
        return await store.drop(
            inbox_id, drop_id=marks.bytes16(), body=marks.cell(), admit_hash=None, today=today
        )

    assert await drop(TODAY) == Done(repeated=False)
    assert await drop(later(1)) == Done(repeated=False)
    assert refused(await drop(later(1))) is Refusal.INBOX_FULL
    assert (await store.expire(today=later(30))).drops == 0
    assert (await store.expire(today=later(31))).drops == 1
    assert await drop(later(31)) == Done(repeated=False)


async def test_r21_a_drop_into_no_inbox_is_refused(store: Store, marks: Marks) -> None:
    nobody = InboxId(marks.bytes16())
    drop = await store.drop(nobody, drop_id=marks.bytes16(), body=marks.cell(), admit_hash=None, today=TODAY)
    assert refused(drop) is Refusal.NOT_REGISTERED
    admitted = await store.admit(nobody, marks.hash32(), expires_day=later(14), today=TODAY)
    assert refused(admitted) is Refusal.NOT_REGISTERED
    assert await store.list_drops(nobody) == ()


async def test_an_admission_lets_one_first_contact_in(store: Store, marks: Marks) -> None:
    inbox_id, other_inbox, admit = await inbox(store, marks), await inbox(store, marks), marks.hash32()
    drop_id, body = marks.bytes16(), marks.cell()

    async def drop(to: InboxId, drop_id: bytes, today: Day = TODAY) -> Done | Refused:
        return await store.drop(to, drop_id=drop_id, body=body, admit_hash=admit, today=today)

    assert refused(await drop(inbox_id, drop_id)) is Refusal.ADMISSION_UNKNOWN
    assert await store.admit(inbox_id, admit, expires_day=later(14), today=TODAY) == Done(repeated=False)
    assert await store.admit(inbox_id, admit, expires_day=later(90), today=TODAY) == Done(repeated=True)
    assert refused(await drop(other_inbox, drop_id)) is Refusal.ADMISSION_UNKNOWN
    assert refused(await drop(inbox_id, drop_id, later(15))) is Refusal.ADMISSION_UNKNOWN
    assert await drop(inbox_id, drop_id, later(14)) == Done(repeated=False)
    assert await drop(inbox_id, drop_id) == Done(repeated=True)
    assert refused(await drop(inbox_id, marks.bytes16())) is Refusal.ADMISSION_USED
    await store.ack_drop(inbox_id, drop_id)
    # The answer was lost, the therapist was quicker: the same drop is no second use.
    assert await drop(inbox_id, drop_id) == Done(repeated=True)
    assert await store.list_drops(inbox_id) == ()


async def test_an_admission_is_not_used_up_by_a_refusal_and_lives_a_month_at_most(
    store: Store, marks: Marks
) -> None:
    inbox_id, admit = await inbox(store, marks), marks.hash32()
    await store.admit(inbox_id, admit, expires_day=later(4_000), today=TODAY)
    for _ in range(2):
        await store.drop(inbox_id, drop_id=marks.bytes16(), body=marks.cell(), admit_hash=None, today=TODAY)
    drop_id, body = marks.bytes16(), marks.cell()
    full = await store.drop(inbox_id, drop_id=drop_id, body=body, admit_hash=admit, today=TODAY)
    assert refused(full) is Refusal.INBOX_FULL
    await store.expire(today=later(31))
    assert await store.drop(inbox_id, drop_id=drop_id, body=body, admit_hash=admit, today=later(31)) == Done(
        repeated=False
    )
    assert (await store.expire(today=later(32))).admissions == 1


async def test_tokens_expire(store: Store, marks: Marks) -> None:
    await store.add_therapist_token(marks.hash32(), expires_day=later(2))
    assert (await store.expire(today=later(2))).tokens == 0
    assert (await store.expire(today=later(3))).tokens == 1


async def test_bundles_are_served_in_buckets_by_hash_prefix(store: Store, marks: Marks) -> None:
    keys = [bytes(marks.hash32()) for _ in range(12)]
    for number, key in enumerate(keys):
        await store.open_inbox(key, token_hash=None, admit_all=True, today=TODAY)
        published = await store.publish_bundle(
            key, bundle=f"bundle {number}".encode(), serial=2**64 - 1, not_after_day=later(3)
        )
        assert published == Done(repeated=False)
    everything = {f"bundle {number}".encode(): key for number, key in enumerate(keys)}
    whole = await store.bundles(bits=0, prefix=0)
    assert set(whole) == set(everything)
    assert [hash_token(everything[bundle]) for bundle in whole] == sorted(map(hash_token, keys))
    for bits in (1, 3, 8, 13):
        joined: list[bytes] = []
        for prefix in sorted({int.from_bytes(hash_token(key), "big") >> (256 - bits) for key in keys}):
            bucket = await store.bundles(bits=bits, prefix=prefix)
            assert all(
                int.from_bytes(hash_token(everything[bundle]), "big") >> (256 - bits) == prefix
                for bundle in bucket
            )
            joined += bucket
        assert tuple(joined) == whole


async def test_a_bundle_gives_way_only_to_a_higher_serial_and_expires(store: Store, marks: Marks) -> None:
    key = bytes(marks.hash32())

    async def publish(bundle: bytes, serial: int) -> Done | Refused:
        return await store.publish_bundle(key, bundle=bundle, serial=serial, not_after_day=later(3))

    assert refused(await publish(b"one", 1)) is Refusal.NOT_REGISTERED
    await store.open_inbox(key, token_hash=None, admit_all=True, today=TODAY)
    assert await publish(b"one", 1) == Done(repeated=False)
    assert await publish(b"one", 1) == Done(repeated=True)
    assert refused(await publish(b"other", 1)) is Refusal.BUNDLE_OLD
    assert await publish(b"two", 2) == Done(repeated=False)
    assert refused(await publish(b"one", 1)) is Refusal.BUNDLE_OLD
    assert await store.bundles(bits=0, prefix=0) == (b"two",)
    assert (await store.expire(today=later(3))).bundles == 0
    assert (await store.expire(today=later(4))).bundles == 1
    assert await store.bundles(bits=0, prefix=0) == ()
    assert refused(await publish(b"two", 2)) is Refusal.BUNDLE_OLD  # no replay of an old bundle
    assert (await store.counts()).inboxes == 1


# ------------------------------------------------------------------------------------------- our own mistakes

_WRONG: list[tuple[str, Callable[[Store, Marks], Awaitable[object]]]] = [
    ("channel id", lambda s, m: s.read(ChannelId(b"short"), 0)),
    ("position", lambda s, m: s.read(m.channel().channel_id, -1)),
    ("readers 0", lambda s, m: s.attach(m.channel(0), m.hash32(), today=TODAY)),
    ("readers 5", lambda s, m: s.attach(m.channel(5), m.hash32(), today=TODAY)),
    ("token", lambda s, m: s.attach(m.channel(), TokenHash(b""), today=TODAY)),
    (
        "body",
        lambda s, m: s.deposit(
            m.channel(), deposit_id=m.bytes16(), close=False, body=bytes(CELL_BYTES - 1), today=TODAY
        ),
    ),
    (
        "deposit id",
        lambda s, m: s.deposit(m.channel(), deposit_id=b"x", close=False, body=m.cell(), today=TODAY),
    ),
    (
        "drop",
        lambda s, m: s.drop(
            InboxId(m.bytes16()), drop_id=m.bytes16(), body=b"", admit_hash=None, today=TODAY
        ),
    ),
    ("inbox id", lambda s, m: s.ack_drop(InboxId(b"x"), m.bytes16())),
    ("identity", lambda s, m: s.open_inbox(b"x", token_hash=None, admit_all=True, today=TODAY)),
    ("serial", lambda s, m: s.publish_bundle(m.hash32(), bundle=b"", serial=2**64, not_after_day=TODAY)),
    ("bucket", lambda s, m: s.bundles(bits=3, prefix=8)),
]


@pytest.mark.parametrize("call", [call for _, call in _WRONG], ids=[name for name, _ in _WRONG])
async def test_arguments_of_a_wrong_length_are_our_mistake(
    store: Store, marks: Marks, call: Callable[[Store, Marks], Awaitable[object]]
) -> None:
    with pytest.raises(StoreUsageError):
        await call(store, marks)
    assert (await store.counts()).channels == 0


async def test_a_closed_store_says_so(store: Store, marks: Marks) -> None:
    await store.close()
    await store.close()
    with pytest.raises(StoreClosed):
        await store.attach(marks.channel(), marks.hash32(), today=TODAY)


async def test_days_are_whole_utc_days() -> None:
    assert [day_of(seconds) for seconds in (0, 86_399.9, 86_400, 1_795_000_000)] == [0, 0, 1, 20_775]
    assert ExpiredRange(first=1, last=2) != ExpiredRange(first=1, last=3)
