"""Knows what the node owns for each placement: a file of its own, written before each thing exists.

It outlives envkeeper and Postgres, so cleanup can begin from the disk alone.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
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
        """On disk when this returns; what is in it already is not written twice."""
        if Owned(kind, id) in self.entries():
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as f:
            f.write(json.dumps({"kind": kind, "id": id}) + "\n")
            f.flush()
            os.fsync(f.fileno())

    def entries(self) -> list[Owned]:
        """What is owned, oldest first; a line that a crash cut off is none."""
        if not self._path.exists():
            return []
        whole = [line for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [Owned(**json.loads(line)) for line in whole]

    def close(self) -> None:
        """Nothing is owned any more."""
        self._path.unlink(missing_ok=True)


def handles(node_dir: Path) -> Iterator[Handle]:
    """Every placement that this node has, or has not wholly cleaned up."""
    for path in sorted((node_dir / "ledger").glob("*.jsonl")):
        job_id, _, placement = path.stem.rpartition("-")
        for owned in Ledger(Layout(node_dir, job_id, int(placement))).entries():
            if owned.kind == "handle":
                yield Handle.from_dict(json.loads(owned.id))
