"""Goal: whole calls against the scripted server on loopback, every fault included. Method: both wires, both ways."""

import asyncio

import httpx2
import pytest

from kelpie.errors import InvalidInput, ModelRefused, ModelUnavailable, NotFound, WindowOverflow
from kelpie.llm.messages import Delta, ModelReply, TextPart
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.rehearsed import REHEARSED_INFO
from kelpie.llm.transport import CallBounds, open_transport
from kelpie.system import system_world

from .build import API_KEY, QUICK, info, joined, request, serving, told

KINDS = pytest.mark.parametrize("kind", ["openai", "anthropic"])
STREAMED = pytest.mark.parametrize("streamed", [False, True])


async def ask_once(kind: str, model: str, streamed: bool, text: str = "hi") -> tuple[ModelReply, list[Delta], int]:
    """One call of that model; the reply, the pieces, and how many requests the server saw."""
    deltas: list[Delta] = []
    async with serving(kind=kind) as (models, script):
        asked = request(text, model=model)
        reply = await models.ask(info(model, kind=kind), asked, deltas.append if streamed else None)
        return reply, deltas, len(script.requests())


@KINDS
@STREAMED
@pytest.mark.parametrize("model", ["fault-429-twice", "fault-500-once", "fault-529-once"])
def test_passing_faults_are_retried(run, kind, streamed, model, monkeypatch) -> None:
    """Overload and server errors end in the reply."""
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRY_FIRST_MS", 20)
    reply, deltas, requests = run(ask_once(kind, model, streamed, "Reply with the message 'ok'"))
    assert reply.parts == (TextPart(text="ok"),)
    assert joined(deltas) == (told(reply) if streamed else [])
    assert requests == (3 if model.endswith("twice") else 2)


@KINDS
@STREAMED
@pytest.mark.parametrize(
    ("model", "error", "words"),
    [
        ("fault-401", ModelRefused, "answered 401: scripted fault fault-401"),
        ("fault-400", ModelRefused, "answered 400"),
        ("fault-404", ModelRefused, "answered 404"),
        ("fault-overflow", WindowOverflow, "answered 400"),
    ],
)
def test_refusals_are_told_at_once(run, kind, streamed, model, error, words) -> None:
    """In the provider's words, without a retry."""
    with pytest.raises(error, match=words) as caught:
        run(ask_once(kind, model, streamed))
    assert type(caught.value) is error


@KINDS
@STREAMED
@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("fault-500", "answered 500: scripted fault"),
        ("fault-garbage", "not a reply"),
        ("fault-page", "not a reply .*Bad gateway"),
        ("fault-empty", "answered with nothing"),
        ("fault-half-stream", "broke off its answer after|in the middle"),
        ("fault-hang-up", "broke off its answer after 0 bytes"),
        ("fault-stream-error", "broke off its reply: overloaded|answered 529|answered 503"),
    ],
)
def test_lasting_faults_are_unavailable_after_all_attempts(run, kind, streamed, model, words, monkeypatch) -> None:
    """Four attempts, then the words; the policy's waits are shortened."""
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRY_FIRST_MS", 4)

    async def scenario() -> int:
        async with serving(kind=kind) as (models, script):
            on_delta = (lambda delta: None) if streamed else None
            with pytest.raises(ModelUnavailable, match=words) as caught:
                await models.ask(info(model, kind=kind), request("hi", model=model), on_delta)
            assert API_KEY not in str(caught.value)
            return len(script.requests())

    assert run(scenario()) == 4


@KINDS
@pytest.mark.parametrize(
    ("model", "streamed", "words"),
    [
        ("fault-silence", True, r"was silent for 600 ms \(0 bytes came\)"),
        ("fault-silence", False, r"did not finish its answer within \d+ ms \(0 bytes came\)"),
        ("fault-stall", True, r"was silent for 600 ms \(\d\d+ bytes came\)"),
    ],
)
def test_silence_ends(run, kind, model, streamed, words, monkeypatch) -> None:
    """A stream may not pause for long; a whole reply may take all of the call's time."""
    monkeypatch.setattr("kelpie.llm.providers.MODEL_RETRIES_MAX", 0)
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRIES_MAX", 0)
    bounds = CallBounds(call_ms=20_000 if streamed else 400, silence_ms=600)

    async def scenario() -> None:
        async with serving(kind=kind, bounds=bounds) as (models, _):
            with pytest.raises(ModelUnavailable, match=words):
                on_delta = (lambda delta: None) if streamed else None
                await models.ask(info(model, kind=kind), request("hi", model=model), on_delta)

    run(scenario())


@KINDS
def test_after_a_broken_stream_the_pieces_are_not_told_again(run, kind, monkeypatch) -> None:
    """The reader has the pieces of the first attempt only; the reply is the last attempt's."""
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRY_FIRST_MS", 4)

    async def scenario() -> None:
        deltas: list[Delta] = []
        async with serving(kind=kind) as (models, script):
            with pytest.raises(ModelUnavailable):
                await models.ask(info(kind=kind), request("a b c d [fault-half-stream]"), deltas.append)
            assert len(script.requests()) == 4
        assert [(kind_, text.startswith("This is")) for kind_, text in joined(deltas)] == [("TextDelta", True)]
        assert len([delta for delta in deltas if delta.text == "This "]) == 1  # type: ignore[union-attr]

    run(scenario())


