"""Structured logs: one JSON line an event with the job's id; what a stage says also goes to the artifact store."""

from __future__ import annotations

import contextvars
import logging
import sys
from collections import deque
from collections.abc import Callable, MutableMapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog

MAX_STAGE_LOG = 8 << 20  # characters kept of one stage's log; the middle of a longer one is left out
OF_THE_LINE = frozenset({"event", "level", "job_id", "service", "timestamp", "exception"})  # no facts of an event


class StageLog:
    """What happened in one stage of one job, as text for people: log events and the output of commands.

    The first and the last half of `MAX_STAGE_LOG` are kept: how it began, and what it ended with.
    """

    def __init__(self) -> None:
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = self._left_out = 0

    def write(self, text: str) -> None:
        text = text if text.endswith("\n") else text + "\n"
        room = MAX_STAGE_LOG // 2 - self._head_size
        if room > 0:
            self._head.append(text[:room])
            self._head_size += len(text[:room])
            text = text[room:]
        if not text:
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while (over := self._tail_size - MAX_STAGE_LOG // 2) > 0:
            first = self._tail.popleft()
            if len(first) > over:
                self._tail.appendleft(first[over:])
            self._tail_size -= min(over, len(first))
            self._left_out += min(over, len(first))

    def line(self, text: str) -> None:
        self.write(f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3] + f" {text}")

    def text(self) -> str:
        note = f"\n… {self._left_out} characters were left out here …\n" if self._left_out else ""
        return "".join(self._head) + note + "".join(self._tail)

    def tail(self, characters: int = 3000) -> str:
        return self.text()[-characters:]


stage_log: contextvars.ContextVar[StageLog | None] = contextvars.ContextVar("stage_log", default=None)


def _to_stage(clean: Callable[[str], str]) -> structlog.types.Processor:
    def processor(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if (stage := stage_log.get()) is not None:
            facts = " ".join(f"{k}={v}" for k, v in event.items() if k not in OF_THE_LINE)
            stage.line(clean(f"{event['event']} {facts}".rstrip()))
            if trace := event.get("exception"):
                stage.write(clean(trace))
        return event

    return processor


class _OfLibraries(logging.Handler):
    """What libraries warn of, as lines of ours: their own handler of last resort knows no secrets.

    An error of an HTTP client names its URL, and Telegram's hold the bot's token.
    """

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger().log(
            record.levelno, record.getMessage(), logger=record.name, exc_info=record.exc_info or None
        )


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The last words of a process that breaks."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    structlog.get_logger().critical("it broke", exc_info=(kind, error, trace))


def configure(service: str, *, json: bool = True, clean: Callable[[str], str] = str) -> structlog.stdlib.BoundLogger:
    """Sets the process's logging up and gives its logger. Bind `job_id` by structlog.contextvars.

    Every line passes through `clean`, which takes secrets out; so does what libraries and a broken process say.
    """
    console = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            _to_stage(clean),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer() if json else console,
            lambda _, __, line: clean(str(line)),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    if not any(isinstance(handler, _OfLibraries) for handler in logging.root.handlers):
        logging.root.addHandler(_OfLibraries(logging.WARNING))
    sys.excepthook = _uncaught
    structlog.contextvars.bind_contextvars(service=service)
    return structlog.get_logger()
