"""What an operator sees of therapists and takes back (R21), whether a relay runs on the store or not."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest

from chatserver.main import main
from chatserver.relay import BUCKET_SECONDS
from chatserver.store.protocol import Day, InboxOpened, Refusal, Refused, hash_token
from chatserver.store.registrations import list_registrations, remove_therapist, revoke_token, token_id
from chatserver.store.sqlite import SqliteStore, add_therapist_token, init_store
from clients.sdk.errors import Refused as RefusedByRelay
from clients.sdk.model import Role
from support.marked import Marks, remainders
from support.pair import make_device
from support.relay import running_relay
from support.relay_process import relay
from support.store_scan import files_of, runs_left

TODAY = Day(20_000)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    init_store(tmp_path / "store")
    return tmp_path / "store"


async def registered(store: SqliteStore, marks: Marks) -> tuple[bytes, InboxOpened]:
    """A therapist with a bundle and two first contacts that wait: the fingerprint and the inbox."""

    identity = bytes(marks.hash32())
    opened = await store.open_inbox(identity, token_hash=None, admit_all=True, today=TODAY)
    assert isinstance(opened, InboxOpened)
    await store.publish_bundle(identity, bundle=marks.cell()[:4_000], serial=1, not_after_day=Day(TODAY + 9))
    for _ in range(2):
        await store.drop(
            opened.inbox_id, drop_id=marks.bytes16(), body=marks.cell(), admit_hash=None, today=TODAY
        )
    return hashlib.sha256(identity).digest(), opened


def test_r21_a_token_taken_back_registers_nobody_and_leaves_no_byte(directory: Path) -> None:
    marks = Marks()
    kept, taken = marks.hash32(), marks.hash32()
    for token in (kept, taken):
        add_therapist_token(directory, token, expires_day=Day(TODAY + 3))
    assert {one.token_id for one in list_registrations(directory)[1]} == {token_id(kept), token_id(taken)}

    async def while_a_relay_runs() -> None:
        store = await SqliteStore.open(directory)
        assert await asyncio.to_thread(revoke_token, directory, token_id(taken))
        assert not await asyncio.to_thread(revoke_token, directory, taken)
        refused = await store.open_inbox(b"i" * 32, token_hash=taken, admit_all=False, today=TODAY)
        assert refused == Refused(reason=Refusal.TOKEN_INVALID)
        assert remainders(files_of(directory), [taken]) == set()
        assert remainders(files_of(directory), [kept]) != set(), "the search finds nothing"
        assert isinstance(
            await store.open_inbox(b"i" * 32, token_hash=kept, admit_all=False, today=TODAY), InboxOpened
        )
        await store.close()

    asyncio.run(while_a_relay_runs())
    assert list_registrations(directory)[1] == []


def test_h1_a_removed_therapist_leaves_neither_registration_nor_bundle_nor_first_contact(
    directory: Path,
) -> None:
    """By H1's way: the scan finds nothing while the relay runs on, and the other therapist is untouched."""
    marks = Marks()

    async def body() -> None:
        store = await SqliteStore.open(directory)
        fingerprint, inbox = await registered(store, marks)
        gone = made_since_the_identity()
        other, other_inbox = await registered(store, marks)
        assert remainders(files_of(directory), gone) != set(), "the search finds nothing"
        removed = await asyncio.to_thread(remove_therapist, directory, fingerprint)
        assert removed is not None
        assert removed.first_contacts == 2
        assert await asyncio.to_thread(remove_therapist, directory, fingerprint) is None
        assert remainders(files_of(directory), gone) == set()
        assert runs_left(files_of(directory), [fingerprint, inbox.inbox_id]) == []
        assert [one.fingerprint for one in list_registrations(directory)[0]] == [other]
        assert len(await store.bundles(bits=0, prefix=0)) == 1
        assert len(await store.list_drops(other_inbox.inbox_id)) == 2
        await store.close()

    asyncio.run(body())


@pytest.mark.asyncio
async def test_r21_nobody_reaches_a_removed_therapist(directory: Path) -> None:
    store = await SqliteStore.open(directory)
    fingerprint, inbox = await registered(store, Marks())
    await asyncio.to_thread(remove_therapist, directory, fingerprint)
    answer = await store.drop(
        inbox.inbox_id, drop_id=b"d" * 16, body=bytes(16_384), admit_hash=None, today=TODAY
    )
    assert answer == Refused(reason=Refusal.NOT_REGISTERED)
    await store.close()


def made_since_the_identity() -> list[bytes]:
    """Marks of the bundle, and of the ids and bodies of both first contacts."""
    again = Marks()
    again.mark()  # the identity key, which the store never holds
    return [again.mark() for _ in range(5)]


@pytest.mark.asyncio
async def test_a_running_relay_soon_serves_no_bundle_of_a_removed_therapist(directory: Path) -> None:
    store = await SqliteStore.open(directory)
    async with running_relay(store=store) as running:
        fingerprint, _ = await registered(store, Marks())
        assert len(await running.relay.bucket(0, 0)) > 4_000
        await asyncio.to_thread(remove_therapist, directory, fingerprint)
        running.clock.advance(BUCKET_SECONDS)
        assert len(await running.relay.bucket(0, 0)) < 4_000
    await store.close()


def test_the_commands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "store")]

    def run(*arguments: str) -> tuple[int, str]:
        code = main([*store, *arguments])
        said = capfd.readouterr()
        return code, said.out + said.err

    assert run("therapists")[0] == 3
    run("init")
    token = json.loads(run("therapist-token", "--json")[1])
    plain = run("therapist-token")[1].strip()
    listed = json.loads(run("therapists", "--json")[1])
    assert {row["id"] for row in listed["tokens"]} == {
        token["id"],
        token_id(hash_token(plain.encode())).hex(),
    }
    assert token["id"] in run("therapists")[1]
    assert run("revoke-token", token["id"])[0] == 0
    assert run("revoke-token", token["id"])[0] == 1
    assert run("revoke-token", "x" * 16)[0] == 2
    assert run("revoke-token", plain)[0] == 0
    assert json.loads(run("therapists", "--json")[1]) == {"therapists": [], "tokens": []}
    assert run("remove-therapist", "abc")[0] == 2
    assert run("remove-therapist", "ab" * 32, "--yes")[0] == 1


@pytest.mark.asyncio
async def test_a_removed_therapists_device_is_refused_and_told_what_it_needs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = '[therapists]\nadmission = "token"\n'
    async with relay(tmp_path, config=config) as process:
        store = ["--store", str(process.store)]
        device = make_device(
            tmp_path / "device", Role.THERAPIST, process.url, token=await process.therapist_token()
        )
        async with device.online():
            invitation = await device.invite()
            short = device.fingerprint.hex()[:16]
            code = await asyncio.to_thread(main, [*store, "remove-therapist", short])
            assert code == 2
            assert "0 first contacts" in capfd.readouterr().err
            assert await asyncio.to_thread(main, [*store, "remove-therapist", short, "--yes"]) == 0
        client = make_device(tmp_path / "client", Role.CLIENT, process.url)
        async with client.online():
            with pytest.raises(RefusedByRelay):
                await client.connect(invitation.link, hurry=True)
        async with device.online():
            with pytest.raises(RefusedByRelay, match="one-use token"):
                await device.invite()
        device.close()
        client.close()
