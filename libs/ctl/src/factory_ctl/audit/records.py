"""Rows against themselves: logs, leases, hints."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from factory_jobs.books import Books
from factory_jobs.fold import faults
from factory_jobs.job import Job
from factory_jobs.machine import WORKING

from .finding import Finding, finding

LEASE_GRACE = timedelta(seconds=90)  # a sweep frees it after 30 s of Postgres without a pause
HINT_GRACE = timedelta(seconds=180)  # the longest pause between two hints is 120 s


def findings(books: Books) -> Iterator[Finding]:
    for job in books.jobs.values():
        yield from (finding("event", job.id, says) for says in faults(job, books.events.get(job.id, [])))
        if job.lease_owner and job.lease_until and books.now - job.lease_until > LEASE_GRACE:
            yield finding("lease", job.id, f"{job.state}: {job.lease_owner} renews no longer, and nobody frees it")
        if (
            _due(job)
            and not job.stopped
            and _overdue(books.now, job.hinted_at, max(job.entered_at, job.next_attempt_at))
        ):
            what = "a replay that nobody goes on with; the next replay ends it" if job.replay_of else "it is due"
            yield finding("hint", job.id, f"{job.state}: {what}; it was hinted at {job.hinted_at or 'never'}")
    for errand in books.errands:
        since = max(errand["next_attempt_at"], errand["lease_until"] or errand["next_attempt_at"])
        if _overdue(books.now, errand["hinted_at"], since):
            says = f"errand {errand['kind']}: it is due, and was hinted at {errand['hinted_at'] or 'never'}"
            yield finding("hint", errand["job_id"], says)


def _due(job: Job) -> bool:
    return job.state in WORKING and job.lease_owner is None and job.waiting is None


def _overdue(now: datetime, hinted: datetime | None, since: datetime) -> bool:
    return now - max(hinted or since, since) > HINT_GRACE
