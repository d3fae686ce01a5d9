"""The vault on disk: wrong passphrase, damage, a second process, a crash, an older and a newer program."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keys.device_vault import Vault
from keys.passphrase import TEST_COST
from keys.vault import (
    EmptyPassphrase,
    VaultBusy,
    VaultDamaged,
    VaultError,
    VaultExists,
    VaultMissing,
    VaultTooNew,
    WrongPassphrase,
)
from keys.vault_files import put_in_place
from keys.vault_schema import MIGRATIONS

REPOSITORY = Path(__file__).parents[2]
PASSPHRASE = "four words of 1947"
PLANTED = "مجھے نیند نہیں آتی, planted and not to be found".encode()
PLANTED_KEY = b"planted key, not to be found"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The folder of a closed vault that holds one planted value."""
    home = tmp_path / "home"
    with Vault.create(home, PASSPHRASE, cost=TEST_COST) as vault, vault.transaction() as transaction:
        transaction.put("planted space", PLANTED_KEY, PLANTED)
    return home


def content(home: Path, passphrase: str = PASSPHRASE) -> bytes | None:
    with Vault.open(home, passphrase) as vault, vault.transaction() as transaction:
        return transaction.get("planted space", PLANTED_KEY)


def files(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in home.iterdir() if path.name != "vault.lock"}


def child(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def test_what_was_written_is_there_after_reopening(home: Path) -> None:
    assert content(home) == PLANTED


def test_wrong_passphrase_is_said_and_harms_nothing(home: Path) -> None:
    before = files(home)
    with pytest.raises(WrongPassphrase):
        Vault.open(home, "another passphrase")
    assert files(home) == before
    assert content(home) == PLANTED


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_empty_passphrase_is_refused(home: Path, tmp_path: Path, empty: str) -> None:
    with pytest.raises(EmptyPassphrase):
        Vault.create(tmp_path / "second", empty, cost=TEST_COST)
    assert not (tmp_path / "second").exists()
    with pytest.raises(EmptyPassphrase):
        Vault.open(home, empty)
    with Vault.open(home, PASSPHRASE) as vault, pytest.raises(EmptyPassphrase):
        vault.change_passphrase(PASSPHRASE, empty, cost=TEST_COST)
    assert content(home) == PLANTED


def test_passphrase_composed_otherwise_is_the_same(tmp_path: Path) -> None:
    Vault.create(tmp_path / "home", "caf\u00e9 \u0622", cost=TEST_COST).close()
    Vault.open(tmp_path / "home", "cafe\u0301 \u0627\u0653").close()


def test_changed_passphrase_is_the_only_one_that_opens(home: Path) -> None:
    with Vault.open(home, PASSPHRASE) as vault:
        with pytest.raises(WrongPassphrase):
            vault.change_passphrase("not this one", "new", cost=TEST_COST)
        vault.change_passphrase(PASSPHRASE, "the new one", cost=TEST_COST)
    with pytest.raises(WrongPassphrase):
        Vault.open(home, PASSPHRASE)
    assert content(home, "the new one") == PLANTED


def test_old_key_block_is_overwritten_when_the_passphrase_changes(home: Path) -> None:
    with (home / "vault.key").open("rb") as old_file, Vault.open(home, PASSPHRASE) as vault:
        vault.change_passphrase(PASSPHRASE, "the new one", cost=TEST_COST)
        assert not any(old_file.read())


@pytest.mark.parametrize("at", [0, 9, 15, 40, 60, 90, 141])
def test_damaged_key_file_is_damage_and_not_a_wrong_passphrase(home: Path, at: int) -> None:
    block = bytearray((home / "vault.key").read_bytes())
    block[at] ^= 1
    (home / "vault.key").write_bytes(block)
    before = files(home)
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)
    assert files(home) == before


@pytest.mark.parametrize("block", [b"", b"short", bytes(142), bytes(200)])
def test_key_file_that_is_none(home: Path, block: bytes) -> None:
    (home / "vault.key").write_bytes(block)
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)


@pytest.mark.parametrize("at", [0, 20, 2000, 4095, 4096, 5000, -1])
def test_damaged_database_is_said_and_not_touched(home: Path, at: int) -> None:
    database = bytearray((home / "vault.db").read_bytes())
    database[at] ^= 0x10
    (home / "vault.db").write_bytes(database)
    before = files(home)
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)
    assert files(home) == before


@pytest.mark.parametrize("length", [0, 1, 4096, 4097])
def test_cut_database_is_said_and_not_touched(home: Path, length: int) -> None:
    (home / "vault.db").write_bytes((home / "vault.db").read_bytes()[:length])
    before = files(home)
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)
    assert files(home) == before


def test_database_of_another_vault_is_damage(home: Path, tmp_path: Path) -> None:
    Vault.create(tmp_path / "other", PASSPHRASE, cost=TEST_COST).close()
    shutil.copy(tmp_path / "other" / "vault.db", home / "vault.db")
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)


