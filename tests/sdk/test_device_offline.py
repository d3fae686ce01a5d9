"""What a device does without any relay: making, opening, naming, exporting, refusing."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from clients.sdk import errors
from clients.sdk.client_contact import open_line
from clients.sdk.clock import Clock, steady_seconds
from clients.sdk.device import Device
from clients.sdk.errors import (
    AmanatError,
    BadRelayUrl,
    EmptyText,
    ExitCode,
    ExportTrouble,
    LineEnded,
    NoLine,
    PassphraseRefused,
    TextTooLong,
    UnknownLine,
    UsageError,
    VaultTrouble,
    WrongRole,
)
from clients.sdk.model import ConnectionState, LinePhase, MessageKind, MessageState, Role
from clients.sdk.records import (
    DeviceRecord,
    DropRecord,
    InvitedRecord,
    LineRecord,
    PackageRecord,
    save_device,
)
from clients.sdk.renewal import RENEW_DAYS
from clients.sdk.upkeep import therapist_of
from crypto.codec import CodecError
from crypto.errors import StateError
from keys.certificates import DeviceCertificate
from keys.passphrase import TEST_COST
from keys.vault import VaultDamaged, VaultError, WrongPassphrase
from support.contact_world import ContactWorld
from support.pair import PASSPHRASE, make_device

URL = "https://relay.example"


@pytest.fixture
def client(tmp_path: Path) -> Device:
    """A client's device with one line to a therapist that never answers."""
    world = ContactWorld()
    device = make_device(tmp_path / "client", Role.CLIENT, URL)
    invitation, contact = world.invite(), world.contact()
    with device._vault.transaction() as tx:
        opened = open_line(
            tx,
            invitation=invitation,
            contact=contact,
            name="sara",
            pause_seconds=0.0,
            rng=os.urandom,
            now=world.now,
        )
    device._engine.add_line(opened.record)
    return device


def test_a_device_is_made_opened_and_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    device = make_device(home, Role.THERAPIST, "HTTPS://Relay.Example/")
    assert (device.role, device.relay_url, device.display_name) == (Role.THERAPIST, URL, "Dr Sara")
    assert len(device.fingerprint) == 32
    assert device.connection_state is ConnectionState.OFFLINE
    assert device.lines() == []
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    fingerprint = device.fingerprint
    with pytest.raises(VaultTrouble):
        Device.open(home, PASSPHRASE)
    device.close()
    device.close()
    again = Device.open(home, PASSPHRASE)
    assert again.fingerprint == fingerprint
    again.close()


