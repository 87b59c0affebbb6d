"""What can go wrong in a job, and whose it is: blame decides between retry, report and offer.

JobError
├── FactoryError    ours: the state is tried again
├── OutsideError    GitHub, Telegram, a model, storage: tried again later, with backoff
├── RepoError       the user's repo: reported with the log's tail, no retry
├── WorkError       the agent's work: refused, out of rounds or budget: more is offered
└── RequestError    the message itself: answered, no job is made or moved
"""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

TAIL = 4000  # characters of a log that a failure carries


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What `jobs.failure` and a failed event hold; enough to tell a person without reading a log."""

    blame: str
    code: str
    message: str
    stage: str = ""
    log_tail: str = ""
    log_url: str = ""
    hint: str = ""


class JobError(Exception):
    """Base of what a handler may raise on purpose; raise one of the five below."""

    blame: ClassVar[str]
    retry: ClassVar[bool] = False

    def __init__(
        self, message: str, *, code: str, stage: str = "", log_tail: str = "", hint: str = "", retry_after: float = 0
    ) -> None:
        super().__init__(message)
        self.message, self.code, self.stage = message, code, stage
        self.log_tail, self.hint, self.retry_after = log_tail[-TAIL:], hint, retry_after

    def failure(self, stage: str = "") -> Failure:
        return Failure(
            blame=self.blame,
            code=self.code,
            message=self.message,
            stage=self.stage or stage,
            log_tail=self.log_tail,
            hint=self.hint,
        )


class FactoryError(JobError):
    """The factory itself failed; the state is tried again."""

    blame = "factory"
    retry = True


class OutsideError(JobError):
    """Something outside did not answer as it should; tried again after `retry_after` seconds or with backoff."""

    blame = "outside"
    retry = True


class RepoError(JobError):
    """The user's repo cannot be set up, started or read; reported with the log's tail."""

    blame = "repo"


class WorkError(JobError):
    """The work was refused or ran out of rounds, time or budget; more is offered."""

    blame = "work"


class RequestError(JobError):
    """The request cannot be taken; it is answered and nothing is changed."""

    blame = "request"


class StoreError(Exception):
    """Base of what the store answers when a row is not as the caller believes; never shown to people."""

    def __init__(self, job_id: str, **facts: Any) -> None:
        super().__init__(f"{(type(self).__doc__ or '').splitlines()[0]} job={job_id} {facts or ''}".strip())
        self.job_id, self.facts = job_id, facts


class NoSuchJob(StoreError):
    """No job has this id."""


class Stale(StoreError):
    """The row has moved on since it was read: 0 rows were changed."""


class Fenced(Stale):
    """A higher epoch holds the lease: stop, and kill what you started."""


class IllegalMove(StoreError):
    """The table has no such move from this state; nothing was changed."""
