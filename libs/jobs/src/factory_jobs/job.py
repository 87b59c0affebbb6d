"""The row of a job as a frozen record, and the small records inside it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from .errors import Failure


class Waiting(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gate, a question or a budget that a person has to answer; the job hands its lease back and is not claimed."""

    kind: str  # gate:plan | gate:risk | question:push | question:red | budget
    asks: str  # the sentence the person reads
    since: datetime
    sha: str = ""  # the commit it is about; an answer is kept for this commit
    options: list[list[str]] = []  # [[answer, label], …]: the buttons
    reminded: bool = False


class Pull(msgspec.Struct, frozen=True, kw_only=True):
    """The pull request as the forge last said it is."""

    number: int
    url: str
    head: str
    draft: bool = True
    state: str = "open"  # open | closed | merged


class Sandbox(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the job runs: the handle is data of its provider; URLs are facts that envkeeper alone makes."""

    provider: str
    handle: dict[str, Any]
    urls: list[dict[str, Any]] = []  # [{service, url, internal_url, port, primary}]
    preview_url: str = ""
    preview: str = ""  # "" | up | down | stopped | lost
    ports: list[int] = []  # first and last of the leased range


class Replay(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a job a replay of another."""

    seq: int  # of the original's event with which it begins
    state: str  # which that event led to; what needs a sandbox comes there by way of `planned`
    states: list[str] = []  # where it is worked on; elsewhere it stops. Empty: everywhere
    agent: bool = False  # agents are called; else the original's rounds are taken


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One row of `jobs`. Times are Postgres' own."""

    id: str
    state: str
    version: int
    seq: int  # number of the newest event
    project: str
    snapshot: dict[str, Any]  # the project's entry of factory-projects.yaml when the job began
    repo: str
    title: str
    node: str | None = None
    placement: int | None = None
    sandbox: Sandbox | None = None
    branch: str | None = None
    base_sha: str | None = None
    work_sha: str | None = None
    proved_sha: str | None = None
    pr: Pull | None = None
    request_no: int = 1
    planned_no: int = 0  # newest request that has a plan
    round: int = 0
    rounds_max: int = 5
    attempt: int = 1
    losses: int = 0  # sandboxes lost in this request
    verify: bool = False
    lease_owner: str | None = None
    lease_epoch: int = 0
    lease_until: datetime | None = None
    claimed_at: datetime | None = None
    next_attempt_at: datetime
    hinted_at: datetime | None = None
    hint_no: int = 0
    waiting: Waiting | None = None
    cleanup: str | None = None  # pending | done | problem | unreachable
    failure: Failure | None = None
    verdict: str | None = None  # approved | changes_requested | commented, by the reviewer, for proved_sha
    budget: dict[str, Any] = {}
    spent: dict[str, Any] = {}
    replay_of: str | None = None
    created_at: datetime
    entered_at: datetime
    replay: Replay | None = None

    @property
    def proved(self) -> bool:
        """Its pull request holds a commit that passed everything."""
        return self.pr is not None and self.proved_sha is not None

    @property
    def stopped(self) -> bool:
        """A replay that has come as far as it should: nobody goes on with it."""
        return self.replay is not None and bool(self.replay.states) and self.state not in self.replay.states
