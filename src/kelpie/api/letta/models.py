"""Models on the wire: listed, and as the parts of an agent that describe its model."""

from typing import Annotated, Any, Literal

from msgspec import Struct

from kelpie.api.letta.house import House
from kelpie.api.letta.provider_kinds import ProviderType
from kelpie.api.letta.reply_formats import show_format
from kelpie.api.route import Ask, Route, one_of
from kelpie.llm.embedding import EmbeddingInfo
from kelpie.llm.messages import Sampling
from kelpie.llm.model import ModelInfo

TEMPERATURE_SHOWN = 1.0  # when the agent leaves it to the provider
ENDPOINT_KINDS = {
    "cerebras": "openai",
    "fireworks": "openai",
    "lmstudio_openai": "lmstudio-chatcompletions",
    "sglang": "openai",
}  # where the endpoint's kind is not called as the provider's
EMBEDDING_DIMENSIONS_SHOWN = 1_536  # of a listed model that nobody has asked yet
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]


class LlmConfigOut(Struct, frozen=True, kw_only=True):
    """How an agent's model is called, in the wire's older form."""

    model: str
    display_name: str | None = None
    model_endpoint_type: str
    model_endpoint: str | None
    provider_name: str | None
    provider_category: str | None = "base"
    model_wrapper: str | None = None
    context_window: int
    put_inner_thoughts_in_kwargs: bool | None = False
    handle: str | None
    temperature: float
    max_tokens: int | None
    enable_reasoner: bool
    reasoning_effort: Effort | None
    max_reasoning_tokens: int
    effort: str | None = None
    frequency_penalty: float | None = None
    compatibility_type: str | None = None
    verbosity: str | None = None
    tier: str | None = None
    parallel_tool_calls: bool | None
    response_format: dict[str, Any] | None = None
    strict: bool = False
    return_logprobs: bool = False
    top_logprobs: int | None = None
    return_token_ids: bool = False
    tool_call_parser: str | None = None


class ModelOut(Struct, frozen=True, kw_only=True):
    """A model that agents may name."""

    handle: str | None
    name: str
    display_name: str | None
    provider_type: str
    provider_name: str | None
    model_type: Literal["llm"] = "llm"
    model: str
    model_endpoint_type: str
    model_endpoint: str | None
    provider_category: str | None = "base"
    model_wrapper: str | None = None
    context_window: int
    put_inner_thoughts_in_kwargs: bool | None = False
    temperature: float = TEMPERATURE_SHOWN
    max_tokens: int | None
    enable_reasoner: bool = True
    reasoning_effort: Effort | None = None
    max_reasoning_tokens: int = 0
    effort: str | None = None
    frequency_penalty: float | None = None
    compatibility_type: str | None = None
    verbosity: str | None = None
    tier: str | None = None
    parallel_tool_calls: bool | None = False
    response_format: dict[str, Any] | None = None
    strict: bool = False
    return_logprobs: bool = False
    top_logprobs: int | None = None
    return_token_ids: bool = False
    tool_call_parser: str | None = None
    max_context_window: int


class EmbeddingConfigOut(Struct, frozen=True, kw_only=True):
    """How an agent's embedding model is called."""

    embedding_endpoint_type: str = "openai"
    embedding_endpoint: str | None = "https://api.openai.com/v1"
    embedding_model: str
    embedding_dim: int
    embedding_chunk_size: int | None = 300
    handle: str | None
    batch_size: int = 32
    azure_endpoint: str | None = None
    azure_version: str | None = None
    azure_deployment: str | None = None


class EmbeddingConfigIn(Struct, frozen=True, kw_only=True):
    """An embedding model in the older form, as far as it says which one is meant."""

    handle: str | None = None
    embedding_model: str | None = None
    embedding_endpoint_type: str | None = None


class ReasoningOut(Struct, frozen=True, kw_only=True):
    """OpenAI's way to say how much to think."""

    reasoning_effort: Effort


class OpenAISettingsOut(Struct, frozen=True, kw_only=True):
    """Model settings of every wire but Anthropic's."""

    max_output_tokens: int
    parallel_tool_calls: bool
    provider_type: Literal["openai"] = "openai"
    temperature: float
    reasoning: ReasoningOut
    response_format: dict[str, Any] | None = None
    strict: bool = False


class ThinkingOut(Struct, frozen=True, kw_only=True):
    """Anthropic's way to say how much to think."""

    type: Literal["enabled", "disabled"]
    budget_tokens: int


class AnthropicSettingsOut(Struct, frozen=True, kw_only=True):
    """Model settings of Anthropic's wire."""

    max_output_tokens: int
    parallel_tool_calls: bool
    provider_type: Literal["anthropic"] = "anthropic"
    temperature: float
    thinking: ThinkingOut
    response_format: dict[str, Any] | None = None
    verbosity: str | None = None
    effort: str | None = None
    strict: bool = False


MODEL_SETTINGS_SHAPES = (OpenAISettingsOut, AnthropicSettingsOut)
ModelSettingsOut = Annotated[Any, one_of(*MODEL_SETTINGS_SHAPES)]


class EmbeddingModelOut(Struct, frozen=True, kw_only=True):
    """An embedding model that agents may name."""

    handle: str | None
    name: str
    display_name: str
    provider_type: str
    provider_name: str
    model_type: Literal["embedding"] = "embedding"
    embedding_endpoint_type: str
    embedding_endpoint: str | None
    embedding_model: str
    embedding_dim: int
    embedding_chunk_size: int | None = 300
    batch_size: int = 32
    azure_endpoint: str | None = None
    azure_version: str | None = None
    azure_deployment: str | None = None


