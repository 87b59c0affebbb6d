"""Untracked files that a new checkout needs (`copy`): brought from the main worktree where this one is linked to it."""

import shutil
from pathlib import Path
from typing import NamedTuple

from factory_contract import check
from factory_contract.checkout import Checkout


class Copied(NamedTuple):
    """What was brought, and what is neither here nor there. Paths as the contract writes them."""

    source: Path | None
    brought: list[str]
    missing: list[str]


def bring(checkout: Checkout) -> Copied:
    """Copies what is listed and not here; what is here is left as it is."""
    wanted = check.load(checkout).contract.copy_
    absent = [path for path in wanted if not (checkout.root / path).exists()]
    source = main_worktree(checkout.root) if absent else None
    brought = []
    for path in absent:
        if source is None or not (source / path).exists():
            continue
        target = checkout.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if (source / path).is_dir():
            shutil.copytree(source / path, target, symlinks=True)
        else:
            shutil.copy2(source / path, target)
        brought.append(path)
    return Copied(source, brought, [path for path in absent if path not in brought])


def main_worktree(root: Path) -> Path | None:
    """The main worktree of a linked one (gitrepository-layout(5)), found without running git; None for other checkouts."""
    pointer = root / ".git"
    if not pointer.is_file():
        return None
    kind, _, where = pointer.read_text().strip().partition(": ")
    common = root / where / "commondir"
    if kind != "gitdir" or not common.is_file():
        return None
    return (common.parent / common.read_text().strip()).resolve().parent
