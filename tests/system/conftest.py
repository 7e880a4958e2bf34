"""One model server and one Kelpie server for all black-box tests of a worker that do not harm them."""

from collections.abc import Iterator

import httpx2
import pytest

from tests.system.server import KelpieServer, ModelServer, running_kelpie, running_model_server


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """The scripted model server."""
    with running_model_server(tmp_path_factory.mktemp("models")) as server:
        yield server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, models: ModelServer) -> Iterator[KelpieServer]:
    """A shared server; who wants to kill, stop or starve one starts an own one."""
    with running_kelpie(tmp_path_factory.mktemp("kelpie"), models) as server:
        yield server


@pytest.fixture
def http(server: KelpieServer) -> Iterator[httpx2.Client]:
    """A client of the shared server."""
    with server.client() as client:
        yield client
