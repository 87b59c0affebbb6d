"""Which environments this machine has: a record of each beside the port leases, where all users can see it.

It is there from the first lease until `factory clean`, so it outlives a checkout that was deleted; its owner alone can change or
remove it. A supervisor holds a lock on it while it lives, which tells users who may not look into the checkout. Standard
library only.
"""

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import checkout as checkouts
from factory_contract import ports
from factory_contract.errors import PortsDirectory

PATIENCE = 2.0  # seconds that a supervisor waits for the lock on its record: who reads it has the lock for a moment too
LONGEST = 64 * 1024  # bytes; any user can put a file there


class Record(NamedTuple):
    """One environment. `uid`: whose it is; `projects`: Compose project → the variables that lead to its engine."""

    root: Path
    worktree: str
    uid: int
    ports: dict[str, int]
    projects: dict[str, dict[str, str]]
    supervisor: dict[str, Any] | None  # pid, since; of the last one
    live: bool  # that one lives


def enter(
    root: Path,
    worktree: str,
    leased: Mapping[str, int],
    supervisor: Mapping[str, Any] | None = None,
    projects: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Makes the record of the checkout at `root`, or brings it up to date; `projects` join those that it has.

    Raises PortsDirectory.
    """
    what: dict[str, Any] = {"root": str(root), "worktree": worktree, "ports": dict(leased)}
    ports.make_shared(ports.SHARED)
    try:
        # into the file that is there: a new one in its place would be without the lock
        fd = os.open(_path(root), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with os.fdopen(fd, "r+b") as f:
            os.fchmod(fd, 0o644)
            had = _object(f.read())
            what["supervisor"] = supervisor or had.get("supervisor")
            what["projects"] = {**had.get("projects", {}), **(projects or {})}
            f.seek(0)
            f.write(json.dumps(what).encode())
            f.truncate()
    except OSError as e:
        raise PortsDirectory(directory=str(ports.SHARED), why=e.strerror) from e


def hold(root: Path, patience: float = 0) -> int | None:
    """Locks the caller's record of the checkout at `root`: a descriptor to be closed; None where somebody else has the lock."""
    try:
        fd = os.open(_path(root), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    deadline = time.monotonic() + patience
    while not _lock(fd, fcntl.LOCK_EX):
        if time.monotonic() >= deadline:
            os.close(fd)
            return None
        time.sleep(0.01)
    return fd


def remove(root: Path) -> None:
    """Takes the caller's record of the checkout at `root` away, if there is one."""
    try:
        _path(root).unlink(missing_ok=True)
    except OSError:
        pass  # another user has put a file in its place, which is his


def records() -> list[Record]:
    """Every environment of this machine, of all users."""
    return [record for path in sorted(ports.SHARED.glob("[0-9]*-*.json")) if (record := _read(path)) is not None]


def _path(root: Path) -> Path:
    return ports.SHARED / f"{os.getuid()}-{checkouts.digest(root)[:16]}.json"


def _read(path: Path) -> Record | None:
    """None where it is just being written, or not what we write."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(fd, "rb") as f:
        told, uid, live = _object(f.read(LONGEST)), os.fstat(fd).st_uid, not _lock(fd, fcntl.LOCK_SH)
    try:
        if not f"{told['root']}{told['worktree']}".isprintable():
            return None  # it would be told on somebody's terminal
        last = told.get("supervisor")
        return Record(
            Path(told["root"]),
            str(told["worktree"]),
            uid,
            {str(name): int(port) for name, port in told["ports"].items()},
            {str(name): dict(docker) for name, docker in told.get("projects", {}).items()},
            {"pid": int(last["pid"]), "since": str(last["since"])} if last else None,
            live,
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _object(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _lock(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
