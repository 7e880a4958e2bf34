"""The model seam: what the turn asks of a model, whoever answers."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from kelpie.llm.messages import Delta, ModelReply, ModelRequest

OnDelta = Callable[[Delta], None]


class ModelInfo(Struct, frozen=True, kw_only=True):
    """A model that can be named. `handle` is `provider/model`."""

    handle: str
    provider: str  # the half before the slash: openai, anthropic, kelpie
    provider_kind: str  # whose wire format it speaks: openai, anthropic, rehearsed
    model: str
    endpoint: str
    context_tokens: int
    output_tokens_max: int
    brand: str = ""  # what the provider's owner calls it, e.g. groq; empty: the same as `provider_kind`
    stored: bool = False  # of a provider that a client added


class Models(Protocol):
    """All configured models."""

    async def find(self, handle: str) -> ModelInfo:
        """The model of that handle; NotFound, naming the handle and what is configured.

        A provider that is configured but cannot list its models just now accepts any model name.
        """
        ...

    async def list_models(self) -> list[ModelInfo]:
        """Every model of every configured provider, asked from it where it can be asked; bounded in time.

        A provider that does not answer contributes what is known of it without asking, never an error.
        """
        ...

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        """One call, retried by policy. With `on_delta` the reply is streamed and each piece reported in order.

        When a retry begins after pieces were reported, the new attempt's pieces are not reported again
        (the reader gets the whole reply when it is committed). Raises ModelRefused (WindowOverflow),
        ModelUnavailable; cancellation closes the connection.
        """
        ...
