"""Who has died on this node: each process holds a lock on a file of its own, and the system lets go of it for the dead.

Leases run out by themselves, and that is enough; this makes it quick for those who share the node's directory.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

import structlog

log = structlog.get_logger()


class Lives:
    """The files of all processes of a node, named by what they call themselves as owners of leases."""

    def __init__(self, directory: Path, owner: str) -> None:
        self.directory, self.owner = directory, owner
        self._mine: IO[bytes] | None = None

    def begin(self) -> None:
        """From now on, until it ends in any way, this process is no dead one."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            unborn = self.directory / f".{self.owner}"  # nobody may see it unlocked: it would be taken for dead
            self._mine = unborn.open("ab")
            fcntl.flock(self._mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unborn.rename(self.directory / self.owner)
        except OSError as e:
            log.warning("nobody will see at once when this process dies: its leases run out", why=repr(e))

    def end(self) -> None:
        """There is nothing to clean up after this one."""
        if self._mine is not None:
            self.buried(self.owner)
            self._mine.close()

    def dead(self) -> list[str]:
        """Owners that are gone and not yet buried; a former life of our own name is one of them before we begin."""
        return [path.name for path in self._files() if _let_go(path)]

    def buried(self, owner: str) -> None:
        (self.directory / owner).unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return sorted(self.directory.glob("[!.]*"))


def _let_go(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, gone meanwhile, or not to be known here
        return False
    return True
