"""What a checkout remembers of its environment: `state.json` and `leases.json`. Standard library only."""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from factory_contract import errors
from factory_contract.checkout import Checkout, default_worktree


def read(path: Path) -> dict[str, Any] | None:
    """The object in `path`; None where there is none, or only half of one."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def write(path: Path, data: dict[str, Any]) -> None:
    """Replaces `path` in one step, so that no reader sees half of it. Raises StateUnwritable (a full disk, for one)."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        fresh.write_text(json.dumps(data, indent=1) + "\n")
        fresh.replace(path)
    except OSError as e:
        fresh.unlink(missing_ok=True)
        raise errors.StateUnwritable(file=str(path), why=e.strerror) from e


class Leased(NamedTuple):
    """The worktree id and the ports of a checkout, by name."""

    worktree: str
    ports: dict[str, int]


def leased(checkout: Checkout) -> Leased | None:
    """What the checkout has leased; None before anything was, and in a copy of another checkout."""
    found = read(checkout.leases_file)
    if found is None or found.get("root") != str(checkout.root) or not isinstance(found.get("ports"), dict):
        return None
    return Leased(str(found.get("worktree")), found["ports"])


def named(checkout: Checkout) -> Leased:
    """As `leased`, with the id that the checkout would get, and no ports, where nothing was leased yet."""
    return leased(checkout) or Leased(default_worktree(checkout.root), {})
