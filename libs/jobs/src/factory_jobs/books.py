"""Everything that is written down about jobs, as it stood at one moment: what an audit reads."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg
import msgspec

from .job import Job
from .queries import QUERIES
from .records import Artifact, Message, Owned
from .store import to_job

Rows = dict[str, list[asyncpg.Record]]  # job id → its rows


@dataclass(frozen=True)
class Books:
    """Of one job, or of all. Times are Postgres' own."""

    now: datetime
    jobs: dict[str, Job]
    events: Rows
    effects: Rows
    errands: Sequence[asyncpg.Record]  # open ones
    owned: list[Owned]  # what is not freed yet
    artifacts: list[Artifact]
    messages: list[Message]

    def effect(self, job_id: str, key: str) -> asyncpg.Record | None:
        return next((e for e in self.effects.get(job_id, ()) if e["key"] == key), None)


async def read(pool: asyncpg.Pool, job_id: str | None = None) -> Books:
    """One snapshot of the database: what is written between two of its queries is in none of them."""
    async with pool.acquire() as c, c.transaction(isolation="repeatable_read", readonly=True):

        async def rows(query: str) -> Sequence[asyncpg.Record]:
            return await c.fetch(QUERIES[query], job_id)

        return Books(
            now=await c.fetchval(QUERIES["now"]),
            jobs={r["id"]: to_job(r) for r in await rows("every_job")},
            events=_by_job(await rows("every_event")),
            effects=_by_job(await rows("every_effect")),
            errands=await rows("every_open_errand"),
            owned=_all(await rows("every_owned"), Owned),
            artifacts=_all(await rows("every_artifact"), Artifact),
            messages=_all(await rows("every_message"), Message),
        )


def _by_job(rows: Sequence[asyncpg.Record]) -> Rows:
    found: Rows = defaultdict(list)
    for row in rows:
        found[row["job_id"]].append(row)
    return dict(found)


def _all(rows: Sequence[asyncpg.Record], kind: Any) -> list[Any]:
    return [msgspec.convert(dict(r), kind) for r in rows]
