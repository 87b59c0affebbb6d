"""What a pull request is compared with: the base branch as it stands now, wherever the job once began.

A forge shows a branch against its merge base with the base branch, and takes comments on those lines alone. Whoever
shows, judges or comments on a change asks here, so that all of them mean the same lines.
"""

from __future__ import annotations

import msgspec

from .diff import Diff
from .repository import Merge, Repository


class Basis(msgspec.Struct, frozen=True, kw_only=True):
    """The base branch beside one commit of a job, as of the mirror's last fetch."""

    name: str
    tip: str
    moved: int  # commits of the base that the work lacks
    conflicts: tuple[str, ...]  # files that both changed in ways that git cannot bring together
    diff: Diff  # what the pull request shows


async def name_of(repository: Repository, named: str | None) -> str:
    """The project's base branch; unset, the repository's default one."""
    return named or await repository.default_branch()


async def basis_of(repository: Repository, named: str | None, sha: str) -> Basis:
    """Raises NoSuchRef, also where the base branch is gone; GitTooOld where the base has moved."""
    name = await name_of(repository, named)
    tip = await repository.resolve(name)
    moved = await repository.behind(sha, tip)
    merge = await repository.try_merge(sha, tip) if moved else None
    diff = await repository.diff(await repository.merge_base(sha, tip), sha)
    return Basis(name=name, tip=tip, moved=moved, conflicts=merge.conflicts if merge else (), diff=diff)


async def conflict(repository: Repository, named: str | None, sha: str) -> Merge | None:
    """How the base branch and this commit collide; None where git can merge them. Raises as `basis_of` does."""
    tip = await repository.resolve(await name_of(repository, named))
    if not await repository.behind(sha, tip):
        return None
    merge = await repository.try_merge(sha, tip)
    return merge if merge.conflicts else None
