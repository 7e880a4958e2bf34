"""Goal: code calls tools as functions: those lent with their source, those elsewhere, and not those it may not.

Method: the program, run as it is. What else scripts do is in test_process.py.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.unit.sandbox.build import a_sandbox, result_of, script, value_of

ADD = {"name": "add", "code": "STEP = START\ndef add(a: int, b: 'Unknown' = 1):\n    return a + b + STEP\n"}
WAIT = {"name": "wait", "code": "async def wait() -> Optional[str]:\n    return 'waited'\n"}
FAR = {"name": "far", "order": ["x", "y"]}
BROKEN = {"name": "broken", "code": "def broken(:\n"}
BARRED = {"name": "barred", "code": "def barred(): ...", "why_not": "nobody may"}
CALLER = "def call(name, arguments):\n    return f'{name} {arguments}'\n"


@pytest.mark.parametrize(
    ("code", "value"),
    [
        ("sum(add(n) for n in range(3)) + add(1, b=2)", "49"),
        ("wait()", "'waited'"),
        ("far(1, y=2)", "\"far {'x': 1, 'y': 2}\""),
        ("add.__name__, 'STEP' in globals()", "('add', False)"),
    ],
)
def test_code_calls_tools(run, tmp_path: Path, code: str, value: str) -> None:
    """Each in a module of its own, behind the preamble; one that cannot be read harms no other."""
    job = script(code, ADD, WAIT, FAR, BROKEN, preamble="START = 10", caller=CALLER)
    assert value_of(run(a_sandbox(tmp_path).run(job))) == value


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("barred()", "PermissionError: barred cannot be called by code: nobody may"),
        ("far(1, 2, 3)", "TypeError: far takes 2 arguments and was given 3"),
        ("broken()", "SyntaxError: invalid syntax (broken.py, line 1)"),
    ],
)
def test_what_cannot_be_called_says_why(run, tmp_path: Path, code: str, error: str) -> None:
    """As an exception of the code, which it may catch."""
    ended: Any = run(a_sandbox(tmp_path).run(script(code, FAR, BROKEN, BARRED)))
    assert result_of(ended) == {"ok": False, "error": error}
