"""Embedding models, asked for with the official client: listed, named by agents, and stood in for where need be."""

import pytest
from letta_client import Letta

from tests.wire.conftest import MakeAgent

BUILT_IN = "kelpie/lexical-512"
SMALL = "openai/text-embedding-3-small"


def test_embedding_models_are_listed(client: Letta) -> None:
    """The built-in one, and those of the provider."""
    listed = {one.handle: (one.embedding_dim, one.provider_name) for one in client.models.embeddings.list()}
    assert listed[BUILT_IN] == (512, "kelpie")
    assert listed[SMALL] == (1_536, "openai")


@pytest.mark.parametrize(
    ("named", "used", "dimensions"),
    [
        ({"embedding": SMALL}, SMALL, 1_536),
        ({"embedding": "openai/text-embedding-3-large"}, "openai/text-embedding-3-large", 3_072),
        ({"embedding": "letta/letta-free"}, BUILT_IN, 512),
        ({"embedding": BUILT_IN}, BUILT_IN, 512),
        (
            {
                "embedding_config": {
                    "embedding_endpoint_type": "openai",
                    "embedding_model": "text-embedding-3-small",
                    "embedding_dim": 1_536,
                }
            },
            SMALL,
            1_536,
        ),
    ],
)
def test_an_agent_shows_what_really_embeds(make_agent: MakeAgent, named: dict, used: str, dimensions: int) -> None:
    """A hosted model that this server does not have is the built-in one, and is shown as such."""
    agent = make_agent(**named)
    assert (agent.embedding, agent.embedding_config.handle) == (used, used)
    assert agent.embedding_config.embedding_dim == dimensions


def test_an_agent_without_an_embedding_model_shows_none(make_agent: MakeAgent) -> None:
    """Which does not keep it from having an archive."""
    agent = make_agent()
    assert (agent.embedding, agent.embedding_config) == (None, None)
