"""What a round builds on beside the job's own work: what a person has pushed, or a base branch that now conflicts.

The merge is made here, in the trusted mirror, of commits that it has looked at, so that nothing of the agent's has a say
in it: no configuration, hook, driver or index. The agent is given the result as a checkpoint, with the conflicts in it,
and whatever it does with git, the round's commit has both parents. So it is pushed forward, never with force.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
from factory_chassis.work import Work
from factory_forge import basis
from factory_forge.errors import NoSuchRef
from factory_forge.git import AUTHOR_EMAIL, AUTHOR_NAME, Mirror
from factory_forge.inside import GitInside
from factory_forge.repository import Merge
from factory_jobs.records import Round

from . import checkpoint

SHOWN = 30  # files, and sentences of git's, that an agent is told


class Merging(msgspec.Struct, frozen=True, kw_only=True):
    """A round that brings two lines of work together."""

    merge: Merge
    given: str  # the commit that the agent was given: the merge with its conflicts, or what became of it since
    what: str  # whose line of work is merged in, in words

    @property
    def parents(self) -> tuple[str, str]:
        return self.merge.ours, self.merge.theirs

    def told(self) -> str:
        """For the agent's prompt."""
        if not self.merge.conflicts:
            return f"{self.what} is merged into your work, without a conflict. Build on both."
        files = [f"- {path}" for path in self.merge.conflicts[:SHOWN]]
        if len(self.merge.conflicts) > SHOWN:
            files.append(f"- … and {len(self.merge.conflicts) - SHOWN} more")
        said = "\n".join(self.merge.says[:SHOWN])
        return (
            f"{self.what} is merged into your work, and both have changed the same places:\n\n"
            + "\n".join(files)
            + "\n\nIn these files both sides stand between conflict markers: above `=======` what you had, below it what "
            "is merged in. Bring the two together so that both intentions hold, and leave no marker. Where there is no "
            "marker, one side stands there alone (one has deleted the file, or it is binary): see that it is the right "
            f"one. Do not run `git merge` and do not commit. What git says of it:\n```\n{said}\n```"
        )


async def begin(work: Work, git: GitInside, mirror: Mirror, ours: str, rounds: Sequence[Round]) -> Merging | None:
    """Puts the merge that this round has to make into the checkout; None where there is none to make.

    A merge that an agent has begun already stays as it stands, in whatever round. Raises as git and the mirror do.
    """
    job = work.job
    if ours == job.base_sha:
        return None
    await mirror.fetch()
    await checkpoint.into_mirror(work, mirror, ours)
    begun = next((r.merges for r in rounds if (r.request_no, r.round) == (job.request_no, job.round)), None)
    theirs = begun if begun and await _lacks(mirror, ours, begun) else await _due(work, mirror, ours)
    if theirs is None:
        return None
    await work.records.put_round(job, parent=ours, merges=theirs)
    merge = await mirror.try_merge(ours, theirs)
    given = await git.head()
    if not any(r.merges == theirs and r.commit == given for r in rounds):
        given = await _give(work, git, mirror, merge)
    pushed = theirs in (sha for sha, _ in await _decided(work))
    what = "What somebody has pushed to this branch" if pushed else "The base branch, which has moved,"
    work.log.info("merging", theirs=theirs[:12], conflicts=len(merge.conflicts))
    return Merging(merge=merge, given=given, what=what)


async def _due(work: Work, mirror: Mirror, ours: str) -> str | None:
    """The push that a person wants beneath the work, where it is not yet; else a base that git cannot bring in alone."""
    decided = await _decided(work)
    if decided and decided[-1][1] == "mine" and await _lacks(mirror, ours, decided[-1][0]):
        return decided[-1][0]
    found = await basis.conflict(mirror, work.project.base, ours)
    return found.theirs if found else None


async def _decided(work: Work) -> list[tuple[str, str]]:
    """(commit, answer) wherever somebody has said what shall stand of what was pushed, the newest last."""
    found = await work.records.decisions(work.job.id)
    return [(d["sha"], d["answer"]) for d in found if d["kind"] == "question:push"]


async def _lacks(mirror: Mirror, ours: str, theirs: str) -> bool:
    """Whether it is still to be merged; one that was taken off the branch again before anybody saw it is not."""
    try:
        return not await mirror.is_ancestor(theirs, ours)
    except NoSuchRef:
        return False


async def _give(work: Work, git: GitInside, mirror: Mirror, merge: Merge) -> str:
    """The merge as a commit in the checkout; no ref outside names it, and it is never pushed."""
    assert work.job.base_sha is not None
    message = f"Merge of {merge.theirs}, as it was given to the agent\n"
    sha = await mirror.commit_tree(merge.tree, [merge.ours, merge.theirs], message, AUTHOR_NAME, AUTHOR_EMAIL)
    with tempfile.TemporaryDirectory() as d:
        bundle = Path(d) / "merge.bundle"
        await mirror.bundle(bundle, sha, work.job.base_sha)
        await git.apply(bundle.read_bytes(), sha)
    return sha


async def fault(mirror: Mirror, merging: Merging, sha: str) -> str | None:
    """What is wrong with the commit that should end the merge, for the agent."""
    if left := await mirror.with_markers(sha, merging.merge):
        listed = "\n".join(f"- {path}" for path in left[:SHOWN])
        return f"Conflict markers are left in these files, so the merge cannot be kept:\n{listed}\nBring both sides together."
    for parent in merging.parents:
        if not await mirror.is_ancestor(parent, sha):
            return f"Your change does not build on {parent}. Do not change what git has of the past."
    return None


async def clash(work: Work, mirror: Mirror, sha: str) -> str | None:
    """That the base branch has moved and conflicts, in words for the record; None where git can merge it alone."""
    merge = await basis.conflict(mirror, work.project.base, sha)
    if merge is None:
        return None
    name = await basis.name_of(mirror, work.project.base)
    return f"{name} has moved to {merge.theirs[:12]} and conflicts with this in {', '.join(merge.conflicts[:SHOWN])}."
