"""What a turn amounted to: kept while it runs, told when it ends."""

import time

import msgspec

from factory_agents.driver import Turn, Usage
from factory_agents.events import Event, Message, Permission, ToolCall, UsageUpdate


class TurnAccount:
    """Hears a turn's events and makes its `Turn`; `cost_before` is the session's cost before it."""

    def __init__(self, cost_before: float) -> None:
        self.stopped = ""  # why the driver ended it: deadline | cancelled
        self.model_error = ""
        self._began = time.monotonic()
        self._cost_before = cost_before
        self._paragraphs: list[list[str]] = [[]]
        self._tool_calls: set[str] = set()
        self._denied: list[str] = []
        self._context: UsageUpdate | None = None

    def hear(self, event: Event) -> None:
        match event:
            case Message():
                self._paragraphs[-1].append(event.text)
            case ToolCall():
                self._tool_calls.add(event.id)
                if self._paragraphs[-1]:
                    self._paragraphs.append([])
            case Permission(outcome="denied"):
                self._denied.append(event.title)
            case UsageUpdate():
                self._context = event

    def close(self, stop_reason: str, usage: Usage | None, problem: str | None, detail: str) -> Turn:
        """The turn as it ended. What the agent calls success still fails for a silent model error or a denial."""
        if problem is None and self.model_error:
            problem, detail = "model_error", self.model_error
        gave_up = problem == "cancelled" and not self.stopped  # codex-acp ends its turn so when it is denied something
        if self._denied and (problem is None or gave_up):
            problem, detail = "permission_denied", f"The agent was denied: {'; '.join(self._denied)}"
        paragraphs = ("".join(pieces).strip() for pieces in self._paragraphs)
        return Turn(
            stop_reason=stop_reason,
            message="\n\n".join(paragraph for paragraph in paragraphs if paragraph),
            tool_calls=len(self._tool_calls),
            denied=self._denied,
            usage=self._usage(usage),
            seconds=time.monotonic() - self._began,
            problem=problem,
            detail=detail,
        )

    def _usage(self, usage: Usage | None) -> Usage | None:
        if self._context is None:
            return usage
        return msgspec.structs.replace(
            usage or Usage(),
            context_used=self._context.used,
            context_size=self._context.size,
            cost=self._cost(self._context.cost),
            currency=self._context.currency,
        )

    def _cost(self, now: float | None) -> float | None:
        """The turn's part of a session's cost; an agent that counts each turn from nothing is taken at its word."""
        if now is None:
            return None
        return now - self._cost_before if now >= self._cost_before else now
