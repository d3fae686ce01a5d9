"""errors.py: blame and rule, and nothing else."""

from __future__ import annotations

from crypto.errors import AuthenticationError, GenerationUsedError, ValidationError


def test_a_validation_error_names_its_rule() -> None:
    assert ValidationError("P3").rule == "P3"
    assert "P3" in str(ValidationError("P3"))


def test_a_used_generation_is_a_validation_error() -> None:
    assert isinstance(GenerationUsedError(), ValidationError)


def test_a_failed_authentication_tells_no_detail() -> None:
    assert str(AuthenticationError()) == "authentication failed"
