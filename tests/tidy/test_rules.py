"""Every rule catches a planted violation, and leaves its nearest lawful neighbour alone."""

import pytest

from tests.tidy import floors, seams, shapes, words
from tests.tidy.house import Allowed, plant

NOTHING_ALLOWED = Allowed(names=(), seams={}, broad_except=(), loose_dict=(), product_name=())
ROOM = "src/kelpie/actor/host.py"
BELOW = plant("src/kelpie/storage/store.py", "")
ABOVE = plant("src/kelpie/agent/turn.py", "")


@pytest.mark.parametrize(
    ("path", "line", "words_said"),
    [
        ("src/kelpie/storage/store.py", "from kelpie.agent import turn", "imports go down"),
        ("src/kelpie/storage/store.py", "import kelpie.agent.turn", "imports go down"),
        ("src/kelpie/cluster/lease.py", "from kelpie.access.roles import Role", "sibling"),
        ("src/kelpie/llm/model.py", "from kelpie.memory.blocks import Block", "sibling"),
        ("src/kelpie/memory/blocks.py", "from kelpie.llm.model import Models", "sibling"),
        ("src/kelpie/node.py", "from kelpie_sim.loop import Loop", "does not know its simulator"),
        ("src/kelpie/ids.py", "import httpx2", "not httpx2"),
        ("src/kelpie/attic/box.py", "import os", "on no floor"),
    ],
)
def test_an_import_that_does_not_go_down_is_caught(path: str, line: str, words_said: str) -> None:
    """Upwards, sideways, to the simulator, out of floor 0, and from a room on no floor."""
    (found,) = floors.check_floors([plant(path, line), BELOW, ABOVE])
    assert path in found and words_said in found


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("src/kelpie/agent/turn.py", "from kelpie.storage.store import Store"),
        ("src/kelpie/memory/history.py", "from kelpie.llm.messages import Part"),
        ("src/kelpie/tools/tool.py", "from kelpie.sandbox.policy import Policy"),
        ("src/kelpie/limits.py", "import msgspec"),
        ("src/kelpie/errors.py", "from kelpie.limits import RETRY_AFTER_MS"),
        ("src/kelpie/cli/serve.py", "from kelpie.node import Node"),
        ("src/kelpie_sim/cluster.py", "from kelpie.node import build_node"),
    ],
)
def test_an_import_that_goes_down_is_left_alone(path: str, line: str) -> None:
    """Down, within a room, the three sideways doors, and among the rooms of the last floor."""
    assert floors.check_floors([plant(path, line)]) == []


def test_a_cycle_is_caught_however_long() -> None:
    """Three modules in a ring are one violation, not three."""
    ring = [
        plant("src/kelpie/llm/a.py", "from kelpie.llm import b"),
        plant("src/kelpie/llm/b.py", "from kelpie.llm.c import x"),
        plant("src/kelpie/llm/c.py", "import kelpie.llm.a"),
        plant("src/kelpie/llm/d.py", "import kelpie.llm.a"),
    ]
    assert floors.check_cycles(ring) == ["import cycle: kelpie.llm.a -> kelpie.llm.b -> kelpie.llm.c"]
    assert floors.check_cycles(ring[1:]) == []


def test_an_import_inside_a_function_is_caught() -> None:
    """Also in a method of a nested class; at the top of a module it is where it belongs."""
    inside = plant(ROOM, "class A:\n    def run(self):\n        import json\n")
    assert floors.check_imports_on_top([inside]) == [f"{ROOM}:3: an import inside run()"]
    assert floors.check_imports_on_top([plant(ROOM, "import json\n\ndef run():\n    return json\n")]) == []


