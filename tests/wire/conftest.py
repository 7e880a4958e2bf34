"""A server for the official clients, the client itself, and agents that are deleted after each test."""

from collections.abc import Callable, Iterator
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import KelpieServer, ModelServer, running_kelpie, running_model_server
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED

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
def client(server: KelpieServer) -> Iterator[Letta]:
    """The client with nothing changed but the base URL; retries off, so that each answer is seen as it is."""
    with Letta(base_url=server.url, api_key="anything", max_retries=0, timeout=60) as client:
        yield client


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
