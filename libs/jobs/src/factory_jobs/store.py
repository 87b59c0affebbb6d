"""The jobs in Postgres: the only place where a transition is written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from . import events as ev
from . import machine, replay
from .db import Queries
from .errors import Fenced, IllegalMove, NoSuchJob, Stale
from .ids import new_job_id
from .job import Job
from .machine import ERRAND_OWNER, PHASES, WORKING, Role, State
from .queries import QUERIES

# from outside these are about the row as it was read, and about no other
JUDGED = (*ev.SWEPT, ev.SandboxLost, ev.Reopened, ev.PersonPushed)
LEASE = 30.0  # seconds
NODE_LOST_AFTER = 60.0  # seconds without a sign of its envkeeper
SWEPT: dict[str, ev.Event] = {
    event.kind: event
    for event in (
        ev.LeaseExpired(),
        ev.DeadlinePassed(),
        ev.Unanswered(),
        ev.PreviewOver(),
        ev.SandboxLost(reason=f"its node has not been seen for {NODE_LOST_AFTER:.0f} s"),
        ev.Reminded(),
    )
}
HINT_AFTER = 15.0  # seconds before a hint is made again


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message of a person. `source` names it once for ever, e.g. `telegram:<bot>:<update_id>`."""

    source: str
    author: str
    text: str
    chat: str | None = None
    message_id: int | None = None
    link: str | None = None


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `errands`."""

    id: int
    job_id: str
    kind: str
    node: str | None
    data: dict[str, Any]
    lease_epoch: int
    attempt: int
    hinted_at: datetime | None
    hint_no: int
    replay: bool = False  # its job is one


def to_job(row: asyncpg.Record) -> Job:
    return msgspec.convert(dict(row), Job)


def to_errand(row: asyncpg.Record) -> Errand:
    return msgspec.convert(dict(row), Errand)


class Store(Queries):
    """Jobs, their leases and their hints. Every method is one statement or one transaction.

    A store is for jobs or, with `replay`, for replays: what it claims, hints, sweeps and lists is never the other.
    """

    def __init__(self, pool: asyncpg.Pool, *, lease: float = LEASE, replay: bool = False) -> None:
        super().__init__(pool)
        self.lease, self.replay = lease, replay

    async def get(self, job_id: str) -> Job:
        """Raises NoSuchJob."""
        row = await self.row("get", job_id)
        if row is None:
            raise NoSuchJob(job_id)
        return to_job(row)

    async def create(
        self, *, project: str, snapshot: dict[str, Any], repo: str, title: str, request: NewRequest, hint: bool = False
    ) -> Job | None:
        """A new job in `received`; None where the request's source was taken before, or is by another at once.

        With `hint` its first hint is counted, for the caller to publish.
        """
        r = request
        facts = (project, snapshot, repo, title, snapshot.get("rounds", 5), snapshot.get("budget") or {}, hint)
        asked = (new_job_id(), r.source, r.chat, r.message_id, r.author, r.text, r.link)
        row = await self.row("create", *asked, *facts)
        return to_job(row) if row else None

    async def fork(
        self, job: Job, state: State | None = None, *, to: Role | None = None, agent: bool = False, actor: str
    ) -> Job:
        """A replay of the job from where it last entered `state` (None: from its beginning) up to what `to` does last.

        What was written down by then comes with it. Raises CannotReplay.
        """
        new_id = new_job_id()
        async with self.pool.acquire() as c, c.transaction():
            events = await c.fetch(QUERIES["events"], job.id)
            begins = replay.beginning(job, events, state)
            facts = replay.row(job, events, begins, new_id, to=to, agent=agent)
            row = await c.fetchrow(QUERIES["fork"], facts)
            await c.execute(QUERIES["fork_created"], new_id, actor, replay.created(facts))
            for query in ("fork_plans", "fork_rounds"):
                await c.execute(QUERIES[query], new_id)
            for query in ("fork_requests", "fork_evidence", "fork_artifacts", "fork_effects", "fork_decisions"):
                await c.execute(QUERIES[query], new_id, begins["at"])
        return to_job(row)

    @staticmethod
    async def _insert_request(c: Any, job_id: str, r: NewRequest) -> bool:
        args = (job_id, r.source, r.chat, r.message_id, r.author, r.text, r.link)
        return await c.fetchval(QUERIES["insert_request"], *args) is not None

    async def apply(
        self, job: Job, event: ev.Event, *, actor: str, epoch: int | None = None, hint: bool = False, **data: Any
    ) -> Job:
        """Decides and writes the transition. Under a lease give its `epoch`; from outside give none.

        With `hint` the hint of a row that is free now is counted (`hinted_at`, `hint_no`), for the caller to publish.

        The row may have moved on meanwhile by an event from outside (a steer, a note): then it is read again and
        decided anew, as long as the lease holds and state and round are the ones that the caller worked on: else the
        event was written before, and only the answer was lost. What the sweep found, or a head that the forge showed,
        is not: it was about the row as it was read.
        Returns the new row; the same row where the event was absorbed. Raises Fenced, Stale, IllegalMove.
        """
        return await self._apply(self.pool, job, event, actor=actor, epoch=epoch, hint=hint, **data)

    async def _apply(
        self,
        c: Any,
        job: Job,
        event: ev.Event,
        *,
        actor: str,
        epoch: int | None = None,
        hint: bool = False,
        **data: Any,
    ) -> Job:
        worked_on = job.state, job.round
        while True:
            try:
                move = machine.decide(job, event, await self._time_for(event))
            except machine.Illegal as e:
                raise IllegalMove(job.id, why=str(e)) from e
            if move is None:
                return job
            told = msgspec.to_builtins(event) | data
            args = (job.id, job.version, epoch, event.kind, actor, told, msgspec.to_builtins(move), hint)
            if (row := await c.fetchrow(QUERIES["apply"], *args)) is not None:
                return to_job(row)
            if epoch is None and isinstance(event, JUDGED):
                raise Stale(job.id, found=event.kind, version=job.version)
            row = await c.fetchrow(QUERIES["get"], job.id)
            assert row is not None
            job = to_job(row)
            if epoch is not None and (job.lease_epoch != epoch or job.lease_owner is None):
                raise Fenced(job.id, epoch=epoch, now=job.lease_epoch)
            if epoch is not None and (job.state, job.round) != worked_on:
                raise Stale(job.id, was=worked_on, now=(job.state, job.round))

    async def _time_for(self, event: ev.Event) -> datetime:
        """Postgres' now() where the move depends on the time."""
        if isinstance(event, ev.Asked | ev.FellBack):
            return await self.value("now")
        return datetime.min

    async def tell(self, job_id: str, event: ev.Event, *, actor: str, request: NewRequest | None = None) -> Job | None:
        """Something from outside, with the message that said it. None where that message was taken before.

        Both are written or neither: a message that moved nothing, since the table has no such move or its taker died,
        is free to be taken again.
        """
        job = await self.get(job_id)
        async with self.pool.acquire() as c, c.transaction():
            if request is not None:
                if await c.fetchval(QUERIES["known_source"], request.source):
                    return None
                if isinstance(event, ev.FollowUp) and not await self._insert_request(c, job_id, request):
                    return None
            return await self._apply(c, job, event, actor=actor)

    async def answer(self, job_id: str, event: ev.Answered, *, actor: str) -> Job:
        """Keeps the decision and goes on with it."""
        job = await self.get(job_id)
        sha = event.sha or (job.waiting.sha if job.waiting else "")
        async with self.pool.acquire() as c, c.transaction():
            await c.execute(QUERIES["decide"], job_id, event.ask, sha, event.answer, event.by)
            return await self._apply(c, job, event, actor=actor)

    # ── leases ────────────────────────────────────────────────────────────────

    async def claim(
        self, job_id: str, states: Iterable[str], *, owner: str, node: str | None = None, node_limit: int | None = None
    ) -> Job | None:
        """Takes the lease, epoch + 1, for `lease` seconds. None: held, waiting, not due, limited, or moved on."""
        row = await self.row("claim", job_id, list(states), owner, node, self.lease, node_limit, self.replay)
        return to_job(row) if row else None

    async def renew(self, job_id: str, epoch: int) -> datetime | None:
        """The new end of the lease; None means fenced."""
        return await self.value("renew", job_id, epoch, self.lease)

    async def held_by(self, owner: str) -> list[Job]:
        return [to_job(r) for r in await self.all("held_by", owner)]

    async def let_go(self, owner: str) -> None:
        """What a dead process held beside jobs (errands, messages) is free."""
        await self.run("let_go", owner)

    # ── hints and what the sweep looks for ────────────────────────────────────

    async def mark_hinted(self, job: Job) -> int | None:
        """The number of the hint to publish now; None where another process does it."""
        return await self.value("mark_hinted", job.id, job.seq, job.hinted_at)

    async def due_hints(self, states: Iterable[str]) -> list[Job]:
        return [to_job(r) for r in await self.all("due_hints", list(states), HINT_AFTER, self.replay)]

    async def queues(self, states: Iterable[str]) -> dict[str, tuple[int, float]]:
        """How many jobs are due in each of these states and held by nobody, and for how many seconds the oldest is."""
        found = {r["state"]: (r["jobs"], r["oldest"]) for r in await self.all("queues", list(states), self.replay)}
        return {state: found.get(state, (0, 0.0)) for state in states}

    async def in_line(self) -> list[Job]:
        """Jobs that wait for a place in their repo and on a node."""
        return [to_job(r) for r in await self.all("in_line", self.replay)]

    async def forget_hints(self) -> None:
        await self.run("forget_hints", self.replay)

    async def swept(self) -> list[tuple[Job, ev.Event]]:
        """What time alone has done to jobs: each with the event to apply. The store decides nothing here."""
        states = sorted(WORKING)
        withins = [float(PHASES[s].within) for s in states]
        patience = [t.total_seconds() for t in (machine.REMIND_AFTER, machine.ANSWER_WITHIN)]
        envkeeper = self.seen_as(Role.ENVKEEPER)
        rows = await self.all("swept", states, withins, *patience, NODE_LOST_AFTER, envkeeper, self.replay)
        return [(to_job(row), SWEPT[row["found"]]) for row in rows]

    # ── errands ───────────────────────────────────────────────────────────────

    async def due_errands(self, role: Role) -> list[Errand]:
        if not (kinds := [k for k, r in ERRAND_OWNER.items() if r is role]):
            return []
        return [to_errand(r) for r in await self.all("due_errands", kinds, HINT_AFTER, self.replay)]

    async def mark_errand_hinted(self, errand: Errand) -> int | None:
        return await self.value("mark_errand_hinted", errand.id, errand.hinted_at)

    async def open_errands(self, job_id: str) -> list[Errand]:
        return [to_errand(r) for r in await self.all("open_errands", job_id)]

    async def claim_errand(self, errand_id: int, *, owner: str, node: str | None = None) -> Errand | None:
        row = await self.row("claim_errand", errand_id, owner, node, self.lease, self.replay)
        return to_errand(row) if row else None

    async def renew_errand(self, errand: Errand) -> bool:
        return await self.value("renew_errand", errand.id, errand.lease_epoch, self.lease) is not None

    async def finish_errand(self, errand: Errand, result: str = "done") -> bool:
        return await self.value("finish_errand", errand.id, errand.lease_epoch, result) is not None

    async def delay_errand(self, errand: Errand, seconds: float, why: str) -> None:
        await self.run("delay_errand", errand.id, errand.lease_epoch, seconds, why)

    # ── nodes ─────────────────────────────────────────────────────────────────

    def seen_as(self, role: str) -> str:
        """The name under which a service says that it lives: one for replays is no company for a job."""
        return f"replay:{role}" if self.replay else role

    async def seen(self, node: str, role: str, owner: str) -> None:
        await self.run("seen", node, role, owner)

    async def live_roles(self, node: str, within: float = 30) -> set[str]:
        return {r["role"] for r in await self.all("live_roles", node, within)}

    # ── looking ───────────────────────────────────────────────────────────────

    async def jobs(self, project: str | None = None, *, live: bool = False, limit: int = 50) -> list[Job]:
        return [to_job(r) for r in await self.all("jobs", project, live, limit, self.replay)]

    async def watched(self) -> list[Job]:
        """Jobs whose pull request people may still merge, close, reopen or push to."""
        return [to_job(r) for r in await self.all("watched")]

    async def history(self, job_id: str) -> list[dict[str, Any]]:
        """Every stay: state, entered, left, actor, role, attempt, round, tries, within, artifacts, messages."""
        return [_stay(dict(r)) for r in await self.all("history", job_id)]

    async def events(self, job_id: str) -> Sequence[asyncpg.Record]:
        return await self.all("events", job_id)

    async def queue_place(self, job_id: str) -> int:
        """0: next."""
        return await self.value("queue_place", job_id) or 0


def _stay(row: dict[str, Any]) -> dict[str, Any]:
    phase = PHASES[State(row["state"])]
    actor = row.pop("claimed_by") or row.pop("ended_by") or phase.owner.value
    row.pop("ended_by", None)
    return row | {"actor": actor, "role": phase.owner.value, "tries": machine.TRIES, "within": phase.within}
