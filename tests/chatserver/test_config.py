"""Settings: the file in the repository is the description, and nothing unknown or unusable passes."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from chatserver.config import MIN_ADDRESS_FACTOR, SECTIONS, Config, ConfigError, load, parse, render_defaults
from chatserver.store.protocol import StoreSettings

ROOT = Path(__file__).resolve().parents[2]


def test_the_file_in_the_repository_is_what_the_code_says() -> None:
    assert (ROOT / "config.toml").read_text() == render_defaults()
    assert load(ROOT / "config.toml") == Config(base=ROOT)


def test_every_setting_has_unit_reason_and_a_default_within_its_bounds() -> None:
    for kind in SECTIONS.values():
        assert kind.__doc__
        for setting in fields(kind):
            metadata = setting.metadata
            assert metadata["unit"], setting.name
            assert metadata["reason"], setting.name
            if metadata["low"] is not None:
                assert metadata["low"] <= setting.default <= metadata["high"], setting.name


def test_a_part_of_the_file_is_enough() -> None:
    config = parse(
        '[listen]\nport = 0\n[times]\nidle_seconds = 7\n[store]\ndirectory = "x"\n', base=Path("/b")
    )
    assert (config.listen.port, config.times.idle_seconds) == (0, 7.0)
    assert config.store_directory == Path("/b/x")
    assert parse("") == Config()


def test_the_store_gets_its_settings_and_their_defaults_are_its_own() -> None:
    assert Config().store_settings() == StoreSettings()
    config = parse("[store]\ncells_per_channel = 9\nwal_limit_mib = 2\n[therapists]\ninbox_max_waiting = 3\n")
    assert parse("[therapists]\nmax_therapists = 9\n").store_settings().max_therapists == 9
    settings = config.store_settings()
    assert settings.max_cells_per_channel == 9
    assert settings.wal_limit_bytes == 2 << 20
    assert settings.inbox_max_waiting == 3


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[lissten]\n", "lissten"),
        ("port = 1\n", "port"),
        ("[listen]\nprot = 1\n", "listen.prot"),
        ('[listen]\nport = "8440"\n', "listen.port"),
        ("[listen]\nport = true\n", "listen.port"),
        ("[listen]\nport = 65536\n", "65535"),
        ("[listen]\nhost = 1\n", "listen.host"),
        ("[listen]\ntrusted_proxies = [1]\n", "listen.trusted_proxies"),
        ('[listen]\ntrusted_proxies = ["10.0.0.0/99"]\n', "listen.trusted_proxies"),
        ('[listen]\nonion_proxies = "::1"\n', "listen.onion_proxies"),
        ('[therapists]\nadmission = "all"\n', "open, token"),
        (f"[limits]\naddress_factor = {MIN_ADDRESS_FACTOR - 1}\n", "address_factor"),
        ("[store]\nmessage_days = 31\n", "message_days"),
        ("[times]\nidle_seconds = nan\n", "idle_seconds"),
        ("[listen\n", "config.toml"),
    ],
)
def test_what_cannot_be_used_is_an_error_that_names_it(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parse(text)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        load(tmp_path / "nowhere.toml")
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin.toml")
