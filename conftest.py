"""How the tests are spread over processes: a file stays together, and what runs a whole factory goes one after another."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(ROOT)
        together = "a whole factory" if path.parts[:2] == ("tests", "acceptance") else str(path)
        item.add_marker(pytest.mark.xdist_group(together))
