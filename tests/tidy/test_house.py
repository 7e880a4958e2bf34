"""The house as it stands keeps every rule."""

from functools import cache

import pytest

from tests.tidy import floors, seams, shapes, words
from tests.tidy.house import Source, read_allowed, read_house

PLAIN = (
    floors.check_floors,
    floors.check_cycles,
    floors.check_imports_on_top,
    shapes.check_sizes,
    shapes.check_asserts,
    shapes.check_docstrings,
    shapes.check_nothing_left,
)
WITH_LIST = (
    words.check_product_name,
    words.check_names,
    seams.check_seams,
    seams.check_seams_shrink,
    shapes.check_handlers,
    shapes.check_loose_dicts,
)


@cache
def house() -> list[Source]:
    """All sources, parsed once."""
    return read_house()


@pytest.mark.parametrize("rule", PLAIN, ids=lambda rule: rule.__name__)
def test_rule(rule) -> None:
    """Nothing in the repository breaks the rule."""
    accept(rule(house()))


@pytest.mark.parametrize("rule", WITH_LIST, ids=lambda rule: rule.__name__)
def test_rule_with_list(rule) -> None:
    """Nothing outside the rooms listed in allowed.toml breaks the rule."""
    accept(rule(house(), read_allowed()))


def test_the_house_is_found() -> None:
    """A wrong root would make every rule pass on nothing."""
    paths = {source.path for source in house()}
    assert {"src/kelpie/limits.py", "src/kelpie_sim/__init__.py", "tests/tidy/test_house.py"} <= paths


def accept(violations: list[str]) -> None:
    """One violation a line, so that a failure reads as a list of work."""
    assert not violations, "\n" + "\n".join(violations)