def test_what_cannot_be_made_or_opened_says_so(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for url in ("relay.example", "http://relay.example", "ftp://x", ""):
        with pytest.raises(BadRelayUrl):
            make_device(home, Role.CLIENT, url)
    with pytest.raises(PassphraseRefused) as empty:
        Device.create(home, role=Role.CLIENT, relay_url=URL, passphrase="", cost=TEST_COST)
    assert empty.value.exit_code is ExitCode.WRONG_PASSPHRASE
    with pytest.raises(UsageError):
        Device.create(
            home,
            role=Role.THERAPIST,
            relay_url=URL,
            passphrase="x",
            display_name="x" * 65,
            cost=TEST_COST,
        )
    with pytest.raises(VaultTrouble) as missing:
        Device.open(home, PASSPHRASE)
    assert missing.value.exit_code is ExitCode.VAULT_TROUBLE
    make_device(home, Role.CLIENT, URL).close()
    with pytest.raises(VaultTrouble):
        make_device(home, Role.CLIENT, URL)
    with pytest.raises(PassphraseRefused):
        Device.open(home, "wrong")


def test_the_passphrase_can_be_changed_and_the_vault_wiped(tmp_path: Path) -> None:
    home = tmp_path / "home"
    make_device(home, Role.CLIENT, URL).close()
    with pytest.raises(PassphraseRefused):
        Device.change_passphrase(home, "wrong", "new")
    with pytest.raises(PassphraseRefused):
        Device.change_passphrase(home, PASSPHRASE, "")
    Device.change_passphrase(home, PASSPHRASE, "new", cost=TEST_COST)
    with pytest.raises(PassphraseRefused):
        Device.open(home, PASSPHRASE)
    Device.open(home, "new").close()
    Device.wipe(home)
    with pytest.raises(VaultTrouble):
        Device.wipe(home)


def test_texts_are_queued_and_shown_offline(client: Device) -> None:
    item_id = client.send_text("sara", "سلام")
    (message,) = client.messages("sara")
    assert (message.item_id, message.text, message.sender) == (item_id, "سلام", "me")
    assert (message.state, message.kind) == (MessageState.QUEUED, MessageKind.TEXT)
    assert "سلام" not in repr(message)
    line = client.line()
    assert (line.phase, line.waiting_to_send, line.unread) == (LinePhase.OPENING, 1, 0)
    assert line.peer_name == "Dr Sara"
    assert client.new_messages() == []
    client.mark_read("sara")
    client.mark_told("sara", ["nothing"])


def test_refusals_name_what_is_wrong(client: Device) -> None:
    with pytest.raises(TextTooLong):
        client.send_text("sara", "x" * 12_289)
    with pytest.raises(EmptyText):
        client.send_text("sara", "")
    with pytest.raises(UsageError, match="no valid Unicode"):
        client.send_text("sara", "\udcff")
    for call in (client.messages, client.mark_read, client.safety_number, client.offers, client.session):
        with pytest.raises(UnknownLine, match="nobody"):
            call("nobody")
    with pytest.raises(WrongRole):
        _ = client.fingerprint
    with pytest.raises(WrongRole):
        client.offer("sara", 2**40)
    with pytest.raises(WrongRole):
        client.use_therapist_token("x")
    with pytest.raises(UsageError):
        client.decline_offer("sara", "00" * 16)


def test_lines_are_named_by_their_owner(client: Device) -> None:
    assert client.rename_line("sara", " Dr. S ") == "Dr. S"
    assert client.line("Dr. S").name == "Dr. S"
    for wrong in ("", " ", "x" * 65):
        with pytest.raises(UsageError):
            client.rename_line("Dr. S", wrong)
    with pytest.raises(UnknownLine):
        client.line("sara")


def test_without_a_line_there_is_nothing_to_guess(tmp_path: Path) -> None:
    device = make_device(tmp_path / "empty", Role.CLIENT, URL)
    with pytest.raises(NoLine):
        device.line()
    device.close()
    assert "several" in str(NoLine(2))


def test_the_safety_number_has_60_digits_and_a_code(client: Device) -> None:
    number = client.safety_number("sara")
    assert [len(group) for group in number.split()] == [5] * 12
    assert client.safety_number_qr("sara").endswith(number.replace(" ", "").encode())
    client.confirm_safety_number("sara")
    assert client.line().safety_number_confirmed


def test_r22_a_blocked_line_is_over_at_once(client: Device) -> None:
    client.send_text("sara", "never mind")
    client.end_line("sara", block=True)
    assert client.line().phase is LinePhase.ENDED
    with pytest.raises(LineEnded):
        client.send_text("sara", "more")
    with pytest.raises(LineEnded):
        client.end_line("sara")
    assert [message.state for message in client.messages("sara")] == [MessageState.FAILED]
    client.end_line("sara", delete_texts=True)
    assert client.messages("sara") == []


def test_r09_an_export_holds_texts_and_identity_but_no_key_of_an_epoch(
    client: Device, tmp_path: Path
) -> None:
    client.send_text("sara", "to be kept")
    file = tmp_path / "export"
    with pytest.raises(PassphraseRefused):
        client.export_to(file, "")
    client.export_to(file, "p", cost=TEST_COST)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(ExportTrouble):
        client.export_to(tmp_path / "no" / "folder", "p", cost=TEST_COST)
    for data, passphrase, expected in (
        (file.read_bytes(), "wrong", PassphraseRefused),
        (b"something else", "p", ExportTrouble),
        (file.read_bytes()[:-1], "p", ExportTrouble),
    ):
        copy = tmp_path / "copy"
        copy.write_bytes(data)
        with pytest.raises(expected):
            Device.import_from(
                copy, home=tmp_path / "new", passphrase=passphrase, new_passphrase="n", cost=TEST_COST
            )
    with pytest.raises(ExportTrouble):
        Device.import_from(tmp_path / "missing", home=tmp_path / "new", passphrase="p", new_passphrase="n")
    assert not (tmp_path / "new" / "vault.key").exists()
    imported = Device.import_from(
        file,
        home=tmp_path / "new",
        passphrase="p",
        new_passphrase="n",
        relay_url="https://other.example",
        cost=TEST_COST,
    )
    assert imported.relay_url == "https://other.example"
    assert imported.safety_number("sara") == client.safety_number("sara")
    assert [message.text for message in imported.messages("sara")] == ["to be kept"]
    imported.close()


def test_a_therapists_export_takes_the_identity_along_and_a_new_inbox_key(tmp_path: Path) -> None:
    device = make_device(tmp_path / "therapist", Role.THERAPIST, URL)
    file = tmp_path / "export"
    device.export_to(file, "p", cost=TEST_COST)
    imported = Device.import_from(
        file, home=tmp_path / "new", passphrase="p", new_passphrase="n", cost=TEST_COST
    )
    assert imported.fingerprint == device.fingerprint
    assert imported.display_name == "Dr Sara"
    before, after = device._engine.record.therapist, imported._engine.record.therapist
    assert before is not None
    assert after is not None
    assert before.inbox_private != after.inbox_private
    device.close()
    imported.close()


def test_online_twice_at_once_is_the_callers_fault(client: Device) -> None:
    client._engine.prepare()
    with pytest.raises(StateError):
        client._engine.prepare()


@pytest.mark.parametrize(
    "decode",
    [
        DeviceRecord.decode,
        DropRecord.decode,
        InvitedRecord.decode,
        PackageRecord.decode,
        lambda data: LineRecord.decode(bytes(16), data),
    ],
)
def test_damaged_records_are_noticed(decode: object) -> None:
    assert callable(decode)
    for data in (b"", b"\x01", b"\x02" + bytes(200), b"\x01" + b"\xff" * 300):
        with pytest.raises(CodecError):
            decode(data)


def test_every_error_is_one_sentence_with_an_exit_code() -> None:
    found = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AmanatError)
    ]
    assert len(found) > 20
    assert {int(kind.exit_code) for kind in found} <= set(range(10))
    assert errors.from_vault_error(WrongPassphrase()).exit_code is ExitCode.WRONG_PASSPHRASE
    assert errors.from_vault_error(VaultDamaged("x")).exit_code is ExitCode.VAULT_TROUBLE
    assert errors.from_vault_error(VaultError("x")).exit_code is ExitCode.VAULT_TROUBLE
    assert AmanatError("x", exit_code=ExitCode.USAGE).exit_code is ExitCode.USAGE