@pytest.mark.parametrize("name", ["vault.key", "vault.db"])
def test_missing_file_is_damage_and_the_other_is_not_replaced(home: Path, name: str) -> None:
    (home / name).unlink()
    before = files(home)
    with pytest.raises(VaultDamaged):
        Vault.open(home, PASSPHRASE)
    with pytest.raises(VaultError):
        Vault.create(home, PASSPHRASE, cost=TEST_COST)
    assert files(home) == before


def test_no_vault_and_one_too_many(home: Path, tmp_path: Path) -> None:
    with pytest.raises(VaultMissing):
        Vault.open(tmp_path / "nothing here", PASSPHRASE)
    with pytest.raises(VaultExists):
        Vault.create(home, "another", cost=TEST_COST)
    assert content(home) == PLANTED


def test_second_process_is_told_that_the_vault_is_busy(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from keys.device_vault import Vault\n"
        "vault = Vault.open(Path(sys.argv[1]), sys.argv[2])\n"
        "print('open', flush=True); sys.stdin.read(); vault.close()"
    )
    with child(program, str(home), PASSPHRASE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        with pytest.raises(VaultBusy):
            Vault.open(home, PASSPHRASE)
        with pytest.raises(VaultBusy):
            Vault.wipe(home)
        holder.communicate()
    assert content(home) == PLANTED


def test_second_vault_object_of_the_same_process_is_told_too(home: Path) -> None:
    with Vault.open(home, PASSPHRASE), pytest.raises(VaultBusy):
        Vault.open(home, PASSPHRASE)


def test_process_killed_in_the_middle_of_a_transaction_leaves_the_old_state(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from keys.device_vault import Vault\n"
        "vault = Vault.open(Path(sys.argv[1]), sys.argv[2])\n"
        "with vault.transaction() as transaction:\n"
        "    transaction.put('committed', b'key', b'value')\n"
        "with vault.transaction() as transaction:\n"
        "    transaction.delete_all('planted space')\n"
        # More than the page cache holds, so that pages of the transaction are on disk already.
        "    for number in range(3000):\n"
        "        transaction.put('planted space', number.to_bytes(2, 'big'), bytes(4096))\n"
        "    print('in the middle', flush=True); sys.stdin.read()"
    )
    with child(program, str(home), PASSPHRASE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"in the middle\n"
        victim.send_signal(signal.SIGKILL)
        victim.communicate()
    with Vault.open(home, PASSPHRASE) as vault, vault.transaction() as transaction:
        assert list(transaction.items("planted space")) == [(PLANTED_KEY, PLANTED)]
        assert transaction.get("committed", b"key") == b"value"


def test_process_killed_after_a_transaction_leaves_the_new_state(home: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from keys.device_vault import Vault\n"
        "vault = Vault.open(Path(sys.argv[1]), sys.argv[2])\n"
        "with vault.transaction() as transaction:\n"
        "    transaction.put('committed', b'key', b'value')\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    with child(program, str(home), PASSPHRASE) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == b"done\n"
        victim.kill()
        victim.communicate()
    with Vault.open(home, PASSPHRASE) as vault, vault.transaction() as transaction:
        assert transaction.get("committed", b"key") == b"value"


@pytest.mark.parametrize("crash_after", ["vault.key", "nothing"])
def test_crash_while_the_vault_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash_after: str
) -> None:
    def crashing(path: Path) -> None:
        if crash_after == path.name:
            put_in_place(path)
        raise ConnectionAbortedError

    home = tmp_path / "home"
    monkeypatch.setattr("keys.device_vault.put_in_place", crashing)
    with pytest.raises(ConnectionAbortedError):
        Vault.create(home, PASSPHRASE, cost=TEST_COST)
    monkeypatch.undo()
    if crash_after == "nothing":
        Vault.create(home, PASSPHRASE, cost=TEST_COST).close()
    Vault.open(home, PASSPHRASE).close()


def test_nothing_in_the_clear_on_disk_while_open_and_closed(home: Path) -> None:
    wanted = (PLANTED, PLANTED[:12], PLANTED_KEY, b"planted space", b"SQLite format", b"CREATE TABLE")

    def found() -> list[tuple[str, bytes]]:
        return [(name, text) for name, data in files(home).items() for text in wanted if text in data]

    assert found() == []
    with Vault.open(home, PASSPHRASE) as vault:
        with vault.transaction() as transaction:
            transaction.put("planted space", b"again", PLANTED * 500)
            assert found() == []
        assert "vault.db-wal" in files(home)
        assert found() == []
    assert found() == []


def test_files_are_for_their_owner_only(home: Path) -> None:
    with Vault.open(home, PASSPHRASE) as vault, vault.transaction() as transaction:
        transaction.put("space", b"key", b"value")
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()}
        assert set(modes.values()) == {0o600}, modes


def test_log_is_overwritten_and_gone_after_closing(home: Path) -> None:
    with Vault.open(home, PASSPHRASE) as vault:
        with vault.transaction() as transaction:
            transaction.put("space", b"key", os.urandom(50_000))
        log = (home / "vault.db-wal").open("rb")
        assert any(log.read())
    log.seek(0)
    assert not any(log.read())
    log.close()
    assert not (home / "vault.db-wal").exists()


def test_power_cut_while_the_log_is_overwritten_does_not_roll_the_vault_back(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything but its head may be gone, the head is gone on disk: then the log is not played back."""
    real = os.fdatasync
    on_disk: list[bytes] = []

    def cut_here(descriptor: int) -> None:
        real(descriptor)
        on_disk.append((home / "vault.db-wal").read_bytes())
        if len(on_disk) == 1:
            shutil.copytree(home, tmp_path / "after the cut")

    with Vault.open(home, PASSPHRASE) as vault:
        for number in range(30):
            with vault.transaction() as transaction:
                transaction.put("space", b"key", bytes([number]) * 9_000)
        monkeypatch.setattr(os, "fdatasync", cut_here)
        vault.close()
    monkeypatch.undo()
    assert not any(on_disk[0][:4096])
    assert any(on_disk[0][4096:])
    assert not any(on_disk[1])
    with Vault.open(tmp_path / "after the cut", PASSPHRASE) as vault, vault.transaction() as transaction:
        assert transaction.get("space", b"key") == bytes([29]) * 9_000


def test_log_does_not_grow_without_bound(home: Path) -> None:
    with Vault.open(home, PASSPHRASE) as vault:
        for _ in range(200):
            with vault.transaction() as transaction:
                transaction.put("space", b"key", os.urandom(16_384))
        assert (home / "vault.db-wal").stat().st_size < 3 << 20


def test_database_of_a_newer_program_is_refused_and_not_touched(home: Path) -> None:
    def later(connection: Any) -> None:
        connection.execute("CREATE TABLE later (x)")

    Vault.open(home, PASSPHRASE, migrations=(*MIGRATIONS, later)).close()
    before = files(home)
    with pytest.raises(VaultTooNew) as caught:
        Vault.open(home, PASSPHRASE)
    assert (caught.value.found, caught.value.known) == (len(MIGRATIONS) + 1, len(MIGRATIONS))
    assert files(home) == before


def test_older_database_is_brought_forward_with_its_content(home: Path) -> None:
    seen: list[bool] = []

    def later(connection: Any) -> None:
        seen.append(connection.in_transaction)
        connection.execute("CREATE TABLE later AS SELECT key FROM entries")

    migrations = (*MIGRATIONS, later)
    for _ in range(2):
        with Vault.open(home, PASSPHRASE, migrations=migrations) as vault:
            with vault.transaction() as transaction:
                assert transaction.get("planted space", PLANTED_KEY) == PLANTED
            assert vault._connected().execute("SELECT key FROM later").fetchall() == [(PLANTED_KEY,)]
    assert seen == [True]


def test_migration_that_fails_in_its_last_step_leaves_the_old_format(home: Path) -> None:
    def good(connection: Any) -> None:
        connection.execute("DELETE FROM entries")

    def bad(_: Any) -> None:
        raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        Vault.open(home, PASSPHRASE, migrations=(*MIGRATIONS, good, bad))
    assert content(home) == PLANTED


def test_wiped_vault_is_gone_and_its_key_was_overwritten(home: Path) -> None:
    (home / "notes.txt").write_text("not ours")
    key_file = (home / "vault.key").open("rb")
    database = (home / "vault.db").open("rb")
    Vault.wipe(home)
    assert not any(key_file.read())
    assert not any(database.read())
    key_file.close()
    database.close()
    assert [path.name for path in home.iterdir()] == ["notes.txt"]
    with pytest.raises(VaultMissing):
        Vault.open(home, PASSPHRASE)
    with pytest.raises(VaultMissing):
        Vault.wipe(home)


def test_read_only_folder_is_one_sentence(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Vault.open(home, PASSPHRASE) as vault:
        vault._connected().execute("PRAGMA query_only = ON")
        with (
            pytest.raises(VaultError, match="could not be read or written"),
            vault.transaction() as transaction,
        ):
            transaction.put("space", b"key", b"value")


def test_messages_are_single_sentences_without_content() -> None:
    for error in (
        WrongPassphrase(),
        EmptyPassphrase(),
        VaultBusy(),
        VaultMissing(),
        VaultExists(),
        VaultDamaged("vault.db"),
        VaultTooNew(found=2, known=1),
    ):
        assert str(error).endswith((".", "`."))
        assert "\n" not in str(error)
