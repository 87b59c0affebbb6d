"""A service: its connections, its worker, its sweep, its health, its end; `run` is all that `__main__` needs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

import asyncpg
import structlog
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_jobs import db
from factory_jobs.machine import Role, State
from factory_jobs.records import Records
from factory_jobs.store import Store
from nats.errors import Error as NatsError

from . import logs, settings
from .broker import Publisher, build_broker, subscribe, subscribe_control
from .health import Health
from .line import Line
from .provision import Provisioner
from .renewal import Renewal
from .settings import Settings, SettingsT, node_name
from .sweep import Sweep
from .worker import ErrandHandler, Handler, Worker

log = structlog.get_logger()

Task = Callable[["Service"], Coroutine[Any, Any, None]]


class Service:
    """One role's process. Handlers for a role's states, or tasks of its own (intake, notifier, console), or both."""

    def __init__(
        self,
        name: str,
        settings: Settings,
        *,
        role: Role | None = None,
        handlers: Mapping[State, Handler] | None = None,
        errands: Mapping[str, ErrandHandler] | None = None,
        tasks: list[Task] | None = None,
        listens: Callable[[Any], Awaitable[None]] | None = None,
        may_claim: Callable[[], Awaitable[bool]] | None = None,
        node_limit: int | None = None,
    ) -> None:
        self.name, self.settings, self.role = name, settings, role
        self.handlers, self.errands = dict(handlers or {}), dict(errands or {})
        self.tasks, self.listens = list(tasks or []), listens
        self.may_claim, self.node_limit = may_claim, node_limit
        self.node = node_name(settings.node_dir)
        self.owner = f"{name}@{self.node}.{socket.gethostname()}.{os.getpid()}"
        self.ending = asyncio.Event()
        self.worker: Worker | None = None

    async def connect(self) -> None:
        """Postgres, the bus and the artifact store; waits for what is not there yet."""
        s = self.settings
        logs.configure(self.name, json=s.log_format == "json")
        self.health = Health(self.name, s.health_port)
        self.redactor = Redactor(s.secrets())
        self.pool = await self._patiently(
            "Postgres", lambda: db.connect(s.database_url.get_secret_value(), name=self.name)
        )
        self.store, self.records = Store(self.pool, lease=s.lease_seconds), Records(self.pool)
        self.artifacts = ArtifactStore(s.s3_endpoint, s.s3_bucket, s.s3_access_key, s.s3_secret_key.get_secret_value())
        self.broker = build_broker(s.nats_url, grace=s.stop_grace)
        self.line = Line(self.store, self.records, Publisher(self.broker, self.store))
        loop = asyncio.get_running_loop()
        self.renewal = Renewal(
            s.database_url.get_secret_value(),
            s.lease_seconds,
            lambda job_id, epoch: loop.call_soon_threadsafe(self._fenced, job_id, epoch),
            node=self.node,
            role=self.name,
            owner=self.owner,
        )

    def _fenced(self, job_id: str, epoch: int) -> None:
        if self.worker:
            self.worker.fenced(job_id, epoch)

    async def _patiently(self, what: str, attempt: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await attempt()
            except (OSError, TimeoutError, asyncpg.PostgresError, NatsError) as e:
                log.warning(f"waiting for {what}", why=repr(e))
                if self.ending.is_set():
                    raise
                await asyncio.sleep(1)

    async def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self.ending.set)
        await self.connect()
        background: list[asyncio.Task[Any]] = []
        try:
            await self._listen()
            self.renewal.start()
            sweep = Sweep(self.line, self.role, actor=self.owner, patience=self.settings.sweep_after)
            for part in (self._beat(), self._provision(), sweep.run(), *(task(self) for task in self.tasks)):
                background.append(asyncio.create_task(part, name=part.__qualname__))
            log.info("ready", owner=self.owner, health_port=self.health.port)
            await self._until_end(background)
        finally:
            await self._end(background)

    async def _listen(self) -> None:
        connection = await self._patiently("NATS", self.broker.connect)
        self.nats = connection
        self.provisioner = Provisioner(connection.jetstream(), self.role or self.name, self.node)
        await self._patiently("JetStream", self._ensure)
        if self.role is not None and self.handlers:
            self.worker = Worker(
                self.role,
                self.handlers,
                self.errands,
                line=self.line,
                artifacts=self.artifacts,
                redactor=self.redactor,
                renewal=self.renewal,
                owner=self.owner,
                node=self.node,
                public_url=self.settings.public_url,
                node_limit=self.node_limit,
                may_claim=self.may_claim,
                grace=self.settings.stop_grace,
            )
            durable = next(iter(self.provisioner.consumers))
            for _ in range(self.settings.capacity):
                subscribe(self.broker, durable, self.worker.on_hint)
            if self.errands:
                subscribe(self.broker, f"{durable}-errands", self.worker.on_errand)
            subscribe_control(self.broker, self.worker.on_control)
        elif self.listens is not None:
            subscribe(self.broker, self.name, self.listens)
        await self.broker.start()

    async def _ensure(self) -> None:
        if await self.provisioner.ensure():
            await self.store.forget_hints()

    async def _provision(self) -> None:
        """A wiped server is found by asking it."""
        while True:
            await asyncio.sleep(5)
            try:
                await self._ensure()
                self.health.set("nats", True)
            except (OSError, TimeoutError, NatsError) as e:
                self.health.set("nats", False)
                log.warning("NATS does not answer", why=repr(e))
            except asyncpg.PostgresError as e:
                log.warning("hints not forgotten", why=repr(e))

    async def _beat(self) -> None:
        beats = 0
        while True:
            self.health.beat()
            if beats % 10 == 0:
                try:
                    await self.pool.fetchval("SELECT 1", timeout=3)
                    self.health.set("postgres", True)
                except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                    self.health.set("postgres", False)
                self.health.set("nats", bool(self.nats.is_connected))
            beats += 1
            await asyncio.sleep(0.5)

    async def _until_end(self, background: list[asyncio.Task[Any]]) -> None:
        ending = asyncio.create_task(self.ending.wait())
        done, _ = await asyncio.wait([ending, *background], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        for task in done - {ending}:
            if (error := task.exception()) is not None:
                log.error("a part of the service ended", part=task.get_name(), why=repr(error))
                raise error

    async def _end(self, background: list[asyncio.Task[Any]]) -> None:
        log.info("stopping")
        if self.worker:
            await self.worker.stop()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self.broker.stop(), self.settings.stop_grace + 5)
        self.renewal.end()
        if self.renewal.is_alive():
            await asyncio.to_thread(self.renewal.join, 5)
        await asyncio.wait_for(self.pool.close(), 10)
        self.health.close()
        log.info("stopped")


def run(kind: type[SettingsT], build: Callable[[SettingsT], Service]) -> None:
    """Reads the settings, builds, runs. A broken configuration ends with exit code 78 and the variable named."""
    try:
        service = build(settings.read(kind))
    except settings.BadSettings as e:
        settings.refuse(e.problems)
    asyncio.run(service.run())
