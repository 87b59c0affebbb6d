"""A service: its connections, its worker, its sweep, its health, its end; `run` is all that `__main__` needs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import asyncpg
import structlog
from factory_artifacts.redact import Redactor
from factory_artifacts.store import ArtifactStore
from factory_jobs import db, messages
from factory_jobs.machine import Role, State
from factory_jobs.records import Records
from factory_jobs.store import Store
from nats.aio.client import Client
from nats.errors import Error as NatsError

from . import logs, settings
from .broker import Publisher, build_broker, subscribe, subscribe_control
from .health import Health
from .line import Line
from .lives import Lives
from .provision import Provisioner
from .renewal import Renewal
from .settings import BadSettings, Settings, SettingsT, node_name
from .sweep import Sweep
from .worker import POSTGRES_AWAY, ErrandHandler, Handler, Worker

log = structlog.get_logger()

Task = Callable[["Service"], Coroutine[Any, Any, None]]
T = TypeVar("T")
FAREWELL = 5.0  # seconds for outcomes that are being written when the handlers have had their grace


class _Ending(Exception):
    """The service was told to end before it had begun."""


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
        if settings.replay and role is None and listens is None:
            raise BadSettings([f"--replay: {name} has no part in a replay"])
        self.handlers, self.errands = dict(handlers or {}), dict(errands or {})
        self.tasks, self.listens = list(tasks or []), listens
        self.may_claim, self.node_limit = may_claim, node_limit
        self.node = node_name(settings.node_dir)
        self.owner = f"{name}@{self.node}.{socket.gethostname()}.{os.getpid()}"
        self.ending = asyncio.Event()
        self.worker: Worker | None = None
        self.nats: Client | None = None
        self._background: list[asyncio.Task[None]] = []
        self._closing = contextlib.AsyncExitStack()  # ends, in reverse, what `connect` has made
        self._hints_are_lost = False

    async def connect(self) -> None:
        """Postgres, the bus and the artifact store; waits for what is not there yet."""
        s = self.settings
        self.redactor = Redactor(s.secrets())
        logs.configure(self.name, json=s.log_format == "json", clean=self.redactor.text)
        if self.redactor.too_short:
            log.warning("secrets that are too short to be taken out of logs", how_many=self.redactor.too_short)
        self.health = self._health(s.health_host, s.health_port)
        self._spawn(self._beat())
        url = s.database_url.get_secret_value()
        self.pool = await self._patiently("Postgres", lambda: db.connect(url, name=self.name, size=max(4, s.capacity)))
        self._closing.push_async_callback(self._close_pool)
        self.store = Store(self.pool, lease=s.lease_seconds, replay=s.replay)
        self.records = Records(self.pool)
        self.artifacts = ArtifactStore(s.s3_endpoint, s.s3_bucket, s.s3_access_key, s.s3_secret_key.get_secret_value())
        self._closing.callback(self.artifacts.close)
        loop = asyncio.get_running_loop()
        self.renewal = Renewal(
            url,
            s.lease_seconds,
            lambda job_id, epoch: loop.call_soon_threadsafe(self._fenced, job_id, epoch),
            node=self.node,
            role=self.store.seen_as(self.name),
            owner=self.owner,
        )
        self._closing.push_async_callback(self._end_renewal)
        self.broker = build_broker(s.nats_url, grace=FAREWELL)
        self._closing.push_async_callback(self._leave_bus)
        self.line = Line(self.store, self.records, Publisher(self.broker, self.store))

    def _health(self, host: str, port: int) -> Health:
        try:
            health = Health(self.name, port, host)
        except OSError as e:
            raise BadSettings([f"FACTORY_HEALTH_PORT: cannot listen on {host}:{port}: {e.strerror}"]) from None
        self._closing.callback(health.close)
        return health

    def _spawn(self, part: Coroutine[Any, Any, None]) -> None:
        self._background.append(asyncio.create_task(part, name=part.__qualname__))

    def _fenced(self, job_id: str, epoch: int) -> None:
        if self.worker:
            self.worker.fenced(job_id, epoch)

    async def _patiently(self, what: str, attempt: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Tries until it works. Raises _Ending where the service is told to end meanwhile."""
        while True:
            try:
                return await self._unless_ending(attempt(), what)
            except (OSError, TimeoutError, asyncpg.PostgresError, NatsError) as e:
                log.warning(f"waiting for {what}", why=repr(e))
            await self._unless_ending(asyncio.sleep(1))

    async def _unless_ending(self, step: Coroutine[Any, Any, T], what: str = "") -> T:
        """A client that connects by itself for ever (NATS) is no reason not to end."""
        trying, ending = asyncio.ensure_future(step), asyncio.ensure_future(self.ending.wait())
        try:
            while not trying.done():
                done, _ = await asyncio.wait({trying, ending}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
                if ending in done and trying not in done:
                    raise _Ending
                if not done:
                    log.warning(f"waiting for {what}")
            return trying.result()
        finally:
            trying.cancel()
            ending.cancel()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises BadSettings where a setting proves wrong at start."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self.ending.set)
        try:
            await self.connect()
            lives = Lives(self.settings.node_dir / "lives", self.owner)
            sweep = Sweep(self.line, self.role, lives, actor=self.owner, patience=self.settings.sweep_after)
            await self._patiently("Postgres", sweep.bury)  # a container's next process may have the dead one's name
            lives.begin()
            self._closing.callback(lives.end)
            await self._listen()
            self.renewal.start()
            for part in (self._ask_postgres(), self._provision(), sweep.run(), *(task(self) for task in self.tasks)):
                self._spawn(part)
            log.info("ready", owner=self.owner, health_port=self.health.port)
            await self._until_end()
        except _Ending:
            log.info("told to end before it was ready")
        finally:
            await self._end()

    async def _listen(self) -> None:
        self.nats = await self._patiently("NATS", self.broker.connect)
        hears = self.role or (self.name if self.listens is not None else None)
        self.provisioner = Provisioner(self.nats.jetstream(), hears, self.node, replay=self.settings.replay)
        await self._patiently("JetStream", self._ensure)
        stream = messages.stream(self.settings.replay)
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
            self.health.details = self.worker.report
            durable = next(iter(self.provisioner.consumers))
            for _ in range(self.settings.capacity):
                subscribe(self.broker, durable, self.worker.on_hint, stream=stream)
            if self.errands:
                subscribe(self.broker, f"{durable}-errands", self.worker.on_errand, stream=stream)
            subscribe_control(self.broker, self.worker.on_control)
        elif self.listens is not None:
            subscribe(self.broker, self.name, self.listens, stream=stream)
        await self.broker.start()

    async def _ensure(self) -> None:
        """The stream and the consumers; where the stream is new, every hint is made again."""
        if await self.provisioner.ensure():
            self._hints_are_lost = True
        if self._hints_are_lost:
            await self.store.forget_hints()
            self._hints_are_lost = False

    async def _provision(self) -> None:
        """A wiped server is found by asking it."""
        while True:
            await asyncio.sleep(5)
            try:
                await self._ensure()
                self.health.set("jetstream", True)
            except (TimeoutError, NatsError) as e:
                self.health.set("jetstream", False)
                log.warning("JetStream does not answer", why=repr(e))
            except POSTGRES_AWAY as e:
                log.warning("hints are not forgotten yet: Postgres does not answer", why=repr(e))

    async def _beat(self) -> None:
        while True:
            self.health.beat()
            if self.nats is not None:
                self.health.set("nats", self.nats.is_connected)
            await asyncio.sleep(1)

    async def _ask_postgres(self) -> None:
        """Apart from the beat: a question that gets no answer is no stall of the loop."""
        while True:
            asking = asyncio.ensure_future(self.pool.fetchval("SELECT 1"))
            try:
                if not (await asyncio.wait({asking}, timeout=3))[0]:
                    self.health.set("postgres", False)
                    await asyncio.wait({asking})
            finally:
                asking.cancel()
            self.health.set("postgres", asking.exception() is None)
            await asyncio.sleep(2)

    async def _until_end(self) -> None:
        ending = asyncio.create_task(self.ending.wait())
        done, _ = await asyncio.wait([ending, *self._background], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        for task in done - {ending}:
            if (error := task.exception()) is not None:
                log.error("a part of the service ended", part=task.get_name(), why=repr(error))
                raise error

    async def _end(self) -> None:
        log.info("stopping")
        if self.worker:
            await self.worker.stop()
        await self._end_background()
        await self._closing.aclose()
        log.info("stopped")

    async def _end_background(self) -> None:
        """A cancellation can get lost: the `wait_for` of Python 3.11 drops one that meets its result."""
        left = set(self._background)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=2)
        await asyncio.gather(*self._background, return_exceptions=True)  # their errors were told, or come too late

    async def _leave_bus(self) -> None:
        """Waits for handlers that are writing their outcome; a bus that is away is left as it is."""
        try:
            await asyncio.wait_for(self.broker.stop(), 2 * FAREWELL)
        except (NatsError, TimeoutError, ExceptionGroup) as e:
            log.info("the bus was left without a farewell", why=repr(e))
            if self.nats is not None:
                with contextlib.suppress(OSError):  # its last words have nowhere to go
                    await self.nats.close()

    async def _end_renewal(self) -> None:
        self.renewal.end()
        if self.renewal.is_alive():
            await asyncio.to_thread(self.renewal.join, 5)

    async def _close_pool(self) -> None:
        try:
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()


def run(kind: type[SettingsT], build: Callable[[SettingsT], Service]) -> None:
    """Reads the settings, builds, runs. A broken configuration ends with exit code 78 and the variable named."""
    options = argparse.ArgumentParser(description="Settings are FACTORY_* in the environment; see the README.")
    options.add_argument("--replay", action="store_true", help="work on replays alone (`factoryctl replay`)")
    given, _ = options.parse_known_args()
    environ = os.environ | ({"FACTORY_REPLAY": "true"} if given.replay else {})
    try:
        asyncio.run(build(settings.read(kind, environ)).run())
    except BadSettings as e:
        settings.refuse(e.problems)
