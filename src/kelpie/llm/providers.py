"""All models behind the seam `Models`: which provider, which wire, listed, asked, asked again.

One `ConfiguredModels` serves a process. The offline model `kelpie/rehearsed` is always among its models, so
that a fresh installation answers something before any key is configured. Beside the operator's providers stand those
that clients have stored; one of those is built anew when its record has changed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, assert_never

import httpx2

from kelpie.errors import InvalidInput, KelpieError, NotFound, SecretUnreadable
from kelpie.limits import EMBEDDING_CALL_MS, MODEL_RETRIES_MAX, PROVIDERS_MAX
from kelpie.llm.anthropic import AnthropicWire
from kelpie.llm.catalogue import Catalogue
from kelpie.llm.embedding import EmbeddingInfo
from kelpie.llm.forward import Forwarded, Forwarder, ForwardRequest
from kelpie.llm.known_models import dimensions_of
from kelpie.llm.messages import Delta, ModelReply, ModelRequest
from kelpie.llm.model import ModelInfo, OnDelta
from kelpie.llm.openai import OpenAIWire
from kelpie.llm.openai_embeddings import EMBEDDINGS_PATH, decode_embeddings, encode_embeddings
from kelpie.llm.pieces import pieces_of
from kelpie.llm.provider import ProviderSettings, WireKind
from kelpie.llm.rehearsed import REHEARSED_INFO, rehearse
from kelpie.llm.retry import retry_delay_ms
from kelpie.llm.sse_parse import ServerEvent, SseParser
from kelpie.llm.stored_providers import ProviderRecord, StoredProviders
from kelpie.llm.transport import Answer, CallBounds, Endpoint, Sender
from kelpie.llm.wire import ReplyOrigin, StreamDecoder, Wire
from kelpie.world import World

T = TypeVar("T")


class ConfiguredModels:
    """See `model.Models`."""

    def __init__(
        self,
        world: World,
        transport: httpx2.AsyncBaseTransport,
        providers: Sequence[ProviderSettings],
        *,
        stored: StoredProviders | None = None,
        bounds: CallBounds | None = None,
    ) -> None:
        self._world = world
        self._sender = Sender(world.wall, transport, bounds=bounds or CallBounds())
        self._forwarder = Forwarder(transport, self._sender.bounds)
        self._providers: dict[str, _Provider] = {}
        self._stored = stored
        self._built: dict[str, tuple[int, _Provider]] = {}  # stored ones, by name, with the version built from
        for settings in providers:
            if not settings.name or "/" in settings.name or settings.name in (*self._providers, "kelpie"):
                raise InvalidInput(f"the provider name '{settings.name}' is taken or malformed", field="name")
            self._providers[settings.name] = _Provider(settings, self._sender)

    @property
    def configured(self) -> list[ProviderSettings]:
        """The operator's own providers, in their order."""
        return [provider.settings for provider in self._providers.values()]

    async def find(self, handle: str) -> ModelInfo:
        """The model of that handle; see `model.Models.find`."""
        if handle == REHEARSED_INFO.handle:
            return REHEARSED_INFO
        name, _, model = handle.partition("/")
        provider = await self._provider(name) if model else None
        if provider is None:
            known = ", ".join([*self._providers, *[record.name for record in await self._records()], "kelpie"])
            raise NotFound(f"no model '{handle[:200]}' is configured; providers: {known}", handle=handle[:200])
        return await provider.catalogue.find(model)

    async def list_models(self) -> list[ModelInfo]:
        """Every model, in the order of the providers; see `model.Models.list_models`."""
        providers = await self._every()
        async with asyncio.TaskGroup() as group:
            lists = [
                group.create_task(provider.catalogue.list_models(), name=f"llm.list.{provider.settings.name}")
                for provider in providers
            ]
        return [REHEARSED_INFO, *(info for listed in lists for info in listed.result())]

    async def check(self, settings: ProviderSettings) -> int:
        """See `line.ProviderLine.check`."""
        provider = _Provider(settings, self._sender)
        try:
            return await provider.catalogue.ask()
        except KelpieError as error:
            raise provider.without_key(error) from None

    async def forward(self, settings: ProviderSettings, request: ForwardRequest) -> Forwarded:
        """See `line.ProviderLine.forward`."""
        headers = wire_of(settings.kind, settings.base_url).headers(settings.api_key)
        return await self._forwarder.send(settings, headers if settings.api_key else [], request)

    async def ask(self, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
        """One call, retried by policy within one deadline; see `model.Models.ask`."""
        if info.handle == REHEARSED_INFO.handle:
            return await _rehearsed(request, on_delta)
        provider = await self._provider(info.provider)
        if provider is None:
            raise NotFound(f"the provider of '{info.handle}' is no longer configured", handle=info.handle)
        assert info.model == request.model, "the request is for the model that was found"
        reported = False

        async def attempt(deadline: float) -> ModelReply:
            nonlocal reported
            call = _Call(provider, info, request, _report_nothing if reported else on_delta)
            try:
                return await call.make(self._sender, deadline)
            finally:
                assert on_delta is not None or not call.reported, "pieces go to a reader"
                reported = reported or call.reported

        return await self._persist(provider, self._sender.bounds.call_ms, attempt)

    async def list_embeddings(self) -> list[EmbeddingInfo]:
        """Every embedding model; see `embedding.EmbeddingSource.list_embeddings`."""
        found: list[EmbeddingInfo] = []
        for provider in await self._every():
            if provider.embeds:
                found += [provider.embedding(model) for model in await provider.catalogue.list_embedding_models()]
        return found

    async def find_embedding(self, handle: str) -> EmbeddingInfo | None:
        """The embedding model of that handle; see `embedding.EmbeddingSource.find_embedding`."""
        name, _, model = handle.partition("/")
        provider = await self._provider(name) if model else None
        if provider is None or not provider.embeds:
            return None
        return provider.embedding((await provider.catalogue.find(model)).model)

    async def ask_embeddings(self, info: EmbeddingInfo, texts: Sequence[str]) -> list[list[float]]:
        """One request, retried by policy; see `embedding.EmbeddingSource.ask_embeddings`."""
        provider = await self._provider(info.provider)
        if provider is None:
            raise NotFound(f"the provider of '{info.handle}' is no longer configured", handle=info.handle)
        body = encode_embeddings(info.model, texts)

        async def attempt(deadline: float) -> list[list[float]]:
            answer = await self._sender.send(provider.endpoint, "POST", EMBEDDINGS_PATH, body, deadline=deadline)
            if answer.status != 200:
                raise provider.wire.error(answer.status, answer.body, answer.retry_after_ms, info.provider)
            return decode_embeddings(answer.body, info.provider)

        return await self._persist(provider, min(EMBEDDING_CALL_MS, self._sender.bounds.call_ms), attempt)

    async def close(self) -> None:
        """Close all connections; no call may follow."""
        await self._sender.close()

    async def _provider(self, name: str) -> "_Provider | None":
        """The provider of that name: the operator's, or the stored one as its record is now."""
        if name in self._providers or self._stored is None:
            return self._providers.get(name)
        found = await self._stored.find_named(name)
        if found is None:
            self._built.pop(name, None)
            return None
        built = self._built.get(name)
        if built is None or built[0] != found.version:
            built = found.version, _Provider(self._stored.settings_of(found.value), self._sender)
            self._built[name] = built
        assert len(self._built) <= PROVIDERS_MAX * 2
        return built[1]

    async def _every(self) -> list["_Provider"]:
        """All providers, the operator's first."""
        providers = [*self._providers.values()]
        for record in await self._records():
            try:
                provider = await self._provider(record.name)
            except SecretUnreadable:  # whoever asks one of its models is told
                continue
            if provider is not None and provider not in providers:
                providers.append(provider)
        return providers

    async def _records(self) -> list[ProviderRecord]:
        return [] if self._stored is None else await self._stored.every()

    async def _persist(self, provider: "_Provider", call_ms: int, attempt: Callable[[float], Awaitable[T]]) -> T:
        """What an attempt answers, the next one made by policy, all within one deadline."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + call_ms / 1_000
        for number in range(MODEL_RETRIES_MAX + 1):
            try:
                return await attempt(deadline)
            except KelpieError as error:
                delay_ms = retry_delay_ms(error, number, self._world.entropy.fraction())
                assert delay_ms is None or delay_ms > 0
                if delay_ms is None or clock() + delay_ms / 1_000 >= deadline:
                    raise provider.without_key(error) from None
                self._world.marks.reached("model call repeated")
            await asyncio.sleep(delay_ms / 1_000)
        raise AssertionError("the policy gives up at the last attempt")


class _Provider:
    """One provider, ready to be asked."""

    def __init__(self, settings: ProviderSettings, sender: Sender) -> None:
        self.settings = settings
        self.wire = wire_of(settings.kind, settings.base_url)
        self.endpoint = Endpoint(settings.name, settings.base_url, self.wire.headers(settings.api_key))
        self.catalogue = Catalogue(settings, self.wire, self.endpoint, sender)
        self.embeds = settings.kind == "openai"  # Anthropic has no such models
        self._api_key = settings.api_key

    def embedding(self, model: str) -> EmbeddingInfo:
        """What is known of an embedding model without asking it."""
        return EmbeddingInfo(
            handle=f"{self.settings.name}/{model}",
            provider=self.settings.name,
            provider_kind=self.settings.kind,
            model=model,
            endpoint=self.endpoint.base_url,
            dimensions=dimensions_of(model) or 0,
        )

    def without_key(self, error: KelpieError) -> KelpieError:
        """The error, or one that says the same without our key, should the provider have repeated it."""
        if not self._api_key or self._api_key not in error.sentence:
            return error
        return type(error)(error.sentence.replace(self._api_key, "<api key>"), **error.fields)


class _Call:
    """One attempt at one call."""

    def __init__(self, provider: _Provider, info: ModelInfo, request: ModelRequest, on_delta: OnDelta | None) -> None:
        self.reported = False  # a piece of this attempt has reached the reader
        self._provider = provider
        self._info = info
        self._request = request
        self._on_delta = on_delta
        self._origin = ReplyOrigin(provider=info.provider, step_id=request.step_id)
        self._parser = SseParser()
        self._decoder: StreamDecoder = provider.wire.stream_decoder(self._origin)

    async def make(self, sender: Sender, deadline: float) -> ModelReply:
        """Send it and decode what comes."""
        assert not self.reported, "a call is made once"
        wire = self._provider.wire
        stream = self._on_delta is not None
        body = wire.encode(self._request, self._info, stream=stream)
        answer = await sender.send(
            self._provider.endpoint,
            "POST",
            wire.ask_path(),
            body,
            deadline=deadline,
            sink=self._take if stream else None,
        )
        if answer.status != 200:
            raise wire.error(answer.status, answer.body, answer.retry_after_ms, self._info.provider)
        if not answer.streamed and not (stream and _looks_like_events(answer)):
            reply = wire.decode(answer.body, self._origin)
            self._report(pieces_of(reply))
            return reply
        assert answer.body == b"" or not answer.streamed
        self._take(answer.body)  # empty, unless the stream was not labelled as one
        for event in self._parser.close():
            self._hear(event)
        return self._decoder.finish()

    def _take(self, chunk: bytes) -> bool:
        """The sink of a streamed reply: report its pieces, answer whether it is complete."""
        for event in self._parser.feed(chunk):
            self._hear(event)
        return self._decoder.done

    def _hear(self, event: ServerEvent) -> None:
        self._report(self._decoder.feed(event))

    def _report(self, deltas: list[Delta]) -> None:
        if self._on_delta is None:
            return
        for delta in deltas:
            self.reported = True
            self._on_delta(delta)


def wire_of(kind: WireKind, base_url: str) -> Wire:
    """The codec of that wire."""
    match kind:
        case "openai":
            return OpenAIWire(base_url)
        case "anthropic":
            return AnthropicWire()
        case _:
            assert_never(kind)


def _looks_like_events(answer: Answer) -> bool:
    """Whether a body without the right label is an event stream all the same."""
    return answer.body.lstrip().startswith((b"data:", b"event:", b":"))


async def _rehearsed(request: ModelRequest, on_delta: OnDelta | None) -> ModelReply:
    """The offline model's reply; others get their turn before it and after each word."""
    await asyncio.sleep(0)
    reply = rehearse(request)
    if on_delta is not None:
        for delta in pieces_of(reply):
            on_delta(delta)
            await asyncio.sleep(0)
    return reply


def _report_nothing(delta: Delta) -> None:
    """The reader has had pieces of an earlier attempt and gets the whole reply in the end."""
