"""What people do with our pull requests: the forge is asked, the rows are compared, the machine is told what differs.

No log of the forge's events is read. A merge of yesterday and one of this second look the same, so that an outage, a
restart or a second watcher miss nothing and tell nothing twice.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any

import asyncpg
import msgspec
import structlog
from factory_chassis.line import Line
from factory_chassis.worker import POSTGRES_AWAY
from factory_forge.errors import NoSuchPull
from factory_forge.forge import Forge, PullRequest
from factory_forge.forges import Forges
from factory_jobs import db
from factory_jobs import events as ev
from factory_jobs.errors import JobError, StoreError
from factory_jobs.job import Job
from factory_jobs.machine import WORKING, State

log = structlog.get_logger()

LONGEST = 300.0  # seconds between two tries of a forge that does not answer and does not say when it will


def news(job: Job, pull: PullRequest, head: str) -> ev.Event | None:
    """What the row does not know of its pull request; `head` is where its branch stands.

    Builder pushes to the branch and writes it down later, so a head is news only where it does not push: at `ready`, and
    while a person's commit is proved. In its rounds it meets a person's push when it pushes itself.
    """
    assert job.pr is not None
    state = State(job.state)
    match pull.state:
        case "merged":
            return ev.Merged(by=pull.merged_by)
        case "closed" if state is not State.CANCELLED:
            return ev.Closed()
        case "closed" if job.pr.state == "open":  # we have closed it
            closed = msgspec.structs.replace(job.pr, state="closed")
            return ev.Noted(note="pull request closed", facts={"pr": msgspec.to_builtins(closed)})
        case "open" if state is State.CANCELLED:
            return ev.Reopened(head=head)
        case "open" if state is State.READY_FOR_HUMAN_REVIEW or (job.verify and state in WORKING):
            return ev.PersonPushed(head=head) if head != job.pr.head else None
    return None


def is_named(repo: str, name: str) -> bool:
    """Whether this URL, in whatever way it is written, is of the repository that its forge calls `owner/name`."""
    parts = re.split(r"[:/]", repo.rstrip("/").removesuffix(".git"))
    return "/".join(parts[-2:]).casefold() == name.casefold()


class Eyes:
    """What is known of one repository's pull requests, and when its forge may be asked again."""

    def __init__(self, repo: str) -> None:
        self.repo = repo
        self.known: dict[int, PullRequest | None] = {}  # None: the forge knows no such one
        self.trouble = ""  # the code of what is wrong
        self._etag, self._failures, self._not_before = "", 0, 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._not_before

    async def look(self, forge: Forge) -> None:
        """Brings what is known up to now. Raises JobError."""
        found = await forge.look(self._etag)
        if found is None:
            return
        if all(self.known.get(pull.number) != pull for pull in found.pulls):
            self.known.clear()  # the newest comes first: with news to the end there may be more than one answer holds
        self.known |= {pull.number: pull for pull in found.pulls}
        self._etag = found.etag

    def worked(self) -> None:
        if self.trouble:
            log.info("pull requests are watched again", repo=self.repo)
        self.trouble, self._failures, self._not_before = "", 0, 0.0

    def failed(self, error: Exception, every: float) -> None:
        """Said once for each kind of trouble, however long it lasts."""
        self._failures += 1
        delay = max(getattr(error, "retry_after", 0), min(every * 2 ** min(self._failures - 1, 10), LONGEST))
        self._not_before = time.monotonic() + delay
        code = str(getattr(error, "code", None) or type(error).__name__)
        if code != self.trouble:
            log.warning("pull requests are not watched", repo=self.repo, why=str(error), again_in=round(delay))
        self.trouble = code


