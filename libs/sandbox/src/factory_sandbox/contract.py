"""The `factory` command inside a sandbox: one call a verb, its JSON object back, what it said on the way as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .client import Sandbox

UNSUPERVISED = frozenset({"supervisor_gone", "rebooted", "moved"})  # codes of a status that still names one
EXITS = {0: "done", 1: "failed", 2: "invalid", 3: "not ready", 4: "refused", 130: "interrupted"}


@dataclass(frozen=True)
class Answer:
    """What `factory VERB --json` said. `data` is its object; empty where it said none."""

    verb: str
    code: int
    data: dict[str, Any] = field(default_factory=dict)
    stderr: str = ""

    @property
    def ok(self) -> bool:
        return self.code == 0

    @property
    def error(self) -> str:
        """One sentence for people."""
        error = self.data.get("error") or {}
        errors = self.data.get("errors") or []
        if errors:
            return "; ".join(_where(e) for e in errors)
        return _where(error) if error else f"factory {self.verb}: {EXITS.get(self.code, f'exit code {self.code}')}"

    @property
    def error_code(self) -> str:
        error = self.data.get("error") or next(iter(self.data.get("errors") or []), {})
        return error.get("code") or f"{self.verb}_{EXITS.get(self.code, 'failed').replace(' ', '_')}"

    @property
    def hint(self) -> str:
        return (self.data.get("error") or {}).get("hint") or ""

    @property
    def tail(self) -> str:
        """The end of the log that explains it."""
        tail = (self.data.get("error") or {}).get("log_tail") or self.stderr[-4000:]
        return "\n".join(tail) if isinstance(tail, list) else tail


def _where(error: dict[str, Any]) -> str:
    at = ":".join(str(error[k]) for k in ("file", "line", "column") if error.get(k))
    return f"{at}: {error.get('message')}" if at else str(error.get("message"))


class Contract:
    """`say` hears every piece of output as it comes (stderr of the command: its progress)."""

    def __init__(self, sandbox: Sandbox, say: Callable[[str], None] | None = None) -> None:
        self.sandbox, self.say = sandbox, say

    async def run(self, verb: str, *args: str, timeout: float = 600, env: dict[str, str] | None = None) -> Answer:
        """Raises SandboxError where the sandbox itself fails; a failing verb is an Answer."""
        done = await self.sandbox.exec(
            ["factory", verb, *args, "--json"],
            env=env,
            timeout=timeout,
            max_output=8 << 20,
            on_output=self._hear if self.say else None,
        )
        stderr = done.stderr.decode(errors="replace")
        if done.timed_out:
            error = {
                "code": "timeout",
                "message": f"factory {verb} took longer than {timeout:.0f} s",
                "log_tail": stderr[-4000:],
            }
            return Answer(verb, 1, {"error": error}, stderr)
        try:
            data = json.loads(done.stdout or b"{}")
        except ValueError:
            text = done.stdout.decode(errors="replace")
            data = {
                "error": {"code": "no_json", "message": f"factory {verb} answered no JSON", "log_tail": text[-4000:]}
            }
        return Answer(verb, done.code, data if isinstance(data, dict) else {}, stderr)

    async def start(self, ports: tuple[int, int], worktree: str, *, timeout: float = 1500) -> Answer:
        """`factory start`, under a supervisor that the sandbox keeps. Raises SandboxError."""
        options = ["--port-range", f"{ports[0]}-{ports[1]}", "--worktree-id", worktree]
        async with await self.sandbox.spawn(["factory", "supervise", *options], keep=True, pipe=False):
            return await self.run("start", "--attach", *options, timeout=timeout)

    async def restart(self, ports: tuple[int, int], worktree: str, *, timeout: float = 900) -> Answer:
        """`factory restart`; where no supervisor lives any more, since somebody has stopped the app, a start."""
        answer = await self.run("restart", timeout=timeout)
        if answer.ok or await self._supervised():
            return answer
        return await self.start(ports, worktree, timeout=timeout)

    async def _supervised(self) -> bool:
        """What a repo's own implementation of the contract does not say is taken for granted."""
        status = await self.run("status", timeout=60)
        return status.error_code not in UNSUPERVISED and bool(status.data.get("supervisor", True))

    def _hear(self, stream: str, data: bytes) -> None:
        if stream == "stderr" and self.say:
            self.say(data.decode(errors="replace"))