@KINDS
def test_a_reply_over_the_bound_is_not_asked_for_again(run, kind) -> None:
    """The same reply would be too long again."""

    async def scenario() -> int:
        bounds = CallBounds(call_ms=20_000, reply_bytes_max=10_000)
        async with serving(kind=kind, bounds=bounds) as (models, script):
            with pytest.raises(ModelUnavailable, match="sent more than 10000 bytes"):
                await models.ask(info(kind=kind), request("[chatter-3000]"), None)
            return len(script.requests())

    assert run(scenario()) == 1


def test_nobody_listens(run, monkeypatch) -> None:
    """A refused connection names the address and not the key; a key that HTTP cannot carry is not shown either."""
    monkeypatch.setattr("kelpie.llm.retry.MODEL_RETRY_FIRST_MS", 2)

    async def scenario(api_key: str, words: str) -> None:
        settings = ProviderSettings(name="acme", kind="openai", base_url="http://127.0.0.1:9/v1", api_key=api_key)
        models = ConfiguredModels(system_world(), open_transport(None), [settings], bounds=QUICK)
        with pytest.raises(ModelUnavailable, match=words) as caught:
            await models.ask(info(), request("hi"), None)
        assert api_key.strip() not in str(caught.value) + repr(settings)
        assert (await models.find("acme/anything")).context_tokens == 32_000, "any name is taken while it is away"
        assert await models.list_models() == [REHEARSED_INFO]
        await models.close()

    run(scenario(API_KEY, r"acme \(http://127.0.0.1:9\) could not be connected to: "))
    run(scenario(f"{API_KEY}\n", "its key or address has characters that HTTP does not allow"))


def test_a_key_that_the_provider_repeats_is_taken_out(run) -> None:
    """Some providers quote what they refuse."""

    async def scenario() -> None:
        async with serving(api_key="fault-401") as (models, _):
            with pytest.raises(ModelRefused, match="scripted fault <api key>"):
                await models.ask(info("fault-401"), request("hi", model="fault-401"), None)

    run(scenario())


@KINDS
def test_cancelling_closes_the_connection(run, kind) -> None:
    """The server sees the client go before its answer is written."""

    async def scenario() -> None:
        async with serving(kind=kind) as (models, script):
            task = asyncio.ensure_future(models.ask(info(kind=kind), request("[slow-5000]"), None))
            while not script.requests():
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while script.connections_open:
                await asyncio.sleep(0.005)
            assert script.broken_off == 1

    run(scenario())


def test_connections_are_kept_and_shared(run) -> None:
    """Calls one after the other use one connection, calls at once as many as they are, and no more later."""

    async def scenario() -> None:
        async with serving() as (models, script):
            for _ in range(5):
                await models.ask(info(), request("hi"), lambda delta: None)
            assert script.connections_made == 1
            for _ in range(2):
                async with asyncio.TaskGroup() as group:
                    for _ in range(8):
                        group.create_task(models.ask(info(), request("[slow-300]"), None))
            assert script.connections_made == 8

    run(scenario())


def test_a_stream_in_one_answer_without_its_label_is_still_read(run) -> None:
    """Servers that ignore `stream`, or do not label what they stream."""
    whole = b'{"choices":[{"message":{"content":"a b"},"finish_reason":"stop"}]}'
    events = b'data: {"choices":[{"delta":{"content":"a b"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

    async def scenario(body: bytes, content_type: str) -> list[tuple[str, str]]:
        def answer(request: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(200, headers={"content-type": content_type}, content=body)

        settings = ProviderSettings(name="acme", kind="openai", base_url="http://x/v1", api_key="")
        models = ConfiguredModels(system_world(), httpx2.MockTransport(answer), [settings], bounds=QUICK)
        deltas: list[Delta] = []
        reply = await models.ask(info(), request("hi"), deltas.append)
        assert joined(deltas) == told(reply)
        return told(reply)

    for body, content_type in ((whole, "application/json"), (events, ""), (events, "text/plain")):
        assert run(scenario(body, content_type)) == [("TextDelta", "a b")]


def test_unknown_handles_and_bad_settings_are_named() -> None:
    """NotFound says what is configured; settings are checked when they are given."""
    models = ConfiguredModels(system_world(), open_transport(None), [])
    for handle in ("openai/gpt-5", "nonsense", "kelpie/", "kelpie/else"):
        with pytest.raises(NotFound, match="providers: kelpie"):
            asyncio.run(models.find(handle))
    for name, base_url in (("kelpie", "http://x"), ("a/b", "http://x"), ("a", "ftp://x"), ("a", "http://u:p@x/v1")):
        settings = ProviderSettings(name=name, kind="openai", base_url=base_url, api_key="k")
        with pytest.raises(InvalidInput):
            ConfiguredModels(system_world(), open_transport(None), [settings])
