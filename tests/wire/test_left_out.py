"""What is left out on purpose says so, in one sentence and once: clients do not ask again."""

import letta_client
import pytest
from letta_client import Letta

from kelpie.api.letta.left_out import ABSENCES, Absence
from tests.wire.wire import Wire

AGENT = "agent-00000000-0000-4000-8000-000000000000"


@pytest.mark.parametrize("absence", ABSENCES, ids=lambda one: one.name)
def test_each_says_its_reason(wire: Wire, absence: Absence) -> None:
    path = absence.path.format(agent_id=AGENT, device_id="d", connection_id="c")
    answer = wire.raw(absence.method, path, {"messages": []} if absence.method == "POST" else None, query={})
    assert (answer.status_code, answer.json()) == (501, {"detail": absence.reason})
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["x-kelpie-error"] == "left_out"


def test_the_client_raises_it_at_once(client: Letta) -> None:
    asked = []
    watched = client.with_options(max_retries=2)
    watched._client.event_hooks["request"].append(asked.append)
    try:
        for call in (
            lambda: watched.environments.list(),
            lambda: watched.environments.retrieve("d"),
            lambda: watched.environments.send_message("c", messages=[{"role": "user", "content": "x"}]),
        ):
            with pytest.raises(letta_client.InternalServerError, match="left out"):
                call()
    finally:
        watched._client.event_hooks["request"].remove(asked.append)
    assert len(asked) == 3
