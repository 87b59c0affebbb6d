"""One running factory for the tests that share it."""

from collections.abc import AsyncIterator, Iterator

import pytest
from whole import Line, Up, line_of, running_factory


@pytest.fixture(scope="session")
def factory_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One factory for the tests that share it; its reviewer takes a second, so that a cancel can meet it."""
    yield from running_factory(tmp_path_factory.mktemp("line"), {})


@pytest.fixture
async def line(factory_up: Up) -> AsyncIterator[Line]:
    async for one in line_of(factory_up):
        yield one
