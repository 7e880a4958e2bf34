"""How the tests of the official client write a message and read what comes back."""

from typing import Any


def user(text: str, **fields: Any) -> list[dict[str, Any]]:
    """One user message as clients send it."""
    return [{"role": "user", "content": text, **fields}]


def kinds(messages: Any) -> list[str]:
    """The message types in order, thinking left out: not every model shows any."""
    return [one.message_type for one in messages if one.message_type != "reasoning_message"]


def only(messages: Any, kind: str) -> Any:
    """The one message of that type."""
    found = [one for one in messages if one.message_type == kind]
    assert len(found) == 1, kinds(messages)
    return found[0]
