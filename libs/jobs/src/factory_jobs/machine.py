"""The job machine: one table, and the pure step from a row, an event and the time to a move.

Everything that decides about a transition lives here; the file does no I/O and has no clock.

How to read it. A state means *this work is next*; its owner claims the row, does the work and says how it ended.
A fault of ours is tried again inside the state (`attempt`), work that does not hold goes back to the agent (`round`),
and every other way back in enters at `planned`, or at `received` when there is something to plan: a sandbox always
comes up at `base_sha`, and the builder then applies the newest checkpoint. A job whose pull request holds a proved
commit never becomes `failed`: it falls back to that commit, `ready_for_human_review`. Events that a state does not
know are absorbed where they can happen late or twice, and refused where only a bug can send them.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from . import events as ev
from .errors import Failure
from .job import Job, Waiting

MINUTE = 60
HOUR = 60 * MINUTE
TRIES = 3  # of one state, after faults of ours
DEATHS = (
    6  # of one state's worker: it takes whatever else it has in hands with it, and nobody can tell whose fault it was
)
OUTSIDE_TRIES = 12  # after faults of the outside, which pass: about 20 minutes with the waits below
LOSSES = 3  # sandboxes that one request may lose
ANSWER_WITHIN = timedelta(days=7)
REMIND_AFTER = timedelta(days=1)
BACKOFF = (2, 10, 30, 60, 120)  # seconds before the 2nd, 3rd, … try


class State(StrEnum):
    RECEIVED = "received"
    PLANNED = "planned"
    WORKTREE_CREATED = "worktree_created"
    SANDBOX_CREATED = "sandbox_created"
    DEV_ENVIRONMENT_STARTING = "dev_environment_starting"
    DEV_ENVIRONMENT_READY = "dev_environment_ready"
    IMPLEMENTATION_IN_PROGRESS = "implementation_in_progress"
    TESTS_RUNNING = "tests_running"
    BROWSER_VALIDATION_RUNNING = "browser_validation_running"
    VIDEO_RECORDED = "video_recorded"
    PR_OPENED = "pr_opened"
    REVIEW_RUNNING = "review_running"
    READY_FOR_HUMAN_REVIEW = "ready_for_human_review"
    MERGED = "merged"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Role(StrEnum):
    """Who does the work of a state. `person` waits for people, `none` ends."""

    PLANNER = "planner"
    ENVKEEPER = "envkeeper"
    BUILDER = "builder"
    RECORDER = "recorder"
    REVIEWER = "reviewer"
    PERSON = "person"
    NONE = "none"


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table. `within` is the deadline in seconds, counted from the claim."""

    owner: Role
    does: str  # for people who read the table
    say: str  # for the chat, while it lasts
    to: State | None = None  # where `done` leads
    back: State | None = None  # where work that does not hold leads, in its next round
    within: int = 10 * MINUTE
    placed: bool = False  # its work needs the sandbox: losing it leads to `planned`


S, R = State, Role

