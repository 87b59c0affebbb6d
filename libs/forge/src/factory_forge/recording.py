"""The forge of a replay: it answers from what the job's records say, and records what it is asked to do. Nothing is
asked of a real one, and no mirror fetches.

What is done stands in the `effects` of the replay, as `recorded:…`, so that all services of a replay see the same forge.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from factory_jobs import current, db
from factory_jobs.job import Job
from factory_jobs.records import Records
from factory_jobs.store import Store

from .branches import check_branch
from .errors import NoSuchBranch, NoSuchPull, NotFastForward
from .forge import (
    Comment,
    Deployment,
    Forge,
    Issue,
    LineComment,
    Look,
    PullRequest,
    Review,
    Status,
    Verdict,
    check_labels,
    check_text,
    marked,
    short,
)
from .forges import AUTHOR, REVIEWER, Forges
from .git import Mirror
from .github_site import GitHubSite


class RecordingForges(Forges):
    """For every repository a `RecordingForge`. The job is the one that the task works on (`factory_jobs.current`)."""

    def __init__(self, public_url: str, database_url: str, github: GitHubSite | None = None) -> None:
        super().__init__(public_url, github)
        self.database_url = database_url

    async def connect(self, repo: str, *, reviewer: bool = False) -> Forge:
        return RecordingForge(REVIEWER if reviewer else AUTHOR, self.public_url, self.database_url)

    async def mirror(self, node_dir: Path, repo: str) -> Mirror:
        """As it was left by the last fetch of a real service; the base branch stands where the job began."""
        found = await super().mirror(node_dir, repo)
        async with _records(self.database_url) as (job, _):
            named = job.snapshot.get("base") or await found.default_branch()
        return _Still(found, named, job.base_sha)


class _Still(Mirror):
    """A mirror that fetches nothing."""

    def __init__(self, mirror: Mirror, base: str, began_at: str | None) -> None:
        super().__init__(mirror.path, mirror.url)
        self._base, self._began_at = base, began_at

    async def fetch(self) -> None:
        """All that a replay needs is there."""

    async def resolve(self, ref: str) -> str:
        return await super().resolve(self._began_at if ref == self._base and self._began_at else ref)


@asynccontextmanager
async def _records(url: str) -> AsyncIterator[tuple[Job, Records]]:
    """The replay that this task works on, and its records."""
    pool = await db.connect(url, size=1, name="replay")
    try:
        yield await Store(pool, replay=True).get(current.job_id.get()), Records(pool)
    finally:
        await pool.close()


class _Known(msgspec.Struct):
    """What the forge of one replay holds: of its original up to where it began, and its own."""

    job: Job
    effects: list[dict[str, Any]]

    def recorded(self, kind: str) -> dict[str, Any]:
        """By key, without the kind."""
        prefix = f"recorded:{kind}:"
        return {e["key"].removeprefix(prefix): e["intent"] for e in self.effects if e["key"].startswith(prefix)}

    def done(self, kind: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(intent, result) of what the original had really done."""
        mine = {e["key"] for e in self.effects if e["at"] >= self.job.created_at}
        return [
            (e["intent"], e["result"])
            for e in self.effects
            if e["key"].startswith(f"{kind}:") and e["key"] not in mine and e["result"] is not None
        ]

    def branches(self) -> dict[str, str]:
        """What the original had pushed, over it what a person had, over it what the replay pushes."""
        pushed = {intent["branch"]: intent["sha"] for intent, _ in self.done("push")}
        if self.job.branch in pushed and self.job.pr is not None:
            pushed[self.job.branch] = self.job.pr.head
        return pushed | {name: facts["sha"] for name, facts in self.recorded("branch").items()}

    def pulls(self) -> list[PullRequest]:
        """An open one follows its branch, and is as far out of draft as the row says."""
        found = {str(result["number"]): result for _, result in self.done("pull")}
        if (row := self.job.pr) is not None and (opened := found.get(str(row.number))) is not None:
            opened |= {"draft": row.draft, "state": row.state, "head_sha": row.head}
        pulls = [msgspec.convert(facts, PullRequest) for facts in (found | self.recorded("pull")).values()]
        tips = self.branches()
        return [msgspec.structs.replace(p, head_sha=tips.get(p.branch, p.head_sha)) for p in pulls]

    def reviews(self, number: int) -> list[Review]:
        found = [result for intent, result in self.done("review") if intent["number"] == number]
        found += [facts for key, facts in self.recorded("review").items() if key.startswith(f"{number}:")]
        return msgspec.convert(found, list[Review])


