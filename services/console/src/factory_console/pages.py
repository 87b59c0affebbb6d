"""What each page shows, gathered from records and from the local forge; the templates only lay it out."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web
from factory_forge import forges
from factory_forge.diff import Diff, FileChange
from factory_forge.errors import NoSuchPull
from factory_forge.forge import Review
from factory_forge.git import Repository
from factory_jobs.errors import NoSuchJob
from factory_jobs.job import Job
from factory_jobs.machine import PHASES, State
from factory_jobs.records import Artifact, Records
from factory_jobs.store import Store

from .markdown import render

SHOWN_FILES = 80
SHOWN_LINES = 1500  # of one file
STATUS = {"A": "added", "M": "changed", "D": "deleted", "R": "renamed", "T": "of another type"}


class Pages:
    def __init__(self, store: Store, records: Records, public_url: str) -> None:
        self.store, self.records, self.public_url = store, records, public_url

    async def jobs(self) -> dict[str, Any]:
        return {"jobs": [(job, PHASES[State(job.state)].say) for job in await self.store.jobs(limit=100)]}

    async def job(self, job_id: str) -> dict[str, Any]:
        """Timeline with durations, evidence, conversation. Raises 404."""
        job = await self._job(job_id)
        records = self.records
        artifacts = await records.artifacts(job.id)
        evidence = await records.evidence(job.id, job.proved_sha or job.work_sha or "")
        stays = [_stay(s, artifacts) for s in await self.store.history(job.id)]
        return {
            "job": job,
            "says": PHASES[State(job.state)].say,
            "stays": stays,
            "longest": max((s["seconds"] or 0 for s in stays), default=0),
            "total": _seconds(job.created_at, None if _live(job) else stays[-1]["entered"]),
            "plan": await records.plan(job.id, job.request_no),
            "requests": await records.requests(job.id),
            "rounds": await records.rounds(job.id),
            "evidence": evidence,
            "video": _newest(artifacts, "video", job),
            "screenshots": _all(artifacts, "screenshot", job),
            "decisions": await records.decisions(job.id),
            "errands": await records.all("errands", job.id),
        }

    async def _job(self, job_id: str) -> Job:
        try:
            return await self.store.get(job_id)
        except NoSuchJob:
            raise web.HTTPNotFound from None

    async def pull(self, repo: str, number: int) -> dict[str, Any]:
        """Body, diff, reviews with their comments on lines, statuses, and the video. Raises 404."""
        job = await self._job_of_pull(repo, number)
        if job is None:
            raise web.HTTPNotFound
        forge = await forges.Forges(self.public_url).connect(job.repo)
        try:
            pull = await forge.pull(number)
        except NoSuchPull:
            raise web.HTTPNotFound from None
        repository = Repository(Path(forge.push_url()))
        base = await repository.merge_base(job.base_sha or pull.base, pull.head_sha)
        diff = await repository.diff(base, pull.head_sha)
        reviews = await forge.reviews(number)
        artifacts = await self.records.artifacts(job.id)
        return {
            "pull": pull,
            "repo": repo,
            "job": job,
            "body": render(pull.body),
            "diff": diff,
            "files": [_file(f) for f in diff.files[:SHOWN_FILES]],
            "cut": diff.truncated or len(diff.files) > SHOWN_FILES,
            "added": sum(f.added for f in diff.files),
            "removed": sum(f.removed for f in diff.files),
            "remarks": _remarks(reviews, diff),
            "reviews": [(r, render(r.body), [(c.path, c.line, render(c.body)) for c in r.comments]) for r in reviews],
            "comments": [(c, render(c.body)) for c in await forge.comments(number)],
            "statuses": await forge.statuses(pull.head_sha),
            "commits": await repository.log(base, pull.head_sha),
            "video": _newest(artifacts, "video", job),
        }

    async def _job_of_pull(self, repo: str, number: int) -> Job | None:
        for job in await self.store.jobs(limit=1000):
            path = forges.local_path(job.repo)
            if job.pr and job.pr.number == number and path and path.name.removesuffix(".git") == repo:
                return job
        return None


def _live(job: Job) -> bool:
    return job.state not in {"merged", "failed", "cancelled", "ready_for_human_review"}


def _seconds(begin: datetime, end: datetime | None) -> float:
    return ((end or datetime.now(UTC)) - begin).total_seconds()


def _stay(stay: dict[str, Any], artifacts: list[Artifact]) -> dict[str, Any]:
    by_sha = {a.sha256: a for a in artifacts}
    state = State(stay["state"])
    return stay | {
        "says": PHASES[state].say,
        "seconds": _seconds(stay["entered"], stay["left"]) if stay["left"] or PHASES[state].to else None,
        "artifacts": [by_sha[a["sha256"]] for a in stay["artifacts"] if a["sha256"] in by_sha],
    }


def _newest(artifacts: list[Artifact], kind: str, job: Job) -> Artifact | None:
    found = [a for a in artifacts if a.kind == kind]
    proved = [a for a in found if a.commit == job.proved_sha]
    return (proved or found or [None])[-1]


def _all(artifacts: list[Artifact], kind: str, job: Job) -> list[Artifact]:
    newest = _newest(artifacts, kind, job)
    return [a for a in artifacts if newest and a.kind == kind and (a.commit, a.epoch) == (newest.commit, newest.epoch)]


def _file(change: FileChange) -> dict[str, Any]:
    """What the page shows of a changed file: its name before, its mode where that matters, its first lines."""
    hunks, left = [], SHOWN_LINES
    for hunk in change.hunks:
        if left > 0:
            hunks.append({"old": hunk.old_start, "new": hunk.new_start, "lines": hunk.lines[:left]})
        left -= len(hunk.lines)
    mode = (
        f"{change.old_mode} → {change.new_mode}"
        if change.status in "MRT" and change.old_mode != change.new_mode
        else ""
    )
    return {"change": change, "says": STATUS[change.status], "mode": mode, "hunks": hunks, "hidden": max(-left, 0)}


def _remarks(reviews: list[Review], diff: Diff) -> dict[tuple[str, int], list[tuple[str, Any]]]:
    """Comments by path and line, of reviews of the commit that is shown."""
    found: dict[tuple[str, int], list[tuple[str, Any]]] = {}
    for review in reviews:
        if review.sha == diff.head:
            for comment in review.comments:
                found.setdefault((comment.path, comment.line), []).append((review.author, render(comment.body)))
    return found
