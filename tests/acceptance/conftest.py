"""One running factory for the tests that share it."""

import os
from collections.abc import AsyncIterator, Iterator

import pytest
from whole import Line, Up, line_of, running_factory, running_github


@pytest.fixture(scope="session")
def factory_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One factory for the tests that share it; its reviewer takes a second, so that a cancel can meet it."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    low = 46200 + 200 * (worker % 4)  # factories side by side share no ports
    yield from running_factory(tmp_path_factory.mktemp("line"), {"FACTORY_PORT_RANGE": f"{low}-{low + 199}"})


@pytest.fixture
async def line(factory_up: Up) -> AsyncIterator[Line]:
    async for one in line_of(factory_up):
        yield one
        await one.cancel_all()


@pytest.fixture(scope="session")
def github(factory_up: Up) -> Iterator[str]:
    """The URL of a loopback GitHub with the repos of `Line.project_on_github`."""
    yield from running_github(factory_up)
