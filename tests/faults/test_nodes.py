"""Several envkeepers: two on one node, one of which dies; two nodes, one of which is lost and comes back."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from factory_jobs.job import Job
from sound import WISH, all_ready, audited, begun
from whole import Line, Up, heading, rounds

pytestmark = pytest.mark.timeout(400)
OF_A_NODE = ("envkeeper", "builder", "recorder")


@contextmanager
def started(up: Up, services: tuple[str, ...], log: Path, **more: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Further processes of these services, that nobody starts again."""
    env = (
        {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")} | up.env() | {"FACTORY_HEALTH_PORT": "0"}
    )
    with log.open("ab") as out:
        made = [
            subprocess.Popen([sys.executable, "-m", f"factory_{name}"], env=env | more, stdout=out, stderr=out)
            for name in services
        ]
    try:
        yield made
    finally:
        for process in made:
            process.terminate()
        for process in made:
            process.wait(30)


async def seen(line: Line, roles: tuple[str, ...], processes: list[subprocess.Popen[bytes]]) -> str:
    """They have said that they live; the name of their node."""
    numbers = [f"%.{p.pid}" for p in processes]

    async def all_there() -> str | None:
        found = await line.pool.fetch("SELECT DISTINCT node, role FROM nodes WHERE owner LIKE ANY ($1)", numbers)
        return found[0]["node"] if {r["role"] for r in found} == set(roles) else None

    return await line.until(all_there, 60, "the further processes are there")


async def owners(line: Line, job: Job) -> set[str]:
    return {e["actor"] for e in await line.store.events(job.id) if e["kind"] == "claimed"}


async def test_two_envkeepers_on_one_node(line: Line, factory_up: Up, tmp_path: Path) -> None:
    """They share the work and its ports without a collision; what one had in hands when it dies the other takes up."""
    with started(factory_up, ("envkeeper",), tmp_path / "second.log") as (second,):
        assert await seen(line, ("envkeeper",), [second])
        mark = f".{second.pid}"
        work = await begun(line, 6)

        async def has_one() -> bool | None:
            held = await line.pool.fetchval("SELECT count(*) FROM jobs WHERE lease_owner LIKE $1", f"envkeeper%{mark}")
            return True if held else None

        await line.until(has_one, 60, "the second has work in hands")
        second.kill()
        jobs = await all_ready(work, within=200)
    ranges = [job.sandbox.ports for job in jobs if job.sandbox]
    assert len({low for low, _ in ranges}) == 6
    worked = set().union(*[await owners(line, job) for job in jobs])
    assert any(owner.endswith(mark) for owner in worked)


async def test_a_node_is_lost_and_comes_back(line: Line, factory_up: Up, tmp_path: Path) -> None:
    """Its jobs are placed anew on the other; what it still holds of them goes when it is back."""
    low = int(factory_up.extra["FACTORY_PORT_RANGE"].split("-")[0]) + 400
    node = {"FACTORY_NODE_DIR": str(tmp_path / "node"), "FACTORY_PORT_RANGE": f"{low}-{low + 99}"}
    first = line.pid("envkeeper")
    with started(factory_up, OF_A_NODE, tmp_path / "node.log", **node) as lost:
        name = await seen(line, OF_A_NODE, lost)
        assert name != (Path(line.env["FACTORY_NODE_DIR"]) / "node").read_text()
        far = [await line.project(rounds([{"sleep": 20}, *heading("Lines")])) for _ in range(2)]
        os.kill(first, signal.SIGSTOP)  # so that the new node takes them
        try:
            there = [await p.reach(await p.ask(WISH), "implementation_in_progress") for p in far]
        finally:
            os.kill(first, signal.SIGCONT)
        near = await begun(line, 2)
        assert [job.node for job in there] == [name, name]
        for process in lost:
            process.kill()
        jobs = await all_ready([*zip(far, there, strict=True), *near], within=240)
    assert name not in {job.node for job in jobs}
    assert [job.placement for job in jobs[:2]] == [2, 2]
    with started(factory_up, OF_A_NODE, tmp_path / "again.log", **node):

        async def nothing_left() -> bool | None:
            return None if await line.records.owned_on(name) or list((tmp_path / "node" / "places").iterdir()) else True

        await line.until(nothing_left, 60, "what the node held is gone")
    await audited(line)
