"""Calls that wait for a person: none runs before it may, none that may not, each that may once; no answer is lost.

What a call was answered is told by the history, in which the answer stands behind the reply with the calls and before
their results; what was run is told by the world of the tools; what clients were told is told by them.
"""

from collections.abc import Sequence

from msgspec import Struct

from kelpie.agent.turn import CANCELLED, DENIED, INTERRUPTED, WITHDRAWN
from kelpie.llm.messages import Part, ToolCallPart, ToolReturnPart, VerdictPart
from kelpie.memory.history import MESSAGES, StoredMessage
from kelpie_sim.checkers.rows import Rows, put_records
from kelpie_sim.simulation import Simulation
from kelpie_sim.store import Applied
from kelpie_sim.tools import Execution, SimTools
from kelpie_sim.watch import Watch

NAME = "verdicts"
ALWAYS_ASKS = "count_up"  # which no agent of the load may call by itself
APPROVE, DENY, RETURN = "approve", "deny", "return"


class Given(Struct):
    """An answer that a client gave, and what it was told of it. `verdicts`: call -> what was said of it."""

    agent_id: str
    verdicts: dict[str, str]
    run_ids: list[str] = []  # of all attempts
    refused: str = ""  # an attempt was refused: nothing had happened


class Verdicts:
    """Shown every applied commit."""

    def __init__(self, sim: Simulation, tools: SimTools, watch: Watch) -> None:
        self._tools = tools
        self._watch = watch
        self._allowed: set[tuple[str, str]] = set()  # step, call; only asked whether it holds one
        self._open: dict[tuple[str, str], None] = {}  # step, call: all calls of replies of which one asks
        sim.server.observers.append(self._observe)

    def check(self, rows: Rows, given: Sequence[Given]) -> None:
        """When all is over."""
        answers: dict[tuple[str, str], dict[str, str]] = {}  # agent, run -> what was said in it
        histories: dict[str, list[StoredMessage]] = {}
        for message in rows.space(MESSAGES).values():
            histories.setdefault(message.thread_id, []).append(message)
        for agent_id, history in histories.items():
            history.sort(key=lambda message: message.seq)
            for at, message in enumerate(history):
                if any(isinstance(part, ToolCallPart) and part.asks for part in message.parts):
                    said = self._check_step(message, history[at + 1 :])
                    if said is not None:
                        answers[agent_id, said.run_id or ""] = _verdicts(said.parts)
        for execution in self._tools.executions:
            allowed = execution.tool != ALWAYS_ASKS or execution.key[1:] in self._allowed
            self._expect(allowed, f"{execution} was run, and nobody allowed it")
        for each in given:
            self._check_given(each, answers)
        told = {(each.agent_id, run_id) for each in given for run_id in each.run_ids}
        for key, verdicts in answers.items():
            same = any(each.agent_id == key[0] and each.verdicts == verdicts for each in given)
            self._expect(key in told or same, f"{key} says {verdicts}, which nobody said")

    def _check_given(self, given: Given, answers: dict[tuple[str, str], dict[str, str]]) -> None:
        self._expect(len(set(given.run_ids)) <= 1, f"{given} was given more than one run")
        found = [run_id for (agent_id, run_id), each in answers.items()
                 if agent_id == given.agent_id and each == given.verdicts]  # fmt: skip
        if given.run_ids:
            self._expect(found == given.run_ids[:1], f"{given} is the answer of {found}")
        elif given.refused:
            self._expect(not found, f"{given} was refused and is the answer of {found}")

    def _check_step(self, asking: StoredMessage, later: Sequence[StoredMessage]) -> StoredMessage | None:
        """A reply with calls that ask, its answer if there is one, and its results. The answer."""
        of_step = [
            message for message in later if message.step_id == asking.step_id and message.kind in ("approval", "tool")
        ]
        kinds = [message.kind for message in of_step]
        self._expect(kinds in (["approval", "tool"], ["tool"]), f"{asking.id} is followed by {kinds}")
        answer = of_step[0] if kinds[:1] == ["approval"] else None
        verdicts = {} if answer is None else _verdicts(answer.parts)
        calls = [part for part in asking.parts if isinstance(part, ToolCallPart)]
        asked = sorted(call.call_id for call in calls if call.asks)
        if answer is not None:
            self._expect(sorted(verdicts) == asked, f"{answer.id} answers {sorted(verdicts)}, not {asked}")
        results = {part.call_id: part for message in of_step for part in message.parts
                   if message.kind == "tool" and isinstance(part, ToolReturnPart)}  # fmt: skip
        for call in calls:
            run = [each for each in self._tools.executions if each.key[1:] == (asking.step_id, call.call_id)]
            verdict = verdicts.get(call.call_id) if call.asks else None if answer is None else APPROVE
            result = results.get(call.call_id)
            if call.asks and verdict == APPROVE:
                self._allowed.add((asking.step_id or "", call.call_id))
            if result is not None:
                self._check_call(call, verdict, result, run, None if answer is None else answer.run_id)
        return answer

    def _check_call(
        self, call: ToolCallPart, verdict: str | None, result: ToolReturnPart, run: list[Execution], run_id: str | None
    ) -> None:
        what = f"{call.name} {call.call_id}, {verdict}, '{result.text[:80]}'"
        if verdict != APPROVE:
            self._expect(not run, f"{what}: was run as {run}")
            words = {DENY: DENIED, None: WITHDRAWN}.get(verdict, (verdict or "").removeprefix(f"{RETURN} "))
            self._expect(not call.asks or result.text.startswith(words), f"{what}: the model was told otherwise")
            return
        self._expect(all(each.key[0] == run_id for each in run), f"{what}: was run by {run}, not by {run_id}")
        if call.name == ALWAYS_ASKS:
            self._expect(len(run) <= 1, f"{what}: was run {len(run)} times")
        if result.ok and call.name in ("count_up", "set_value", "look_up"):
            self._expect(any(each.outcome == "done" for each in run), f"{what}: was not run")
        denied = result.text.startswith((DENIED, WITHDRAWN))
        self._expect(not denied, f"{what}: was allowed and not run")
        if not run and call.asks and not result.ok:
            self._expect(_excused(result.text), f"{what}: was allowed and not run")

    def _observe(self, applied: Applied) -> None:
        for message in put_records(applied.writes, MESSAGES).values():
            calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
            if any(call.asks for call in calls):
                self._open.update(((message.step_id or "", call.call_id), None) for call in calls)
            if message.kind in ("approval", "tool"):
                self._close(message.step_id or "")

    def _close(self, step_id: str) -> None:
        """The calls of a step may run from now on; none has."""
        for key in [key for key in self._open if key[0] == step_id]:
            del self._open[key]
            run = [each for each in self._tools.executions if each.key[1:] == key]
            self._expect(not run, f"{key} was run before it was answered: {run}")

    def _expect(self, holds: bool, sentence: str) -> None:
        self._watch.expect(holds, NAME, sentence)


def _excused(text: str) -> bool:
    """Whether a call that was allowed may have come to nothing: cut off, or malformed."""
    return text in (CANCELLED, INTERRUPTED) or text.startswith(("the arguments", "The arguments", "There is no tool"))


def _verdicts(parts: Sequence[Part]) -> dict[str, str]:
    said: dict[str, str] = {}
    for part in parts:
        if isinstance(part, VerdictPart):
            said[part.call_id] = APPROVE if part.approve else DENY
        elif isinstance(part, ToolReturnPart):
            said[part.call_id] = f"{RETURN} {part.text}"
    return said
