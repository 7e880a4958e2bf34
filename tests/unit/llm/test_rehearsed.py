"""Goal: what the offline model answers, and that it is the same every time. Method: whole replies by value."""

from kelpie.llm.messages import ModelReply, TextDelta, TextPart, ToolCallPart, Usage
from kelpie.llm.pieces import pieces_of, words_of
from kelpie.llm.rehearsed import rehearse

from .build import call, request, returned, said, tool


def test_it_says_what_it_is_and_what_it_heard() -> None:
    """Labelled as offline; names the settings for a real model; echoes, and says when it shortens."""
    text = told(rehearse(request("what is 2+2?")))
    for words in ("kelpie/rehearsed", "offline", "'what is 2+2?'", "OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        assert words in text
    assert "… (5000 characters)" in told(rehearse(request("x" * 5_000)))


def test_instructions_calls_returns_and_unknown_tools() -> None:
    """The script's steps in the order of the replies since the user spoke."""
    script = "Call the roll tool with sides 6 and call the fly tool, then reply with the message 'done'"
    first = rehearse(request(script, tools=(tool(),)))
    calls = [part for part in first.parts if isinstance(part, ToolCallPart)]
    assert [(one.name, one.arguments) for one in calls] == [("roll", '{"sides":6}')]
    assert told(first) == "There is no tool named fly. The tools that I have: roll."
    assert (first.finish, first) == ("tool_calls", rehearse(request(script, tools=(tool(),))))
    history = (script, said("assistant", *first.parts), said("tool", returned(calls[0].call_id)))
    assert told(rehearse(request(*history, tools=(tool(),)))) == "done"


def test_what_a_tool_returned_is_told_unless_the_user_has_spoken_since() -> None:
    """A later message is the one that counts."""
    history = ("Call the roll tool", said("assistant", call()), said("tool", returned(text='{"message": "4"}')))
    assert told(rehearse(request(*history, tools=(tool(),)))) == "The tool returned: 4"
    assert told(rehearse(request(*history, "Reply with 'on'", tools=(tool(),)))) == "on"
    assert "You said: ''" in told(rehearse(request()))


def test_usage_is_counted_from_the_characters() -> None:
    """Four characters a token, rounded up."""
    reply = rehearse(request("Reply with the message 'hello'", system=""))
    usage = Usage(input_tokens=8, output_tokens=2)
    assert reply == ModelReply(parts=(TextPart(text="hello"),), finish="stop", usage=usage)


def test_pieces_are_words_with_their_white_space() -> None:
    """Nothing is lost."""
    assert words_of("  a b\n\nc ") == ["  a ", "b\n\n", "c "]
    reply = ModelReply(parts=(TextPart(text="a b"),), finish="stop", usage=Usage())
    assert pieces_of(reply) == [TextDelta(part=0, text="a "), TextDelta(part=0, text="b")]


def told(reply: ModelReply) -> str:
    """The text of a reply."""
    return "".join(part.text for part in reply.parts if isinstance(part, TextPart))
