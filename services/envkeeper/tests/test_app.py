"""Envkeeper claims where it has company, and gives the company a moment to come."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from factory_envkeeper import app
from factory_envkeeper.settings import Settings


async def test_it_waits_a_while_for_its_company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hint is not spent because builder and recorder start a second later; where nobody comes, or we end, it is."""
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(app, "asyncio", SimpleNamespace(sleep=sleep))
    keeper = app.Envkeeper(Settings(node_dir=tmp_path))
    seen = iter([set(), {"builder"}, {"builder", "recorder"}])

    async def live_roles(node: str) -> set[str]:
        return next(seen, set())

    keeper.store = SimpleNamespace(live_roles=live_roles)  # type: ignore[assignment]
    assert await keeper._company() is True and len(waited) == 2
    assert await keeper._company() is False
    assert sum(waited) < 30, "a hint that is not acked by then is given out again"
    waited.clear()
    keeper.ending.set()
    assert await keeper._company() is False and waited == []
