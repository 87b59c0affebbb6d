"""A caller that stops reading holds up its own child, and nobody else."""

import asyncio
import time
from pathlib import Path

import pytest
from factory_sandbox.errors import Fenced
from factory_sandbox.processes import look

MB = 1 << 20


async def stalled(placed, epoch: int):
    """A spawn whose output nobody takes from the socket, so that it comes to stand."""
    call = await placed.at(epoch)._open(
        "spawn", {"argv": ["sh", "-c", "while echo line; do :; done; echo"]}, acting=True
    )
    call.wire.writer.transport.pause_reading()
    return call


async def test_a_stalled_caller_blocks_its_own_child_only(placed):
    """With one caller stalled, others run, read and look as before, and the server holds little for it."""
    before = (await placed.at(None).status())["server"]["peak_rss_bytes"]
    call = await stalled(placed, 1)
    await asyncio.sleep(0.5)
    pid = call.answer["pid"]
    assert look(pid)
    at = time.monotonic()
    done = await placed.at(1).exec(["sh", "-c", "head -c 5000000 /dev/zero"], max_output=5_000_000)
    assert len(done.stdout) == 5_000_000
    assert await placed.at(1).write("a", b"x" * MB) == MB
    assert len(await placed.at(None).read("a")) == MB
    assert time.monotonic() - at < 10
    assert (await placed.at(None).status())["server"]["peak_rss_bytes"] - before < 20 * MB
    call.close()


async def test_a_stalled_callers_child_stands_still(placed):
    """The child waits in its write; it is not read ahead."""
    call = await stalled(placed, 1)
    await asyncio.sleep(0.5)

    def ticks() -> int:
        fields = Path(f"/proc/{call.answer['pid']}/stat").read_text().split()
        return sum(int(n) for n in fields[13:15])

    first = ticks()
    await asyncio.sleep(0.5)
    assert ticks() - first <= 1
    call.close()


async def test_a_stalled_caller_is_fenced_all_the_same(placed):
    """A higher epoch does not wait for a caller that reads nothing."""
    call = await stalled(placed, 1)
    await asyncio.sleep(0.3)
    await asyncio.wait_for(placed.at(2).take(), 5)
    assert look(call.answer["pid"]) is None
    call.close()


async def test_a_reader_that_comes_late_gets_everything(placed):
    """Output of an ended command that nobody read yet is not lost to the time that daemons get."""
    async with await placed.at(1).spawn(["sh", "-c", "head -c 3000000 /dev/zero; echo end"]) as process:
        process._valves[next(iter(process._valves))].pause_reading()
        await asyncio.sleep(2.0)
        process._valves[next(iter(process._valves))].resume_reading()
        assert len(await process.stdout.read()) == 3_000_004
        assert await process.wait() == 0


async def test_a_fenced_reader_sees_the_end(placed):
    """The streams of a fenced spawn end, so whoever waits for a line goes on."""
    process = await placed.at(1).spawn(["sleep", "1000"])
    waiting = asyncio.create_task(process.stdout.readline())
    await placed.at(2).take()
    assert await asyncio.wait_for(waiting, 5) == b""
    with pytest.raises(Fenced):
        await process.wait()
    await process.close()
