"""Effects against the forge: branches, pull requests, reviews, comments."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from factory_forge.errors import NoSuchRef
from factory_forge.forge import Comment, PullRequest, Review
from factory_forge.forges import Forges
from factory_forge.git import Mirror
from factory_jobs.books import Books
from factory_jobs.errors import JobError
from factory_jobs.job import Job

from .finding import Finding, finding

BRANCHES = "factory/"
MARKER = re.compile(r"<!-- factory:(\S+) -->")
JOB = re.compile(r"\bj[a-z2-7]{10}\b")
CHECKED = frozenset({"push", "pull", "review"})  # what effects' keys begin with


@dataclass
class There:
    """One repository as its forge has it now, as far as the factory's own branches go."""

    repo: str
    authors: set[str] = field(default_factory=set)
    mirror: Mirror | None = None
    branches: dict[str, str] = field(default_factory=dict)
    pulls: list[PullRequest] = field(default_factory=list)
    reviews: dict[int, list[Review]] = field(default_factory=dict)
    comments: dict[int, list[Comment]] = field(default_factory=dict)
    lacks: dict[tuple[str, str], bool] = field(default_factory=dict)  # (branch, commit) → not on it
    problem: str = ""

    def pull(self, number: Any) -> PullRequest | None:
        return next((p for p in self.pulls if p.number == number), None)


async def look(forges: Forges, node_dir: Path, books: Books) -> list[There]:
    """Of every repository that a job is about. Two calls a pull request: a repository of many takes a while."""
    found = []
    for repo in sorted({job.repo for job in books.jobs.values() if job.replay_of is None}):
        there = There(repo)
        try:
            await _look(there, forges, node_dir, books)
        except (JobError, OSError, TimeoutError) as e:
            there.problem = str(e) or repr(e)
        found.append(there)
    return found


async def _look(there: There, forges: Forges, node_dir: Path, books: Books) -> None:
    forge = await forges.connect(there.repo)
    there.authors = {forge.author, (await forges.connect(there.repo, reviewer=True)).author}
    there.mirror = await forges.mirror(node_dir, there.repo)
    await there.mirror.fetch()
    there.branches = await there.mirror.branches(BRANCHES)
    there.pulls = [p for p in await forge.pulls() if p.branch.startswith(BRANCHES)]
    for pull in there.pulls:
        there.reviews[pull.number] = await forge.reviews(pull.number)
        there.comments[pull.number] = await forge.comments(pull.number)
    for job in _jobs(books, there.repo):
        for effect in books.effects.get(job.id, []):
            if effect["result"] is not None and effect["key"].startswith("push:"):
                branch, sha = effect["intent"]["branch"], effect["intent"]["sha"]
                there.lacks[branch, sha] = await _lacks(there, there.mirror, branch, sha)


async def _lacks(there: There, mirror: Mirror, branch: str, sha: str) -> bool:
    tip = there.branches.get(branch)
    try:
        return tip is None or not await mirror.is_ancestor(sha, tip)
    except NoSuchRef:
        return True


def _jobs(books: Books, repo: str) -> list[Job]:
    return [job for job in books.jobs.values() if job.repo == repo and job.replay_of is None]


# ── what was done is there ────────────────────────────────────────────────────


def missing(theres: list[There], books: Books) -> Iterator[Finding]:
    for there in theres:
        if there.problem:
            yield finding("unseen", "", f"{there.repo}: {there.problem}")
            continue
        for job in _jobs(books, there.repo):
            for effect in books.effects.get(job.id, []):
                if effect["key"].split(":")[0] not in CHECKED:
                    yield finding("unseen", job.id, f"effect {effect['key']} is of a kind that no audit knows")
                elif effect["result"] is not None and (says := _missing(there, job, effect)):
                    yield finding("effect", job.id, says)


def _missing(there: There, job: Job, effect: Any) -> str:
    intent, result = effect["intent"], effect["result"]
    match effect["key"].split(":")[0]:
        case "push" if there.lacks.get((intent["branch"], intent["sha"])):
            return _not_pushed(there, job, intent["branch"], intent["sha"])
        case "pull" if (pull := there.pull(result["number"])) is None or pull.branch != intent["branch"]:
            return f"pull request #{result['number']} of {intent['branch']} is not on the forge"
        case "review" if all(r.id != result["id"] for r in there.reviews.get(intent["number"], [])):
            return f"the review of {intent['sha'][:12]} is not on pull request #{intent['number']}"
    return ""


def _not_pushed(there: There, job: Job, branch: str, sha: str) -> str:
    """People may delete the branch of a pull request that is no longer open, and push their own over ours."""
    tip = there.branches.get(branch)
    pulls = [p for p in there.pulls if p.branch == branch]
    if tip is None:
        ended = pulls and all(p.state != "open" for p in pulls)
        return "" if ended else f"branch {branch} is not on the forge"
    known = {job.pr.head if job.pr else None, job.proved_sha, job.work_sha if job.verify else None}
    return "" if tip in known else f"{sha[:12]} was pushed to {branch}, which stands at {tip[:12]} and does not hold it"


# ── what is there was done ────────────────────────────────────────────────────


def unknown(theres: list[There], books: Books) -> Iterator[Finding]:
    for there in theres:
        if there.problem:
            continue
        yield from _unknown_branches(there, books)
        for pull in there.pulls:
            yield from _unknown_pull(there, pull, books)
            yield from _unknown_words(there, pull, books)
        ours = Counter(p.branch for p in there.pulls if p.author in there.authors)
        for branch in sorted(b for b, times in ours.items() if times > 1):
            numbers = ", ".join(f"#{p.number}" for p in there.pulls if p.branch == branch)
            yield finding("double", _job_of(branch), f"{branch} has several pull requests: {numbers}")


def _job_of(text: str) -> str:
    found = JOB.search(text)
    return found[0] if found else ""


def _unknown_branches(there: There, books: Books) -> Iterator[Finding]:
    for branch in there.branches:
        job_id = _job_of(branch)
        if not any(e["key"].startswith(f"push:{branch}:") for e in books.effects.get(job_id, ())):
            yield finding("outside", job_id, f"branch {branch} is on the forge ({there.repo}), and no job pushed it")


def _unknown_pull(there: There, pull: PullRequest, books: Books) -> Iterator[Finding]:
    job_id = _job_of(pull.branch)
    if (pull.state == "open" or pull.author in there.authors) and books.effect(job_id, f"pull:{pull.branch}") is None:
        yield finding("outside", job_id, f"pull request #{pull.number} of {pull.branch} was opened by no job")


def _unknown_words(there: There, pull: PullRequest, books: Books) -> Iterator[Finding]:
    """Reviews are effects; a sticky comment is edited in place, and needs no more than its job."""
    said: list[Review | Comment] = [*there.reviews.get(pull.number, ()), *there.comments.get(pull.number, ())]
    markers = [(m[1], each) for each in said if each.author in there.authors and (m := MARKER.search(each.body))]
    for marker, each in markers:
        job_id = _job_of(marker) or _job_of(pull.branch)
        kind = "review" if isinstance(each, Review) else "comment"
        if job_id not in books.jobs or (kind == "review" and books.effect(job_id, marker) is None):
            yield finding("outside", job_id, f"{kind} {marker} on pull request #{pull.number} was made by no job")
    for (marker, author, kind), times in Counter((m, e.author, type(e).__name__.lower()) for m, e in markers).items():
        if times > 1:
            says = f"{kind} {marker} by {author} stands {times} times on pull request #{pull.number}"
            yield finding("double", _job_of(marker) or _job_of(pull.branch), says)
