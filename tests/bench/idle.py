"""What a factory costs that has nothing to do: all services, and NATS, Postgres and S3, as `factoryctl up` starts them.

Held against the budget; the chat that it is connected to is a loopback Telegram, which does not count. Linux only.
"""

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path

import yaml
from factory_ctl.up import Factory
from pairs import Comparison
from procs import cpu, pss

LIMIT = 240.0  # seconds, for a start on a busy machine and the 80 of looking
SETTLE, WINDOW, WINDOWS = 15.0, 10.0, 6  # seconds, seconds, of these
MEMORY, CPU = 900.0, 3.0  # the budget: MB, percent of one core
TOKEN = "5000000002:idle"


async def measure(directory: Path) -> list[Comparison]:
    if not Path("/proc/self/smaps_rollup").exists():
        raise RuntimeError("a process's share of memory is told by Linux alone (/proc/<pid>/smaps_rollup)")
    argv = [sys.executable, "-m", "factory_loopback.telegram", "--data", str(directory / "telegram")]
    argv += ["--token", TOKEN, "--chat=-1001=Shop", "--user=1=Ada"]
    telegram = await asyncio.create_subprocess_exec(*argv, stdout=PIPE)
    factory = Factory(directory / "factory", projects=_projects(directory), environ=await _environ(telegram))
    try:
        await factory.start()
        return await _looked_at(factory)
    finally:
        await factory.stop()
        telegram.terminate()
        await telegram.wait()


def _projects(directory: Path) -> Path:
    path = directory / "factory-projects.yaml"
    repo = str(directory / "repos" / "shop.git")
    project = {"chats": [-1001], "users": {1: "owner"}, "repo": repo, "agent": {"driver": "acp", "command": ["true"]}}
    path.write_text(yaml.safe_dump({"projects": {"shop": project}}))
    return path


async def _environ(telegram: asyncio.subprocess.Process) -> dict[str, str]:
    assert telegram.stdout is not None
    ready = json.loads(await telegram.stdout.readline())
    given = {k: v for k, v in os.environ.items() if k == "FACTORY_CHROMIUM"}
    return given | {"FACTORY_TELEGRAM_TOKEN": TOKEN, "FACTORY_TELEGRAM_API": ready["url"]}


async def _looked_at(factory: Factory) -> list[Comparison]:
    parts = {name: child.pid for name, child in factory.services.items()}
    parts |= {server.name: server.child.pid for server in factory._servers if server.child}
    memory = Comparison("memory of an idle factory (PSS)", "the budget", goal=1.0, unit="MB")
    busy = Comparison("CPU of an idle factory", "the budget", goal=1.0, unit="% of a core")
    await asyncio.sleep(SETTLE)
    used, begun = {name: cpu([pid]) for name, pid in parts.items()}, time.monotonic()
    before, at = sum(used.values()), begun
    for _ in range(WINDOWS):
        await asyncio.sleep(WINDOW)
        now, total = time.monotonic(), cpu(parts.values())
        busy.ours.append(100 * (total - before) / (now - at))
        memory.ours.append(sum(pss(parts.values()).values()))
        before, at = total, now
    memory.theirs.extend([MEMORY] * WINDOWS)
    busy.theirs.extend([CPU] * WINDOWS)
    mb = Counter({name: sum(pss([pid]).values()) for name, pid in parts.items()})
    for name, size in mb.most_common():
        percent = 100 * (cpu([parts[name]]) - used[name]) / (time.monotonic() - begun)
        print(f"  {name:12} {size:6.1f} MB  {percent:5.2f} %")
    return [memory, busy]
