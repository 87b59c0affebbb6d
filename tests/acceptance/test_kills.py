"""Kills: of one service in the middle of its work, and of the whole factory in each third of the line."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from whole import Line, Up, heading, line_of, processes_of, rounds, running_factory

pytestmark = pytest.mark.timeout(400)
WISH = "The heading should say Lines."


def agents_of(job_id: str) -> set[int]:
    return {int(p.split()[0]) for p in processes_of(job_id) if "factory_loopback.agent" in p}


async def test_a_killed_builder_leaves_no_second_writer(line: Line) -> None:
    """The old agent and its children are gone before the new one begins; the app stays up; the job ends well."""
    endless = [{"append_forever": {"path": "endless.log", "every_ms": 100, "child": True}}]
    project = await line.project(rounds(endless))
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    await line.until(lambda: _log(line, job.id), 30, "the agent writes")
    old = agents_of(job.id)
    writers = set(processes_of(job.id))
    now = await line.store.get(job.id)
    assert old and now.sandbox
    project.play(rounds(heading("Lines")))
    os.kill(line.pid("builder"), signal.SIGKILL)
    answers: list[int] = []
    async with aiohttp.ClientSession() as web:
        while not (agents_of(job.id) - old):
            if any(p in old for p in agents_of(job.id)) and len(answers) > 50:
                pytest.fail("the old agent outlives its builder")
            async with web.get(now.sandbox.preview_url) as answer:
                answers.append(answer.status)
            await asyncio.sleep(0.1)
            if (await line.store.get(job.id)).state != "implementation_in_progress":
                break
    assert not agents_of(job.id) & old
    assert set(answers) == {200}
    assert not {w for w in writers if "endless" in w} & set(processes_of(job.id))
    job = await project.reach(job, "ready_for_human_review")
    assert "endless.log" not in project.git("ls-tree", "-r", "--name-only", str(job.proved_sha))


async def _log(line: Line, job_id: str) -> bool | None:
    found = list((line.directory / "factory" / "node" / "places").glob(f"{job_id}-*/checkout/endless.log"))
    return True if found and found[0].stat().st_size > 0 else None


def slow_setup(tree: Path) -> None:
    text = (tree / "factory.yaml").read_text()
    (tree / "factory.yaml").write_text(f"setup:\n  - sleep 6\n{text}")


async def test_a_killed_envkeeper_in_setup_is_taken_up_again(line: Line) -> None:
    """The sandbox is found again, setup runs once more, the job ends well."""
    project = await line.project(change=slow_setup)
    job = await project.reach(await project.ask(WISH), "sandbox_created")
    await asyncio.sleep(2)
    os.kill(line.pid("envkeeper"), signal.SIGKILL)
    job = await project.reach(job, "ready_for_human_review")
    assert job.placement == 1 and job.losses == 0


@pytest.fixture
def own_up(tmp_path: Path) -> Iterator[Up]:
    """A factory of the test's own, to be killed; its reviewer takes three seconds."""
    extra = {"FACTORY_FAILPOINT": "reviewer.review_running.working:sleep=3:9", "FACTORY_PORT_RANGE": "47400-47799"}
    yield from running_factory(tmp_path, extra)


@pytest.fixture
async def own(own_up: Up) -> AsyncIterator[Line]:
    async for one in line_of(own_up):
        yield one


async def test_the_whole_factory_killed_in_each_third(own_up: Up, own: Line) -> None:
    """Power cuts while the app is set up, while the agent works and in review: one job, one pull request, ready."""
    slow = [{"sleep": 8}, *heading("Lines")]
    project = await own.project(rounds(slow), change=slow_setup)
    job = await project.ask(WISH)
    for state in ("sandbox_created", "implementation_in_progress", "review_running"):
        await project.reach(job, state, within=120)
        await asyncio.sleep(1)
        await own.pool.close()
        own_up.kill()
        own_up.start()
        async for again in line_of(own_up):  # its pool is new, the chat and the data are the same
            own.pool, own.store, own.records = again.pool, again.store, again.records
            break
    ready = await project.reach(job, "ready_for_human_review", within=120)
    assert ready.pr and ready.pr.number == 1
    assert len(await own.store.jobs(project.name)) == 1
    from factory_forge import forges

    pulls = await (await forges.Forges("http://x").connect(str(project.repo))).pulls()
    assert [p.number for p in pulls] == [1]
    assert (await project.shows("Ready for your review:")).text


async def test_ctrl_c_stops_everything_and_the_job_goes_on_after_a_restart(own_up: Up, own: Line) -> None:
    """Nothing is left running; a second start on the same data is refused while one runs."""
    project = await own.project(rounds([{"sleep": 20}, *heading("Lines")]))
    job = await project.reach(await project.ask(WISH), "implementation_in_progress")
    second = subprocess.run(own_up.argv(), env=own_up.environment(), capture_output=True, text=True, timeout=60)
    assert second.returncode == 1 and "is running on" in second.stderr and "Traceback" not in second.stderr
    await asyncio.sleep(2)
    await own.pool.close()
    began = time.monotonic()
    own_up.stop()
    assert time.monotonic() - began < 60
    assert processes_of(job.id) == []
    assert _servers(own_up.directory) == []
    own_up.start()
    async for again in line_of(own_up):
        own.pool, own.store, own.records = again.pool, again.store, again.records
        break
    project.play(rounds(heading("Lines")))
    ready = await project.reach(job, "ready_for_human_review", within=120)
    assert ready.attempt == 1


def _servers(directory: Path) -> list[str]:
    found = []
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                argv = (proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory / "factory") in argv:
                found.append(argv[:120])
    return found
