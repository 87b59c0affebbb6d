"""Cancel in the agent's round, in the suites, in the browser and in review: soon nothing of it is left, and the chat says so."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from whole import Line, Up, heading, line_of, processes_of, rounds, running_factory

pytestmark = pytest.mark.timeout(240)
WISH = "The heading should say Lines."


@pytest.fixture(scope="module")
def slow_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A factory whose reviewer thinks for a while."""
    extra = {"FACTORY_FAILPOINT": "reviewer.review_running.working:sleep=30:9", "FACTORY_PORT_RANGE": "47000-47399"}
    yield from running_factory(tmp_path_factory.mktemp("slow"), extra)


@pytest.fixture
async def line(slow_up: Up) -> AsyncIterator[Line]:
    async for one in line_of(slow_up):
        yield one


def slow_suite(tree: Path) -> None:
    text = (tree / "factory.yaml").read_text()
    (tree / "factory.yaml").write_text(text + "  slow:\n    - sleep 60 & sleep 60\n")


def slow_page() -> list[dict[str, object]]:
    steps = heading("Lines")
    waits = "\n      - expect: {text: never there, timeout: 60}\n"
    steps[-1]["write"]["text"] = steps[-1]["write"]["text"].rstrip() + waits
    return steps


@pytest.mark.parametrize("where", ["agent", "suites", "browser", "review"])
async def test_cancel_leaves_nothing(line: Line, where: str) -> None:
    """Within 5 s of the press no process of the job is left; the chat says cancelled and that all is cleaned up."""
    agent = [{"append_forever": {"path": "endless.log", "every_ms": 100, "child": True}}] if where == "agent" else None
    steps = agent or (slow_page() if where == "browser" else heading("Lines"))
    project = await line.project(rounds(steps), change=slow_suite if where == "suites" else None)
    state = {
        "agent": "implementation_in_progress",
        "suites": "tests_running",
        "browser": "browser_validation_running",
        "review": "review_running",
    }[where]
    job = await project.reach(await project.ask(WISH), state)
    await asyncio.sleep(3)  # into the middle of it
    assert processes_of(job.id)
    status = await project.status_message(job)
    await project.ada.press(status.message_id, "Cancel")
    await line.until(lambda: _gone(job.id), 5, f"no process of {job.id}: {processes_of(job.id)}")
    job = await project.reach(job, "cancelled", within=5)
    await project.shows("Cancelled", "nothing is left running")
    if where == "review":
        assert job.pr is not None
        await line.until(lambda: _closed(line, project, job.pr.number), 20, "the pull request closed")


async def _gone(job_id: str) -> bool | None:
    return True if not processes_of(job_id) else None


async def _closed(line: Line, project, number: int) -> bool | None:
    from factory_forge import forges

    pull = await (await forges.Forges("http://x").connect(str(project.repo))).pull(number)
    return True if pull.state == "closed" else None
