"""A rolling restart: every service gets SIGTERM, one after the other, with a job in each state. It is no failure."""

import asyncio
import os
import signal

import pytest
from factory_jobs.machine import PHASES, WORKING, State
from outside import Outside
from sound import OUR_FAULTS, WISH, all_ready, kinds
from whole import Line, heading, rounds

pytestmark = pytest.mark.timeout(600)
SERVICES = ("planner", "envkeeper", "builder", "recorder", "reviewer", "notifier", "intake", "console")


async def test_all_services_are_restarted_one_after_another(line: Line, outside: Outside) -> None:
    """Held up in its state, each job is handed back, and taken up by the service's next process."""
    held = [s for s in State if s in WORKING and s is not State.IMPLEMENTATION_IN_PROGRESS]
    projects = [await line.project() for _ in held]
    work = []
    for project, state in zip(projects, held, strict=True):
        if state is State.RECEIVED:
            outside.arm("planner.received.working", "sleep=600")
        work.append((project, await project.ask(WISH)))
        job = work[-1][1]
        if state is not State.RECEIVED:
            outside.arm(f"{PHASES[state].owner}.{state}.working", "sleep=600", job.id)
    await asyncio.gather(*(p.reach(j, s, within=240) for (p, j), s in zip(work, held, strict=True)))
    at_work = await line.project(rounds([{"sleep": 30}, *heading("Lines")]))  # last, so that its agent still is
    work.append((at_work, await at_work.reach(await at_work.ask(WISH), State.IMPLEMENTATION_IN_PROGRESS)))
    for service in SERVICES:
        await _restarted(line, service)
    for job in await all_ready(work, within=240):
        seen = await kinds(line, job)
        assert "handed_back" in seen and not OUR_FAULTS & set(seen)
    assert outside.still_armed() == []


async def _restarted(line: Line, service: str) -> None:
    old = line.pid(service)
    os.kill(old, signal.SIGTERM)

    async def another() -> bool | None:
        try:
            return True if line.pid(service) != old else None
        except LookupError:
            return None

    await line.until(another, 60, f"another {service}")