def test_the_product_name_is_caught_outside_its_rooms() -> None:
    """In a string, in any case; naming the room that speaks for it is allowed."""
    planted = plant(ROOM, 'NAME = "LETTA server"\n')
    assert words.check_product_name([planted], NOTHING_ALLOWED) == [f"{ROOM}:1: 'letta' is named only in its rooms"]
    reached = plant(ROOM, "from kelpie.api.letta.agents import routes\n")
    assert words.check_product_name([reached], NOTHING_ALLOWED) == []
    at_home = plant("src/kelpie/api/letta/agents.py", planted.text)
    assert words.check_product_name([at_home], allowed(product_name=("src/kelpie/api/letta/",))) == []


@pytest.mark.parametrize(
    "source",
    [
        plant("src/kelpie/actor/utils.py", ""),
        plant(ROOM, "class ActorManager: pass"),
        plant(ROOM, "class HTTPBase: pass"),
        plant(ROOM, "class A:\n    def step_v2(self): pass"),
        plant(ROOM, "async def legacy_load(): pass"),
    ],
    ids=lambda source: source.text or source.path,
)
def test_a_vague_name_is_caught(source) -> None:
    """In a file's, a class's, a method's or a function's name; a list can except a file."""
    (found,) = words.check_names([source], NOTHING_ALLOWED)
    assert "needs a name from the domain" in found
    assert words.check_names([source], allowed(names=(source.path,))) == []


def test_a_word_that_only_contains_a_vague_one_is_left_alone() -> None:
    """`basement` is not `base`, and `database_url` is a word of the domain."""
    assert words.check_names([plant(ROOM, "def database_url(): pass\nclass Basement: pass")], NOTHING_ALLOWED) == []


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("import time", "time"),
        ("from random import Random", "random"),
        ("import os\nSEED = os.urandom(4)", "os.urandom"),
        ("import datetime\nNOW = datetime.datetime.now()", "datetime.now"),
        ("import asyncio\nasyncio.create_task(f())", "asyncio.create_task"),
        ("from asyncio import gather", "asyncio.gather"),
        ("async def f(loop):\n    await loop.run_in_executor(None, f)", "run_in_executor"),
        ("import concurrent.futures", "concurrent"),
    ],
)
def test_touching_the_world_is_caught(text: str, used: str) -> None:
    """Imports and calls, direct or by another name; a room whose entry names it may."""
    planted = plant(ROOM, text)
    (found,) = seams.check_seams([planted], NOTHING_ALLOWED)
    assert f" {used} is for the real parts" in found
    assert seams.check_seams([planted], allowed(seams={ROOM: (used,)})) == []


def test_a_task_group_and_a_test_are_left_alone() -> None:
    """A task with a parent is how tasks are made; tests may touch what they like."""
    grouped = plant(ROOM, "async def f(group):\n    group.create_task(f(group))")
    test = plant("tests/unit/actor/test_host.py", "import time")
    assert seams.check_seams([grouped, test], NOTHING_ALLOWED) == []


def test_an_entry_that_nothing_needs_is_caught() -> None:
    """The list may only get shorter: an unused name and a file that is gone."""
    entries = allowed(seams={ROOM: ("time", "random"), "src/kelpie/gone.py": ("time",)})
    assert seams.check_seams_shrink([plant(ROOM, "import time")], entries) == [
        f"allowed.toml: {ROOM} does not use random",
        "allowed.toml: src/kelpie/gone.py does not use time",
    ]


def test_a_file_or_function_over_the_wall_is_caught() -> None:
    """One line more than allowed of each; exactly the allowed number is not caught."""
    body = "    x = 1\n"
    wall = plant(ROOM, "def f():\n" + body * 69)
    assert shapes.check_sizes([wall]) == []
    assert shapes.check_sizes([plant(ROOM, "def f():\n" + body * 70)]) == [f"{ROOM}:1 f: 71 lines, at most 70"]
    assert shapes.check_sizes([plant(ROOM, "x = 1\n" * 500)]) == []
    assert shapes.check_sizes([plant(ROOM, "x = 1\n" * 501)]) == [f"{ROOM}: 501 lines, at most 500"]


