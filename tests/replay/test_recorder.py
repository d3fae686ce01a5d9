"""The recorder sees what is made, in a process of its own (it stays installed)."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

CODE = """
    import json
    from clients.replay import recorder
    seen = recorder.install()
    assert recorder.install() is seen
    from crypto.group_context import GroupContext
    from crypto.labels import derive_secret
    from crypto.sensitive import Secret
    from crypto.suites import PRODUCT
    from keys.certificates import Identity
    made = {"secret": [], "identifier": []}
    Secret(b"s" * 32); made["secret"].append(b"s" * 32)
    made["secret"].append(derive_secret(PRODUCT, b"k" * 48, "cell"))
    private, public = PRODUCT.derive_key_pair(b"i" * 32)
    made["secret"].append(private); made["identifier"].append(public)
    private, public = PRODUCT.signature_key_pair_from_seed(b"j" * 32)
    made["secret"].append(private); made["identifier"].append(public)
    GroupContext(cipher_suite=1, group_id=b"g" * 32, epoch=0, tree_hash=b"", confirmed_transcript_hash=b"")
    made["identifier"].append(b"g" * 32)
    short = PRODUCT.expand(b"k" * 48, b"nonce", 12)
    print(json.dumps({
        "secrets": [value in seen.secrets for value in made["secret"]],
        "identifiers": [value in seen.identifiers for value in made["identifier"]],
        "short": short in seen.secrets,
        "repr": repr(seen),
    }))
"""


def test_every_maker_of_secrets_is_recorded() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CODE)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["secrets"] == [True] * 4
    assert seen["identifiers"] == [True] * 3
    assert not seen["short"]
    assert seen["repr"] == "Recorder()"
