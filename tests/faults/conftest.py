"""One running factory for all accidents that a process tries, on servers that a test can take away."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from outside import Outside, running
from whole import Line, Up, line_of, running_factory, running_github


@pytest.fixture(scope="session")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("faults")
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="session")
def outside(directory: Path) -> Iterator[Outside]:
    given = Outside(directory)
    running(given.start())
    yield given
    running(given.stop())


@pytest.fixture(scope="session")
def factory_up(directory: Path, outside: Outside) -> Iterator[Up]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    low = 44000 + 500 * (worker % 4)  # factories side by side share no ports
    extra = {"FACTORY_PORT_RANGE": f"{low}-{low + 499}", "FACTORY_NODE_JOBS": "12", "FACTORY_CAPACITY": "6"}
    yield from running_factory(directory, outside.environment() | extra)


@pytest.fixture
async def line(factory_up: Up, outside: Outside) -> AsyncIterator[Line]:
    """Each test finds the node empty: apps that live on for their previews would take its places and its cores."""
    async for one in line_of(factory_up):
        yield one
        outside.disarm()
        await emptied(one)


async def emptied(line: Line) -> None:
    await line.cancel_all()

    async def nothing_left() -> bool | None:
        live = await line.store.jobs(live=True, limit=200)
        return None if live or any(job.cleanup == "pending" for job in await line.store.jobs(limit=200)) else True

    await line.until(nothing_left, 90, "all jobs are cancelled and cleaned up")


@pytest.fixture(scope="session")
def github(factory_up: Up) -> Iterator[str]:
    """The URL of a loopback GitHub with the repos of `Line.project_on_github`."""
    yield from running_github(factory_up)
