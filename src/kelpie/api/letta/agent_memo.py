"""Agents as they were last shown, so that an agent that is read again and again is made JSON of once.

Nothing here has to be told of a change. An entry keeps everything that it was made of: the versions of the agent's
rows, the model, the tools. Whoever asks has read all of that just now, and gets the entry only if it is the same.
"""

from typing import Any

from msgspec import Raw

from kelpie.limits import AGENTS_KEPT_BYTES_MAX

Sources = tuple[Any, ...]


class AgentMemo:
    """JSON by the id of its agent. When it is full, those that were not shown for the longest time go."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Sources, Raw]] = {}  # the one shown last comes last
        self._bytes = 0

    def recall(self, agent_id: str, sources: Sources) -> Raw | None:
        """What the agent was shown as, if that was made of the same."""
        kept = self._kept.pop(agent_id, None)
        if kept is None:
            return None
        if kept[0] != sources:
            self._bytes -= len(kept[1])
            return None
        self._kept[agent_id] = kept
        return kept[1]

    def keep(self, agent_id: str, sources: Sources, shown: bytes) -> Raw:
        """What the agent is shown as; kept if `recall` did not know it."""
        assert agent_id not in self._kept, "asked for before"
        raw = Raw(shown)
        if len(shown) <= AGENTS_KEPT_BYTES_MAX:
            self._kept[agent_id] = (sources, raw)
            self._bytes += len(shown)
        while self._bytes > AGENTS_KEPT_BYTES_MAX:
            _, oldest = self._kept.pop(next(iter(self._kept)))
            self._bytes -= len(oldest)
        return raw
