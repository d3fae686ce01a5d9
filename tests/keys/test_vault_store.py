"""What every vault promises, shown on each implementation."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.errors import StateError
from keys.device_vault import Vault
from keys.memory_vault import MemoryVault
from keys.passphrase import TEST_COST
from keys.vault import VaultStore


@pytest.fixture(params=["memory", "sqlcipher"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultStore]:
    make: dict[str, Callable[[], VaultStore]] = {
        "memory": MemoryVault,
        "sqlcipher": lambda: Vault.create(tmp_path / "home", "a passphrase", cost=TEST_COST),
    }
    store = make[request.param]()
    yield store
    store.close()


def fill(vault: VaultStore) -> None:
    with vault.transaction() as transaction:
        for key in (b"", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\x01"):
            transaction.put("space", key, b"value of " + key)
        transaction.put("other", b"a", b"elsewhere")


def test_value_read_back_in_a_later_transaction(vault: VaultStore) -> None:
    with vault.transaction() as transaction:
        transaction.put("space", b"key", b"value")
        transaction.put("space", b"empty", b"")
    with vault.transaction() as transaction:
        assert transaction.get("space", b"key") == b"value"
        assert transaction.get("space", b"empty") == b""
        assert transaction.get("space", b"no such key") is None
        assert transaction.get("no such space", b"key") is None


def test_put_replaces_and_delete_removes(vault: VaultStore) -> None:
    fill(vault)
    with vault.transaction() as transaction:
        transaction.put("space", b"a", b"new")
        transaction.delete("space", b"b")
        transaction.delete("space", b"never there")
    with vault.transaction() as transaction:
        assert transaction.get("space", b"a") == b"new"
        assert transaction.get("space", b"b") is None
        assert transaction.get("other", b"a") == b"elsewhere"


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\xff", b"\xff", b"\xff\xff", b"c"])
def test_items_have_the_prefix_and_come_in_key_order(vault: VaultStore, prefix: bytes) -> None:
    fill(vault)
    keys = sorted(
        key
        for key in (b"", b"a", b"a\x00", b"a\xff", b"a\xff\xff", b"b", b"\xff", b"\xff\xff\x01")
        if key.startswith(prefix)
    )
    with vault.transaction() as transaction:
        assert [key for key, _ in transaction.items("space", prefix)] == keys
        assert [key for key, _ in transaction.items("space", prefix, reverse=True)] == keys[::-1]
        assert [key for key, _ in transaction.items("space", prefix, limit=1)] == keys[:1]
        assert [key for key, _ in transaction.items("space", prefix, reverse=True, limit=1)] == keys[::-1][:1]


@pytest.mark.parametrize("prefix", [b"", b"a", b"a\xff", b"\xff"])
def test_delete_all_takes_the_prefix_and_nothing_else(vault: VaultStore, prefix: bytes) -> None:
    fill(vault)
    with vault.transaction() as transaction:
        before = [key for key, _ in transaction.items("space")]
        transaction.delete_all("space", prefix)
        after = [key for key, _ in transaction.items("space")]
        assert after == [key for key in before if not key.startswith(prefix)]
        assert transaction.get("other", b"a") == b"elsewhere"


def test_items_may_be_deleted_while_they_are_read(vault: VaultStore) -> None:
    fill(vault)
    with vault.transaction() as transaction:
        for key, _ in transaction.items("space"):
            transaction.delete("space", key)
        assert list(transaction.items("space")) == []


def test_transaction_that_raises_changes_nothing(vault: VaultStore) -> None:
    fill(vault)
    with vault.transaction() as transaction:
        before = list(transaction.items("space"))
    with pytest.raises(RuntimeError, match="in the middle"), vault.transaction() as transaction:  # noqa: PT012 - the block is the transaction
        transaction.put("space", b"a", b"changed")
        transaction.delete("space", b"b")
        transaction.put("space", b"new", b"new")
        transaction.delete_all("space", b"\xff")
        raise RuntimeError("in the middle")
    with vault.transaction() as transaction:
        assert list(transaction.items("space")) == before


def test_nested_transaction_is_refused_and_harms_nothing(vault: VaultStore) -> None:
    with vault.transaction() as transaction:
        transaction.put("space", b"key", b"value")
        with pytest.raises(StateError), vault.transaction():
            pass
    with vault.transaction() as transaction:
        assert transaction.get("space", b"key") == b"value"


def test_transaction_that_has_ended_is_refused(vault: VaultStore) -> None:
    with vault.transaction() as transaction:
        pass
    with pytest.raises(StateError):
        transaction.get("space", b"key")
    with pytest.raises(StateError):
        transaction.put("space", b"key", b"value")


def test_closed_vault_is_refused_and_closing_twice_is_not(vault: VaultStore) -> None:
    vault.close()
    vault.close()
    with pytest.raises(StateError), vault.transaction():
        pass


def test_vault_is_not_closed_under_a_transaction(vault: VaultStore) -> None:
    with vault.transaction() as transaction:
        with pytest.raises(StateError):
            vault.close()
        transaction.put("space", b"key", b"value")


_keys = st.binary(max_size=3)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), _keys, st.binary(max_size=8)),
        st.tuples(st.just("delete"), _keys, st.just(b"")),
        st.tuples(st.just("delete_all"), _keys, st.just(b"")),
        st.tuples(st.sampled_from(["commit", "roll back"]), st.just(b""), st.just(b"")),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(steps=_steps, prefix=_keys)
def test_both_vaults_agree_with_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, bytes, bytes]], prefix: bytes
) -> None:
    home = tmp_path_factory.mktemp("vault") / "home"
    stores: list[VaultStore] = [MemoryVault(), Vault.create(home, "p", cost=TEST_COST)]
    seen = []
    for store in stores:
        seen.append(_run(store, steps, prefix))
        store.close()
    assert seen[0] == seen[1] == _model(steps, prefix)


class _RollBackError(Exception):
    pass


def _batches(steps: list[tuple[str, bytes, bytes]]) -> list[tuple[bool, list[tuple[str, bytes, bytes]]]]:
    batches: list[tuple[bool, list[tuple[str, bytes, bytes]]]] = []
    current: list[tuple[str, bytes, bytes]] = []
    for step in steps:
        if step[0] in {"commit", "roll back"}:
            batches.append((step[0] == "commit", current))
            current = []
        else:
            current.append(step)
    return [*batches, (True, current)]


def _run(
    store: VaultStore, steps: list[tuple[str, bytes, bytes]], prefix: bytes
) -> list[tuple[bytes, bytes]]:
    for commit, batch in _batches(steps):
        try:
            with store.transaction() as transaction:
                for verb, key, value in batch:
                    match verb:
                        case "put":
                            transaction.put("s", key, value)
                        case "delete":
                            transaction.delete("s", key)
                        case _:
                            transaction.delete_all("s", key)
                if not commit:
                    raise _RollBackError
        except _RollBackError:
            pass
    with store.transaction() as transaction:
        return list(transaction.items("s", prefix))


def _model(steps: list[tuple[str, bytes, bytes]], prefix: bytes) -> list[tuple[bytes, bytes]]:
    content: dict[bytes, bytes] = {}
    for commit, batch in _batches(steps):
        trial = dict(content)
        for verb, key, value in batch:
            match verb:
                case "put":
                    trial[key] = value
                case "delete":
                    trial.pop(key, None)
                case _:
                    trial = {k: v for k, v in trial.items() if not k.startswith(key)}
        if commit:
            content = trial
    return sorted((key, value) for key, value in content.items() if key.startswith(prefix))