class WatchForge:
    """One leader a repository, by the advisory lock `forge:<repo>`: a second would only double the requests."""

    def __init__(self, line: Line, pool: asyncpg.Pool, forges: Forges, *, every: float) -> None:
        self.line, self.pool, self.forges, self.every = line, pool, forges, every
        self._eyes: dict[str, Eyes] = {}

    def report(self) -> dict[str, Any]:
        """For `/health`: each repository that is watched here. Called from its thread."""
        return {"forge": {repo: eyes.trouble or "ok" for repo, eyes in list(self._eyes.items())}}

    async def run(self) -> None:
        """For ever; asks for the leads again when the connection that held them is gone."""
        away = False
        while True:
            try:
                async with self.pool.acquire() as c:
                    away = False
                    await self._lead(c)
            except POSTGRES_AWAY as e:
                if not away:
                    log.warning("forges are not watched: Postgres does not answer", why=repr(e))
                away = True
            await asyncio.sleep(1)

    async def _lead(self, holder: asyncpg.pool.PoolConnectionProxy) -> None:
        """Of every repository whose lock this connection gets; giving it back ends the leads."""
        looking: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                for repo, jobs in (await self._watched()).items():
                    if repo not in self._eyes and not await self._led(holder, repo):
                        continue
                    eyes = self._eyes.setdefault(repo, Eyes(repo))
                    if eyes.due and (repo not in looking or looking[repo].done()):
                        looking[repo] = asyncio.create_task(self._look(eyes, jobs))
                await asyncio.sleep(self.every)
                await holder.execute("SELECT 1")
        finally:
            self._eyes.clear()
            for task in looking.values():
                task.cancel()
            await asyncio.gather(*looking.values(), return_exceptions=True)

    @staticmethod
    async def _led(holder: asyncpg.pool.PoolConnectionProxy, repo: str) -> bool:
        led = await db.lead(holder, f"forge:{repo}")
        if led:
            log.info("watching", repo=repo)
        return led

    async def _watched(self) -> dict[str, list[Job]]:
        """By repository. Read before the forge is asked: what it says then is newer than the rows."""
        found: dict[str, list[Job]] = {}
        for job in await self.line.store.watched():
            found.setdefault(job.repo, []).append(job)
        return found

    async def _look(self, eyes: Eyes, jobs: list[Job]) -> None:
        """One repository, once. Whatever breaks is tried again later, and holds up no other."""
        try:
            forge = await self.forges.connect(eyes.repo)
            await eyes.look(forge)
            for job in jobs:
                assert job.pr is not None
                number = job.pr.number
                pull = eyes.known.get(number)
                if number not in eyes.known or (pull and news(job, pull, pull.head_sha)):
                    eyes.known[number] = await self._ask(forge, job)
            eyes.worked()
        except (JobError, *POSTGRES_AWAY) as e:
            eyes.failed(e, self.every)
        except Exception as e:
            log.exception("a look at a forge broke", repo=eyes.repo, why=repr(e))
            eyes.failed(e, self.every)

    async def hear(self, name: str, number: int) -> None:
        """Somebody says that there is news of this pull request of `owner/name`: the forge itself is asked, now.

        Of another repository, or a number that is none of ours, nothing is asked. Raises JobError, POSTGRES_AWAY.
        """
        for job in await self.line.store.watched():
            if job.pr and job.pr.number == number and is_named(job.repo, name):
                await self._ask(await self.forges.connect(job.repo), job)

    async def _ask(self, forge: Forge, job: Job) -> PullRequest | None:
        """Asks for the one pull request and its branch, since a list may lag behind a push, and tells what differs."""
        assert job.pr is not None
        try:
            pull = await forge.pull(job.pr.number)
        except NoSuchPull as e:
            log.warning("a job's pull request is gone", job_id=job.id, why=str(e))
            return None
        head = (await forge.tip(pull.branch) if pull.state == "open" else None) or pull.head_sha
        event = news(job, pull, head)
        if event is None:
            return pull
        try:
            after = await self.line.apply(job, event, actor="forge")
        except StoreError as e:  # the next look compares with the row as it is then
            log.info("the job has moved on", job_id=job.id, found=event.kind, why=str(e))
            return pull
        log.info("the forge says", job_id=job.id, what=event.kind, state=after.state)
        return pull
