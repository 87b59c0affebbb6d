"""Untracked files that a new checkout needs: brought from the main worktree where this one is linked to it.

`copy` of the contract names them; `.worktreeinclude` at the top of the repo, which other tools read as well, has patterns
as .gitignore has: what matches one of them and is ignored by git is brought.
"""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from factory_contract import check
from factory_contract.checkout import STATE, Checkout

PATTERNS = ".worktreeinclude"


class Copied(NamedTuple):
    """What was brought, and what the contract names and is neither here nor there. `unread`: why the patterns were not."""

    source: Path | None
    brought: list[str]
    missing: list[str]
    unread: str = ""


def bring(checkout: Checkout) -> Copied:
    """Copies what is listed and not here; what is here is left as it is."""
    root, source, unread = checkout.root, main_worktree(checkout.root), ""
    named = check.load(checkout).contract.copy_
    matched: list[str] = []
    if source is not None:
        try:
            matched = _matched(root, source)
        except (OSError, subprocess.CalledProcessError) as e:
            unread = getattr(e, "stderr", None) or str(e)
    absent = [path for path in dict.fromkeys([*named, *matched]) if not (root / path).exists()]
    brought = [path for path in absent if source is not None and _copy(source / path, root / path, root)]
    return Copied(source, brought, [path for path in named if path in absent and path not in brought], unread.strip())


def _copy(source: Path, target: Path, root: Path) -> bool:
    """Whether there was something to copy, and a place for it in this checkout."""
    if not source.exists() or not target.parent.resolve().is_relative_to(root.resolve()):
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target)
    return True


def _matched(root: Path, source: Path) -> list[str]:
    """The files of the main worktree that match a pattern and that git ignores there: nothing that is tracked is copied."""
    patterns = next((p for p in (root / PATTERNS, source / PATTERNS) if p.is_file()), None)
    if patterns is None:
        return []
    untracked = _git(source, "ls-files", "-z", "--others", "--ignored", f"--exclude-from={patterns}")
    mine = [path for path in untracked.split("\0") if path and not path.endswith("/") and path.split("/")[0] != STATE]
    ignored = _git(source, "check-ignore", "-z", "--stdin", given="\0".join(mine), codes=(0, 1)) if mine else ""
    return [path for path in ignored.split("\0") if path]


def _git(directory: Path, *args: str, given: str = "", codes: tuple[int, ...] = (0,)) -> str:
    """Raises OSError where there is no git, CalledProcessError."""
    command = ["git", "-C", str(directory), *args]
    done = subprocess.run(command, input=given, capture_output=True, encoding="utf-8", errors="surrogateescape")
    if done.returncode not in codes:
        done.check_returncode()
    return done.stdout


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
