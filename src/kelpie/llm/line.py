"""What is asked of providers beside replies: whether they answer, and what others want passed on to them."""

from typing import Protocol

from kelpie.errors import ModelUnavailable
from kelpie.llm.forward import Forwarded, ForwardRequest
from kelpie.llm.provider import ProviderSettings


class ProviderLine(Protocol):
    """The way to providers, known ones and others."""

    @property
    def configured(self) -> list[ProviderSettings]:
        """The operator's own providers, in their order."""
        ...

    async def check(self, settings: ProviderSettings) -> int:
        """How many models it lists. Raises ModelRefused (status 401 or 403: the key), ModelUnavailable."""
        ...

    async def forward(self, settings: ProviderSettings, request: ForwardRequest) -> Forwarded:
        """Pass a request on; a provider without a key is asked with the client's own. Raises ModelUnavailable."""
        ...


class NoLine:
    """A node that reaches no provider: its models are of another kind, as in a simulation."""

    configured: list[ProviderSettings] = []

    async def check(self, settings: ProviderSettings) -> int:
        """Nobody answers."""
        raise ModelUnavailable(f"this node reaches no provider, so '{settings.name}' cannot be asked")

    async def forward(self, settings: ProviderSettings, request: ForwardRequest) -> Forwarded:
        """Nobody answers."""
        raise ModelUnavailable(f"this node reaches no provider, so '{settings.name}' cannot be asked")
