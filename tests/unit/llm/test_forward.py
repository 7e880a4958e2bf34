"""Goal: what is passed on arrives as it was, with our key, and comes back as it was. Method: the scripted server."""

import pytest

from kelpie.errors import ModelUnavailable
from kelpie.llm.forward import ForwardRequest
from kelpie.llm.line import NoLine
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.transport import CallBounds

from .build import API_KEY, serving

BODY = b'{"model":"scripted","max_tokens":9,"messages":[{"role":"user","content":"Reply with the message \'ok\'"}]}'
THEIRS = ((b"x-api-key", b"theirs"), (b"authorization", b"Bearer theirs"), (b"anthropic-beta", b"b"))


def asking(path: str = "/v1/messages", method: str = "POST", body: bytes = BODY) -> ForwardRequest:
    return ForwardRequest(method=method, path=path, headers=THEIRS, body=body)


@pytest.mark.parametrize("key", [API_KEY, ""])
def test_a_request_goes_out_with_our_key_or_else_with_the_clients(run, key) -> None:
    async def play() -> None:
        async with serving(kind="anthropic", api_key=key) as (models, script):
            answer = await models.forward(models.configured[0], asking())
            body = b"".join([chunk async for chunk in answer.chunks])
            assert answer.status == 200 and b'"ok"' in body
            assert dict(answer.headers)[b"content-type"] == b"application/json"
            (kept,) = script.requests()
            assert bytes(kept.body) == BODY and kept.headers["anthropic-beta"] == "b"
            assert kept.headers["x-api-key"] == (key or "theirs")
            assert ("authorization" in kept.headers) == (not key), "the client's credentials are for us"

    run(play())


def test_a_refusal_is_passed_back_with_its_status(run) -> None:
    async def play() -> None:
        async with serving(kind="anthropic") as (models, _):
            answer = await models.forward(models.configured[0], asking("/v1/nothing?x=1", "DELETE", b""))
            assert answer.status == 404
            assert b"no DELETE /v1/nothing" in b"".join([chunk async for chunk in answer.chunks])

    run(play())


@pytest.mark.parametrize(("model", "words"), [("fault-silence", "silent"), ("fault-hang-up", "broke off|asked")])
def test_a_provider_that_falls_silent_or_hangs_up_is_told(run, model, words) -> None:
    async def play() -> None:
        bounds = CallBounds(call_ms=20_000, silence_ms=300, connect_ms=5_000, list_ms=5_000)
        async with serving(model, kind="anthropic", bounds=bounds) as (models, _):
            body = BODY.replace(b"scripted", model.encode())
            with pytest.raises(ModelUnavailable, match=words):
                answer = await models.forward(models.configured[0], asking(body=body))
                assert [chunk async for chunk in answer.chunks] == []

    run(play())


def test_a_node_without_a_line_says_so(run) -> None:
    settings = ProviderSettings(name="acme", kind="openai", base_url="http://x", api_key="")

    async def play() -> None:
        for asked in (NoLine().check(settings), NoLine().forward(settings, asking())):
            with pytest.raises(ModelUnavailable, match="reaches no provider"):
                await asked

    run(play())
