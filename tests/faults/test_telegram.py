"""Telegram asks for patience, or is away: jobs go on, chats catch up, and nothing is said twice."""

import asyncio
import time

import aiohttp
import pytest
from sound import OUR_FAULTS, READY, WISH, all_ready, begun, kinds
from whole import Line, Up, start_telegram

pytestmark = pytest.mark.timeout(300)
MINUTE = 60


async def test_a_chat_that_asks_for_a_minute(line: Line) -> None:
    """It is left alone for that minute while another is told at once; then it shows what there is."""
    quiet, other = await line.project(), await line.project()
    job = await quiet.ask(WISH)
    await quiet.status_message(job)
    refusal = {"status": 429, "retry_after": MINUTE, "times": None, "chat_id": quiet.ada.chat_id}
    async with aiohttp.ClientSession(line.telegram) as admin:
        began = time.time()
        for method in ("sendMessage", "editMessageText", "sendVideo"):
            await admin.post("/admin/faults", json=refusal | {"method": method})
        there = await other.ask(WISH)
        await other.status_message(there)
        assert time.time() < began + MINUTE
        await asyncio.sleep(began + MINUTE - time.time())
        await admin.delete("/admin/faults")
        calls = await (await admin.get("/admin/calls")).json()
    refused = [
        c for c in calls if c["at"] >= began and c["args"].get("chat_id") == quiet.ada.chat_id and c["status"] == 429
    ]
    assert len(refused) == 1, refused
    for ready in await all_ready([(quiet, job), (other, there)], within=150):
        assert not OUR_FAULTS & set(await kinds(line, ready))


async def test_telegram_is_away(line: Line, factory_up: Up) -> None:
    """From a job's first message until after its end. A message that is on its way just then could come twice."""
    work = await begun(line, 2)
    await asyncio.gather(*(p.status_message(job) for p, job in work))
    assert factory_up.chats
    factory_up.chats.kill()
    factory_up.chats.wait()
    await asyncio.gather(*(p.reach(job, READY) for p, job in work))
    await asyncio.sleep(5)
    factory_up.chats, _ = start_telegram(line.directory, port=int(line.telegram.rpartition(":")[2]))
    await all_ready(work, within=60)
