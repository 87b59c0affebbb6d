"""NATS away, its store wiped, its store rolled back: a hint is made again from the row, and no job waits for ever."""

import asyncio
import time
from pathlib import Path

import pytest
from outside import LONG, Outside
from sound import OUR_FAULTS, all_ready, begun, kinds
from whole import Line

pytestmark = pytest.mark.timeout(300)


ALL = ("away", "wiped", "rolled back")
ALONE = [pytest.param((what,), marks=pytest.mark.skipif(not LONG, reason="LONG=1")) for what in ALL]


@pytest.mark.parametrize("accidents", [ALL, *ALONE], ids=" ".join)
async def test_the_bus_under_ten_jobs(line: Line, outside: Outside, tmp_path: Path, accidents: tuple[str, ...]) -> None:
    """Ten seconds away; its store wiped; its store as it was half a minute before: one after another, or one alone."""
    work = await begun(line, 10, sleep=8)
    began = time.monotonic()
    outside.copy_store(tmp_path / "then")
    await asyncio.sleep(3)
    if "away" in accidents:
        async with outside.away(outside.nats):
            await asyncio.sleep(10)
    await asyncio.sleep(4)
    if "wiped" in accidents:
        async with outside.away(outside.nats):
            outside.put_store(None)
    if "rolled back" in accidents:
        await asyncio.sleep(max(0, began + 30 - time.monotonic()))
        async with outside.away(outside.nats):
            outside.put_store(tmp_path / "then")
    states = {(await line.store.get(job.id)).state for _, job in work}
    assert states - {"ready_for_human_review"}, "the last accident met jobs that were under way"
    for job in await all_ready(work, within=240):
        assert not OUR_FAULTS & set(await kinds(line, job)), "no holder of a job needs the bus"
