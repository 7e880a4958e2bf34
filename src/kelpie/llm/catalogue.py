"""The models of one provider: asked from it, kept for a while, guessed when it does not tell."""

import asyncio

from kelpie.errors import KelpieError, NotFound
from kelpie.limits import MODEL_LIST_KEPT_MS, MODEL_LIST_PAGES_MAX, MODEL_LIST_RETRY_MS, MODELS_PER_PROVIDER_MAX
from kelpie.llm.known_models import (
    ANTHROPIC_MODELS,
    OPENAI_EMBEDDING_MODELS,
    OPENAI_MODELS,
    UNKNOWN_SIZE,
    chats,
    embeds,
    size_of,
)
from kelpie.llm.model import ModelInfo
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.transport import Endpoint, Sender
from kelpie.llm.wire import ListedModel, Wire

_HANDLE_MODEL_CHARS_MAX = 200
_OFFICIAL_LISTS = {"https://api.openai.com": OPENAI_MODELS, "https://api.anthropic.com": ANTHROPIC_MODELS}


class Catalogue:
    """Finds and lists the models of one provider. Only one list is asked for at a time."""

    def __init__(self, settings: ProviderSettings, wire: Wire, endpoint: Endpoint, sender: Sender) -> None:
        self._settings = settings
        self._name = settings.name
        self._kind = settings.kind
        self._wire = wire
        self._endpoint = endpoint
        self._sender = sender
        self._listed: dict[str, ListedModel] = {}
        self._asked_at: float | None = None  # seconds of the running loop's clock
        self._answered = False  # when it was last asked
        self._asking = asyncio.Lock()

    async def find(self, model: str) -> ModelInfo:
        """The model of that name; NotFound when the provider has just listed others only."""
        assert model
        await self._refresh(MODEL_LIST_KEPT_MS)
        if self._answered and self._entry(model) is None:
            await self._refresh(MODEL_LIST_RETRY_MS)  # it may be newer than the list
        entry = self._entry(model)
        if entry is None and self._answered:
            handle = f"{self._name}/{model[:_HANDLE_MODEL_CHARS_MAX]}"
            some = ", ".join(list(self._listed)[:10]) or "no models"
            raise NotFound(f"no model '{handle}': {self._endpoint.address} lists {some}", handle=handle)
        return self._info(model, entry)

    async def ask(self) -> int:
        """Ask for the list now; how many models it has. Raises what the provider's answer is."""
        clock = asyncio.get_running_loop().time
        async with self._asking:
            self._listed = await self._ask(clock() + self._sender.bounds.list_ms / 1_000)
            self._answered, self._asked_at = True, clock()
        return len(self._listed)

    async def list_models(self) -> list[ModelInfo]:
        """The models for conversation, by name; what is known of the provider when it does not answer."""
        await self._refresh(MODEL_LIST_KEPT_MS)
        if not self._listed:
            return [self._info(model, None) for model in _OFFICIAL_LISTS.get(self._endpoint.address, ())]
        return [self._info(model, self._listed[model]) for model in sorted(self._listed) if chats(model)]

    async def list_embedding_models(self) -> list[str]:
        """The names of the models that embed, sorted; what is known of OpenAI when it does not answer."""
        await self._refresh(MODEL_LIST_KEPT_MS)
        if not self._listed:
            official = _OFFICIAL_LISTS.get(self._endpoint.address) is OPENAI_MODELS
            return list(OPENAI_EMBEDDING_MODELS) if official else []
        return [model for model in sorted(self._listed) if embeds(model)]

    async def _refresh(self, kept_ms: int) -> None:
        """Ask for the list unless the one at hand is younger; a failure keeps the one at hand."""
        clock = asyncio.get_running_loop().time
        async with self._asking:
            if self._asked_at is not None:
                fresh_ms = kept_ms if self._answered else MODEL_LIST_RETRY_MS
                if clock() - self._asked_at < fresh_ms / 1_000:
                    return
            try:
                self._listed = await self._ask(clock() + self._sender.bounds.list_ms / 1_000)
                self._answered = True
            except KelpieError:  # whoever asks the model hears what is wrong; a list is only a convenience
                self._answered = False
            self._asked_at = clock()

    async def _ask(self, deadline: float) -> dict[str, ListedModel]:
        listed: dict[str, ListedModel] = {}
        after: str | None = None
        for _ in range(MODEL_LIST_PAGES_MAX):
            path = self._wire.list_path(after)
            answer = await self._sender.send(self._endpoint, "GET", path, b"", deadline=deadline)
            if answer.status != 200:
                raise self._wire.error(answer.status, answer.body, answer.retry_after_ms, self._name)
            page = self._wire.decode_models(answer.body)
            for one in page.models:
                if len(listed) < MODELS_PER_PROVIDER_MAX:
                    listed[one.model] = one
            after = page.after
            if after is None or len(listed) >= MODELS_PER_PROVIDER_MAX:
                break
        return listed

    def _entry(self, model: str) -> ListedModel | None:
        """The listed model of that name, or the one that the name is short for."""
        if model in self._listed:
            return self._listed[model]
        stem = model.removesuffix("-latest").partition(":")[0]  # routers' variants, e.g. `name:free`
        if stem in self._listed:
            return self._listed[stem]
        for name in sorted(self._listed):
            if name.startswith((f"{stem}-20", f"{stem}:")):  # a dated release; a tag as Ollama has them
                return self._listed[name]
        return None

    def _info(self, model: str, entry: ListedModel | None) -> ModelInfo:
        size = size_of(self._kind, model) or UNKNOWN_SIZE
        context_tokens = (entry.context_tokens if entry else None) or size.context_tokens
        output_tokens_max = (entry.output_tokens_max if entry else None) or size.output_tokens_max
        return ModelInfo(
            handle=f"{self._name}/{model}",
            provider=self._name,
            provider_kind=self._kind,
            model=model,
            endpoint=self._endpoint.base_url,
            context_tokens=context_tokens,
            output_tokens_max=min(output_tokens_max, context_tokens),
            brand=self._settings.brand,
            stored=self._settings.stored,
        )
