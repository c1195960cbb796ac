"""Sealing and opening."""

import base64

import pytest
from msgspec import structs

from bootstrap.vault import new_key, open_vault
from engine.errors import ConfigurationError, SecretsDisabled, TaskError

OLD, NEW = new_key("old"), new_key("new")


def test_a_value_comes_back_and_is_not_to_be_seen() -> None:
    vault = open_vault(OLD)
    sealed = vault.seal("default", "api_key", "s3cr3t ü", ("h",))
    assert b"s3cr3t" not in sealed.ciphertext
    assert vault.open("default", sealed) == "s3cr3t ü"
    assert vault.seal("default", "api_key", "s3cr3t ü", ("h",)).nonce != sealed.nonce


def test_the_first_key_seals_and_all_open() -> None:
    sealed = open_vault(OLD).seal("default", "a", "value", ())
    both = open_vault(f"{NEW}, {OLD}")
    assert both.open("default", sealed) == "value"
    assert both.seal("default", "a", "value", ()).key_id == "new"
    with pytest.raises(TaskError, match="'old', which SECRET_KEYS lacks") as caught:
        open_vault(NEW).open("default", sealed)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "change",
    [
        {"name": "b"},
        {"hosts": ()},
        {"hosts": ("evil.example.com",)},
        {"nonce": b"\0" * 12},
        {"nonce": b""},
        {"ciphertext": b"\0" * 40},
        {"ciphertext": b""},
    ],
)
def test_whatever_is_changed_breaks_the_seal(change: dict[str, object]) -> None:
    vault = open_vault(OLD)
    sealed = vault.seal("default", "a", "value", ("h",))
    with pytest.raises(TaskError, match="was changed"):
        vault.open("default", structs.replace(sealed, **change))
    with pytest.raises(TaskError, match="was changed"):
        vault.open("elsewhere", sealed)


def test_without_keys_nothing_is_kept() -> None:
    with pytest.raises(SecretsDisabled, match="secret key"):
        open_vault("").seal("default", "a", "value", ())


@pytest.mark.parametrize("setting", ["k1", "k1:", "k1:%%%", "k1:c2hvcnQ=", ":KEY", "k:KEY,k:KEY"])
def test_wrong_keys_are_told_and_not_shown(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="SECRET_KEYS: part") as caught:
        open_vault(setting.replace("KEY", OLD.partition(":")[2]))
    assert "c2hvcnQ" not in caught.value.message


def test_a_new_key_is_one() -> None:
    assert len(base64.b64decode(new_key("x").partition(":")[2])) == 32
