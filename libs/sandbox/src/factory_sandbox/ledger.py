"""Knows what the node owns for each placement: a file of its own, written before each thing exists.

It outlives envkeeper and Postgres, so cleanup can begin from the disk alone.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .handle import Handle
from .layout import Layout


@dataclass(frozen=True)
class Owned:
    kind: str  # handle, directory, socket, server
    id: str


class Ledger:
    """One placement's file, a JSON object a line."""

    def __init__(self, layout: Layout) -> None:
        self._path = layout.ledger

    def own(self, kind: str, id: str) -> None:
        """On disk when this returns, all of the file or none of the change; nothing is in it twice."""
        entries = self.entries()
        if Owned(kind, id) in entries:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_suffix(".new")
        with aside.open("w") as f:
            for owned in (*entries, Owned(kind, id)):
                f.write(json.dumps(asdict(owned)) + "\n")
            f.flush()
            os.fsync(f.fileno())
        aside.replace(self._path)
        _sync(self._path.parent)

    def entries(self) -> list[Owned]:
        """What is owned, oldest first."""
        if not self._path.exists():
            return []
        return [Owned(**json.loads(line)) for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        """Nothing is owned any more."""
        self._path.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """A new name is on disk only when its directory is."""
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def handles(node_dir: Path) -> Iterator[Handle]:
    """Every placement that this node has, or has not wholly cleaned up."""
    for path in sorted((node_dir / "ledger").glob("*.jsonl")):
        job_id, _, placement = path.stem.rpartition("-")
        for owned in Ledger(Layout(node_dir, job_id, int(placement))).entries():
            if owned.kind == "handle":
                yield Handle.from_dict(json.loads(owned.id))