PHASES: dict[State, Phase] = {
    S.RECEIVED: Phase(
        owner=R.PLANNER,
        does="plan, criteria c1 …",
        say="Planning",
        to=S.PLANNED,
    ),
    S.PLANNED: Phase(
        owner=R.ENVKEEPER,
        does="(plan gate) takes the job on its node: placement, branch named, checkout at base_sha",
        say="Preparing a place for it",
        to=S.WORKTREE_CREATED,
    ),
    S.WORKTREE_CREATED: Phase(
        owner=R.ENVKEEPER,
        does="the sandbox holds the checkout",
        say="Making the sandbox",
        to=S.SANDBOX_CREATED,
        placed=True,
    ),
    S.SANDBOX_CREATED: Phase(
        owner=R.ENVKEEPER,
        does="factory setup",
        say="Setting the repo up",
        to=S.DEV_ENVIRONMENT_STARTING,
        within=30 * MINUTE,
        placed=True,
    ),
    S.DEV_ENVIRONMENT_STARTING: Phase(
        owner=R.ENVKEEPER,
        does="factory start; once per base_sha: smoke and suites of the base",
        say="Starting the app",
        to=S.DEV_ENVIRONMENT_READY,
        within=30 * MINUTE,
        placed=True,
    ),
    S.DEV_ENVIRONMENT_READY: Phase(
        owner=R.BUILDER,
        does="claims; applies the checkpoint where there is one",
        say="The app runs",
        to=S.IMPLEMENTATION_IN_PROGRESS,
        placed=True,
    ),
    S.IMPLEMENTATION_IN_PROGRESS: Phase(
        owner=R.BUILDER,
        does="one agent round, one commit, factory setup + restart + status; no agent where the round's commit exists",
        say="The agent works",
        to=S.TESTS_RUNNING,
        back=S.IMPLEMENTATION_IN_PROGRESS,
        within=60 * MINUTE,
        placed=True,
    ),
    S.TESTS_RUNNING: Phase(
        owner=R.BUILDER,
        does="suites at work_sha",
        say="Running the tests",
        to=S.BROWSER_VALIDATION_RUNNING,
        back=S.IMPLEMENTATION_IN_PROGRESS,
        within=30 * MINUTE,
        placed=True,
    ),
    S.BROWSER_VALIDATION_RUNNING: Phase(
        owner=R.RECORDER,
        does="scenarios, video",
        say="Trying it in a browser",
        to=S.VIDEO_RECORDED,
        back=S.IMPLEMENTATION_IN_PROGRESS,
        within=15 * MINUTE,
        placed=True,
    ),
    S.VIDEO_RECORDED: Phase(
        owner=R.BUILDER,
        does="(risk gate) pushes exactly work_sha, opens or refreshes the pull request, statuses pending; "
        "a base that has moved and conflicts is merged in the next round",
        say="Opening the pull request",
        to=S.PR_OPENED,
        back=S.IMPLEMENTATION_IN_PROGRESS,
        placed=True,
    ),
    S.PR_OPENED: Phase(
        owner=R.REVIEWER,
        does="claims",
        say="The pull request is open",
        to=S.REVIEW_RUNNING,
    ),
    S.REVIEW_RUNNING: Phase(
        owner=R.REVIEWER,
        does="review under its own identity; statuses set; draft → ready",
        say="Reviewing",
        to=S.READY_FOR_HUMAN_REVIEW,
        back=S.IMPLEMENTATION_IN_PROGRESS,
        within=20 * MINUTE,
    ),
    S.READY_FOR_HUMAN_REVIEW: Phase(
        owner=R.PERSON,
        does="a person decides",
        say="Ready for your review",
    ),
    S.MERGED: Phase(owner=R.NONE, does="errands", say="Merged"),
    S.FAILED: Phase(owner=R.NONE, does="errands", say="Failed"),
    S.CANCELLED: Phase(owner=R.NONE, does="errands", say="Cancelled"),
}

TERMINAL = frozenset(s for s, p in PHASES.items() if p.owner is R.NONE)
WORKING = frozenset(s for s, p in PHASES.items() if p.to is not None)
OWNED_BY: dict[Role, tuple[State, ...]] = {r: tuple(s for s, p in PHASES.items() if p.owner is r) for r in R}
NODE_ROLES = frozenset({R.ENVKEEPER, R.BUILDER, R.RECORDER})  # these work where the sandbox is


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """Work beside the state, written by the transition's own statement."""

    kind: str  # cleanup | close_pr | reset_sandbox | set_statuses
    data: dict[str, Any] = {}


