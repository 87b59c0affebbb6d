"""Knows where the things of one placement lie in the node's directory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .handle import Handle

# A variable that every child of a placement carries, so that one which lost its parents is still known as ours.
MARK = "SANDBOX_PLACE"


@dataclass(frozen=True)
class Layout:
    """The paths of a placement; nothing here touches the disk."""

    node_dir: Path
    job_id: str
    placement: int

    @classmethod
    def of(cls, handle: Handle) -> Self:
        """A handle's socket lies in `<node_dir>/run/`, whatever the provider."""
        return cls(Path(handle.socket).parent.parent, handle.job_id, handle.placement)

    @property
    def name(self) -> str:
        return f"{self.job_id}-{self.placement}"

    @property
    def place(self) -> Path:
        """The placement's own directory: what a sandbox with walls would mount."""
        return self.node_dir / "places" / self.name

    @property
    def home(self) -> Path:
        return self.place / "home"

    @property
    def tmp(self) -> Path:
        return self.place / "tmp"

    @property
    def bin(self) -> Path:
        return self.place / "bin"

    @property
    def run(self) -> Path:
        """Sockets and records; never mounted inside."""
        return self.node_dir / "run"

    @property
    def socket(self) -> Path:
        return self.run / f"{self.name}.sock"

    @property
    def record(self) -> Path:
        return self.run / f"{self.name}.json"

    @property
    def log(self) -> Path:
        return self.run / f"{self.name}.log"

    @property
    def lock(self) -> Path:
        return self.run / f"{self.name}.lock"

    @property
    def ledger(self) -> Path:
        return self.node_dir / "ledger" / f"{self.name}.jsonl"
