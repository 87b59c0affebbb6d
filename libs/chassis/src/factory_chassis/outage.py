"""What Postgres' absence looks like, and the patience of those whose work is worth more than an answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import asyncpg
import structlog
from factory_jobs.records import Records

log = structlog.get_logger()

T = TypeVar("T")

POSTGRES_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,  # it shuts down, or has just started and recovers
    asyncpg.InsufficientResourcesError,  # too many connections, no memory, disk full
    asyncpg.ReadOnlySQLTransactionError,
)


async def patiently(ask: Callable[[], Awaitable[T]], back: Callable[[], Awaitable[None]] | None = None) -> T:
    """Asks until Postgres answers; the caller's own end (a deadline, SIGTERM) ends it too. For what may be done twice:
    a statement whose answer was lost may have been carried out. `back` is waited for after the answer: a Postgres that
    only hung raises nothing, and comes back as much later."""
    away = False
    while True:
        try:
            answer = await ask()
        except POSTGRES_AWAY as e:
            if not away:
                log.warning("waiting for Postgres", why=repr(e))
            away = True
            await asyncio.sleep(1)
            continue
        if back is not None:
            await back()
        return answer


class PatientRecords(Records):
    """The records for a handler: an outage holds its work up and loses nothing. All that they write may be written twice."""

    def __init__(self, pool: asyncpg.Pool, back: Callable[[], Awaitable[None]]) -> None:
        super().__init__(pool)
        self._back = back

    async def all(self, query: str, *args: Any) -> Sequence[asyncpg.Record]:
        return await patiently(lambda: super(PatientRecords, self).all(query, *args), self._back)

    async def row(self, query: str, *args: Any) -> asyncpg.Record | None:
        return await patiently(lambda: super(PatientRecords, self).row(query, *args), self._back)

    async def value(self, query: str, *args: Any) -> Any:
        return await patiently(lambda: super(PatientRecords, self).value(query, *args), self._back)

    async def run(self, query: str, *args: Any) -> None:
        await patiently(lambda: super(PatientRecords, self).run(query, *args), self._back)
