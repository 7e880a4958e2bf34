"""How a function of a source is called: arguments, memory, threads, errors. The program runs as a server runs it."""

from pathlib import Path

import pytest

from .build import a_sandbox, call, result_of, value_of

AGENT = {
    "name": "ann",
    "tags": ["x"],
    "memory": {"blocks": [{"label": "human", "value": "Bo", "limit": 100}, {"label": "persona", "value": "P"}]},
}
ARGS_SCHEMA = {
    "$defs": {"Step": {"type": "object", "properties": {"name": {"type": "string"}}}},
    "type": "object",
    "properties": {"steps": {"type": "array", "items": {"$ref": "#/$defs/Step"}}, "note": {"type": "string"}},
}


@pytest.mark.parametrize(
    ("code", "arguments", "value"),
    [
        ("def f(x: int):\n    return x * 2\n", {"x": "4"}, "8"),
        ("def f(x: float, y: bool):\n    return [x, y]\n", {"x": 1, "y": "true"}, "[1.0, True]"),
        ("def f(x: str):\n    return [x]\n", {"x": 5}, "['5']"),
        ("def f(x: 'Optional[int]'):\n    return x\n", {}, "None"),
        ("def f(x: Unknown, y: List[Other] = None):\n    return x\n", {"x": {"a": 1}}, "{'a': 1}"),
        ("async def f(x: int):\n    import asyncio\n    await asyncio.sleep(0)\n    return x\n", {"x": 1}, "1"),
        ("def f():\n    import datetime\n    return {'a': datetime.date(2020, 1, 1)}\n", {}, "{'a': '2020-01-01'}"),
        ("def f():\n    return None\n", {}, "None"),
        ("def f():\n    return 'caf\u00e9 \\ud800'.encode('utf8', 'replace').decode()\n", {}, "caf\u00e9 ?"),
        ("def _g(x):\n    return x + 1\ndef f(x: int):\n    return _g(x)\n", {"x": 1}, "2"),
        (
            "class P:\n    a: int\ndef f(p: P, q: 'list[P]'):\n    return [p.a, p['a'], q[0].a]\n",
            {"p": {"a": 2}, "q": [{"a": 3}]},
            "[2, 2, 3]",
        ),
        (
            "from threading import Thread\nimport time\n"
            "def f():\n    Thread(target=time.sleep, args=(600,)).start()\n    return 1\n",
            {},
            "1",
        ),
        ("import sys\ndef f():\n    return [sys.stdin.read(), __name__]\n", {}, "['', 'tool']"),
        ("from json import dumps\ndef other():\n    return dumps('renamed')\n", {}, '"renamed"'),
    ],
)  # fmt: skip
def test_calls(run, tmp_path: Path, code: str, arguments: object, value: str) -> None:
    """What the function gets, and how what it returns is told."""
    assert value_of(run(a_sandbox(tmp_path).run(call(code, arguments)))) == value


def test_an_arguments_schema_makes_objects_of_its_classes(run, tmp_path: Path) -> None:
    """As the author of the tool had them, although their source was never sent: attributes, isinstance, as dicts."""
    code = "def f(steps, note):\n    return [steps[0].name, isinstance(steps[0], Step), dict(steps[1]), note]\n"
    arguments = {"steps": [{"name": "a"}, {"name": "b"}], "note": "n"}
    ended = run(a_sandbox(tmp_path).run(call(code, arguments, args_schema=ARGS_SCHEMA)))
    assert value_of(ended) == "['a', True, {'name': 'b'}, 'n']"


def test_the_agents_memory_is_read_and_edited(run, tmp_path: Path) -> None:
    """What the tool gave another value is told, and nothing else."""
    code = """
def f(agent_state: "AgentState", add: str):
    memory = agent_state.memory
    memory.update_block_value(label="human", value=memory.get_block("human").value + add)
    return [agent_state.name, agent_state["tags"], memory.list_block_labels(), len(memory.get_blocks())]
"""
    result = result_of(run(a_sandbox(tmp_path).run(call(code, {"add": "!"}, agent=AGENT))))
    assert result == {
        "ok": True,
        "value": "['ann', ['x'], ['human', 'persona'], 2]",
        "blocks": {"human": "Bo!"},
    }
    nobody = call("def f(agent_state):\n    return agent_state\n")
    assert value_of(run(a_sandbox(tmp_path).run(nobody))) == "None"


@pytest.mark.parametrize(
    ("code", "arguments", "error"),
    [
        ("def f(x: int):\n    return x\n", {}, "TypeError: f() missing 1 required positional argument: 'x'"),
        ("def f(x: int):\n    return x\n", {"x": 1, "y": 2}, "TypeError: f() got an unexpected keyword argument 'y'"),
        ("def f(x: int):\n    return x\n", {"x": "a"}, "ValueError: invalid literal for int() with base 10: 'a'"),
        ("def _g():\n    return 1\n", {}, "NameError: the source defines no function 'f'"),
        ("def f(:\n", {}, "SyntaxError: invalid syntax (tool.py, line 1)"),
        ("raise KeyError('a')\n", {}, "KeyError: 'a'"),
        ("def f():\n    raise KeyboardInterrupt\n", {}, "KeyboardInterrupt"),
        (
            "def f(agent_state):\n    agent_state.memory.get_block('no')\n",
            {},
            "AttributeError: 'NoneType' object has no attribute 'memory'",
        ),
    ],
)
def test_errors_are_told_with_their_traceback(run, tmp_path: Path, code: str, arguments: object, error: str) -> None:
    """The sentence is the result; the traceback, from the tool's own first line on, is what was printed."""
    ended = run(a_sandbox(tmp_path).run(call(code, arguments)))
    assert result_of(ended) == {"ok": False, "error": error, "module": ""}
    assert ended.stderr.startswith("Traceback (most recent call last):\n")
    assert "<string>" not in ended.stderr


def test_a_missing_module_is_named(run, tmp_path: Path) -> None:
    """So that whoever reads the error can be told what to do about it."""
    ended = run(a_sandbox(tmp_path).run(call("def f():\n    import no_such.thing\n")))
    assert result_of(ended)["module"] == "no_such"


def test_the_ground_stands_before_the_source(run, tmp_path: Path) -> None:
    """What a preamble defines, the tool finds; what it raises is not hidden."""
    preamble = "client = 'ready'\n"
    assert value_of(run(a_sandbox(tmp_path).run(call("def f():\n    return client\n", preamble=preamble)))) == "ready"
