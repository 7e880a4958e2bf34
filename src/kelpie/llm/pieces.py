"""A whole reply told as the deltas of a stream, for who wants pieces where the reply came at once."""

import re

from kelpie.llm.messages import (
    Delta,
    ModelReply,
    ReasoningDelta,
    ReasoningPart,
    TextDelta,
    TextPart,
    ToolCallDelta,
    ToolCallPart,
)

_WORD = re.compile(r"\s*\S+\s*|\s+")


def pieces_of(reply: ModelReply) -> list[Delta]:
    """Text and reasoning word by word, a tool call as its name and then its arguments; joined they are the reply."""
    deltas: list[Delta] = []
    for index, part in enumerate(reply.parts):
        match part:
            case TextPart(text=text):
                deltas += [TextDelta(part=index, text=word) for word in words_of(text)]
            case ReasoningPart(text=text):
                deltas += [ReasoningDelta(part=index, text=word) for word in words_of(text)]
            case ToolCallPart(call_id=call_id, name=name, arguments=arguments):
                deltas.append(ToolCallDelta(part=index, call_id=call_id, name=name, arguments=""))
                if arguments:
                    deltas.append(ToolCallDelta(part=index, call_id=call_id, name=None, arguments=arguments))
    return deltas


def words_of(text: str) -> list[str]:
    """`text` cut after the white space that follows each word; nothing is lost."""
    words = _WORD.findall(text)
    assert "".join(words) == text
    return words
