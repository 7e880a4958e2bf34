"""Nothing leaves before its commit, except what is marked provisional (invariant 4).

Every answer is overheard as it leaves its node: an id of a message, run, agent or block that it names must stand in a
commit that the store has applied. Previews of tokens are provisional by their nature, so those streams are let pass;
in the background there are none, and the pieces of a message that is not there yet are committed events.
"""

import re

from kelpie.actor.outbox import EVENTS
from kelpie.storage.store import Put
from kelpie_sim.checkers.rows import parts_of, space_of
from kelpie_sim.host import SimHost
from kelpie_sim.http import HttpAsk
from kelpie_sim.store import Applied, SimStoreServer
from kelpie_sim.watch import Watch

NAME = "spoken"
_IDS = re.compile(rb'"(?:id|run_id|agent_id|conversation_id)":"((?:message|run|agent|block|conv)-[0-9a-f-]{36})"')
_OF_PIECES = re.compile(rb'"message_id":"(message-[0-9a-f-]{36})"')
_SPACES = frozenset(("message_place", "run", "agent", "conversation", "block"))


class Spoken:
    """Remembers every id that was ever committed."""

    def __init__(self, server: SimStoreServer, watch: Watch) -> None:
        self._watch = watch
        self._committed: set[str] = set()
        server.observers.append(self._observe)

    def hear(self, host: SimHost, ask: HttpAsk, status: int, body: bytes) -> None:
        """A piece of an answer leaves."""
        previewed = b'"stream_tokens":true' in ask.body and b'"background":true' not in ask.body
        if status != 200 or previewed:
            return
        for found in _IDS.findall(body):
            if found.decode() not in self._committed:
                self._watch.blame(NAME, f"{host.name} spoke of {found.decode()}, which is not committed, to {ask}")

    def _observe(self, applied: Applied) -> None:
        for write in applied.writes:
            if isinstance(write, Put) and space_of(write.key) in _SPACES and not write.key.startswith(b"chunk "):
                self._committed.add(parts_of(write.key)[0])
            elif isinstance(write, Put) and space_of(write.key) == EVENTS.name:
                self._committed.update(found.decode() for found in _OF_PIECES.findall(write.value))
