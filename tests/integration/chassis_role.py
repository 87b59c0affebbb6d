"""A tiny role on the chassis, for the tests of the chassis: in the test's own loop, or as a process of its own.

In the loop a test gives its own handlers to `Service` and enters `running(service)`. As a process
(`python chassis_role.py`, settings from the environment) it is a planner that does what the job's title says, see
`DOES`; it leaves `began.<job>` in the node's directory when a handler begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import factory_jobs.store
from factory_chassis import service
from factory_chassis.service import Service
from factory_chassis.settings import Settings
from factory_chassis.work import Work
from factory_jobs import events as ev
from factory_jobs.job import Job
from factory_jobs.machine import Role, State
from factory_jobs.store import NewRequest, Store
from pydantic import SecretStr

SECRET = "correct-horse-battery"


async def until(holds: Callable[[], Any] | Callable[[], Awaitable[Any]], within: float = 20, what: str = "") -> Any:
    """Waits for it to hold and gives what it gave; fails after `within` seconds."""
    ends = time.monotonic() + within
    while True:
        found = holds()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < ends, f"not within {within} s: {what or holds}"
        await asyncio.sleep(0.03)


def settings(servers: dict[str, Any], node_dir: Path, **more: Any) -> Settings:
    """For a service on these servers that tests need not wait for."""
    quick = {"lease_seconds": 30, "sweep_after": 0.5, "stop_grace": 5, "telegram_token": SecretStr(SECRET)}
    return Settings(**(quick | servers | {"node_dir": node_dir} | more))


def environment(given: Settings) -> dict[str, str]:
    """The same for a process."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("FACTORY_")}
    for name, value in given:
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            env[f"FACTORY_{name.upper()}"] = text
    return env


@contextlib.asynccontextmanager
async def running(given: Service, *, healthy: bool = True) -> AsyncIterator[Service]:
    """The service in this loop, until the block ends; what it breaks by is raised there."""
    task = asyncio.create_task(given.run())
    try:
        if healthy:
            await until(lambda: task.done() or state(given) == "ok", what=f"{given.name} is well")
        yield given
    finally:
        given.ending.set()
        await asyncio.wait_for(task, 30)


def state(given: Service) -> str:
    health = getattr(given, "health", None)
    return health.report()["state"] if health else "starting"


def asked(port: int, within: float = 1) -> tuple[int, dict[str, Any]]:
    """What `/health` answers, as any prober sees it. Call it by `asyncio.to_thread`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=within) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, json.load(e)


async def health_of(port: int, within: float = 1) -> tuple[int, dict[str, Any]]:
    return await asyncio.to_thread(asked, port, within)


async def new_job(store: Store, title: str = "A job", **columns: Any) -> Job:
    """A job in `received`, or with columns as they are given: a row in the middle of the line."""
    source = f"test:{secrets.token_hex(8)}"
    job = await store.create(
        project="pilot",
        snapshot={"name": "pilot", "limits": {"jobs": 50}, "rounds": 5},
        repo="/repos/pilot.git",
        title=title,
        request=NewRequest(source=source, author="ann", text=title, chat="1"),
    )
    assert job is not None
    for column, value in columns.items():
        await store.pool.execute(f"UPDATE jobs SET {column} = $2 WHERE id = $1", job.id, value)
    return await store.get(job.id)


async def kinds(store: Store, job_id: str) -> list[str]:
    return [e["kind"] for e in await store.events(job_id)]


class Process:
    """A process with a log; it never outlives the test."""

    def __init__(self, argv: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def send(self, sig: int) -> None:
        self._process.send_signal(sig)

    def cpu(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def said(self) -> list[dict[str, Any]]:
        """Its log lines; what is no JSON stands under `event` alone."""
        lines = self.log.read_text().splitlines()
        return [json.loads(one) if one.startswith("{") else {"event": one} for one in lines]

    async def healthy(self) -> int:
        """Waits for it to be ready; gives the port of its health."""
        ready = await until(lambda: [e for e in self.said() if e["event"] == "ready"], what=f"ready in {self.log}")
        return ready[-1]["health_port"]

    async def ended(self, within: float = 15) -> int:
        await until(lambda: self._process.poll() is not None, within, f"the end of {self.log}")
        return self._process.returncode

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def process(given: Settings, log: Path, *, hint_after: float = 15) -> Iterator[Process]:
    """The tiny planner in a process of its own."""
    env = environment(given) | {"TINY_HINT_AFTER": str(hint_after)}
    started = Process([sys.executable, __file__], env, log)
    try:
        yield started
    finally:
        started.kill()


# ── what the process does ─────────────────────────────────────────────────────


async def plan(work: Work) -> ev.Event:
    return ev.Done(facts={"title": "planned"})


async def hang(work: Work) -> ev.Event:
    """On SIGTERM it keeps what it has."""
    try:
        await asyncio.sleep(600)
    finally:
        if work.stopping == "sigterm":
            work.facts["base_sha"] = "saved"
    return ev.Done()


async def block(work: Work) -> ev.Event:
    """Longer than the lease of the tests, with the loop held."""
    time.sleep(3)  # noqa: ASYNC251
    return ev.Done(facts={"title": "planned"})


def effects(node_dir: Path, job_id: str) -> list[str]:
    """The outside world of `act`: a line for each time that it happened."""
    path = node_dir / f"outside.{job_id}"
    return path.read_text().splitlines() if path.exists() else []


async def act(work: Work) -> ev.Event:
    """An effect that kills its process as soon as it has happened, the first time."""
    node_dir = Path(os.environ["FACTORY_NODE_DIR"])

    async def once() -> dict[str, Any]:
        with (node_dir / f"outside.{work.job.id}").open("a") as out:
            out.write("done\n")
        os.kill(os.getpid(), signal.SIGKILL)
        return {}

    async def look() -> dict[str, Any] | None:
        return {"times": 1} if effects(node_dir, work.job.id) else None

    found = await work.outside("effect", {"what": "a line"}, once, look)
    return ev.Done(facts={"title": f"{found['times']} time"})


DOES = {"hang": hang, "block": block, "act": act}


async def received(work: Work) -> ev.Event:
    (Path(os.environ["FACTORY_NODE_DIR"]) / f"began.{work.job.id}").touch()
    return await DOES.get(work.job.title, plan)(work)


def build(given: Settings) -> Service:
    return Service("planner", given, role=Role.PLANNER, handlers={State.RECEIVED: received})


if __name__ == "__main__":
    factory_jobs.store.HINT_AFTER = float(os.environ.get("TINY_HINT_AFTER", "15"))
    service.run(Settings, build)
