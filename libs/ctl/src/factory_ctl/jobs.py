"""What `factoryctl` shows of jobs and does to them: list, timeline, logs, cancel, retry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
from factory_artifacts.store import ArtifactStore
from factory_chassis.broker import Publisher, build_broker
from factory_chassis.line import Line
from factory_chassis.settings import Settings
from factory_jobs import db
from factory_jobs import events as ev
from factory_jobs.errors import NoSuchJob
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.records import Records
from factory_jobs.store import Store
from nats.errors import Error as NatsError

BUS_WITHIN = 5.0  # seconds
OTHER_SHAPE = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)


class Unreachable(Exception):
    """No factory answers: start one with `factoryctl up`, or set FACTORY_DATABASE_URL."""


@asynccontextmanager
async def looking(settings: Settings) -> AsyncIterator[tuple[Store, Records]]:
    """Postgres alone. Raises Unreachable."""
    try:
        pool = await db.connect(settings.database_url.get_secret_value(), name="factoryctl")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
        raise Unreachable(f"{Unreachable.__doc__} ({e})") from None
    try:
        yield Store(pool), Records(pool)
    except OTHER_SHAPE as e:
        why = f"The database is not of this version's shape ({e}): run `factoryctl migrate`."
        raise Unreachable(why) from None
    finally:
        await pool.close()


@asynccontextmanager
async def moving(settings: Settings, say: Callable[[str], None] = lambda text: None) -> AsyncIterator[Line]:
    """With the bus, so that whoever holds the job hears of it at once; without it they see it in the row.

    Raises Unreachable.
    """
    async with looking(settings) as (store, records):
        broker = build_broker(settings.nats_url)
        try:
            await asyncio.wait_for(broker.connect(), BUS_WITHIN)
        except (OSError, TimeoutError, NatsError):
            say("NATS does not answer: the services will see it within seconds, when they look by themselves")
        try:
            yield Line(store, records, Publisher(broker, store))
        finally:
            await broker.stop()


async def find(store: Store, text: str) -> Job:
    """By its id or the beginning of one. Raises NoSuchJob."""
    try:
        return await store.get(text)
    except NoSuchJob:
        found = [j for j in await store.jobs(limit=500) if j.id.startswith(text)]
        if len(found) != 1:
            raise
        return found[0]


def as_row(job: Job) -> dict[str, Any]:
    facts = msgspec.to_builtins(job)
    keys = (
        "id",
        "state",
        "project",
        "title",
        "request_no",
        "round",
        "attempt",
        "pr",
        "verdict",
        "cleanup",
        "waiting",
        "failure",
    )
    return {k: facts[k] for k in keys} | {"created_at": job.created_at.isoformat()}


def line_of(job: Job) -> str:
    age = datetime.now(UTC) - job.created_at
    round_ = f" r{job.round}" if job.round else ""
    waits = " (waits for an answer)" if job.waiting else ""
    return f"{job.id}  {job.state + round_:32} {_short(age.total_seconds()):>6}  {job.title}{waits}"


def _short(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


async def timeline(store: Store, records: Records, job: Job) -> list[str]:
    """The history as lines: when, how long, which state, who, which try."""
    lines = [f"{job.title}  ({job.id}, {job.state})", *map(stay_line, await store.history(job.id))]
    if job.failure:
        lines.append(f"failed at {job.failure.stage}: {job.failure.message}")
    for errand in await records.all("errands", job.id):
        lines.append(f"errand {errand['kind']}: {errand['result'] or 'open'}")
    if job.pr:
        lines.append(f"pull request: {job.pr.url}")
    return lines


def stay_line(stay: dict[str, Any]) -> str:
    """One stay in one state, as `Store.history` has it."""
    until = stay["left"] or datetime.now(UTC)
    took = _short((until - stay["entered"]).total_seconds()) if stay["left"] or State(stay["state"]) in PHASES else ""
    tries = f" try {stay['attempt']}" if (stay["attempt"] or 1) > 1 else ""
    round_ = f" round {stay['round']}" if stay["round"] else ""
    return f"{stay['entered']:%H:%M:%S}  {took:>7}  {stay['state']:28}{round_}{tries}  {stay['actor']}"


async def logs(settings: Settings, records: Records, job: Job, state: str | None) -> str:
    """The logs that stages left in the artifact store, one after another."""
    store = ArtifactStore(
        settings.s3_endpoint, settings.s3_bucket, settings.s3_access_key, settings.s3_secret_key.get_secret_value()
    )
    try:
        parts = []
        for artifact in await records.artifacts(job.id):
            if artifact.kind == "log" and (state is None or artifact.state == state):
                text = (await store.get_bytes(artifact.key)).decode(errors="replace")
                parts.append(f"── {artifact.name}\n{text}")
        return "\n".join(parts)
    finally:
        store.close()


async def cancel(line: Line, job: Job) -> Job:
    moved = await line.tell(job.id, ev.Cancel(by="factoryctl"), actor="factoryctl")
    return moved or job


async def retry(line: Line, job: Job) -> Job:
    moved = await line.tell(job.id, ev.Retry(by="factoryctl"), actor="factoryctl")
    return moved or job


def settings_of(data: Path) -> dict[str, str]:
    """Where a running `factoryctl up` on this directory has its servers. Raises Unreachable."""
    kept = data / "env.json"
    try:
        return msgspec.json.decode(kept.read_bytes(), type=dict[str, str]) if kept.exists() else {}
    except (OSError, msgspec.DecodeError) as e:
        raise Unreachable(f"{kept} cannot be read ({e}): `factoryctl up` on this directory writes it anew.") from None
