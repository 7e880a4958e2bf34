"""What the retired server encrypted: AES-256-GCM under a key that PBKDF2 makes of the operator's.

A sealed text is base64 of salt (16 bytes), nonce (12), ciphertext and tag (16). Where no key was set it kept plain text
in the same column, and releases before 0.12 kept it in the older one.
"""

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kelpie.errors import SecretUnreadable

SALT_BYTES, NONCE_BYTES, TAG_BYTES = 16, 12, 16
ITERATIONS = 100_000
PLAIN_BEGINNINGS = ("sk-", "pk-", "api-", "key-", "token-", "Bearer ", "xox", "gh", "AKIA", "ASIA")


class OldSecrets:
    """Opens them with the operator's old key; without one, only what was never sealed."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def read(self, row: dict[str, Any], column: str) -> str | None:
        """The secret of that column, or of its sealed twin. Raises SecretUnreadable."""
        sealed = row.get(f"{column}_enc")
        if not sealed:
            return row.get(column)
        if not _looks_sealed(sealed):
            return sealed
        if self._key is None:
            raise SecretUnreadable("a secret is encrypted there, and no --encryption-key was given")
        raw = base64.b64decode(sealed)
        salt, nonce, rest = (
            raw[:SALT_BYTES],
            raw[SALT_BYTES : SALT_BYTES + NONCE_BYTES],
            raw[SALT_BYTES + NONCE_BYTES :],
        )
        try:
            return AESGCM(_derived(self._key, salt)).decrypt(nonce, rest, None).decode()
        except (InvalidTag, UnicodeDecodeError):
            raise SecretUnreadable("a secret there was encrypted under another key than --encryption-key") from None


def seal_as_there(text: str, key: str, salt: bytes, nonce: bytes) -> str:
    """As the retired server would have sealed it; for tests and for the way back."""
    assert (len(salt), len(nonce)) == (SALT_BYTES, NONCE_BYTES)
    sealed = AESGCM(_derived(key, salt)).encrypt(nonce, text.encode(), None)
    return base64.b64encode(salt + nonce + sealed).decode()


def _looks_sealed(text: str) -> bool:
    if text.startswith(PLAIN_BEGINNINGS):
        return False
    try:
        return len(base64.b64decode(text, validate=True)) > SALT_BYTES + NONCE_BYTES + TAG_BYTES
    except (binascii.Error, ValueError):
        return False


@lru_cache(maxsize=1_024)
def _derived(key: str, salt: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", key.encode(), salt, ITERATIONS, dklen=32)
