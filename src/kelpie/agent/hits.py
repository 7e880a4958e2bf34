"""Messages that a search has found, as the model is shown them: whole, or clipped with a note that says so."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
from msgspec import Struct

from kelpie.limits import TOOL_RETURN_CHARS_DEFAULT
from kelpie.memory.history import HistoryHits, StoredMessage, searchable_text

HIT_CHARS_MAX = 5_000
_HITS_CHARS = TOOL_RETURN_CHARS_DEFAULT * 4 // 5  # leaves room for what is around the texts
_SECOND_US = 1_000_000


class _Hit(Struct, frozen=True, kw_only=True):
    """A message as the model is shown it."""

    timestamp: str
    role: str
    content: str


class _Hits(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer of `conversation_search`."""

    results: tuple[_Hit, ...]
    count: int
    note: str | None = None


def show_hits(hits: HistoryHits, words: Sequence[str], skip_tools: tuple[str, ...]) -> str:
    """What was found, as JSON; texts that are too long are shown around the first word that was looked for."""
    chars_max = min(HIT_CHARS_MAX, _HITS_CHARS // max(1, len(hits.messages)))
    shown = tuple(_show_hit(message, words, skip_tools, chars_max) for message in hits.messages)
    note = None
    if not hits.complete:
        note = f"Older messages were not searched; {hits.searched} were. To go on, give an earlier end_date."
    return msgspec.json.encode(_Hits(results=shown, count=len(shown), note=note)).decode()


def _show_hit(message: StoredMessage, words: Sequence[str], skip_tools: tuple[str, ...], chars_max: int) -> _Hit:
    moment = datetime.fromtimestamp(message.created_at_us // _SECOND_US, UTC)
    text = searchable_text(message, skip_tools)
    return _Hit(timestamp=moment.isoformat(), role=message.kind, content=excerpt(text, words, chars_max))


def excerpt(text: str, words: Sequence[str], chars_max: int) -> str:
    """The text, or so many characters of it around the first word found, and a note that says so."""
    if len(text) <= chars_max:
        return text
    folded = text.casefold()
    at = max(0, min((folded.find(word) for word in words), default=0) - chars_max // 3)
    at = min(at, len(text) - chars_max)
    return f"{text[at : at + chars_max]} [... clipped: {chars_max} of {len(text)} characters are shown, from {at} on]"
