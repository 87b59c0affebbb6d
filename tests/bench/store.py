"""What a transition and a claim through the store cost against the same rows written by hand in one statement."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import asyncpg
from factory_ctl.embedded import Postgres
from factory_jobs import db
from factory_jobs.events import Done
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.migrate import migrate
from factory_jobs.store import NewRequest, Store, to_job
from pairs import Comparison, by_turns

JOBS = 32  # each side has its own
WALK = (State.PLANNED, State.WORKTREE_CREATED, State.SANDBOX_CREATED)  # one role's, which keeps its lease
EVENT = Done(facts={"base_sha": "0123456789" * 4, "branch": "factory/jaaaaaaaaaa-a-blue-button"})
SNAPSHOT = {"chats": ["-1001"], "repo": "https://forge/shop", "base": "main", "rounds": 5, "labels": ["factory"]}
NO_WAIT = "?synchronous_commit=off"  # the disk is left out, so that what remains is our own cost

BEGIN = """UPDATE jobs SET state = 'planned', lease_owner = 'bench', lease_epoch = lease_epoch + 1, claimed_at = now(),
    lease_until = now() + interval '1 hour' WHERE id = ANY ($1) RETURNING *"""
FREE = """UPDATE jobs SET state = 'received', lease_owner = NULL, lease_until = NULL, claimed_at = NULL
    WHERE id = ANY ($1) RETURNING *"""
APPLY = """
WITH j AS (
    UPDATE jobs SET state = $4, version = version + 1, seq = seq + 1, attempt = 1, failure = NULL, base_sha = $5,
        branch = $6, entered_at = now(), claimed_at = now(), hinted_at = NULL
    WHERE id = $1 AND version = $2 AND lease_epoch = $3 RETURNING id, seq, node
)
INSERT INTO job_events (job_id, seq, kind, "from", "to", actor, node, epoch, data)
SELECT id, seq, 'done', $7, $4, 'bench', node, $3, $8 FROM j RETURNING seq"""
CLAIM = """
WITH j AS (
    UPDATE jobs SET lease_owner = $3, lease_epoch = lease_epoch + 1, claimed_at = now(), version = version + 1,
        seq = seq + 1, lease_until = now() + interval '30 s'
    WHERE id = $1 AND state = ANY ($2) AND lease_owner IS NULL AND waiting IS NULL AND next_attempt_at <= now()
    RETURNING id, seq, state, lease_epoch, request_no, round, attempt
)
INSERT INTO job_events (job_id, seq, kind, "from", "to", actor, node, epoch, data)
SELECT id, seq, 'claimed', state, state, $3, $4, lease_epoch,
       jsonb_build_object('request_no', request_no, 'round', round, 'attempt', attempt) FROM j RETURNING seq"""


class Transactions:
    """The four ways on two pools of the same size; each way takes one job and does its transactions."""

    def __init__(self, pool: asyncpg.Pool, store: Store) -> None:
        self.pool, self.store = pool, store

    async def apply(self, job: Job) -> None:
        for _ in WALK:
            job = await self.store.apply(job, EVENT, actor="bench", epoch=job.lease_epoch)

    async def apply_by_hand(self, job: Job) -> None:
        told = {"event": "done", "facts": EVENT.facts, "set": EVENT.facts, "request_no": 1, "round": 0, "attempt": 1}
        for n, state in enumerate(WALK):
            args = (job.id, job.version + n, job.lease_epoch, PHASES[state].to, *EVENT.facts.values(), state, told)
            assert await self.pool.fetchval(APPLY, *args), f"{job.id} did not move"

    async def claim(self, job: Job) -> None:
        assert await self.store.claim(job.id, [State.RECEIVED], owner="bench", node="n1"), f"{job.id} was not claimed"

    async def claim_by_hand(self, job: Job) -> None:
        assert await self.pool.fetchval(CLAIM, job.id, [State.RECEIVED], "bench", "n1"), f"{job.id} was not claimed"

    async def timed(
        self, one: Callable[[Job], Awaitable[None]], ids: list[str], before: str, at_once: int, each: int
    ) -> float:
        """Seconds of one transaction, with `at_once` jobs under way; bringing them to their begin is not counted."""
        jobs = [to_job(row) for row in await self.pool.fetch(before, ids)]

        async def lane(mine: list[Job]) -> None:
            for job in mine:
                await one(job)

        begun = time.perf_counter()
        await asyncio.gather(*(lane(jobs[n::at_once]) for n in range(at_once)))
        return (time.perf_counter() - begun) / len(jobs) / each


async def measure(directory: Path) -> list[Comparison]:
    server = Postgres(directory)
    try:
        await server.start()
        connection = await asyncpg.connect(server.url)
        await migrate(connection)
        await connection.close()
        async with await db.connect(server.url) as pool:
            mine, theirs = [[await _job(Store(pool)) for _ in range(JOBS)] for _ in range(2)]
        return [c for url in (server.url, server.url + NO_WAIT) for c in await _compare(url, mine, theirs)]
    finally:
        await server.stop()


async def _job(store: Store) -> str:
    asked = NewRequest(source=f"bench:{time.monotonic_ns()}", author="ann", text="A blue button", chat="-1001")
    job = await store.create(project="shop", snapshot=SNAPSHOT, repo=SNAPSHOT["repo"], title="A button", request=asked)
    assert job is not None
    return job.id


async def _compare(url: str, mine: list[str], theirs: list[str]) -> list[Comparison]:
    disk = ", disk left out" if url.endswith(NO_WAIT) else ""
    async with await db.connect(url) as ours, await db.connect(url) as by_hand:
        t = Transactions(by_hand, Store(ours))
        found = []
        for name, way, floor, before, at_once, each in (
            ("apply", t.apply, t.apply_by_hand, BEGIN, 1, len(WALK)),
            ("apply, 4 at once", t.apply, t.apply_by_hand, BEGIN, 4, len(WALK)),
            ("claim", t.claim, t.claim_by_hand, FREE, 1, 1),
        ):
            a = partial(t.timed, way, mine, before, at_once, each)
            b = partial(t.timed, floor, theirs, before, at_once, each)
            found.append(await by_turns(name + disk, a, "one CTE by hand", b, goal=2.0, seconds=5))
        return found
