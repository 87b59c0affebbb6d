"""Structured logs: one JSON line an event with the job's id; what a stage says also goes to the artifact store."""

from __future__ import annotations

import contextvars
import sys
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog

MAX_STAGE_LOG = 8 << 20  # bytes kept of one stage's log; the middle of a longer one is left out


class StageLog:
    """What happened in one stage of one job, as text for people: log events and the output of commands."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._size = 0
        self._left_out = 0

    def write(self, text: str) -> None:
        if self._size + len(text) > MAX_STAGE_LOG:
            self._left_out += len(text)
            return
        self._parts.append(text if text.endswith("\n") else text + "\n")
        self._size += len(text)

    def line(self, text: str) -> None:
        self.write(f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3] + f" {text}")

    def text(self) -> str:
        note = f"… {self._left_out} more characters were left out\n" if self._left_out else ""
        return "".join(self._parts) + note

    def tail(self, characters: int = 3000) -> str:
        return self.text()[-characters:]


stage_log: contextvars.ContextVar[StageLog | None] = contextvars.ContextVar("stage_log", default=None)


def _to_stage(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if (stage := stage_log.get()) is not None:
        facts = " ".join(
            f"{k}={v}" for k, v in event.items() if k not in {"event", "level", "job_id", "service", "timestamp"}
        )
        stage.line(f"{event['event']} {facts}".rstrip())
    return event


def configure(service: str, *, json: bool = True) -> structlog.stdlib.BoundLogger:
    """Sets the process's logging up and gives its logger. Bind `job_id` by structlog.contextvars."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _to_stage,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer() if json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    structlog.contextvars.bind_contextvars(service=service)
    return structlog.get_logger()
