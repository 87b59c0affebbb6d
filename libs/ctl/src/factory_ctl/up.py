"""The factory on one machine: servers from wheels or by URL, all services as processes, their data in one directory."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from factory_chassis.settings import Settings, read

from .embedded import BUCKET, S3, Nats, Postgres, Server, ServerFailed, free_port
from .prepare import prepare, said
from .processes import Child
from .restarts import Again

SERVICES = ("planner", "envkeeper", "builder", "recorder", "reviewer", "notifier", "intake", "console")
HEALTHY_WITHIN = 90.0  # seconds
PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "USER",
    "LOGNAME",
    "SHELL",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
CONFIG = 78  # a service's exit code for a broken configuration: starting it again would not help


class UpError(Exception):
    """The factory cannot start: what, where, and what to do."""


class Factory:
    """`start`, then `watch` for as long as it shall run, then `stop`. One directory holds one factory."""

    def __init__(
        self,
        data: Path,
        *,
        projects: Path,
        environ: Mapping[str, str] | None = None,
        public_port: int = 0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.data = data.absolute()
        self.projects = projects.absolute()
        self.say = say
        self._given = {
            k: v for k, v in (os.environ if environ is None else environ).items() if k.startswith("FACTORY_")
        }
        self._base = {k: v for k, v in os.environ.items() if k in PASSED_ON}
        self._public_port = public_port
        self._servers: list[Server] = []
        self.services: dict[str, Child] = {}
        self.health: dict[str, int] = {}
        self.env: dict[str, str] = {}
        self.database_url = ""  # known when it has started
        self._lock: Any = None
        self._again: dict[str, Again] = defaultdict(Again)

    @property
    def public_url(self) -> str:
        return self.env["FACTORY_PUBLIC_URL"]

    # ── start ─────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Servers, migrations, services; returns when all are healthy. Raises UpError, ServerFailed, CannotPrepare, BadSettings."""
        self._take_lock()
        try:
            await self._end_sandboxes()  # of a factory that was killed here
            await self._start_servers()
            await self._prepare()
            await self._start_services()
        except BaseException:
            await self.stop()
            raise

    def _take_lock(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        lock = (self.data / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UpError(
                f"a factory is running on {self.data} already (process {lock.read().strip() or 'unknown'}). "
                "Stop it first, or give another directory with --data."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    async def _start_servers(self) -> None:
        """What no URL was given for comes from wheels."""
        given = self._given
        env = self.env = {**self._base, **given}
        starting: list[Server] = []
        if "FACTORY_DATABASE_URL" not in given and "FACTORY_DATABASE_URL_FILE" not in given:
            starting.append(postgres := Postgres(self.data))
            env["FACTORY_DATABASE_URL"] = postgres.url
        if "FACTORY_NATS_URL" not in given:
            starting.append(nats := Nats(self.data))
            env["FACTORY_NATS_URL"] = nats.url
        if "FACTORY_S3_ENDPOINT" not in given:
            starting.append(s3 := S3(self.data))
            env |= {
                "FACTORY_S3_ENDPOINT": s3.endpoint,
                "FACTORY_S3_BUCKET": BUCKET,
                "FACTORY_S3_ACCESS_KEY": s3.access_key,
                "FACTORY_S3_SECRET_KEY": s3.secret_key,
            }
        self._servers = starting
        self.say("starting " + ", ".join(s.name for s in starting) if starting else "using the given servers")
        await asyncio.gather(*(s.start() for s in starting))

    async def _prepare(self) -> None:
        env = self.env
        given = read(Settings, {k: v for k, v in env.items() if k.startswith("FACTORY_")})
        self.database_url = given.database_url.get_secret_value()
        if applied := await prepare(given):
            self.say(said(applied))
        port = self._public_port or self._kept_port("console")
        env.setdefault("FACTORY_PUBLIC_URL", f"http://127.0.0.1:{port}")
        env.setdefault("FACTORY_CONSOLE_PORT", str(port))
        env.setdefault("FACTORY_INTAKE_PORT", str(self._kept_port("intake")))  # served where a token or secret is given
        env.setdefault("FACTORY_NODE_DIR", str(self.data / "node"))
        env.setdefault("FACTORY_PROJECTS", str(self.projects))
        told = {k: v for k, v in env.items() if k.startswith("FACTORY_")}
        kept = self.data / "env.json"  # where `factoryctl jobs` and its like find us
        kept.touch(mode=0o600)
        kept.write_text(json.dumps(told, indent=1))

    def _kept_port(self, name: str) -> int:
        kept = self.data / "ports" / name
        kept.parent.mkdir(parents=True, exist_ok=True)
        if not kept.exists():
            kept.write_text(str(free_port()))
        return int(kept.read_text())

    async def _start_services(self) -> None:
        self.say("starting " + ", ".join(SERVICES))
        for name in SERVICES:
            self.health[name] = free_port()
            self.services[name] = self._service(name)
            self.services[name].start()
        began = time.monotonic()
        waiting = set(SERVICES)
        while waiting:
            for name in sorted(waiting):
                child = self.services[name]
                if (code := child.exit_code()) is not None:
                    raise UpError(_died(child, code))
                if await self.healthy(name):
                    waiting.discard(name)
            if time.monotonic() - began > HEALTHY_WITHIN:
                raise UpError(
                    f"not healthy after {HEALTHY_WITHIN:.0f} s: {', '.join(sorted(waiting))}; logs: {self.data / 'logs'}"
                )
            await asyncio.sleep(0.1)
        self.say(f"all services healthy after {time.monotonic() - began:.1f} s")

    def _service(self, name: str) -> Child:
        env = {**self.env, "FACTORY_HEALTH_PORT": str(self.health[name])}
        argv = [sys.executable, "-m", f"factory_{name}"]
        return Child(name, argv, self.data / "logs" / f"{name}.log", env=env, cwd=self.data)

    async def healthy(self, name: str) -> bool:
        return await asyncio.to_thread(_answers_ok, self.health[name])

    # ── run ───────────────────────────────────────────────────────────────────

    async def watch(self, until: asyncio.Event) -> None:
        """Starts again what dies; nobody waits for another's pause. Raises UpError where that does not help."""
        while not until.is_set():
            for name, child in self.services.items():
                if (code := child.exit_code()) == CONFIG and not child.stopping:
                    raise UpError(_died(child, code))
                if self._may_start_again(name, child):
                    child.start()
            for server in self._servers:
                if server.child and self._may_start_again(server.name, server.child):
                    try:
                        await server.start()
                    except ServerFailed as e:
                        self.say(str(e))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(until.wait(), 0.3)

    def _may_start_again(self, name: str, child: Child) -> bool:
        """It has died, and its pause is over."""
        code = child.exit_code()
        if code is None or child.stopping:
            return False
        again = self._again[name]
        if (pause := again.ended()) is not None:
            self.say(f"{name} ended with exit code {code}; starts again in {pause:.1f} s")
        if not again.due():
            return False
        again.started()
        return True

    # ── stop ──────────────────────────────────────────────────────────────────

    async def stop(self) -> None:
        """Services save their rounds and hand back; then sandboxes end; then the servers."""
        if self.services:
            self.say("stopping the services")
        await asyncio.gather(*(child.stop(wait=30) for child in self.services.values()))
        await self._end_sandboxes()
        await asyncio.gather(*(server.stop() for server in self._servers))
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end_sandboxes(self) -> None:
        """By envkeeper's own command: this member imports no sandbox."""
        node_dir = Path(self.env.get("FACTORY_NODE_DIR") or self.data / "node")
        if not (node_dir / "run").exists():
            return
        argv = [sys.executable, "-m", "factory_envkeeper.end", str(node_dir)]
        ended = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL)
        if await ended.wait() != 0:
            self.say(f"some sandboxes under {node_dir} could not be ended; see above")


def _died(child: Child, code: int) -> str:
    why = "its configuration is broken" if code == CONFIG else f"it ended with exit code {code}"
    return f"{child.name} does not start: {why}. Log: {child.log}\n{child.tail()}"


def _answers_ok(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return json.load(answer)["state"] == "ok"
    except (OSError, ValueError, http.client.HTTPException):  # also where somebody else has taken the port
        return False
