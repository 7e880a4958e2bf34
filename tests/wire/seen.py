"""Which operations a test has called, and proof that the tests of the table tested.json call what they are listed for.

`tested.json` names for every operation the test that stands for it. It is written by `python -m tests.wire.tested`
from what was seen. A test that is listed and does not get a success from its operation fails when it ends, wherever
and with whatever other tests it runs, so the table cannot say more than is so; test_surface.py asks that it says
enough.
"""

import json
import os
from pathlib import Path

from tests.wire.surface import FACTS, operation_of

TABLE = FACTS / "tested.json"
NOTED = "KELPIE_TESTED"  # a file to which every process appends what it saw
CLIENT, HTTP = "client", "http"
REFUSED_ALWAYS = {  # operations whose only answer is a refusal, there and here
    "PATCH /v1/agents/{agent_id}/messages/{message_id}": 405,
    "PATCH /v1/groups/{group_id}/messages/{message_id}": 405,
}


class Seen:
    """What the test that runs now was answered."""

    def __init__(self) -> None:
        self.answered: dict[tuple[str, int], str] = {}

    def answer(self, method: str, path: str, status: int, content_type: str, body: bytes | None, by: str) -> None:
        """Note one answer and check it; a body that is still streaming is None and is checked by its reader."""
        operation = operation_of(method, path)
        if operation is None:
            return
        self.answered.setdefault((operation.name, status), by)
        if body is not None:
            operation.check(status, content_type, body)

    def begin(self) -> None:
        """A test begins."""
        self.answered.clear()

    def end(self, test: str) -> None:
        """A test has passed: note what it saw where that is asked for, else hold it against the table."""
        good = {name: by for (name, status), by in self.answered.items() if counts(name, status)}
        if where := os.environ.get(NOTED):
            with Path(where).open("a") as file:
                file.write("".join(json.dumps([name, test, by]) + "\n" for name, by in sorted(good.items())))
        else:
            missing = {name for name, listed in table().items() if listed["test"] == test} - good.keys()
            assert not missing, f"{test} is listed in {TABLE.name} for operations that it did not call: {missing}"


def counts(name: str, status: int) -> bool:
    """Whether that answer says that the operation works."""
    return status < 400 or REFUSED_ALWAYS.get(name) == status


def table() -> dict[str, dict[str, str]]:
    """Operation -> the test that stands for it, and whether it calls with the client or by HTTP."""
    return json.loads(TABLE.read_text())
