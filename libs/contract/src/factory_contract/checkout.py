"""Where a checkout is, what it is called, and where its state lies. Standard library only, quick to import."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from factory_contract import errors

CONTRACTS = ("software-factory.yaml", "factory.yaml")  # the first wins
SCRIPT = "factory.sh"
STATE = ".software-factory"


class Checkout(NamedTuple):
    """One working copy of a repo. `contract` is None where only a factory.sh is."""

    root: Path
    contract: Path | None

    @property
    def state_dir(self) -> Path:
        return self.root / STATE

    @property
    def state_file(self) -> Path:
        return self.state_dir / "state.json"

    @property
    def leases_file(self) -> Path:
        return self.state_dir / "leases.json"

    @property
    def ledger_file(self) -> Path:
        return self.state_dir / "ledger.jsonl"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / "supervisor.lock"

    @property
    def logs(self) -> Path:
        """`<service>.log`; what the command itself runs is under `factory/` and `tests/`."""
        return self.state_dir / "logs"

    @property
    def scenarios(self) -> Path:
        """What an agent leaves for `factory validate`; `clean` keeps it."""
        return self.state_dir / "scenarios.yaml"

    def make_state_dir(self) -> None:
        """Makes `.software-factory/` with its `.gitignore`. Raises StateUnwritable."""
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            ignore = self.state_dir / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as e:
            raise errors.StateUnwritable(file=str(self.state_dir), why=e.strerror) from e


def find(start: Path) -> Checkout:
    """The checkout that `start` lies in: the nearest directory with a contract or a factory.sh. Raises NoContract."""
    start = start.resolve()
    for directory in (start, *start.parents):
        for name in CONTRACTS:
            if (directory / name).is_file():
                return Checkout(directory, directory / name)
        if is_program(directory / SCRIPT):
            return Checkout(directory, None)
        if (directory / ".git").exists():
            break  # the top of the repo
    raise errors.NoContract(directory=str(start), hint=_near_miss(start))


def _near_miss(start: Path) -> str:
    for name in ("factory.yml", "software-factory.yml"):
        if (start / name).is_file():
            return f"Rename {name} to {name.removesuffix('.yml')}.yaml."
    if (start / ".factory").is_dir():
        return f"The directory .factory/ is Factory.ai's. {errors.NoContract.hint}"
    return ""


def compose_file(root: Path, project: str) -> Path:
    """The Compose file of a project as it is run: rewritten for the checkout at `root`."""
    return root / STATE / "compose" / f"{project}.json"


def is_program(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)


def slug(text: str, limit: int = 40) -> str:
    """A host label, `[a-z0-9-]`, no dash at either end (RFC 1123)."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:limit].strip("-") or "x"


def digest(root: Path) -> str:
    import hashlib  # it loads OpenSSL, for which `status` has no time

    return hashlib.sha256(str(root).encode()).hexdigest()


def default_worktree(root: Path) -> str:
    """The id of a checkout that was given none: its directory's name, and a hash of its path that keeps copies apart."""
    return f"{slug(root.name, 32)}-{digest(root)[:6]}"
