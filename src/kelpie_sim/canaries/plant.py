"""How a bug is planted: one attribute of a production class or module is another one for the time of a run."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from msgspec import Struct

from kelpie_sim.faults import FaultPlan


class Canary(Struct, frozen=True, kw_only=True):
    """A planted bug, the load that brings it out, and the checkers that are there to see it."""

    name: str
    breaks: str  # which promise, in a few words
    workload: str
    checkers: tuple[str, ...]  # any of them proves it
    plants: tuple[Callable[[], AbstractContextManager[object]], ...]
    plan: FaultPlan | None = None  # faults that bring it out; None: the seed's own
    first_seed: int = 0  # where to begin: the seed at which it was caught when this was written


def replaced(owner: Any, name: str, planted: Any) -> Callable[[], AbstractContextManager[object]]:
    """`owner.name` is `planted` while the run lasts."""
    assert hasattr(owner, name), f"{owner} has no {name}: the canary is older than the house"

    @contextmanager
    def plant() -> Iterator[None]:
        before = vars(owner)[name]
        setattr(owner, name, planted)
        try:
            yield
        finally:
            setattr(owner, name, before)

    return plant