class ListModels(Struct, frozen=True, kw_only=True):
    """Whose models."""

    provider_name: str | None = None
    provider_type: ProviderType | None = None
    provider_category: list[Literal["base", "byok"]] | None = None


def show_llm_config(info: ModelInfo, sampling: Sampling, context_tokens: int) -> LlmConfigOut:
    """The older form of what an agent's model is asked with."""
    return LlmConfigOut(
        model=info.model,
        model_endpoint_type=_endpoint_kind(info),
        model_endpoint=info.endpoint,
        provider_name=info.provider,
        provider_category="byok" if info.stored else "base",
        context_window=context_tokens,
        handle=info.handle,
        temperature=TEMPERATURE_SHOWN if sampling.temperature is None else sampling.temperature,
        max_tokens=sampling.output_tokens_max or info.output_tokens_max,
        enable_reasoner=_thinks(sampling),
        reasoning_effort=sampling.reasoning_effort,
        max_reasoning_tokens=sampling.reasoning_tokens_max or 0,
        parallel_tool_calls=sampling.parallel_tool_calls,
        response_format=show_format(sampling.reply_format),
    )


def show_model_settings(info: ModelInfo, sampling: Sampling) -> OpenAISettingsOut | AnthropicSettingsOut:
    """The newer form of the same."""
    temperature = TEMPERATURE_SHOWN if sampling.temperature is None else sampling.temperature
    output_tokens = sampling.output_tokens_max or info.output_tokens_max
    if _wire_kind(info) == "anthropic":
        budget = sampling.reasoning_tokens_max
        return AnthropicSettingsOut(
            max_output_tokens=output_tokens,
            parallel_tool_calls=sampling.parallel_tool_calls,
            temperature=temperature,
            response_format=show_format(sampling.reply_format),
            thinking=ThinkingOut(type="disabled" if budget is None else "enabled", budget_tokens=budget or 0),
        )
    return OpenAISettingsOut(
        max_output_tokens=output_tokens,
        parallel_tool_calls=sampling.parallel_tool_calls,
        temperature=temperature,
        reasoning=ReasoningOut(reasoning_effort=sampling.reasoning_effort or "minimal"),
        response_format=show_format(sampling.reply_format),
    )


def read_embedding_config(wire: EmbeddingConfigIn | None) -> str | None:
    """The handle of the embedding model that is meant."""
    if wire is None or wire.handle is not None:
        return None if wire is None else wire.handle
    if wire.embedding_model is None or wire.embedding_endpoint_type is None:
        return None
    return f"{wire.embedding_endpoint_type}/{wire.embedding_model}"


def show_embedding_config(info: EmbeddingInfo) -> EmbeddingConfigOut:
    """The older form of what texts are embedded with."""
    return EmbeddingConfigOut(
        embedding_endpoint=info.endpoint,
        embedding_model=info.model,
        embedding_dim=info.dimensions or EMBEDDING_DIMENSIONS_SHOWN,
        handle=info.handle,
    )


def show_embedding_model(info: EmbeddingInfo) -> EmbeddingModelOut:
    """An embedding model in the list. Clients know no other wire than OpenAI's for the built-in one either."""
    return EmbeddingModelOut(
        handle=info.handle,
        name=info.model,
        display_name=info.model,
        provider_type="openai",
        provider_name=info.provider,
        embedding_endpoint_type="openai",
        embedding_endpoint=info.endpoint,
        embedding_model=info.model,
        embedding_dim=info.dimensions or EMBEDDING_DIMENSIONS_SHOWN,
    )


def show_model(info: ModelInfo) -> ModelOut:
    """A model in the list."""
    return ModelOut(
        handle=info.handle,
        name=info.model,
        display_name=info.model,
        provider_type=info.brand or _wire_kind(info),
        provider_name=info.provider,
        provider_category="byok" if info.stored else "base",
        model=info.model,
        model_endpoint_type=_endpoint_kind(info),
        model_endpoint=info.endpoint,
        context_window=info.context_tokens,
        max_tokens=info.output_tokens_max,
        max_context_window=info.context_tokens,
    )


async def list_models(house: House, ask: Ask[ListModels, None]) -> list[ModelOut]:
    """Every model of every configured provider."""
    query = ask.query
    return [
        model
        for model in map(show_model, await house.models.list_models())
        if query.provider_name in (None, model.provider_name)
        and query.provider_type in (None, model.provider_type)
        and (not query.provider_category or model.provider_category in query.provider_category)
    ]


async def list_embedding_models(house: House, ask: Ask[None, None]) -> list[EmbeddingModelOut]:
    """Every embedding model: the built-in one, and those of the configured providers."""
    return [show_embedding_model(info) for info in await house.embeddings.list_models()]


def _wire_kind(info: ModelInfo) -> str:
    """The wire that clients are told; the offline model has none of its own, and clients know only these."""
    return "anthropic" if info.provider_kind == "anthropic" else "openai"


def _endpoint_kind(info: ModelInfo) -> str:
    """The kind of endpoint in the older form, whose list is shorter than that of the kinds of providers."""
    brand = info.brand or _wire_kind(info)
    return ENDPOINT_KINDS.get(brand, brand)


def _thinks(sampling: Sampling) -> bool:
    return bool(sampling.reasoning_tokens_max) or sampling.reasoning_effort not in (None, "none")


ROUTES = (
    Route(
        method="GET",
        path="/v1/models/",
        name="list_models",
        summary="List models",
        tag="models",
        handler=list_models,
        query=ListModels,
        answer=list[ModelOut],
    ),
    Route(
        method="GET",
        path="/v1/models/embedding",
        name="list_embedding_models",
        summary="List embedding models",
        tag="models",
        handler=list_embedding_models,
        answer=list[EmbeddingModelOut],
    ),
)
