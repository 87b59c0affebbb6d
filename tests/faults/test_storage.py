"""The artifact store away for half a minute: what was worked for is kept until it can be stored."""

import asyncio

import pytest
from outside import Outside
from sound import OUR_FAULTS, WISH, all_ready, kinds
from whole import Line, heading, rounds

pytestmark = pytest.mark.timeout(300)


async def test_the_storage_is_away_when_it_is_needed(line: Line, outside: Outside) -> None:
    """At a round's end and at a film's: neither agent nor browser does it again."""
    building = await line.project(rounds([{"sleep": 8}, *heading("Lines")]))
    filming = await line.project()
    other = await building.reach(await building.ask(WISH), "implementation_in_progress")
    film = await filming.reach(await filming.ask(WISH), "browser_validation_running")
    async with outside.away(outside.s3):
        await asyncio.sleep(30)
    for job in await all_ready([(building, other), (filming, film)], within=150):
        assert not OUR_FAULTS & set(await kinds(line, job))
