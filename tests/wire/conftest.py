"""A server for the official clients, the client itself, and agents that are deleted after each test.

What `client` and `wire` are answered is held against the OpenAPI document of 0.16.8 and noted: see wire.py, seen.py.
"""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import letta_client
import pytest
from letta_client import DefaultHttpxClient, Letta

from tests.system.server import KelpieServer, ModelServer, running_kelpie, running_model_server
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED
from tests.wire.seen import CLIENT, Seen
from tests.wire.wire import Wire

BLOCKS = [{"label": "human", "value": "Name: Ada"}, {"label": "persona", "value": "Patient.", "limit": 500}]

MakeAgent = Callable[..., Any]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """The scripted model server."""
    with running_model_server(tmp_path_factory.mktemp("models")) as server:
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[KelpieServer]:
    """The server under test."""
    with running_kelpie(tmp_path_factory.mktemp("kelpie"), models) as server:
        yield server


@pytest.fixture(scope="session")
def seen() -> Seen:
    """What the test that runs now was answered, by whatever client."""
    return Seen()


@pytest.fixture(autouse=True)
def noted(request: pytest.FixtureRequest, seen: Seen) -> Iterator[None]:
    """A test that is listed as the proof of an operation fails unless it called it."""
    seen.begin()
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed == failed:
        seen.end(request.node.nodeid)


@pytest.fixture(scope="session")
def client(server: KelpieServer, seen: Seen) -> Iterator[Letta]:
    """The client with nothing changed but the base URL; retries off, so that each answer is seen as it is."""

    def note(response: httpx.Response) -> None:
        kind = response.headers.get("content-type", "")
        body = None if kind.startswith("text/event-stream") else response.read()
        path = response.request.url.path
        seen.answer(response.request.method, path, response.status_code, kind, body, CLIENT)

    watched = DefaultHttpxClient(event_hooks={"response": [note]})
    options = {"max_retries": 0, "timeout": 60, "http_client": watched, "_strict_response_validation": True}
    with Letta(base_url=server.url, api_key="anything", **options) as client:
        yield client


@pytest.fixture(scope="session")
def wire(server: KelpieServer, seen: Seen) -> Iterator[Wire]:
    """The server by HTTP, for what the client has no method for."""
    with server.client() as http:
        yield Wire(http, seen)


@pytest.fixture(params=[REHEARSED, OPENAI, ANTHROPIC])
def model(request: pytest.FixtureRequest) -> str:
    """One handle for each kind of model: offline, OpenAI's wire, Anthropic's wire."""
    return request.param


@pytest.fixture
def make_agent(client: Letta) -> Iterator[MakeAgent]:
    """Creates agents and deletes them after the test."""
    made: list[str] = []

    def make(model: str = REHEARSED, **fields: Any) -> Any:
        agent = client.agents.create(model=model, **{"memory_blocks": BLOCKS, **fields})
        made.append(agent.id)
        return agent

    yield make
    for agent_id in made:
        try:
            client.agents.delete(agent_id)
        except letta_client.NotFoundError:
            pass  # the test deleted it
