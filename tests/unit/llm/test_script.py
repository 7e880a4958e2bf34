"""Goal: every instruction form of the scripted models. Method: whole scripts by value."""

import pytest

from kelpie.llm.script import ScriptedCall, ScriptedText, read_script, words_after_return


def calls(tool: str, arguments: str = "{}") -> ScriptedCall:
    """A scripted call."""
    return ScriptedCall(tool=tool, arguments=arguments)


@pytest.mark.parametrize(
    ("message", "script"),
    [
        ("hello", ()),
        ("Reply with the message 'alpha beta'", ((ScriptedText(text="alpha beta"),),)),
        ('please reply with "it\'s" now', ((ScriptedText(text="it's"),),)),
        ("Reply with the message 'it's done'", ((ScriptedText(text="it's done"),),)),
        (
            "Call the memory_insert tool with label 'human' and new_string 'likes tea'",
            ((calls("memory_insert", '{"label":"human","new_string":"likes tea"}'),),),
        ),
        (
            "Call the memory_replace tool with label 'human' old_string 'tea' new_string 'mate'",
            ((calls("memory_replace", '{"label":"human","old_string":"tea","new_string":"mate"}'),),),
        ),
        ("Call the probe_tool tool with x=5", ((calls("probe_tool", '{"x":5}'),),)),
        ("Call the t tool with a -1.5, b: true; c null", ((calls("t", '{"a":-1.5,"b":true,"c":null}'),),)),
        ("Call the t tool with tags [\"a\", {}] and to 'bob'", ((calls("t", '{"tags":["a", {}],"to":"bob"}'),),)),
        ("Call the t tool with text 'a\\nb\\'c'", ((calls("t", '{"text":"a\\nb\'c"}'),),)),
        ('Call the t tool with {"x": {"y": "}"}} now', ((calls("t", '{"x": {"y": "}"}}'),),)),
        ('Call the t tool with {"broken": \nmore', ((calls("t", '{"broken": '),),)),
        ("Call the t tool.", ((calls("t"),),)),
        ("Call the a tool and call the b tool", ((calls("a"), calls("b")),)),
        ("Call the a tool, then call the b tool", ((calls("a"),), (calls("b"),))),
        ("Call the a tool with x 1 and reply with 'ok'", ((calls("a", '{"x":1}'),), (ScriptedText(text="ok"),))),
        ("Reply with 'wait' and call the a tool", ((ScriptedText(text="wait"), calls("a")),)),
    ],
)
def test_instructions(message: str, script: tuple) -> None:
    """One form each."""
    assert read_script(message) == script


def test_hostile_messages_end_soon_and_mean_nothing() -> None:
    """Long white space, unclosed quotes and brackets are read in bounded time."""
    for message in ("Call the t tool with a" + " " * 90_000, "reply with '" * 9_000, "Call the t tool with a [" * 900):
        assert len(read_script(message)) <= 900


def test_returns_are_told_and_envelopes_opened() -> None:
    """One return, several returns, and the form in which agents wrap them."""
    assert words_after_return(("4",)) == "The tool returned: 4"
    assert words_after_return(('{"status":"OK","message":"4"}', "[5]")) == "The tools returned: 4; [5]"
