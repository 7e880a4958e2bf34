"""The system prompt: its exact form, that it is the same each time, and that no block can fake another."""

import re

from hypothesis import given
from hypothesis import strategies as st

from kelpie.memory.render import BLOCKS_INTRODUCTION, compile_system, escape_marks, render_block
from tests.unit.memory.build import a_block

MARKS = st.lists(
    st.sampled_from(["<", "</", "<\\", "block", "BLOCK", ">", "\\", "/", "purpose", " ", "x", "\n", '"', "s"]),
    max_size=12,
).map("".join)


def test_prompt_is_instructions_then_blocks_in_order():
    """The whole text, byte by byte."""
    blocks = [
        a_block("human", "Ada\nlikes tea", limit_chars=100, description="Whom you talk to."),
        a_block('a"<b>', "", limit_chars=5, read_only=True),
    ]
    assert compile_system("Be kind.\n\n", blocks) == (
        "Be kind.\n\n"
        f"# Memory\n{BLOCKS_INTRODUCTION}\n\n"
        '<block label="human" chars="13/100">\n'
        "<purpose>Whom you talk to.</purpose>\n"
        "Ada\nlikes tea\n"
        "</block>\n\n"
        '<block label="a&quot;&lt;b&gt;" chars="0/5" read_only="true">\n'
        "(empty)\n"
        "</block>"
    )


def test_prompt_without_instructions_or_blocks_says_so():
    """Neither part is needed."""
    assert compile_system("", []) == f"# Memory\n{BLOCKS_INTRODUCTION}\n\nYou have no memory blocks."


@given(MARKS, MARKS)
def test_value_and_description_cannot_make_marks(value, description):
    """However a value is written, a rendered block has one begin and one end: its own."""
    rendered = render_block(a_block("human", value, description=description))
    assert len(re.findall(r"<block\b", rendered, re.IGNORECASE)) == 1
    assert len(re.findall(r"</block\b", rendered, re.IGNORECASE)) == 1
    assert len(re.findall(r"<purpose\b", rendered, re.IGNORECASE)) == (1 if description else 0)
    assert rendered.endswith("\n</block>")


@given(MARKS)
def test_escaping_can_be_undone(text):
    """So no two values look alike, and text without marks is untouched."""
    escaped = escape_marks(text)
    assert re.sub(r"(?i)<\\(?=\\*/?(?:block|purpose)\b)", "<", escaped) == text
    if "<" not in text:
        assert escaped == text
