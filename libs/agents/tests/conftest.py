"""A local subprocess in the place of a sandbox's, and agents to run in it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import pytest
from factory_agents import Event, Preset
from factory_agents.acp import AcpAgent

LINE = 64 * 2**20  # bytes: what a sandbox passes on in one line


class LocalProcess:
    """A process as `Sandbox.spawn` returns it, but here; `kill` ends its whole group."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self.pid, self._process = process.pid, process

    async def wait(self) -> int:
        """Watched, for asyncio's own wait on 3.11 also waits for whoever holds the pipes."""
        while self._process.returncode is None:
            await asyncio.sleep(0.02)
        return self._process.returncode

    async def kill(self) -> None:
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it has ended, and all of its group
        await self.wait()

    async def close(self) -> None:
        await self.kill()
        self.stdin.close()


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[LocalProcess]]]:
    """Starts a command in tmp_path with PATH, HOME and what it is given."""
    started: list[LocalProcess] = []

    async def start(command: Sequence[str], env: Mapping[str, str]) -> LocalProcess:
        process = LocalProcess(
            await asyncio.create_subprocess_exec(
                *command,
                cwd=tmp_path,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), **env},
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LINE,
            )
        )
        started.append(process)
        return process

    yield start
    for process in started:
        await process.kill()


@pytest.fixture
async def odd_agent(spawn, tmp_path: Path) -> AsyncIterator[Callable[..., tuple[AcpAgent, list[Event]]]]:
    """Makes an agent of `odd_agent.py` that behaves in this way, and the list of its events."""
    agents: list[AcpAgent] = []

    def make(behaviour: str, **options) -> tuple[AcpAgent, list[Event]]:
        events: list[Event] = []
        mode = options.pop("session_mode", None)
        script = Path(__file__).parent / "odd_agent.py"
        preset = Preset(
            label="odd",
            command=(sys.executable, str(script), behaviour),
            session_mode=mode,
            install="install the odd agent",
        )
        options.setdefault("on_event", events.append)
        agents.append(AcpAgent(spawn, preset, str(tmp_path), **options))
        return agents[-1], events

    yield make
    for agent in agents:
        await agent.close()
