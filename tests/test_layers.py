"""Who imports whom (DESIGN section 2), shown on the code and on a running relay."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = ("chatserver", "clients", "crypto", "keys")

RELAY_MAY_HOLD = re.compile(
    r"chatserver(\..*)?|keys|keys\.signing|keys\.transparency(\..*)?|crypto|crypto\.codec"
)

MAY_IMPORT = {
    "chatserver": re.compile(r"keys\.signing|keys\.transparency(\..*)?|crypto\.codec|crypto"),
    "clients": re.compile(r"chatserver\.wire(\..*)?|keys(\..*)?|crypto(\..*)?"),
    "keys": re.compile(r"crypto(\..*)?"),
    "crypto": re.compile(r"(?!)"),
}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*OURS, include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("package", OURS)
def test_a_package_imports_only_what_its_layer_may(graph: grimp.ImportGraph, package: str) -> None:
    strangers = {
        f"{importer} -> {imported}"
        for importer in graph.modules
        if importer.partition(".")[0] == package
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.partition(".")[0] in OURS
        and imported.partition(".")[0] != package
        and not MAY_IMPORT[package].fullmatch(imported)
    }
    assert strangers == set()


def test_crypto_stands_on_the_standard_library_cryptography_and_nacl(graph: grimp.ImportGraph) -> None:
    outside = {
        imported.partition(".")[0]
        for importer in graph.modules
        if importer.partition(".")[0] == "crypto"
        for imported in graph.find_modules_directly_imported_by(importer)
        if imported.partition(".")[0] != "crypto"
    }
    assert outside - set(sys.stdlib_module_names) <= {"cryptography", "nacl"}


def test_signing_stands_on_the_codec_alone(graph: grimp.ImportGraph) -> None:
    ours = {
        name
        for name in graph.find_modules_directly_imported_by("keys.signing")
        if name.partition(".")[0] in OURS
    }
    assert ours <= {"crypto.codec"}


@pytest.mark.parametrize("package", OURS)
def test_the_packages_import_nothing_by_themselves(package: str) -> None:
    body = ast.parse((ROOT / package / "__init__.py").read_text()).body
    assert all(isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) for node in body)


def test_there_is_no_init_file_in_tests() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def run_fresh(code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout.split()


def test_every_module_of_the_relay_together_holds_nothing_that_could_decrypt() -> None:
    held = run_fresh("""
        import importlib, pkgutil, sys
        import chatserver
        for module in pkgutil.walk_packages(chatserver.__path__, "chatserver."):
            importlib.import_module(module.name)
        print(*[name for name in sys.modules if name.partition(".")[0] in
                ("chatserver", "clients", "crypto", "keys")])
    """)
    assert "chatserver.main" in held
    assert [name for name in held if not RELAY_MAY_HOLD.fullmatch(name)] == []


def test_a_running_relay_holds_nothing_that_could_decrypt(tmp_path: Path) -> None:
    """What the interpreter of a relay that has served a request reports of its own imports."""
    config = tmp_path / "config.toml"
    relay = [sys.executable, "-X", "importtime", "-m", "chatserver.main"]
    config.write_text(relay_config(tmp_path / "store"))
    subprocess.run(
        [*relay, "--config", str(config), "init"], cwd=ROOT, capture_output=True, timeout=60, check=True
    )
    with subprocess.Popen(
        [*relay, "--config", str(config), "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = line.removeprefix("listening on ").strip()
            with urllib.request.urlopen(f"{address}/v1/health", timeout=10) as answer:
                assert answer.status == 200
        finally:
            process.terminate()
            _, report = process.communicate(timeout=30)
    imported = {match[1] for match in re.finditer(r"^import time:.*\|\s+(\S+)$", report, re.MULTILINE)}
    ours = {name for name in imported if name.partition(".")[0] in OURS}
    assert "chatserver.wire.frames" in ours
    assert [name for name in sorted(ours) if not RELAY_MAY_HOLD.fullmatch(name)] == []


def relay_config(store: Path) -> str:
    return f'[store]\ndirectory = "{store}"\n'


@pytest.mark.parametrize("main", ["chatserver.main", "clients.commands.main"])
def test_a_foreign_crypto_is_noticed_at_the_start(tmp_path: Path, main: str) -> None:
    """DESIGN section 2: the import name `crypto` must be ours; another one in front of it is refused."""
    foreign = tmp_path / "crypto"
    foreign.mkdir()
    for source in (ROOT / "crypto").glob("*.py"):
        (foreign / source.name).write_text(source.read_text())
    package = main.partition(".")[0]
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import {package}, {main} as m; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}sys.exit(m.main(['--help']))"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 3
    assert "crypto" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_installed_package_brings_one_of_our_import_names() -> None:
    brought = importlib.metadata.packages_distributions()
    for name in (*OURS, "Crypto"):
        assert set(brought.get(name, [])) <= {"amanat"}, name


def test_crypto_is_ours() -> None:
    import crypto

    assert crypto.__file__ is not None
    assert Path(crypto.__file__).resolve() == ROOT / "crypto" / "__init__.py"
