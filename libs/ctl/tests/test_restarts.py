"""What dies is started again: soon, then later each time as long as it dies young, and nobody waits for another."""

import asyncio
import sys
import time
from pathlib import Path

import pytest
from factory_ctl import restarts
from factory_ctl.embedded import Server, ServerFailed
from factory_ctl.processes import Child
from factory_ctl.restarts import Again
from factory_ctl.up import Factory


def test_a_pause_doubles_while_it_dies_young(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to ten seconds; who has lived for a while begins anew. It is said once for each end."""
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    again = Again()
    pauses = []
    for lives in (0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 60.0, 1.0):
        now += lives
        pause = again.ended()
        assert pause is not None and again.ended() is None and not again.due()
        pauses.append(pause)
        now += pause
        assert again.due()
        again.started()
        assert not again.due()
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 0.2, 0.4]


class Broken(Server):
    """A server that never comes up again."""

    name = "broken"

    async def start(self) -> None:
        raise ServerFailed(self.name, "no more", "")


async def test_nobody_waits_for_what_dies_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One service ends at once whenever it starts, a server does not come back: another is started again all the same."""
    said: list[str] = []
    factory = Factory(tmp_path, projects=tmp_path / "p", environ={}, say=said.append)
    monkeypatch.setattr(restarts, "YOUNG", 3600.0)
    for name, code in (("planner", "raise SystemExit(3)"), ("builder", "")):
        child = factory.services[name] = Child(name, [sys.executable, "-c", code], tmp_path / f"{name}.log")
        child.start()
    server = Broken(tmp_path)
    server.child = Child("broken", [sys.executable, "-c", ""], tmp_path / "broken.log")
    server.child.start()
    factory._servers = [server]
    monkeypatch.setattr(factory._again["planner"], "_pause", 60.0)  # it has died often before
    ending = asyncio.Event()
    watching = asyncio.create_task(factory.watch(ending))
    end = time.monotonic() + 30
    while time.monotonic() < end and not (
        any(s.startswith("broken did not start") for s in said) and any(s.startswith("builder ended") for s in said)
    ):
        await asyncio.sleep(0.05)
    ending.set()
    await asyncio.wait_for(watching, 10)
    assert "planner ended with exit code 3; starts again in 10.0 s" in said
    assert "builder ended with exit code 0; starts again in 0.2 s" in said
    assert any(s.startswith("broken did not start: no more") for s in said)
    for child in factory.services.values():
        await child.stop()
