"""Knows what a server has running: a file beside its socket, written by the server, read by its successor.

It is written before a thing is started, so that a server killed at any moment leaves nothing unnamed: the reaper of a
spawn is in it before the reaper is told what to start.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import processes
from .errors import SandboxError
from .layout import MARK, Layout

_REAPERS_TIME = 1.5  # seconds that reapers have to end their trees once their server is dead
_END_TIME = 5.0  # seconds until what still lives is reported


@dataclass
class Named:
    """A process that is known again: its number and its birth."""

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> "Named":
        found = processes.look(pid)
        return cls(pid, found.birth if found else "")


@dataclass
class Record:
    """What one server has; empty where there was none."""

    boot: str
    epoch: int = 0
    server: Named | None = None
    reapers: list[Named] = field(default_factory=list)
    commands: list[Named] = field(default_factory=list)  # what the reapers run

    def write(self, path: Path) -> None:
        """Whole or not at all. It outlives processes, not the machine, so no fsync."""
        aside = path.with_suffix(".json.new")
        aside.write_text(json.dumps(asdict(self)))
        aside.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Raises SandboxError (`bad-record`) where the file is none of ours."""
        try:
            data = json.loads(path.read_bytes())
            return cls(
                boot=data["boot"],
                epoch=data["epoch"],
                server=Named(**data["server"]) if data["server"] else None,
                reapers=[Named(**each) for each in data["reapers"]],
                commands=[Named(**each) for each in data["commands"]],
            )
        except FileNotFoundError:
            return cls(boot=processes.boot())
        except (ValueError, KeyError, TypeError) as e:
            raise SandboxError(f"{path} cannot be read: {e!r}; move it away to go on", code="bad-record") from e


def end_leftovers(layout: Layout) -> list[int]:
    """Ends a server that is dead or hangs, and everything that it had; the pids of what cannot be ended.

    First the server, whose reapers then end their trees by themselves; then what the record names; and whatever
    carries the placement's mark, which finds a daemon even where its reaper was killed too. Blocks: run in a thread.
    """
    record = Record.read(layout.record)
    if record.boot != processes.boot():
        record = Record(processes.boot())  # nothing outlives the machine
    if record.server and _lives(record.server):
        processes.kill_one(record.server.pid)
    _wait_for(lambda: not any(_lives(reaper) for reaper in record.reapers), _REAPERS_TIME)

    named = [*([record.server] if record.server else []), *record.reapers, *record.commands]
    give_up = time.monotonic() + _END_TIME
    pause = 0.005
    while True:
        now = processes.table()
        roots = {each.pid for each in named if _lives(each)} | processes.marked(MARK, str(layout.place))
        victims = [p for pid in roots if (p := now.get(pid)) and not p.zombie] + processes.descendants(roots, now)
        if not victims or time.monotonic() > give_up:
            return sorted({p.pid for p in victims})
        processes.kill(victims, now)
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _lives(named: Named) -> bool:
    found = processes.look(named.pid)
    return found is not None and found.birth == named.birth


def _wait_for(holds: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.01)