def test_a_long_function_without_asserts_is_caught_up_to_floor_5() -> None:
    """Sixteen lines of code need two asserts; a docstring is not code, and floor 6 answers for itself."""
    text = 'def f(x):\n    """One.\n\n    Two.\n    """\n' + "    assert x\n" + "    x = 1\n" * 15
    planted = plant(ROOM, text)
    assert shapes.check_asserts([planted]) == [f"{ROOM}:1 f: 16 lines of code and 1 asserts, at least 2"]
    assert shapes.check_asserts([plant(ROOM, text + "    assert_never(x)\n")]) == []
    assert shapes.check_asserts([plant(ROOM, text.removesuffix("    x = 1\n"))]) == []
    assert shapes.check_asserts([plant("src/kelpie/api/app.py", text)]) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "a module says"),
        ('"""Doc."""\nclass A: pass\n', ":2 A: public"),
        ('"""Doc."""\ndef f(): pass\n', ":2 f: public"),
        ('"""Doc."""\nclass A:\n    """Doc."""\n    async def f(self): pass\n', ":4 f: public"),
    ],
)
def test_a_missing_docstring_is_caught(text: str, said: str) -> None:
    """Modules, public classes, functions and methods."""
    (found,) = shapes.check_docstrings([plant(ROOM, text)])
    assert said in found


def test_what_is_private_needs_no_docstring() -> None:
    """Nor do functions inside functions, nor a test's own functions beyond the module's docstring."""
    inner = '"""Doc."""\ndef _f(): pass\nclass _A:\n    def g(self): pass\n'
    test = plant("tests/unit/test_x.py", '"""Doc."""\ndef test_x(): pass\n')
    assert shapes.check_docstrings([plant(ROOM, inner), test]) == []


@pytest.mark.parametrize("kind", ["", " Exception", " BaseException as error", " (OSError, Exception)"])
def test_a_broad_handler_is_caught(kind: str) -> None:
    """Bare, broad, or hidden in a tuple; the listed doors may."""
    planted = plant(ROOM, f"try:\n    pass\nexcept{kind}:\n    pass\n")
    assert shapes.check_handlers([planted], NOTHING_ALLOWED) == [f"{ROOM}:3: a broad except"]
    assert shapes.check_handlers([planted], allowed(broad_except=(ROOM,))) == []
    assert shapes.check_handlers([plant(ROOM, "try:\n    pass\nexcept OSError:\n    pass")], NOTHING_ALLOWED) == []
    cleaned = plant(ROOM, f"try:\n    pass\nexcept{kind}:\n    x = 1\n    raise\n")
    assert shapes.check_handlers([cleaned], NOTHING_ALLOWED) == []


def test_a_loose_dict_is_caught() -> None:
    """In an annotation; the rooms that read other people's JSON may."""
    planted = plant(ROOM, "def f(x: dict[str, Any]): pass")
    assert shapes.check_loose_dicts([planted], NOTHING_ALLOWED) == [
        f"{ROOM}:1: dict[str, Any]; a struct says what is in it"
    ]
    assert shapes.check_loose_dicts([planted], allowed(loose_dict=("src/kelpie/actor/",))) == []
    assert shapes.check_loose_dicts([plant(ROOM, "x: dict[str, int]")], NOTHING_ALLOWED) == []


@pytest.mark.parametrize(
    "line",
    ["# TODO: later", "raise NotImplementedError", "@pytest.mark.skip", "pytest.skip('x')", "# pragma: no cover"],
)
def test_work_put_off_is_caught(line: str) -> None:
    """Stubs, skips and promises."""
    text = line if not line.startswith("@") else line + "\ndef f(): pass"
    (found,) = shapes.check_nothing_left([plant("tests/unit/test_x.py", text)])
    assert "debt is not taken" in found


def allowed(**lists) -> Allowed:
    """An allowed list with only what the test is about."""
    return Allowed(**{"names": (), "seams": {}, "broad_except": (), "loose_dict": (), "product_name": (), **lists})
