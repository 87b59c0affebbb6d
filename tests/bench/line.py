"""No-op jobs through the whole line, against workflows of DBOS on the same Postgres: https://docs.dbos.dev

Ours is all that a job has: five roles as processes of their own (peers/noop_role.py), FastStream, JetStream with its
store on the disk and fsync before the acknowledgement, leases that are claimed and renewed, hints, the sweep. A job is
recorded 14 times, when it is made and in the 13 states that it enters; so DBOS gets 14 steps, in a process of its own
(peers/dbos_line.py), on a database of its own in the same server, which waits for the disk (fsync, synchronous_commit).
What that takes is each side's own: ours commits 20 writes, of these six leases and a request that is read; DBOS 16.
After every round it is asked whether a job was lost or done twice.
"""

import asyncio
import json
import os
import secrets
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_ctl.embedded import Nats, Postgres
from factory_ctl.processes import Child
from factory_jobs import db
from factory_jobs.machine import OWNED_BY, PHASES, Role, State
from factory_jobs.migrate import migrate
from factory_jobs.records import Records
from factory_jobs.store import NewRequest, Store
from pairs import Comparison
from procs import cpu

LIMIT = 400.0  # seconds; it takes about 60 where nobody else works, and five times as long on a busy machine
PEERS = Path(__file__).resolve().parent / "peers"
DBOS = "dbos==3.4.0"
ROUNDS = 7  # after one that only warms up
STEPS = 14
ALONE, MANY = (10, 1), (64, 16)  # jobs, of these at once
ROLES = [role for role in OWNED_BY if any(PHASES[s].to for s in OWNED_BY[role])]
SNAPSHOT = {"chats": ["-1001"], "repo": "https://forge/shop", "base": "main", "rounds": 5, "labels": ["factory"]}


@dataclass(frozen=True)
class Round:
    """What one side did: seconds for all, of each, and of processor time for each."""

    seconds: float
    each: list[float]
    cpu: float

    @property
    def rate(self) -> float:
        return len(self.each) / self.seconds

    @property
    def p50(self) -> float:
        return statistics.median(self.each)


async def measure(directory: Path) -> list[Comparison]:
    async with AsyncExitStack() as ending:
        postgres, nats = Postgres(directory), Nats(directory)
        for server in (postgres, nats):
            ending.push_async_callback(server.stop)
            await server.start()
        python = await _peer(directory / "peer")
        ours = await Ours.start(directory, postgres, nats, ending)
        dbos = [await Dbos.start(python, postgres, name, ending) for name in ("alone", "first", "second")]
        return await _compare(ours, dbos[0], Both(dbos[1:]))


async def _compare(ours: "Ours", dbos: "Dbos", two: "Both") -> list[Comparison]:
    peer = f"{DBOS.replace('==', ' ')}, {STEPS} steps"
    p50 = Comparison("p50 of a job, alone", peer, goal=0.8)
    rate = Comparison("16 at once", f"{peer}, 16 threads", goal=1.8, unit="jobs/s", more=True)
    cores = Comparison("16 at once", f"{peer}, 2 processes of 8 threads", goal=1.0, unit="jobs/s", more=True)
    cost = Comparison("CPU of a job, 16 at once, with the servers", f"{peer}, 16 threads", goal=1.0)
    for n in range(1 + ROUNDS):
        a, b = await ours.run(*ALONE), await dbos.run(*ALONE)
        c, d, e = await ours.run(*MANY), await dbos.run(*MANY), await two.run(*MANY)
        if n == 0:
            continue  # it only warmed up
        for comparison, mine, theirs in (
            (p50, a.p50, b.p50),
            (rate, c.rate, d.rate),
            (cores, c.rate, e.rate),
            (cost, c.cpu, d.cpu),
        ):
            comparison.ours.append(mine)
            comparison.theirs.append(theirs)
    return [p50, rate, cores, cost]


async def _timed(
    one: Callable[[], Awaitable[float]],
    jobs: int,
    at_once: int,
    pids: Sequence[int],
    check: Callable[[], Awaitable[None]],
) -> Round:
    left, each = iter(range(jobs)), list[float]()

    async def lane() -> None:
        for _ in left:
            each.append(await one())

    used, begun = cpu(pids) + time.process_time(), time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(at_once)))
    seconds, used = time.perf_counter() - begun, cpu(pids) + time.process_time() - used
    await check()
    return Round(seconds, each, used / jobs)


# ── ours ──────────────────────────────────────────────────────────────────────


