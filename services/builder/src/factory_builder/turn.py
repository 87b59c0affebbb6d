"""One turn of an agent inside the sandbox: what it is given, what it does as the stage's log, how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from factory_agents import events as said
from factory_agents.driver import Text, Turn
from factory_agents.drivers import build_agent
from factory_agents.errors import AgentError
from factory_agents.presets import Preset, resolve
from factory_agents.process import Process
from factory_chassis.logs import StageLog
from factory_jobs.errors import WorkError
from factory_sandbox.client import Sandbox
from factory_sandbox.errors import Refused


def preset_of(agent: str | Mapping[str, object]) -> Preset:
    """Raises WorkError where the project's agent is none."""
    try:
        return resolve(agent)
    except AgentError as e:
        raise WorkError(e.message, code=e.code) from e


class Narrator:
    """Writes what the agent does into the stage's log, a line a thing."""

    def __init__(self, log: StageLog) -> None:
        self.log = log
        self.words: list[str] = []

    def __call__(self, event: said.Event) -> None:
        match event:
            case said.Message(text=text):
                self.words.append(text)
            case said.Plan(entries=entries):
                self.log.line("agent's plan: " + "; ".join(f"[{e.status}] {e.content}" for e in entries))
            case said.ToolCall(title=title, kind=kind):
                self._said()
                self.log.line(f"agent: {kind}: {title}")
            case said.ToolCallUpdate(status=status, output=output) if status in {"completed", "failed"}:
                self.log.line(f"agent: {status}" + (f"\n{output}" if output else ""))
            case said.Permission(title=title, outcome=outcome):
                self.log.line(f"agent asked for permission: {title}: {outcome}")
            case said.Stderr(text=text):
                self.log.line(f"agent's stderr: {text.rstrip()}")

    def _said(self) -> None:
        if self.words:
            self.log.line("agent says: " + "".join(self.words).strip())
            self.words.clear()


async def take(
    sandbox: Sandbox, preset: Preset, cwd: str, prompt: str, *, minutes: float, env: Mapping[str, str], log: StageLog
) -> Turn:
    """Starts the agent, gives it its prompt, ends it. Raises WorkError where it is not installed or will not start.

    When this is cancelled the agent is asked to stop (ACP), then ended.
    """

    async def spawn(argv: Sequence[str], extra: Mapping[str, str]) -> Process:
        try:
            return cast(Process, await sandbox.spawn(argv, env=extra))  # with pipes its streams are there
        except Refused as e:
            if e.code in {"no-such-command", "cannot-start"}:
                raise FileNotFoundError(e.message) from e
            raise

    narrator = Narrator(log)
    agent = build_agent(preset, spawn, cwd, env=env, on_event=narrator)
    try:
        await agent.start()
        return await agent.prompt([Text(prompt)], deadline=minutes * 60)
    except AgentError as e:
        raise WorkError(e.message, code=e.code, hint="Set the project's `agent` to one that is installed.") from e
    finally:
        narrator._said()
        await agent.close()