ERRAND_OWNER: dict[str, Role] = {
    "cleanup": R.ENVKEEPER,
    "reset_sandbox": R.ENVKEEPER,
    "close_pr": R.BUILDER,
    "set_statuses": R.BUILDER,
}


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the store writes in one statement. `set` are columns; `delay` seconds until the next claim."""

    to: State
    set: dict[str, Any] = {}
    errands: tuple[Errand, ...] = ()
    fence: bool = False  # epoch + 1: whoever holds the lease is out
    release: bool = False  # the lease is handed back even where the same role goes on
    delay: float = 0
    if_unread: Move | None = None  # written instead where a message of a person is unread
    drop_unread: bool = False  # unread messages are taken back with the work that they were about


class Illegal(Exception):
    """The table has no such move."""


def decide(job: Job, event: ev.Event, now: datetime) -> Move | None:
    """The move that the event makes; None where it is absorbed. Raises Illegal and changes nothing.

    Pure: the same row, event and time give the same move.
    """
    match event:
        case ev.Noted():
            return Move(to=State(job.state), set=dict(event.facts))
        case ev.Merged() | ev.Closed() | ev.Reopened() | ev.PersonPushed():
            return _forge(job, event, now)
        case ev.FollowUp() | ev.Cancel() | ev.Retry() | ev.Answered():
            return _people(job, event)
        case ev.LeaseExpired() | ev.DeadlinePassed() | ev.Reminded() | ev.Unanswered() | ev.PreviewOver():
            return _swept(job, event)
        case ev.SandboxLost():
            return _lost(job, event)
        case _:
            return _outcome(job, event, now)


# ── the owner's outcomes ──────────────────────────────────────────────────────


def _outcome(job: Job, event: ev.Event, now: datetime) -> Move | None:
    state = State(job.state)
    phase = PHASES[state]
    if state not in WORKING:
        raise Illegal(f"{event.kind} in {state}")
    match event:
        case ev.Done():
            return _done(job, phase, event)
        case ev.FellBack():
            return _fell_back(job, phase, event, now)
        case ev.Faulted():
            return _again(job, event.failure, delay=event.delay, facts=event.facts)
        case ev.GaveUp():
            return _end(job, event.failure, facts=event.facts)
        case ev.Asked():
            waiting = Waiting(kind=event.ask, asks=event.asks, since=now, sha=event.sha, options=event.options)
            return Move(to=state, set={**event.facts, "waiting": waiting}, release=True)
        case ev.HandedBack():
            return Move(to=state, set=dict(event.facts), release=True)
    raise Illegal(f"{event.kind} in {state}")


def _done(job: Job, phase: Phase, event: ev.Done) -> Move:
    assert phase.to is not None
    changes: dict[str, Any] = {**event.facts, "attempt": 1, "failure": None}
    match State(job.state):
        case S.RECEIVED:
            changes["planned_no"] = job.request_no
        case S.DEV_ENVIRONMENT_READY:
            changes["round"] = max(job.round, 1)
        case S.IMPLEMENTATION_IN_PROGRESS:
            changes["losses"] = 0  # a place that saw a round through was no bad place
        case S.VIDEO_RECORDED:
            changes |= {"proved_sha": job.work_sha, "verdict": None}
        case S.REVIEW_RUNNING:
            return _to_ready(job, changes | {"verify": False})
    return _on(job, phase.to, changes)


def _on(job: Job, to: State, changes: dict[str, Any]) -> Move:
    """To the next work: the lease is kept where the same role does it."""
    return Move(to=to, set=changes, release=PHASES[to].owner is not PHASES[State(job.state)].owner)


def _fell_back(job: Job, phase: Phase, event: ev.FellBack, now: datetime) -> Move:
    if phase.back is None:
        raise Illegal(f"nothing falls back from {job.state}")
    if job.verify:  # a person's commit never goes to an agent unasked
        asks = Waiting(
            kind="question:red",
            asks="The commit that was pushed does not hold. Shall the agent mend it?",
            since=now,
            sha=job.work_sha or "",
            # left as it is it is still to be looked at in its pull request; without one there is nothing to be left
            options=[["mend", "Mend it"], ["leave", "Leave it"] if job.pr else ["stop", "Stop the job"]],
        )
        changes = {**event.facts, "verify": False, "waiting": asks, "attempt": 1}
        return _to_ready(job, changes, errands=_unfinished(job))
    if job.round >= job.rounds_max:
        return _end(job, out_of_rounds(job, event), facts=event.facts)
    back = phase.back if job.sandbox else S.PLANNED  # it may have been lost in review
    return _on(job, back, {**event.facts, "round": job.round + 1, "attempt": 1})


def out_of_rounds(job: Job, event: ev.FellBack) -> Failure:
    """What the next round would have been told is what a person has to know."""
    return Failure(
        blame="work",
        code="out_of_rounds",
        message=f"It does not hold after {job.round} rounds.",
        stage=job.state,
        log_tail=event.feedback,
        log_url=event.log_url,
        hint="Reply with what to do next." if job.proved else "Retry gives it as many rounds again.",
    )


def _again(
    job: Job,
    failure: Failure,
    *,
    tries: int = TRIES,
    delay: float = 0,
    facts: dict[str, Any] | None = None,
    fence: bool = False,
) -> Move:
    """The same state once more, or the end of the tries."""
    if job.attempt >= (OUTSIDE_TRIES if failure.blame == "outside" else tries):
        return _end(job, failure, facts=facts, fence=fence)
    wait = delay or BACKOFF[min(job.attempt, len(BACKOFF)) - 1]
    changes = {**(facts or {}), "attempt": job.attempt + 1}
    return Move(to=State(job.state), set=changes, delay=wait, release=True, fence=fence)


def _end(job: Job, failure: Failure, *, facts: dict[str, Any] | None = None, fence: bool = False) -> Move:
    """No way on: back to the proved commit where there is one, else failed."""
    changes: dict[str, Any] = {**(facts or {}), "failure": failure, "waiting": None}
    if job.proved:
        return _to_proved(job, changes, fence=fence)
    errands = _cleanups(job) + _unfinished(job)
    return Move(to=S.FAILED, set=changes | _cleanup(job), errands=errands, fence=fence, release=True)


# ── ways to ready, and out of the line ────────────────────────────────────────


def _to_ready(job: Job, changes: dict[str, Any], *, errands: tuple[Errand, ...] = (), fence: bool = False) -> Move:
    """To a person; or, where a message came meanwhile, on with it as the next request."""
    on = Move(to=S.RECEIVED, set=changes | _next_request(job), errands=errands, fence=fence, release=True)
    if job.state == S.RECEIVED:
        on = None  # what the planner could not take up is unread still, and must not bring the job back for ever
    return Move(to=S.READY_FOR_HUMAN_REVIEW, set=changes, errands=errands, fence=fence, release=True, if_unread=on)


def _to_proved(job: Job, changes: dict[str, Any], *, fence: bool = False) -> Move:
    """Later work is dropped; the sandbox shows the proved commit again."""
    reset = (Errand(kind="reset_sandbox", data={"sha": job.proved_sha}),) if job.sandbox else ()
    return _to_ready(job, changes | _at_proved(job), errands=reset + _unfinished(job), fence=fence)


def _unfinished(job: Job) -> tuple[Errand, ...]:
    """Where the forge shows checks of a commit as pending that nobody will end any more, they are set right."""
    shown = job.verify or State(job.state) in {S.PR_OPENED, S.REVIEW_RUNNING}
    return (_statuses(job.work_sha),) if shown else ()


def _statuses(sha: str | None) -> Errand:
    return Errand(kind="set_statuses", data={"sha": sha})


def _at_proved(job: Job) -> dict[str, Any]:
    return {"work_sha": job.proved_sha, "verify": False, "attempt": 1}


def _next_request(job: Job) -> dict[str, Any]:
    return {
        "request_no": job.request_no + 1,
        "round": 0,
        "rounds_max": job.snapshot.get("rounds", 5),
        "attempt": 1,
        "losses": 0,
        "waiting": None,
        "failure": None,
        "verify": False,
    }


def _reenter(to: State, changes: dict[str, Any], *, errands: tuple[Errand, ...] = ()) -> Move:
    begun = {"attempt": 1, "waiting": None, "failure": None, **changes}
    return Move(to=to, set=begun, errands=errands, fence=True, release=True)


def _cleanup(job: Job) -> dict[str, Any]:
    return {"cleanup": "pending" if job.placement is not None else "done"}


def _cleanups(job: Job) -> tuple[Errand, ...]:
    if job.placement is None:
        return ()
    return (Errand(kind="cleanup", data={"placement": job.placement, "node": job.node}),)


def _cancelled(job: Job, *, close: bool) -> Move:
    errands = _cleanups(job)
    if close and job.pr is not None:
        errands += (Errand(kind="close_pr", data={"number": job.pr.number}),)
    changes = {"waiting": None, "failure": None, **_cleanup(job)}
    return Move(to=S.CANCELLED, set=changes, errands=errands, fence=True, release=True, drop_unread=True)


def _stopped(job: Job) -> Move:
    """A person stops the work, and with it what was asked meanwhile."""
    if not job.proved:
        return _cancelled(job, close=True)
    move = _to_proved(job, {"waiting": None, "failure": None}, fence=True)
    return msgspec.structs.replace(move, if_unread=None, drop_unread=True)


# ── the place of the job ──────────────────────────────────────────────────────


def _lost(job: Job, event: ev.SandboxLost) -> Move | None:
    state = State(job.state)
    if state in TERMINAL:
        return Move(to=state, set={"cleanup": "unreachable"}) if job.cleanup == "pending" else None
    if job.sandbox is None and job.placement is None:
        return None
    gone = {"sandbox": None, "placement": None, "node": None}
    errands = _cleanups(job)
    if state is S.PLANNED or not PHASES[state].placed:  # nothing is lost that the work needs now
        return Move(to=state, set=gone, errands=errands)
    failure = Failure(blame="factory", code="sandbox_lost", message=event.reason, stage=state)
    losses = {"losses": job.losses + 1}
    if job.losses + 1 >= LOSSES and job.proved:
        changes = gone | losses | _at_proved(job) | {"failure": failure, "waiting": None}
        return _to_ready(job, changes, errands=errands + _unfinished(job), fence=True)
    if job.losses + 1 >= LOSSES:
        return _end(job, failure, facts=losses, fence=True)
    changes = gone | losses | {"attempt": min(job.attempt + 1, TRIES)}
    return Move(to=S.PLANNED, set=changes, errands=errands, fence=True, release=True)


# ── people ────────────────────────────────────────────────────────────────────


def _people(job: Job, event: ev.FollowUp | ev.Cancel | ev.Retry | ev.Answered) -> Move | None:
    match event:
        case ev.FollowUp():
            return _follow_up(job)
        case ev.Cancel():
            return _cancel(job)
        case ev.Retry():
            return _retry(job)
        case ev.Answered():
            return _answered(job, event)


def _follow_up(job: Job) -> Move | None:
    match State(job.state):
        case S.READY_FOR_HUMAN_REVIEW:
            return _reenter(S.RECEIVED, _next_request(job))
        case S.FAILED:
            return _reenter(S.RECEIVED, _next_request(job) | _fresh_place() | _fresh_base(job))
        case S.MERGED | S.CANCELLED:
            raise Illegal("a message to a job that has ended is a new job")
        case state:
            return Move(to=state)  # a steer: stored unread, given to the agent at the next round's start


def _cancel(job: Job) -> Move | None:
    state = State(job.state)
    if state in TERMINAL:
        return None
    later_work = job.request_no > 1 or job.work_sha != job.proved_sha or PHASES[state].placed
    if state is S.READY_FOR_HUMAN_REVIEW or not later_work:
        return _cancelled(job, close=True)
    return _stopped(job)


def _fresh_place() -> dict[str, Any]:
    return {"placement": None, "sandbox": None, "node": None, "cleanup": None}


def _fresh_base(job: Job) -> dict[str, Any]:
    """Where nothing was made that could be kept, a new try begins at the base branch as it is by then."""
    return {"base_sha": None, "work_sha": None} if job.work_sha in {None, job.base_sha} else {}


def _retry(job: Job) -> Move | None:
    if job.state != S.FAILED:
        return None
    more = job.round + job.snapshot.get("rounds", 5) if job.round >= job.rounds_max else job.rounds_max
    entry = S.PLANNED if job.planned_no == job.request_no else S.RECEIVED
    return _reenter(entry, _fresh_place() | _fresh_base(job) | {"rounds_max": more, "losses": 0})


def _answered(job: Job, event: ev.Answered) -> Move | None:
    waiting, state = job.waiting, State(job.state)
    if waiting is None or waiting.kind != event.ask or (event.sha and event.sha != waiting.sha) or state in TERMINAL:
        return None  # answered already, or the question is gone
    cleared: dict[str, Any] = {**event.facts, "waiting": None}
    match event.ask, event.answer:
        case ("gate:plan" | "gate:risk", "reject") | ("budget", "stop"):
            return _stopped(job)
        case "question:red", "stop":
            return _cancelled(job, close=True)
        case "question:push", "theirs":
            pull = {"pr": msgspec.structs.replace(job.pr, head=waiting.sha)} if job.pr else {}
            return _pushed(job, waiting.sha, pull)
        case ("question:push", "mine") | ("question:red", "mend"):
            return _reenter(S.PLANNED, {"round": job.round + 1, "rounds_max": max(job.rounds_max, job.round + 1)})
    return Move(to=state, set=cleared)


# ── the forge ─────────────────────────────────────────────────────────────────


def _forge(job: Job, event: ev.Merged | ev.Closed | ev.Reopened | ev.PersonPushed, now: datetime) -> Move | None:
    state = State(job.state)
    if isinstance(event, ev.PersonPushed):
        return _person_pushed(job, event.head)
    if job.pr is None:
        return None
    match event:
        case ev.Merged():
            if state in {S.MERGED, S.FAILED}:
                return None
            changes = {"pr": msgspec.structs.replace(job.pr, state="merged", draft=False), "waiting": None}
            if state is S.CANCELLED:  # cleaned or being cleaned
                return Move(to=S.MERGED, set=changes, fence=True, release=True)
            changes |= _cleanup(job)
            return Move(to=S.MERGED, set=changes, errands=_cleanups(job), fence=True, release=True)
        case ev.Closed():
            if state in TERMINAL:
                return None
            move = _cancelled(job, close=False)
            return msgspec.structs.replace(move, set=move.set | {"pr": msgspec.structs.replace(job.pr, state="closed")})
        case ev.Reopened():
            if state is not S.CANCELLED:
                return None
            pr = msgspec.structs.replace(job.pr, state="open", head=event.head)
            if event.head == job.proved_sha:
                return _to_ready(job, {"pr": pr} | _at_proved(job) | _fresh_place())
            return _pushed(job, event.head, {"pr": pr, **_fresh_place()})


def _person_pushed(job: Job, head: str) -> Move | None:
    """At ready, and while a commit of theirs is proved: work of ours is not lost by it, so nothing is asked."""
    proving = job.verify and State(job.state) in WORKING
    if not proving and (job.pr is None or job.state != S.READY_FOR_HUMAN_REVIEW):
        return None  # in mid-round builder meets it when it pushes
    if head == (job.pr.head if job.pr else job.work_sha):
        return None  # known
    pull = {"pr": msgspec.structs.replace(job.pr, head=head)} if job.pr else {}
    if head == job.proved_sha:  # what was pushed after it is taken back
        return _to_proved(job, {**pull, "waiting": None, "failure": None}, fence=True)
    return _pushed(job, head, pull)


def _pushed(job: Job, head: str, changes: dict[str, Any]) -> Move:
    """A person's commit is proved; until then the forge shows its checks as open."""
    return _reenter(S.PLANNED, {"verify": True, "work_sha": head, **changes}, errands=(_statuses(head),))


