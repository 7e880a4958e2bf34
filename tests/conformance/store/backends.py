"""The stores that must pass the suite: a name and how to open an empty one in a directory."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.sqlite import open_sqlite
from kelpie.storage.store import Store
from kelpie.system import system_world


async def open_memory(data_dir: Path) -> Store:
    """The reference."""
    return MemoryStore(system_world())


async def open_file(data_dir: Path) -> Store:
    """SQLite."""
    return await open_sqlite(data_dir, system_world())


async def open_checked_memory(data_dir: Path) -> Store:
    """The wrapper that every node uses, over the reference."""
    return CheckedStore(MemoryStore(system_world()))


async def open_checked_file(data_dir: Path) -> Store:
    """What a node has."""
    return CheckedStore(await open_file(data_dir))


BACKENDS: dict[str, Callable[[Path], Awaitable[Store]]] = {
    "memory": open_memory,
    "sqlite": open_file,
    "checked-memory": open_checked_memory,
    "checked-sqlite": open_checked_file,
}


@asynccontextmanager
async def opened(backend: str) -> AsyncIterator[Store]:
    """An empty store of this backend, closed at the end."""
    with TemporaryDirectory() as directory:
        store = await BACKENDS[backend](Path(directory) / "data")
        try:
            yield store
        finally:
            await store.close()