def test_scaled_time_runs_faster_and_only_forward() -> None:
    clock = Clock(1_000.0)
    first = clock.now()
    assert clock.now() >= first
    assert clock.real(1_000.0) == 1.0
    assert clock.real(-1.0) == 0.0
    assert steady_seconds() <= steady_seconds()
    with pytest.raises(ValueError, match="forward"):
        Clock(0.0)


@pytest.mark.parametrize(
    ("over", "words"), [(1, "1 byte too long"), (2, "2 bytes too long"), (1_200, "1,200 bytes")]
)
def test_a_text_too_long_is_told_in_words_that_count(over: int, words: str) -> None:
    assert f"This text is {words}" in TextTooLong(over).sentence


def _renewed(before: DeviceCertificate, after: DeviceCertificate) -> bool:
    assert (after.device_id, after.device_key) == (before.device_id, before.device_key)
    return after.not_after_day > before.not_after_day


def test_r17_a_clients_certificates_are_renewed_in_their_last_months(client: Device, tmp_path: Path) -> None:
    engine = client._engine
    (line_id,) = engine.lines
    before = DeviceCertificate.decode(engine.keys_of(line_id).certificate)
    late = (before.not_after_day - RENEW_DAYS) * 86_400.0
    for now, renewed in ((late, False), (late + 86_400, True)):
        engine._renew_certificates(now)
        assert _renewed(before, DeviceCertificate.decode(engine.keys_of(line_id).certificate)) is renewed
    after = engine.keys_of(line_id).certificate
    client.close()
    again = Device.open(tmp_path / "client", PASSPHRASE)
    assert again._engine.keys_of(line_id).certificate == after
    with again._engine.drivers[line_id].machine._look() as step:
        assert step.state.update_due  # brings it into the line
    again.close()


def test_r17_a_therapists_certificate_is_renewed_and_published(tmp_path: Path) -> None:
    device = make_device(tmp_path / "therapist", Role.THERAPIST, URL)
    engine = device._engine
    before = DeviceCertificate.decode(therapist_of(engine.record).keys.certificate)
    with engine.vault.transaction() as tx:
        state = replace(therapist_of(engine.record), published_day=1)
        save_device(tx, replace(engine.record, therapist=state))
    engine._renew_certificates((before.not_after_day - RENEW_DAYS + 1) * 86_400.0)
    device.close()
    again = Device.open(tmp_path / "therapist", PASSPHRASE)
    state = therapist_of(again._engine.record)
    assert _renewed(before, DeviceCertificate.decode(state.keys.certificate))
    assert state.published_day == 0
    again.close()
