"""Secrets open under the key and at the place that they were sealed for, and nowhere else."""

import stat
from pathlib import Path

import pytest

from kelpie.access.vault import KEY_BYTES, KEY_FILE, Vault, key_from_file, key_from_text
from kelpie.errors import InvalidInput, LimitExceeded, SecretUnreadable
from kelpie.limits import SECRET_BYTES_MAX
from kelpie.system import system_world

ENTROPY = system_world().entropy
KEY = bytes(range(32))


@pytest.mark.parametrize("text", ["", "sk-123", "Grüße\n\0", "x" * SECRET_BYTES_MAX])
def test_what_was_sealed_opens_where_it_was_sealed_for(text: str) -> None:
    vault = Vault(KEY, ENTROPY)
    sealed = vault.seal(text, "provider-1")
    assert text == "" or text not in sealed
    assert Vault(KEY, ENTROPY).open(sealed, "provider-1") == text
    assert vault.seal(text, "provider-1") != sealed, "a nonce is used once"


def test_another_key_another_place_and_damage_are_told() -> None:
    sealed = Vault(KEY, ENTROPY).seal("secret", "here")
    damaged = sealed[:-5] + ("A" if sealed[-5] != "A" else "B") + sealed[-4:]
    tries = [(KEY, text, "here") for text in (damaged, "v1:??", "")]
    for key, text, place in [(bytes(32), sealed, "here"), (KEY, sealed, "there"), *tries]:
        with pytest.raises(SecretUnreadable):
            Vault(key, ENTROPY).open(text, place)


def test_a_secret_has_a_bound() -> None:
    with pytest.raises(LimitExceeded):
        Vault(KEY, ENTROPY).seal("x" * (SECRET_BYTES_MAX + 1), "here")


def test_a_given_key_is_the_same_each_time_and_not_blank() -> None:
    assert key_from_text("pass") == key_from_text("pass") != key_from_text("pass ")
    assert len(key_from_text("pass")) == KEY_BYTES
    with pytest.raises(InvalidInput):
        key_from_text("  ")


def test_the_key_file_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = key_from_file(tmp_path, ENTROPY)
    assert key_from_file(tmp_path, ENTROPY) == key and len(key) == KEY_BYTES
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [KEY_FILE]
    (tmp_path / KEY_FILE).write_bytes(b"short")
    with pytest.raises(InvalidInput):
        key_from_file(tmp_path, ENTROPY)
