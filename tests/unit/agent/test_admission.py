"""Goal: what is accepted can be begun and ended; what cannot is refused with its limit."""

import msgspec
import pytest

from kelpie.agent.admission import NO_ROOM, check_run, has_room
from kelpie.agent.state import AgentState, InputMessage, Run, WindowEntry
from kelpie.errors import Busy, LimitExceeded
from kelpie.ids import AgentId, MessageId, RunId
from kelpie.limits import RUN_INPUT_BYTES_MAX, TURNS_QUEUED_MAX, WINDOW_ENTRIES_MAX
from kelpie.llm.messages import TextPart

ANN = AgentId("agent-ann")


def a_run(*texts: str) -> Run:
    told = tuple(InputMessage(kind="user", parts=(TextPart(text=text),)) for text in texts)
    return Run(id=RunId("run-1"), agent_id=ANN, status="created", input=told, created_at_us=1)


def a_state(*, window: int = 1, queue: int = 0) -> AgentState:
    return AgentState(
        id=ANN,
        version=1,
        next_seq=window,
        window=tuple(WindowEntry(id=MessageId("m"), seq=seq) for seq in range(window)),
        queue=tuple(RunId(f"run-q{at}") for at in range(queue)),
    )


def test_the_queue_has_an_end() -> None:
    check_run(a_state(queue=TURNS_QUEUED_MAX - 1), a_run("hi"))
    with pytest.raises(Busy) as refused:
        check_run(a_state(queue=TURNS_QUEUED_MAX), a_run("hi"))
    assert (refused.value.fields["limit"], refused.value.fields["maximum"]) == ("TURNS_QUEUED_MAX", TURNS_QUEUED_MAX)


def test_the_input_has_a_size() -> None:
    empty = len(msgspec.json.encode(a_run("").input))
    check_run(a_state(), a_run("x" * (RUN_INPUT_BYTES_MAX - empty)))
    with pytest.raises(LimitExceeded) as refused:
        check_run(a_state(), a_run("x" * (RUN_INPUT_BYTES_MAX - empty + 1)))
    assert refused.value.fields["limit"] == "RUN_INPUT_BYTES_MAX"


def test_the_window_has_room_for_the_input_or_the_run_is_refused() -> None:
    for messages in (1, 64):
        run = a_run(*["hi"] * messages)
        last = WINDOW_ENTRIES_MAX - messages - 1
        assert (has_room(a_state(window=last), run), has_room(a_state(window=last + 1), run)) == (True, False)
        with pytest.raises(LimitExceeded) as refused:
            check_run(a_state(window=last + 1), run)
        assert refused.value.sentence == NO_ROOM.sentence


def test_another_agent_s_run_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        has_room(a_state(), msgspec.structs.replace(a_run("hi"), agent_id=AgentId("agent-bob")))
