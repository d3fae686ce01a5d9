"""Inboxes, admissions and contact bundles on a real relay (R21, DESIGN section 6)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from chatserver.config import Config, parse
from chatserver.server import PIECE_BYTES
from chatserver.store.memory import MemoryStore
from chatserver.store.protocol import Day, StoreSettings, hash_token
from chatserver.wire import frames as f
from chatserver.wire.bundle import SignedBundle, decode_bucket, sign_bundle
from chatserver.wire.errors import ErrorCode
from chatserver.wire.ids import (
    bundle_bucket,
    bundle_path,
    find_proof_of_work,
    inbox_challenge_content,
    proof_of_work_bits,
)
from chatserver.wire.limits import AdmissionKind
from keys import signing
from support.relay import Client, Running, code_of, running_relay, seeded, until

SEED = b"\x07" * 32
IDENTITY = signing.public_key(SEED)
OPEN_TO_ALL = parse('[first_contact]\nadmission = "open"\n')
DAY_SECONDS = 86_400


async def open_inbox(client: Client, *, seed: bytes = SEED, token: bytes = b"") -> f.ServerFrame:
    challenge = await client.ask(f.InboxChallenge(request=next(client.numbers)))
    assert isinstance(challenge, f.Challenge)
    identity = signing.public_key(seed)
    content = inbox_challenge_content(challenge.nonce, identity)
    return await client.ask(
        f.InboxOpen(
            request=next(client.numbers),
            identity_key=identity,
            signature=signing.sign(seed, signing.Label.INBOX_OPEN, content),
            token=token,
        )
    )


async def opened(client: Client, *, seed: bytes = SEED, token: bytes = b"") -> f.InboxOpened:
    answer = await open_inbox(client, seed=seed, token=token)
    assert isinstance(answer, f.InboxOpened), answer
    return answer


def drop_frame(
    client: Client,
    inbox_id: bytes,
    drop_id: bytes = b"d" * 16,
    *,
    admission: AdmissionKind = AdmissionKind.OPEN,
    value: bytes = b"",
) -> f.Drop:
    return f.Drop(
        request=next(client.numbers),
        inbox_id=inbox_id,
        admission=admission,
        admission_value=value,
        drop_id=drop_id,
        body=drop_id.ljust(16_384, b"."),
    )


@asynccontextmanager
async def therapist(running: Running) -> AsyncIterator[tuple[Client, bytes]]:
    async with running.client() as client:
        yield client, (await opened(client)).inbox_id


# -- opening ------------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_r21_an_inbox_opens_for_a_signature_of_its_identity_key() -> None:
    async with running_relay() as running, running.client() as client:
        first = await opened(client)
        assert first.waiting == 0
        async with running.client() as again:
            assert (await opened(again)).inbox_id == first.inbox_id
            assert (await opened(again, seed=b"\x08" * 32)).inbox_id != first.inbox_id


@pytest.mark.asyncio
async def test_r21_a_wrong_signature_opens_nothing() -> None:
    async with running_relay() as running, running.client() as eve:
        challenge = await eve.ask(f.InboxChallenge(request=1))
        assert isinstance(challenge, f.Challenge)
        content = inbox_challenge_content(challenge.nonce, IDENTITY)
        forged = signing.sign(b"\x09" * 32, signing.Label.INBOX_OPEN, content)
        answer = await eve.ask(f.InboxOpen(request=2, identity_key=IDENTITY, signature=forged))
        assert code_of(answer) == ErrorCode.BAD_SIGNATURE
        other_label = signing.sign(SEED, signing.Label.CONTACT_BUNDLE, content)
        answer = await eve.ask(f.InboxOpen(request=2, identity_key=IDENTITY, signature=other_label))
        assert code_of(answer) == ErrorCode.BAD_SIGNATURE
        assert code_of(await eve.ask(f.InboxAck(request=3, drop_id=bytes(16)))) == ErrorCode.NOT_REGISTERED


@pytest.mark.asyncio
async def test_r21_a_challenge_is_good_for_one_attempt_on_one_connection() -> None:
    async with running_relay() as running, running.client() as client, running.client() as other:
        challenge = await client.ask(f.InboxChallenge(request=1))
        assert isinstance(challenge, f.Challenge)
        content = inbox_challenge_content(challenge.nonce, IDENTITY)
        signature = signing.sign(SEED, signing.Label.INBOX_OPEN, content)
        replay = f.InboxOpen(request=2, identity_key=IDENTITY, signature=signature)
        assert code_of(await other.ask(replay)) == ErrorCode.BAD_SIGNATURE
        await other.ask(f.InboxChallenge(request=3))
        assert code_of(await other.ask(replay)) == ErrorCode.BAD_SIGNATURE
        assert isinstance(await client.ask(replay), f.InboxOpened)
        assert code_of(await client.ask(replay)) == ErrorCode.BAD_SIGNATURE


@pytest.mark.asyncio
async def test_r21_registering_may_need_a_one_use_token() -> None:
    store = MemoryStore(rng=seeded(2))
    async with running_relay(parse('[therapists]\nadmission = "token"\n'), store=store) as running:
        today = running.relay.today()
        await store.add_therapist_token(hash_token(b"good"), expires_day=Day(today + 1))
        async with running.client() as client:
            assert code_of(await open_inbox(client)) == ErrorCode.TOKEN_REQUIRED
            assert code_of(await open_inbox(client, token=b"bad")) == ErrorCode.TOKEN_INVALID
            await opened(client, token=b"good")
            # The token is used up; an inbox that exists needs none.
            other = await open_inbox(client, seed=b"\x08" * 32, token=b"good")
            assert code_of(other) == ErrorCode.TOKEN_INVALID
            await opened(client)


# -- first contacts -----------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_r21_a_drop_waits_is_pushed_and_goes_when_acknowledged() -> None:
    async with running_relay(OPEN_TO_ALL) as running, therapist(running) as (doctor, inbox_id):
        async with running.client() as client:
            frame = drop_frame(client, inbox_id)
            assert isinstance(await client.ask(frame), f.Done)
        pushed = await doctor.push()
        assert pushed == f.InboxCell(drop_id=b"d" * 16, body=frame.body)
        async with running.client() as later:
            assert (await opened(later)).waiting == 1
            assert await later.push() == pushed
            assert isinstance(await later.ask(f.InboxAck(request=50, drop_id=b"d" * 16)), f.Done)
            assert (await opened(later)).waiting == 0
            assert await later.nothing_pushed()


@pytest.mark.asyncio
async def test_r21_many_waiting_drops_come_once_each() -> None:
    async with running_relay(OPEN_TO_ALL) as running:
        async with therapist(running) as (_, inbox_id):
            pass
        ids = {hashlib.sha256(bytes([number])).digest()[:16] for number in range(40)}
        async with running.client() as client:
            for drop_id in ids:
                await client.ask(drop_frame(client, inbox_id, drop_id))
        async with running.client() as doctor:
            assert (await opened(doctor)).waiting == 40
            seen = [await doctor.push() for _ in range(40)]
            assert {cell.drop_id for cell in seen if isinstance(cell, f.InboxCell)} == ids
            assert await doctor.nothing_pushed()


@pytest.mark.asyncio
async def test_r21_a_drop_repeated_is_done_again_and_pushed_once() -> None:
    async with running_relay(OPEN_TO_ALL) as running, therapist(running) as (doctor, inbox_id):
        async with running.client() as client:
            for _ in range(2):
                assert isinstance(await client.ask(drop_frame(client, inbox_id)), f.Done)
        assert isinstance(await doctor.push(), f.InboxCell)
        assert await doctor.nothing_pushed()


@pytest.mark.asyncio
async def test_r21_an_inbox_holds_so_many_and_keeps_them_30_days() -> None:
    store = MemoryStore(StoreSettings(inbox_max_waiting=1), rng=seeded(2))
    async with running_relay(OPEN_TO_ALL, store=store) as running:
        async with therapist(running) as (_, inbox_id), running.client() as client:
            await client.ask(drop_frame(client, inbox_id, b"1" * 16))
            full = await client.ask(drop_frame(client, inbox_id, b"2" * 16))
            assert code_of(full) == ErrorCode.INBOX_FULL
        running.clock.advance(31 * DAY_SECONDS)
        await running.relay.expire()
        async with running.client() as doctor:
            assert (await opened(doctor)).waiting == 0


@pytest.mark.asyncio
async def test_r21_a_drop_of_another_size_ends_the_connection() -> None:
    async with running_relay(OPEN_TO_ALL) as running, running.client() as client:
        await client.socket.send(drop_frame(client, bytes(16)).encode() + b"x")
        assert await client.failure() == ErrorCode.BAD_SIZE


@pytest.mark.asyncio
async def test_r21_an_unknown_inbox_is_refused() -> None:
    async with running_relay(OPEN_TO_ALL) as running, running.client() as client:
        assert code_of(await client.ask(drop_frame(client, b"?" * 16))) == ErrorCode.NOT_REGISTERED


# -- admission ----------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_r21_by_invitation_only_and_each_once() -> None:
    async with running_relay() as running, therapist(running) as (doctor, inbox_id):
        today = running.relay.today()
        admit = f.Admit(request=90, admit_hash=hashlib.sha256(b"v" * 32).digest(), expires_day=today + 14)
        assert isinstance(await doctor.ask(admit), f.Done)
        async with running.client(greet=False) as client:
            assert (await client.greet()).pow_bits == 255
            bare = await client.ask(drop_frame(client, inbox_id))
            assert code_of(bare) == ErrorCode.ADMISSION_REQUIRED
            worked = drop_frame(client, inbox_id, admission=AdmissionKind.POW, value=bytes(8))
            assert code_of(await client.ask(worked)) == ErrorCode.ADMISSION_REQUIRED
            for value in (b"w" * 32, b"v" * 31, b""):
                unknown = drop_frame(client, inbox_id, admission=AdmissionKind.INVITE, value=value)
                assert code_of(await client.ask(unknown)) == ErrorCode.ADMISSION_UNKNOWN
            for drop_id, expected in ((b"1" * 16, f.Done), (b"1" * 16, f.Done), (b"2" * 16, f.Refused)):
                invited = drop_frame(
                    client, inbox_id, drop_id, admission=AdmissionKind.INVITE, value=b"v" * 32
                )
                assert isinstance(await client.ask(invited), expected)


@pytest.mark.asyncio
async def test_r21_an_invitation_ends_with_its_day() -> None:
    async with running_relay() as running, therapist(running) as (doctor, inbox_id):
        today = running.relay.today()
        admit = f.Admit(request=90, admit_hash=hashlib.sha256(b"v" * 32).digest(), expires_day=today + 14)
        await doctor.ask(admit)
        running.clock.advance(15 * DAY_SECONDS)
        await running.relay.expire()
        async with running.client() as client:
            late = drop_frame(client, inbox_id, admission=AdmissionKind.INVITE, value=b"v" * 32)
            assert code_of(await client.ask(late)) == ErrorCode.ADMISSION_UNKNOWN


@pytest.mark.asyncio
async def test_r21_admitting_needs_an_open_inbox() -> None:
    async with running_relay() as running, running.client() as client:
        admit = f.Admit(request=1, admit_hash=bytes(32), expires_day=99_999)
        assert code_of(await client.ask(admit)) == ErrorCode.NOT_REGISTERED
        publish = f.Publish(request=2, bundle=b"")
        assert code_of(await client.ask(publish)) == ErrorCode.NOT_REGISTERED


def test_a_proof_of_work_is_bound_to_one_drop() -> None:
    nonce = find_proof_of_work(b"i" * 16, b"d" * 16, b"body", 8)
    assert proof_of_work_bits(b"i" * 16, b"d" * 16, b"body", nonce) >= 8
    others = [
        proof_of_work_bits(b"j" * 16, b"d" * 16, b"body", nonce),
        proof_of_work_bits(b"i" * 16, b"e" * 16, b"body", nonce),
        proof_of_work_bits(b"i" * 16, b"d" * 16, b"other", nonce),
    ]
    assert min(others) < 8


@pytest.mark.asyncio
async def test_r21_admission_by_proof_of_work() -> None:
    config = parse('[first_contact]\nadmission = "pow"\npow_bits = 8\n')
    async with (
        running_relay(config) as running,
        therapist(running) as (_, inbox_id),
        running.client(greet=False) as client,
    ):
        assert (await client.greet()).pow_bits == 8
        bare = drop_frame(client, inbox_id)
        assert code_of(await client.ask(bare)) == ErrorCode.ADMISSION_REQUIRED
        nonce = find_proof_of_work(inbox_id, b"d" * 16, bare.body, 8)
        worked = drop_frame(client, inbox_id, admission=AdmissionKind.POW, value=nonce)
        assert isinstance(await client.ask(worked), f.Done)
        stolen = drop_frame(client, inbox_id, b"e" * 16, admission=AdmissionKind.POW, value=nonce)
        assert code_of(await client.ask(stolen)) == ErrorCode.POW_INVALID
        short = drop_frame(client, inbox_id, admission=AdmissionKind.POW, value=b"")
        assert code_of(await client.ask(short)) == ErrorCode.POW_INVALID


@pytest.mark.asyncio
async def test_onion_connections_need_work_where_others_need_nothing() -> None:
    config = parse(
        '[listen]\nonion_proxies = ["127.0.0.1"]\n[first_contact]\nadmission = "open"\npow_bits = 9\n'
    )
    async with running_relay(config) as running, running.client(greet=False) as client:
        assert (await client.greet()).pow_bits == 9
        assert code_of(await client.ask(drop_frame(client, bytes(16)))) == ErrorCode.ADMISSION_REQUIRED


# -- bundles ------------------------------------------------------------------------------------------------


def bundle(running: Running, *, seed: bytes = SEED, serial: int = 1, days: int = 3) -> SignedBundle:
    return sign_bundle(
        seed, not_after_day=running.relay.today() + days, serial=serial, content=f"bundle {serial}".encode()
    )


async def fetch(running: Running, path: str) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session, session.get(running.http_url + path) as answer:
        return answer.status, await answer.read()


@pytest.mark.asyncio
async def test_bundles_are_published_by_their_identity_and_served_in_buckets() -> None:
    async with running_relay() as running, therapist(running) as (doctor, _):
        assert await fetch(running, bundle_path(0, 0)) == (200, b"\0")
        mine = bundle(running)
        assert isinstance(await doctor.ask(f.Publish(request=90, bundle=mine.encode())), f.Done)
        status, data = await fetch(running, bundle_path(0, 0))
        assert status == 200
        (served,) = decode_bucket(data, max_bytes=1 << 20)
        assert served == mine
        served.verify()
        replaced = bundle(running, serial=2)
        await doctor.ask(f.Publish(request=91, bundle=replaced.encode()))
        _, data = await fetch(running, bundle_path(0, 0))
        assert decode_bucket(data, max_bytes=1 << 20) == [replaced]
        old = await doctor.ask(f.Publish(request=92, bundle=mine.encode()))
        assert code_of(old) == ErrorCode.BUNDLE_OLD


@pytest.mark.asyncio
async def test_bundles_of_others_forged_expired_or_endless_are_refused() -> None:
    async with running_relay() as running, therapist(running) as (doctor, _):
        good = bundle(running)
        forged = SignedBundle(
            identity_key=good.identity_key,
            not_after_day=good.not_after_day,
            serial=9,
            content=good.content,
            signature=good.signature,
        )
        for number, bad in enumerate(
            (
                bundle(running, seed=b"\x08" * 32).encode(),
                forged.encode(),
                bundle(running, days=-1).encode(),
                bundle(running, days=400).encode(),
                good.encode()[:-1],
                b"",
            )
        ):
            answer = await doctor.ask(f.Publish(request=100 + number, bundle=bad))
            assert code_of(answer) == ErrorCode.BUNDLE_INVALID


@pytest.mark.asyncio
async def test_buckets_are_as_coarse_as_the_relay_says() -> None:
    async with running_relay(parse("[bundles]\nbucket_bits = 4\n")) as running:
        async with therapist(running) as (doctor, _):
            await doctor.ask(f.Publish(request=90, bundle=bundle(running).encode()))
        right = bundle_bucket(IDENTITY, 4)
        for prefix in range(16):
            status, data = await fetch(running, bundle_path(4, prefix))
            assert status == 200
            assert len(decode_bucket(data, max_bytes=1 << 20)) == (prefix == right)
        for path in ("5/00", "4/", "4/x", "4/00", "4/g", "0/1", "-1/0", "999/0", "4", "4/0/0", "٤/0"):
            status, _ = await fetch(running, "/v1/bundles/" + path)
            assert status == 404, path


@pytest.mark.asyncio
async def test_fetching_buckets_is_limited_by_address() -> None:
    config = parse("[limits]\nbundle_fetches_per_minute = 1\n")
    async with running_relay(config) as running:
        statuses = [(await fetch(running, bundle_path(0, 0)))[0] for _ in range(51)]
        assert statuses == [200] * 50 + [429]


@pytest.mark.asyncio
async def test_fetching_buckets_by_onion_is_limited_for_all_together() -> None:
    config = parse('[listen]\nonion_proxies = ["127.0.0.1"]\n[limits]\nbundle_fetches_per_minute = 1\n')
    async with running_relay(config) as running:
        statuses = [(await fetch(running, bundle_path(0, 0)))[0] for _ in range(51)]
        assert statuses == [200] * 50 + [429]


@pytest.mark.asyncio
async def test_a_bucket_is_fed_to_a_slow_reader_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    big = bytes(range(256)) * (1 << 16)  # 16 MiB: more than the buffers of the system hold

    async def bucket(_bits: int, _prefix: int) -> bytes:
        return big

    async with running_relay() as running:
        monkeypatch.setattr(running.relay, "bucket", bucket)
        assert await fetch(running, bundle_path(0, 0)) == (200, big)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=1 << 10)
        writer.write(f"GET {bundle_path(0, 0)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)
        ((transport, _),) = running.server.door._waiting.values()
        assert 0 < transport.get_write_buffer_size() <= 4 * PIECE_BYTES
        # Whoever is cut off while being fed is no fault of the relay.
        running.clock.advance(61)
        running.server.door.sweep()
        writer.close()
        assert (await fetch(running, bundle_path(0, 0)))[0] == 200
        assert running.log == []


@pytest.mark.asyncio
async def test_inbox_requests_have_a_rate_of_their_own() -> None:
    config = parse("[limits]\ninbox_requests_per_minute = 2\n")
    async with running_relay(config) as running, therapist(running) as (doctor, _):
        assert code_of(await doctor.ask(f.InboxChallenge(request=77))) == ErrorCode.RATE


@pytest.mark.asyncio
async def test_a_connection_that_left_its_inbox_is_forgotten() -> None:
    async with running_relay(OPEN_TO_ALL) as running:
        async with therapist(running) as (_, inbox_id):
            assert running.relay.inboxes.is_open(inbox_id)
        await until(lambda: not running.relay.peers)
        assert not running.relay.inboxes.is_open(inbox_id)


def test_the_default_is_by_invitation() -> None:
    assert Config().first_contact.admission == "invite"
