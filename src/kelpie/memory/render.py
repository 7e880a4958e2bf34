"""The system prompt as the model reads it: the agent's instructions, then its memory blocks.

The same settings and blocks give the same text, whatever the time, so that a provider may cache it. A block's
value cannot end its block early or begin another one: every line of a value that would read as one of our own
marks is escaped, and nothing else is changed.
"""

import re
from collections.abc import Sequence

from kelpie.memory.blocks import Block

BLOCKS_TITLE = "# Memory"
BLOCKS_INTRODUCTION = (
    "What follows is what you remember. Each block stands between its `<block ...>` and `</block>` lines.\n"
    "Its attributes say how many characters it has and may have, and whether you may edit it."
)
NO_BLOCK_TEXT = "You have no memory blocks."
EMPTY_BLOCK_TEXT = "(empty)"
_MARK = re.compile(r"<(?=\\*/?(?:block|purpose|folders?|file|instructions)\b)", re.IGNORECASE)
_ATTRIBUTE_ESCAPES = str.maketrans({"&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "})


def compile_system(system: str, blocks: Sequence[Block], files: str = "") -> str:
    """The instructions and the rendered blocks, in the order given, then what there is to say of files."""
    shown = "\n\n".join(render_block(block) for block in blocks) or NO_BLOCK_TEXT
    head = f"{system.rstrip()}\n\n" if system.strip() else ""
    tail = f"\n\n{files}" if files else ""
    return f"{head}{BLOCKS_TITLE}\n{BLOCKS_INTRODUCTION}\n\n{shown}{tail}"


def render_block(block: Block) -> str:
    """One block: its attributes, its description, its value."""
    lines = [
        f'<block label="{escape_attribute(block.label)}"'
        f' chars="{len(block.value)}/{block.limit_chars}"{_rights(block)}>'
    ]
    if block.description:
        lines.append(f"<purpose>{escape_marks(block.description)}</purpose>")
    lines.append(escape_marks(block.value) if block.value else EMPTY_BLOCK_TEXT)
    lines.append("</block>")
    return "\n".join(lines)


def escape_marks(text: str) -> str:
    """`text` with a backslash put into whatever would read as the begin or end of a block, anew at each rendering.

    `</block>` becomes `<\\/block>`, and what is escaped already gets one more, so that no two texts look alike.
    """
    return _MARK.sub(r"<\\", text)


def _rights(block: Block) -> str:
    return ' read_only="true"' if block.read_only else ""


def escape_attribute(text: str) -> str:
    """`text` as the value of an attribute, on one line."""
    return text.translate(_ATTRIBUTE_ESCAPES)