class Ours:
    """The five roles, and who makes jobs and waits until each is ready for a person."""

    def __init__(self, line: Line, pids: list[int]) -> None:
        self.line, self.pids = line, pids
        self.made: list[str] = []
        self._ready: dict[str, asyncio.Future[float]] = {}

    @classmethod
    async def start(cls, directory: Path, postgres: Postgres, nats: Nats, ending: AsyncExitStack) -> "Ours":
        connection = await asyncpg.connect(postgres.url)
        await migrate(connection)
        await connection.close()
        env = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")} | {
            "FACTORY_DATABASE_URL": postgres.url,
            "FACTORY_NATS_URL": nats.url,
            "FACTORY_NODE_DIR": str(directory / "node"),
            "FACTORY_CAPACITY": str(MANY[1]),
        }
        argv = [sys.executable, str(PEERS / "noop_role.py")]
        roles = [Child(role, [*argv, role], directory / "logs" / f"{role}.log", env=env) for role in ROLES]
        for child in roles:
            ending.push_async_callback(child.stop)
            child.start()
        for child in roles:
            while '"ready"' not in child.tail():
                assert child.exit_code() is None, f"{child.name} ended:\n{child.tail()}"
                await asyncio.sleep(0.05)
        pool = await ending.enter_async_context(await db.connect(postgres.url))
        broker = build_broker(nats.url, grace=1)
        ending.push_async_callback(broker.stop)
        bus = await broker.connect()
        store = Store(pool)
        assert postgres.child and nats.child
        pids = [postgres.child.pid, nats.child.pid, *(child.pid for child in roles)]
        ours = cls(Line(store, Records(pool), Publisher(broker, store)), pids)
        await bus.subscribe(f"factory.job.{State.READY_FOR_HUMAN_REVIEW}.>", cb=ours._heard)
        return ours

    async def _heard(self, message: object) -> None:
        job_id = message.subject.rpartition(".")[2]  # type: ignore[attr-defined]
        if (waiting := self._ready.get(job_id)) and not waiting.done():
            waiting.set_result(time.perf_counter())

    async def run(self, jobs: int, at_once: int) -> Round:
        self.made.clear()
        return await _timed(self._job, jobs, at_once, self.pids, self._check)

    async def _job(self) -> float:
        begun = time.perf_counter()
        asked = NewRequest(source=f"bench:{secrets.token_hex(8)}", author="ann", text="A blue button", chat="-1001")
        job = await self.line.create(
            project="shop", snapshot=SNAPSHOT, repo=SNAPSHOT["repo"], title="A button", request=asked
        )
        assert job is not None
        self.made.append(job.id)
        ready = self._ready[job.id] = asyncio.get_running_loop().create_future()
        try:
            return await asyncio.wait_for(ready, 30) - begun
        finally:
            del self._ready[job.id]

    async def _check(self) -> None:
        """Every job of the round went the whole way, and no step of it twice."""
        went = await self.line.store.pool.fetch(
            "SELECT job_id, array_agg(kind || ' ' || \"to\" ORDER BY seq) AS way FROM job_events WHERE job_id = ANY ($1) "
            "GROUP BY job_id",
            self.made,
        )
        assert len(went) == len(set(self.made))
        for row in went:
            assert row["way"] == WAY, f"{row['job_id']} went {row['way']}"


def _way() -> list[str]:
    """The events of a job that nothing happens to; a lease is taken wherever the owner changes."""
    found, state, owner = ["created received"], State.RECEIVED, Role.NONE
    while (phase := PHASES[state]).to is not None:
        if phase.owner is not owner:
            found.append(f"claimed {state}")
        state, owner = phase.to, phase.owner
        found.append(f"done {state}")
    return found


WAY = _way()

# ── DBOS ──────────────────────────────────────────────────────────────────────


async def _peer(venv: Path) -> str:
    """A throw-away environment with DBOS, which nothing of ours needs; gives its Python."""
    uv, python = str(Path(sys.executable).parent / "uv"), str(venv / "bin" / "python")
    for argv in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(venv)],
        [uv, "pip", "install", "--quiet", "--python", python, DBOS],
    ):
        process = await asyncio.create_subprocess_exec(*argv, stdin=DEVNULL, stderr=PIPE)
        _, err = await process.communicate()
        if process.returncode:
            raise RuntimeError(f"{DBOS} could not be installed to compare with: {err.decode().strip()}")
    return python


class Dbos:
    """A process with DBOS in it, asked for a round by a line on its stdin."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, pids: list[int]) -> None:
        self.process, self.url, self.pids = process, url, pids
        self.done = 0

    @classmethod
    async def start(cls, python: str, postgres: Postgres, name: str, ending: AsyncExitStack) -> "Dbos":
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(f"CREATE DATABASE dbos_{name}")
        await connection.close()
        url = postgres.url_of(f"dbos_{name}")
        argv = [python, str(PEERS / "dbos_line.py"), url, str(STEPS)]
        process = await asyncio.create_subprocess_exec(*argv, stdin=PIPE, stdout=PIPE)
        assert postgres.child and process.stdout
        dbos = cls(process, url, [process.pid, postgres.child.pid])
        ending.push_async_callback(dbos._end)
        while (line := await process.stdout.readline()) != b"ready\n":
            assert line, "DBOS ended before it was ready"
        return dbos

    async def _end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        if self.process.returncode is None:
            try:
                await asyncio.wait_for(self.process.wait(), 10)
            except TimeoutError:
                self.process.kill()
                await self.process.wait()

    async def run(self, jobs: int, at_once: int) -> Round:
        used = cpu(self.pids)
        said = await self.ask(jobs, at_once)
        used = cpu(self.pids) - used
        await self.check(jobs)
        return Round(said["seconds"], said["each"], used / jobs)

    async def ask(self, jobs: int, at_once: int) -> dict[str, list[float]]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"jobs": jobs, "at_once": at_once}).encode() + b"\n")
        return json.loads(await self.process.stdout.readline())

    async def check(self, jobs: int) -> None:
        self.done += jobs
        connection = await asyncpg.connect(self.url)
        try:
            ended = await connection.fetchval("SELECT count(*) FROM dbos.workflow_status WHERE status = 'SUCCESS'")
            steps = await connection.fetchval("SELECT count(*) FROM dbos.operation_outputs")
        finally:
            await connection.close()
        assert (ended, steps) == (self.done, self.done * STEPS), f"DBOS ended {ended} workflows in {steps} steps"


class Both:
    """Two of them, each with half of the jobs."""

    def __init__(self, dbos: Sequence[Dbos]) -> None:
        self.dbos = dbos

    async def run(self, jobs: int, at_once: int) -> Round:
        begun = time.perf_counter()
        said = await asyncio.gather(*(one.ask(jobs // 2, at_once // 2) for one in self.dbos))
        seconds = time.perf_counter() - begun
        for one in self.dbos:
            await one.check(jobs // 2)
        return Round(seconds, [s for one in said for s in one["each"]], 0.0)
