"""Secrets at rest: what a person gives a server to keep (keys of providers, variables of tools) is stored sealed.

A sealed text is `v1:` and base64 of nonce and AES-256-GCM ciphertext. What a secret belongs to (`place`) is
authenticated with it, so that a sealed text which is copied to another record does not open there. The key comes from
the operator, or is made once and kept in a file beside the data that only the owner may read.
"""

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kelpie.errors import InvalidInput, LimitExceeded, SecretUnreadable
from kelpie.limits import SECRET_BYTES_MAX
from kelpie.world import Entropy

KEY_BYTES = 32
KEY_FILE = "secret.key"
_NONCE_BYTES = 12
_SCRYPT_COST = 2**14  # about 50 ms, once per start
_FORM = "v1:"


class Vault:
    """Seals and opens texts under one key."""

    def __init__(self, key: bytes, entropy: Entropy) -> None:
        assert len(key) == KEY_BYTES
        self._cipher = AESGCM(key)
        self._entropy = entropy

    def seal(self, text: str, place: str) -> str:
        """The text, sealed for `place`. Raises LimitExceeded over SECRET_BYTES_MAX."""
        raw = text.encode()
        if len(raw) > SECRET_BYTES_MAX:
            raise LimitExceeded(
                f"a secret of {len(raw)} bytes is over the limit of {SECRET_BYTES_MAX}",
                limit="SECRET_BYTES_MAX",
                maximum=SECRET_BYTES_MAX,
            )
        nonce = self._entropy.take_bytes(_NONCE_BYTES)
        assert len(nonce) == _NONCE_BYTES
        sealed = self._cipher.encrypt(nonce, raw, place.encode())
        return _FORM + base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: str) -> str:
        """The text that was sealed for `place`. Raises SecretUnreadable: another key, another place, or damage."""
        try:
            raw = base64.b64decode(sealed.removeprefix(_FORM), validate=True)
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], place.encode()).decode()
        except (InvalidTag, binascii.Error, ValueError):
            raise SecretUnreadable(
                "a stored secret cannot be opened: it was sealed under another key (KELPIE_ENCRYPTION_KEY)"
            ) from None


def key_from_text(text: str) -> bytes:
    """The key that an operator gave as text, of any length."""
    if not text.strip():
        raise InvalidInput("KELPIE_ENCRYPTION_KEY: a key is not blank", field="encryption_key")
    return hashlib.scrypt(text.encode(), salt=b"kelpie vault", n=_SCRYPT_COST, r=8, p=1, dklen=KEY_BYTES)


def key_from_file(data_dir: Path, entropy: Entropy) -> bytes:
    """The key beside the data, made when there is none. Raises InvalidInput if the file holds none.

    The data directory is owned by this process, so nobody else makes the file at the same time. A crash while it is
    made leaves no half of a key: the file gets its name when it is whole and durable.
    """
    path = data_dir / KEY_FILE
    if not path.exists():
        _make_key_file(path, entropy)
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise InvalidInput(f"{path} holds no key of {KEY_BYTES} bytes", field="encryption_key")
    return key


def _make_key_file(path: Path, entropy: Entropy) -> None:
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, entropy.take_bytes(KEY_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
