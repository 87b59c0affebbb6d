"""Leases are renewed from a thread, loop and connection of their own: a busy or blocked worker still holds its jobs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import asyncpg
import structlog
from factory_jobs.queries import QUERIES

from . import metrics

log = structlog.get_logger()

Lost = Callable[[str, int], object]


class Renewal(threading.Thread):
    """Renews what it is told to hold, three times a lease; says through `lost(job_id, epoch)` what is fenced.

    While Postgres is away nothing is lost: work goes on, and `good_for` tells how long an outside effect may begin.
    """

    def __init__(self, database_url: str, lease: float, lost: Lost, *, node: str, role: str, owner: str) -> None:
        super().__init__(name="renewal", daemon=True)
        self.url, self.lease, self.lost = database_url, lease, lost
        self.seen_as = (node, role, owner)
        self._held: dict[str, tuple[int, float]] = {}  # job → epoch, monotonic end of the lease
        self._lock = threading.Lock()
        self._ended = threading.Event()

    def hold(self, job_id: str, epoch: int, *, since: float | None = None) -> None:
        """From now on it is renewed. `since` is when the lease was asked for (monotonic): Postgres counts from later."""
        with self._lock:
            self._held[job_id] = (epoch, (time.monotonic() if since is None else since) + self.lease)

    def drop(self, job_id: str, epoch: int) -> None:
        with self._lock:
            if self._held.get(job_id, (None,))[0] == epoch:
                del self._held[job_id]

    def holds(self, job_id: str, epoch: int) -> bool:
        """Whether it is still renewed: nobody has said that somebody else has it."""
        with self._lock:
            return self._held.get(job_id, (None,))[0] == epoch

    def good_for(self, job_id: str, epoch: int) -> float:
        """Seconds for which the lease is surely ours; ≤ 0: begin nothing outside."""
        with self._lock:
            held = self._held.get(job_id)
        return held[1] - time.monotonic() if held and held[0] == epoch else 0.0

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        structlog.contextvars.bind_contextvars(service=self.seen_as[1])  # a thread begins with no context
        asyncio.run(self._run())

    async def _run(self) -> None:
        connection: asyncpg.Connection | None = None
        while not self._ended.is_set():
            try:
                if connection is None or connection.is_closed():
                    connection = await self._connect()
                await self._renew(connection)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as e:
                metrics.RENEWALS.labels("postgres_away").inc()
                log.warning("leases not renewed: Postgres does not answer", why=repr(e))
                if connection is not None:
                    connection.terminate()
                connection = None
            await asyncio.to_thread(self._ended.wait, self.lease / 3 if connection else 1.0)
        if connection is not None:
            connection.terminate()  # nothing is under way, and a farewell could hang

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.url, timeout=5, command_timeout=5)

    async def _renew(self, connection: asyncpg.Connection) -> None:
        await connection.execute(QUERIES["seen"], *self.seen_as)
        with self._lock:
            held = list(self._held.items())
        for job_id, (epoch, ends) in held:
            asked = time.monotonic()
            until = await connection.fetchval(QUERIES["renew"], job_id, epoch, self.lease)
            with self._lock:
                if self._held.get(job_id, (None,))[0] != epoch:
                    continue
                if until is not None:
                    self._held[job_id] = (epoch, asked + self.lease)
                    metrics.RENEWALS.labels("renewed" if asked < ends else "late").inc()
                    continue
                del self._held[job_id]
            metrics.RENEWALS.labels("fenced").inc()
            self.lost(job_id, epoch)
