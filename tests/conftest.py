"""Fixtures that every test may use, how Hypothesis searches, and that no record is shared unseen.

A slow machine fails no test: Hypothesis measures no time here. In CI it tries the same examples each time, so that a
run says something about the change and not about luck; elsewhere it goes on searching.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from kelpie.storage import records

settings.register_profile(
    "house",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("house")
records.DECODE_AGAIN_EVERY = 1  # whoever changes a record that others share is caught at its next reader


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs one coroutine to its end on a fresh event loop and returns its result."""
    return asyncio.run
