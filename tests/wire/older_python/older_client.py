"""The client 0.1.x, watched: which of its methods have been called and have succeeded. What the cases share besides."""

import functools
import inspect
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from letta_client import Letta, MessageCreate

MODEL = "openai/gpt-4o-mini"
client = Letta(base_url=os.environ["BASE_URL"], token="anything", timeout=60)
succeeded: set[str] = set()


def methods(resource: Any = client, path: str = "") -> Iterator[tuple[str, type, str]]:
    """Every method of a resource and of those in it, with the class that it is of."""
    for name in sorted(name for name in dir(resource) if not name.startswith("_") and name != "with_raw_response"):
        value = getattr(resource, name)
        if inspect.ismethod(value):
            yield path + name, type(resource), name
        elif type(value).__module__.startswith("letta_client") and type(value).__name__.endswith("Client"):
            yield from methods(value, f"{path}{name}.")


def _watch(path: str, kind: type, name: str) -> None:
    method = getattr(kind, name)

    @functools.wraps(method)
    def watched(*given: Any, **named: Any) -> Any:
        answer = method(*given, **named)
        succeeded.add(path)
        return answer

    setattr(kind, name, watched)


for each in list(methods()):
    _watch(*each)


def word(name: str = "m") -> str:
    """A name that nobody else uses."""
    return f"{name}-{uuid.uuid4().hex[:8]}"


def say(text: str) -> list[MessageCreate]:
    """One message of a user."""
    return [MessageCreate(role="user", content=text)]


def reply_with(text: str) -> list[MessageCreate]:
    """A message that is answered with that text."""
    return say(f"Reply with the message '{text}'")


def texts(messages: Any) -> list[str]:
    """What the agent said."""
    return [one.content for one in messages if one.message_type == "assistant_message"]


def wait_for(look: Callable[[], Any], enough: Callable[[Any], bool]) -> Any:
    """What is seen as soon as it is enough."""
    for _ in range(200):
        seen = look()
        if enough(seen):
            return seen
        time.sleep(0.05)
    raise AssertionError("waited 10 s in vain")


@pytest.fixture
def agent() -> Iterator[Any]:
    """An agent, deleted after the case."""
    made = client.agents.create(
        name=word("agent"), model=MODEL, embedding="kelpie/words", memory_blocks=[{"label": "human", "value": "H"}]
    )
    yield made
    client.agents.delete(made.id)
