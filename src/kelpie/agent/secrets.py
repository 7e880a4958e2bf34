"""Secrets of an agent: variables for the tools that people wrote, sealed at rest, opened when such a tool runs."""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from kelpie.access.vault import Vault
from kelpie.errors import LimitExceeded
from kelpie.ids import new_id
from kelpie.limits import AGENT_SECRETS_BYTES_MAX, AGENT_SECRETS_MAX
from kelpie.tools.sandboxes import check_key
from kelpie.world import Entropy


class Secret(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A variable and its sealed value."""

    id: str
    key: str
    sealed: str
    description: str | None = None


def seal_secrets(vault: Vault, entropy: Entropy, values: Mapping[str, str]) -> tuple[Secret, ...]:
    """New secrets with these values. Raises InvalidInput (a key), LimitExceeded."""
    if len(values) > AGENT_SECRETS_MAX:
        raise LimitExceeded(
            f"secrets: {len(values)} are over the limit of {AGENT_SECRETS_MAX}",
            limit="AGENT_SECRETS_MAX",
            maximum=AGENT_SECRETS_MAX,
        )
    size = sum(len(value.encode(errors="replace")) for value in values.values())
    if size > AGENT_SECRETS_BYTES_MAX:
        raise LimitExceeded(
            f"secrets: {size} bytes are over the limit of {AGENT_SECRETS_BYTES_MAX}",
            limit="AGENT_SECRETS_BYTES_MAX",
            maximum=AGENT_SECRETS_BYTES_MAX,
        )
    secrets = []
    for key, value in values.items():
        check_key(key)
        id = new_id("agent-env", entropy)
        secrets.append(Secret(id=id, key=key, sealed=vault.seal(value, id)))
    assert len(secrets) == len(values)
    assert all(secret.sealed for secret in secrets)
    return tuple(secrets)


def open_secrets(vault: Vault, secrets: Sequence[Secret]) -> dict[str, str]:
    """Values by key. Raises SecretUnreadable."""
    return {secret.key: vault.open(secret.sealed, secret.id) for secret in secrets}
