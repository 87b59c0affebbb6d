"""Postgres away for a minute: work goes on and is written down when it is back; nobody is fenced, nothing is said twice."""

import asyncio

import pytest
from outside import Outside
from sound import OUR_FAULTS, WISH, all_ready, kinds
from whole import Line, heading, rounds

pytestmark = pytest.mark.timeout(300)


async def test_the_database_is_away_for_a_minute(line: Line, outside: Outside) -> None:
    """In an agent's round that ends meanwhile, in one that outlasts it, in a plan, and before a message was taken."""
    ends, lasts, planned, late = [
        await line.project(rounds([{"sleep": seconds}, *heading("Lines")])) for seconds in (30, 75, 1, 1)
    ]
    jobs = [await p.reach(await p.ask(WISH), "implementation_in_progress") for p in (ends, lasts)]
    outside.arm("planner.received.working", "sleep=5")
    jobs.append(await planned.ask(WISH))
    async with outside.away(outside.postgres):
        await late.ada.type(WISH)
        await asyncio.sleep(60)
    jobs.append(await line.until(lambda: late._new(set()), 30, "the job of a message that came meanwhile"))
    work = list(zip((ends, lasts, planned, late), jobs, strict=True))
    for job in await all_ready(work, within=150):
        assert not OUR_FAULTS & set(await kinds(line, job))
