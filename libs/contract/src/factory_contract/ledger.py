"""Everything that this environment has made outside of its files: written down before it is there, crossed out when it is gone.

One JSON object a line in `.software-factory/ledger.jsonl`. Standard library only: `status` reads it when a supervisor is gone.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from factory_contract import proc
from factory_contract.errors import StateUnwritable

LONG = 8 * 1024  # bytes; about three starts
LASTING = ("environment", "compose", "removed")  # kinds of what outlives the machine's start
MARK = "FACTORY_ROOT"  # the variable by which a process says of which checkout it is


class Entry(NamedTuple):
    """A process that was started and not seen to end. `pid` is 0 between the intent and the start."""

    owner: str
    pid: int
    started: str


class Ledger:
    """The ledger of one checkout, for one writer. What cannot be written down is not started: StateUnwritable."""

    def __init__(self, path: Path, root: Path) -> None:
        self._path = path
        self._next = 0
        self._run = f"{os.getpid()}-{time.time_ns()}"
        me = proc.look(os.getpid())
        self.made("environment", root=str(root), pid=os.getpid(), started=me.started if me else "", boot=proc.boot_id())

    def intend(self, owner: str, command: str) -> int:
        """A process is about to be started. Returns the number of the entry."""
        self._next += 1
        self.made("process", n=self._next, owner=owner, command=command, pid=0)
        return self._next

    def started(self, n: int, owner: str, pid: int, started: str) -> None:
        self.made("process", n=n, owner=owner, pid=pid, started=started)

    def ended(self, n: int) -> None:
        """The process and everything beneath it is gone."""
        try:
            self.made("ended", n=n)
        except StateUnwritable:
            pass  # a full disk must not keep anything from being ended; `left` looks whether it lives anyway

    def removed(self, project: str) -> None:
        """The containers of a Compose project are gone."""
        try:
            self.made("removed", project=project)
        except StateUnwritable:
            pass  # as above: they are looked for again

    def made(self, kind: str, **what: Any) -> None:
        """Something is about to be made: a process, a port lease, a socket, a Compose project."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"at": stamp, "run": self._run, "kind": kind, **what}
        try:
            with _locked(self._path, "a") as f:
                f.write(json.dumps(line) + "\n")
        except OSError as e:
            raise StateUnwritable(file=str(self._path), why=e.strerror) from e


def tidy(path: Path, root: Path) -> None:
    """Drops what tells nothing any more, so that a ledger does not grow with every start. Where nothing is left running."""
    try:
        if path.stat().st_size < LONG:
            return
        with _locked(path, "r") as f:
            lines = _objects(f.read())
            made = {str(line.get("run")) for line in lines if line.get("kind") == "compose"}
            told = [line for line in lines if str(line.get("run")) in made and line.get("kind") in LASTING]
            living = _writers(lines, root).living
            kept = [line for line in lines if line in told or str(line.get("run")) in living]
            fresh = path.with_name(f"{path.name}.{os.getpid()}")
            fresh.write_text("".join(json.dumps(line) + "\n" for line in kept))
            fresh.replace(path)  # under the lock of the old one, which writers take first
    except OSError:
        pass  # then it stays as it is


@contextmanager
def _locked(path: Path, mode: str) -> Iterator[IO[str]]:
    """The ledger, for one process at a time; the file that is there, not one that `tidy` has just replaced."""
    while True:
        with path.open(mode) as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            if path.exists() and os.path.samestat(os.fstat(f.fileno()), path.stat()):
                yield f
                return


class Project(NamedTuple):
    """A Compose project that was made for this checkout. `docker`: the variables that say in which engine."""

    name: str
    docker: dict[str, str]
    left: bool  # its containers were not seen to go, and nobody who would see to it lives


class Left(NamedTuple):
    """What the ledger tells: processes whose writer is gone, and the writers that live."""

    entries: list[Entry]
    writers: list[int]


def read(path: Path, root: Path) -> Left:
    """What nobody has crossed out. What was written for another checkout, or before the machine's last start, tells nothing."""
    lines = _lines(path)
    writers = _writers(lines, root)
    entries: dict[tuple[str, int], Entry] = {}
    for line in lines:
        kind, run = line.get("kind"), str(line.get("run"))
        if kind == "process" and run in writers.all:
            entries[run, line["n"]] = Entry(line["owner"], line["pid"], line.get("started", ""))
        elif kind == "ended":
            entries.pop((run, line["n"]), None)
    left = [entry for (run, _), entry in entries.items() if run not in writers.living]
    return Left(left, list(writers.living.values()))


class _Writers(NamedTuple):
    """Who has written since the machine's start, by their runs: all of them, and the pids of those that live."""

    all: set[str]
    living: dict[str, int]


def _writers(lines: list[dict[str, Any]], root: Path) -> _Writers:
    boot = proc.boot_id()
    found = {
        str(line.get("run")): (line["pid"], line["started"])
        for line in lines
        if line.get("kind") == "environment" and (line.get("root"), line.get("boot")) == (str(root), boot)
    }
    return _Writers(set(found), {run: pid for run, (pid, started) in found.items() if proc.alive(pid, started)})


def projects(path: Path, root: Path) -> list[Project]:
    """Every Compose project that was made for the checkout at `root`; containers and volumes outlive the machine's start."""
    boot = proc.boot_id()
    runs: dict[str, bool] = {}  # run → whether its writer lives
    found: dict[str, Project] = {}
    for line in _lines(path):
        kind, run = line.get("kind"), str(line.get("run"))
        if kind == "environment" and line.get("root") == str(root):
            runs[run] = line.get("boot") == boot and proc.alive(line["pid"], line["started"])
        elif kind == "compose" and run in runs:
            found[line["project"]] = Project(line["project"], line["docker"], left=not runs[run])
        elif kind == "removed" and line["project"] in found:
            found[line["project"]] = found[line["project"]]._replace(left=False)
    return list(found.values())


def left(path: Path, root: Path) -> list[int]:
    """The pids that still live of what writers who are gone have started.

    By the ledger: the processes themselves, their sessions, everything beneath. By the environment that a process was
    started with: what has gone into the background, and what was started a moment before its pid could be written down.
    """
    found = read(path, root)
    if not found.entries:
        return []
    table = proc.table()
    entries = [e for e in found.entries if e.pid]
    # a leader that is gone cannot have its number given away while its session or group lives
    known = {e.pid for e in entries if e.pid not in table or table[e.pid].started == e.started}
    pids = {pid for pid in known if pid in table} | proc.in_sessions(known, table)
    pids |= {pid for pid in table if proc.environ(pid).get(MARK) == str(root)}
    pids |= proc.descendants(pids, table)
    return sorted(pids - kept(found.writers, table))


def kept(writers: list[int], table: dict[int, proc.Seen]) -> set[int]:
    """The pids that are nobody's leftovers: writers that live, everything beneath them, and this process."""
    return {*writers, os.getpid()} | proc.descendants(writers, table) | proc.ancestors(os.getpid(), table)


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        return _objects(path.read_text())
    except OSError:
        return []


def _objects(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:  # cut short by a full disk
            continue
    return [line for line in found if isinstance(line, dict)]
