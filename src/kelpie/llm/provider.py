"""One provider of models, as the code that asks it needs to know it."""

from typing import Literal

from msgspec import Struct

WireKind = Literal["openai", "anthropic"]


class ProviderSettings(Struct, frozen=True, kw_only=True):
    """`name` is the first half of its models' handles, `kind` the wire it speaks, `brand` what its owner calls it.

    The base URL of kind `openai` includes the version (`/v1`), that of `anthropic` does not.
    """

    name: str
    kind: WireKind
    base_url: str
    api_key: str
    brand: str = ""  # e.g. `groq`; empty: the same as `kind`
    stored: bool = False  # added by a client while the server ran, not by the operator before

    def __repr__(self) -> str:
        """Without the key, so that it cannot be logged by accident."""
        return f"ProviderSettings(name={self.name!r}, kind={self.kind!r}, base_url={self.base_url!r}, api_key=***)"
