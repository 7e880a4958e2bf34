"""A block is one register that many read, overwrite and append to; its history is the order of its commits.

The store's history gives the order outright, so nothing is searched for: each commit must leave either what a person
asked for in a request that was open at that moment, or what was there with one further mark at its end; a mark is
appended at most once for each time that a model asked for it; each value that somebody was shown stood there at some
moment while it was asked for; and what was acknowledged took effect before it was.
"""

from collections import Counter

from msgspec import Struct

from kelpie.llm.messages import ToolCallPart
from kelpie.memory.blocks import BLOCKS
from kelpie.memory.history import MESSAGES
from kelpie.storage.store import Check
from kelpie_sim.checkers.rows import put_records
from kelpie_sim.ledger import Ledger
from kelpie_sim.limits import LOOP_START_S
from kelpie_sim.store import Applied, SimStoreServer
from kelpie_sim.watch import Watch

NAME = "linearizable"
_CLOCK_S = 0.001  # the history's times are rounded to milliseconds


class _Value(Struct, frozen=True):
    value: str
    from_s: float
    version: int


class BlockValues:
    """Every value that every block had."""

    def __init__(self, server: SimStoreServer, ledger: Ledger, watch: Watch) -> None:
        self._ledger = ledger
        self._watch = watch
        self._values: dict[str, list[_Value]] = {}
        self._marks: Counter[str] = Counter()  # how often each was appended
        self._asked: Counter[str] = Counter()  # how often a model's committed reply asked for that
        server.observers.append(self._observe)

    def check(self) -> None:
        """What people were shown and told, when all is over."""
        for look in self._ledger.looks:
            seen = self._values.get(look.block_id, [])
            ends = [*[value.from_s for value in seen[1:]], float("inf")]
            if not any(
                value.value == look.value and value.from_s <= look.ended_s + _CLOCK_S and look.begun_s - _CLOCK_S <= end
                for value, end in zip(seen, ends, strict=True)
            ):
                sentence = f"{look.client} was shown {look.value!r} of {look.block_id}, which it was not"
                self._watch.blame(NAME, f"{sentence} between {look.begun_s:.3f} and {look.ended_s:.3f}")
        for edit in self._ledger.edits:
            if edit.known and edit.ended_s is not None:
                took = [each.from_s for each in self._values.get(edit.block_id, []) if each.value == edit.value]
                held = any(edit.begun_s - _CLOCK_S <= from_s <= edit.ended_s + _CLOCK_S for from_s in took)
                self._watch.expect(held, NAME, f"{edit.client} was told that {edit.value!r} was written, at {took}")

    def marks_of(self, block_id: str) -> Counter[str]:
        """How often each mark was appended, anywhere."""
        return Counter({mark: count for mark, count in self._marks.items() if self._ledger.marks.get(mark) == block_id})

    def _observe(self, applied: Applied) -> None:
        now_s = LOOP_START_S + applied.at_ms / 1_000
        for message in put_records(applied.writes, MESSAGES).values():
            for part in message.parts:
                if isinstance(part, ToolCallPart):
                    self._asked.update(mark for mark in self._ledger.marks if f'"{mark}"' in part.arguments)
        for (block_id,), block in put_records(applied.writes, BLOCKS).items():
            values = self._values.setdefault(block_id, [])
            if values:
                self._check_change(applied, block_id, values[-1], block.value, now_s)
            if not values or values[-1].value != block.value:
                values.append(_Value(block.value, now_s, applied.version))
            else:
                values[-1] = _Value(block.value, values[-1].from_s, applied.version)

    def _check_change(self, applied: Applied, block_id: str, before: _Value, value: str, now_s: float) -> None:
        if Check(BLOCKS.at(block_id).key, before.version) not in applied.checks:
            self._watch.blame(NAME, f"{block_id} was written without a look at version {before.version}", applied.at_ms)
        if value == before.value or block_id not in self._ledger.registers:
            return
        mark = value.rpartition("\n")[2]
        if mark in self._ledger.marks:
            self._marks[mark] += 1
            appended = value == (f"{before.value}\n{mark}" if before.value else mark)
            if not appended or self._marks[mark] > self._asked[mark]:
                self._blame(applied, f"{block_id}: {mark} made {value!r} of {before.value!r}, time {self._marks[mark]}")
            return
        if not any(
            edit.block_id == block_id and edit.value == value and edit.begun_s <= now_s + _CLOCK_S
            for edit in self._ledger.edits
        ):
            self._blame(applied, f"{block_id} became {value!r}, which nobody asked for")

    def _blame(self, applied: Applied, sentence: str) -> None:
        self._watch.blame(NAME, sentence, applied.at_ms)
