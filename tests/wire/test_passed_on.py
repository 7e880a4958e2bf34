"""Programs that speak Anthropic's wire, pointed at this server: the official `anthropic` client, and by HTTP."""

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic

from tests.system.server import KelpieServer, ModelServer, running_kelpie
from tests.system.talk import mark, reply_with
from tests.wire.seen import CLIENT, Seen
from tests.wire.wire import Wire

MODEL = "claude-haiku-4-5"


@pytest.fixture
def claude(server: KelpieServer, seen: Seen) -> Iterator[Anthropic]:
    """The official client, as its users point it elsewhere; what it is answered is noted."""

    def note(response) -> None:
        kind = response.headers.get("content-type", "")
        body = None if kind.startswith("text/event-stream") else response.read()
        if response.status_code < 400:  # errors are the provider's, in its own form
            seen.answer(response.request.method, response.request.url.path, response.status_code, kind, body, CLIENT)

    watched = anthropic.DefaultHttpxClient(event_hooks={"response": [note]})
    url = f"{server.url}/v1/anthropic"
    with Anthropic(base_url=url, api_key="the-client's-own", max_retries=0, http_client=watched) as client:
        yield client


def test_a_message_is_passed_on_with_the_servers_key(claude: Anthropic, models: ModelServer) -> None:
    """The request arrives as it was sent; the client's key does not."""
    word = mark("claude")
    answer = claude.messages.create(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": reply_with(word)}], metadata={"user_id": "u"}
    )
    assert [block.text for block in answer.content if block.type == "text"] == [word]
    (sent,) = models.requests(word)
    assert sent["metadata"] == {"user_id": "u"}


def test_a_streamed_message_is_passed_on_as_it_comes(claude: Anthropic) -> None:
    """Event by event."""
    words = f"{mark('one')} two three"
    with claude.messages.stream(
        model=MODEL, max_tokens=100, messages=[{"role": "user", "content": reply_with(words)}]
    ) as stream:
        pieces = list(stream.text_stream)
        assert "".join(pieces) == words and len(pieces) > 1
        assert stream.get_final_message().stop_reason == "end_turn"


def test_other_operations_and_refusals_are_passed_on_too(claude: Anthropic) -> None:
    """The list of models with its query; the provider's own error."""
    assert MODEL in [one.id for one in claude.models.list(limit=1000)]
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        claude.messages.create(model=MODEL, max_tokens=0, messages=[{"role": "user", "content": "x"}])
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "x"}])


def test_z_ai_is_asked_at_the_provider_that_was_stored(models: ModelServer, tmp_path, seen: Seen) -> None:
    """Its key and address; and any operation of it, in any method."""
    body = {"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": reply_with("zai")}]}
    with running_kelpie(tmp_path, models) as server, server.client() as http:
        wire = Wire(http, seen)
        wire.post(
            "/v1/providers/",
            {"name": "mine", "provider_type": "zai", "api_key": "sk-zai", "base_url": f"{models.url}/v1"},
        )
        assert wire.post("/v1/zai/v1/messages", body)["content"][0]["text"] == "zai"
        vectors = wire.post("/v1/zai/v1/embeddings", {"model": "embed-64", "input": ["x"]})
        assert vectors == wire.post("/v1/anthropic/v1/embeddings", {"model": "embed-64", "input": ["x"]})
        answer = http.post("/v1/anthropic/v1/messages", json=body)
        assert answer.status_code == 200 and answer.json()["content"][0]["text"] == "zai"
        assert http.get("/v1/zai/v1/models", params={"limit": 1}).status_code == 200
        assert http.delete("/v1/zai/v1/files/one/two").status_code == 404


def test_a_provider_that_is_not_there_is_503(tmp_path, models: ModelServer) -> None:
    """With a sentence that says whom this server asked."""
    down = {"ANTHROPIC_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "k"}
    with running_kelpie(tmp_path, None, **down) as server, server.client() as http:
        answer = http.post("/v1/anthropic/v1/messages", json={})
        assert answer.status_code == 503 and "127.0.0.1:9" in answer.json()["detail"]