class RecordingForge:
    """Implements `forge.Forge` for the replay that the task works on."""

    def __init__(self, author: str, public_url: str, database_url: str) -> None:
        self.author = author
        self._page, self._database_url = f"{public_url.rstrip('/')}/jobs", database_url

    async def _known(self) -> _Known:
        async with _records(self._database_url) as (job, records):
            return _Known(job, await records.effects(job.id))

    async def _record(self, key: str, data: Any) -> None:
        async with _records(self._database_url) as (job, records):
            await records.record(job.id, key, msgspec.to_builtins(data))

    # Branches

    def push_url(self) -> str:
        return "recorded:"

    async def push(self, mirror: Mirror, sha: str, branch: str) -> None:
        sha, tip = await mirror.resolve(sha), await self.tip(check_branch(branch))
        if tip and not await mirror.is_ancestor(tip, sha):
            raise NotFastForward(branch=branch, ours=sha, theirs=tip)
        await self._record(f"branch:{branch}", {"sha": sha})

    async def tip(self, branch: str) -> str | None:
        return (await self._known()).branches().get(branch)

    # Pull requests

    async def find_pull(self, branch: str) -> PullRequest | None:
        found = [pull for pull in await self.pulls() if pull.branch == branch]
        still_open = [pull for pull in found if pull.state == "open"]
        return (still_open or found or [None])[-1]

    async def open_pull(
        self, *, branch: str, base: str, title: str, body: str, draft: bool = True, labels: Sequence[str] = ()
    ) -> PullRequest:
        check_text(title, body)
        if (there := await self.find_pull(branch)) is not None and there.state == "open":
            return there
        known = await self._known()
        if (head := known.branches().get(branch)) is None:
            raise NoSuchBranch(repo=known.job.repo, branch=branch)
        pull = PullRequest(
            number=max((p.number for p in known.pulls()), default=0) + 1,
            url=f"{self._page}/{known.job.id}",
            branch=branch,
            base=base,
            head_sha=head,
            title=title,
            body=body,
            draft=draft,
            state="open",
            labels=check_labels(labels),
            author=self.author,
        )
        await self._record(f"pull:{pull.number}", pull)
        return pull

    async def _change(self, number: int, **facts: Any) -> PullRequest:
        pull = msgspec.structs.replace(await self.pull(number), **facts)
        await self._record(f"pull:{number}", pull)
        return pull

    async def update_pull(self, number: int, title: str | None = None, body: str | None = None) -> PullRequest:
        check_text(title or "", body or "", title_given=title is not None)
        given = {"title": title, "body": body}
        return await self._change(number, **{k: v for k, v in given.items() if v is not None})

    async def mark_ready(self, number: int) -> PullRequest:
        return await self._change(number, draft=False)

    async def close_pull(self, number: int) -> PullRequest:
        return await self._change(number, state="closed")

    async def reopen_pull(self, number: int) -> PullRequest:
        return await self._change(number, state="open")

    async def set_labels(self, number: int, labels: Sequence[str]) -> PullRequest:
        return await self._change(number, labels=check_labels(labels))

    async def pull(self, number: int) -> PullRequest:
        found = next((p for p in await self.pulls() if p.number == number), None)
        if found is None:
            raise NoSuchPull(repo=(await self._known()).job.repo, number=number)
        return found

    async def pulls(self) -> list[PullRequest]:
        return (await self._known()).pulls()

    async def look(self, etag: str = "") -> Look | None:
        """Nobody watches a replay's forge."""
        return None

    async def issues(self) -> list[Issue]:
        """None of them is in the records."""
        return []

    # What hangs on them

    async def set_status(self, status: Status) -> None:
        kept = msgspec.structs.replace(status, description=short(status.description))
        await self._record(f"status:{status.sha}:{status.context}", kept)

    async def statuses(self, sha: str) -> list[Status]:
        found = (await self._known()).recorded("status")
        return msgspec.convert([found[key] for key in sorted(found) if key.startswith(f"{sha}:")], list[Status])

    async def add_review(
        self,
        number: int,
        *,
        sha: str,
        verdict: Verdict,
        body: str,
        comments: Sequence[LineComment] = (),
        marker: str,
    ) -> Review:
        await self.pull(number)
        key, there = f"review:{number}:{self.author}:{marker}", await self.reviews(number)
        body = marked(body, marker)
        if (mine := next((r for r in there if r.author == self.author and r.body == body), None)) is not None:
            return mine
        review = Review(
            id=len(there) + 1, sha=sha, verdict=verdict, body=body, comments=list(comments), author=self.author
        )
        await self._record(key, review)
        return review

    async def reviews(self, number: int) -> list[Review]:
        return (await self._known()).reviews(number)

    async def sticky_comment(self, number: int, marker: str, body: str) -> Comment:
        await self.pull(number)
        key, body = f"comment:{number}:{self.author}:{marker}", marked(body, marker)
        kept = (await self._known()).recorded("comment")
        there = kept.get(key.removeprefix("comment:"))
        comment = Comment(id=there["id"] if there else len(kept) + 1, body=body, author=self.author)
        await self._record(key, comment)
        return comment

    async def comments(self, number: int) -> list[Comment]:
        found = (await self._known()).recorded("comment")
        return msgspec.convert([v for key, v in found.items() if key.startswith(f"{number}:")], list[Comment])

    async def deploy(self, deployment: Deployment) -> None:
        kept = msgspec.structs.replace(deployment, description=short(deployment.description))
        await self._record(f"deployment:{deployment.sha}:{deployment.environment}", kept)

    async def deployments(self, sha: str) -> list[Deployment]:
        found = (await self._known()).recorded("deployment")
        return msgspec.convert([v for key, v in found.items() if key.startswith(f"{sha}:")], list[Deployment])