# ── the sweep ─────────────────────────────────────────────────────────────────


def _swept(job: Job, event: ev.Event) -> Move | None:
    state = State(job.state)
    if state in TERMINAL:
        return None
    match event:
        case ev.LeaseExpired() if state in WORKING and job.lease_owner:
            failure = Failure(blame="factory", code="worker_died", message="its worker died", stage=state)
            wait = (0.001, *BACKOFF)[min(job.attempt, DEATHS) - 1]  # one that kills its workers lets others get on
            return _again(job, failure, tries=DEATHS, delay=wait, fence=True)
        case ev.DeadlinePassed() if state in WORKING and job.lease_owner:
            message = f"{PHASES[state].say}: took longer than {PHASES[state].within} s"
            failure = Failure(blame="factory", code="deadline", message=message, stage=state)
            return _again(job, failure, delay=0.001, fence=True)
        case ev.Reminded() if job.waiting and not job.waiting.reminded:
            return Move(to=state, set={"waiting": msgspec.structs.replace(job.waiting, reminded=True)})
        case ev.Unanswered() if job.waiting:
            if job.proved:
                return _to_proved(job, {"waiting": None}, fence=True)
            return _cancelled(job, close=True)
        case ev.PreviewOver() if state is S.READY_FOR_HUMAN_REVIEW and job.sandbox:
            return Move(to=state, set={"sandbox": None, "placement": None, "node": None}, errands=_cleanups(job))
    return None
