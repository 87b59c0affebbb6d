"""The machine against the design: every state with every event, and each way back in, step by step.

What is expected is written out here, never computed from the machine, so that a change of the table shows.
"""

import random
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from factory_jobs import events as ev
from factory_jobs import machine
from factory_jobs.errors import Failure
from factory_jobs.generate import example
from factory_jobs.job import Job, Pull, Sandbox, Waiting
from factory_jobs.machine import Errand, Illegal, Move, State, decide

S = State
NOW = datetime(2026, 1, 2, tzinfo=UTC)
OURS = Failure(blame="factory", code="bug", message="it broke")
THEIRS = Failure(blame="outside", code="github_down", message="502")
REPO = Failure(blame="repo", code="setup_failed", message="exit 1")

RECEIVED_TO_VIDEO = list(State)[:10]
WORK = list(State)[:12]
LIVE = list(State)[:13]
ENDED = [S.MERGED, S.FAILED, S.CANCELLED]
PLACED = list(State)[2:10]
PLACE = Errand(kind="cleanup", data={"placement": 1, "node": "n1"})
CLOSE = Errand(kind="close_pr", data={"number": 7})


def statuses(sha: str) -> Errand:
    """What the forge says of this commit is set right."""
    return Errand(kind="set_statuses", data={"sha": sha})


NO_PLACE = {"sandbox": None, "placement": None, "node": None}
DEAD = machine.DEATHS


def back_to(job: Job) -> tuple[Errand, ...]:
    """The sandbox is put back; where the forge waits for a review that will not come, it is told."""
    reset = Errand(kind="reset_sandbox", data={"sha": job.proved_sha})
    return (reset, statuses(job.work_sha or "")) if job.state in {"pr_opened", "review_running"} else (reset,)


def step(job: Job, event: ev.Event) -> Move:
    """The move, where there has to be one."""
    move = decide(job, event, NOW)
    assert move is not None, f"{event.kind} was absorbed in {job.state}"
    return move


# ── every state × every event ─────────────────────────────────────────────────

EVENTS: dict[str, ev.Event] = {
    "done": ev.Done(),
    "fell_back": ev.FellBack(feedback="red"),
    "faulted": ev.Faulted(failure=OURS),
    "gave_up": ev.GaveUp(failure=REPO),
    "asked": ev.Asked(ask="budget", asks="More?"),
    "handed_back": ev.HandedBack(),
    "sandbox_lost": ev.SandboxLost(reason="its node is gone"),
    "noted": ev.Noted(note="a fact"),
    "follow_up": ev.FollowUp(by="ann", text="also blue"),
    "cancel": ev.Cancel(by="ann"),
    "merged": ev.Merged(),
    "closed": ev.Closed(),
    "reopened": ev.Reopened(head="first"),
    "person_pushed": ev.PersonPushed(head="theirs"),
    "retry": ev.Retry(by="ann"),
    "answered": ev.Answered(ask="budget", answer="more", by="ann"),
    "lease_expired": ev.LeaseExpired(),
    "deadline_passed": ev.DeadlinePassed(),
    "reminded": ev.Reminded(),
    "unanswered": ev.Unanswered(),
    "preview_over": ev.PreviewOver(),
}
CODES = dict(zip("RE PL WC SC DS DR IM TR BV VR PO RR RD ME FA CA".split(), State, strict=True))

# A code: moves there. =: a move that stays. ·: absorbed. x: refused.
FIRST_REQUEST = """
                RE PL WC SC DS DR IM TR BV VR PO RR RD ME FA CA
done            PL WC SC DS DR IM TR BV VR PO RR RD x  x  x  x
fell_back       x  x  x  x  x  x  =  IM IM IM x  IM x  x  x  x
faulted         =  =  =  =  =  =  =  =  =  =  =  =  x  x  x  x
gave_up         FA FA FA FA FA FA FA FA FA FA RD RD x  x  x  x
asked           =  =  =  =  =  =  =  =  =  =  =  =  x  x  x  x
handed_back     =  =  =  =  =  =  =  =  =  =  =  =  x  x  x  x
sandbox_lost    ·  ·  PL PL PL PL PL PL PL PL =  =  =  ·  ·  ·
noted           =  =  =  =  =  =  =  =  =  =  =  =  =  =  =  =
follow_up       =  =  =  =  =  =  =  =  =  =  =  =  RE x  RE x
cancel          CA CA CA CA CA CA CA CA CA CA CA CA CA ·  ·  ·
merged          ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ME ME ME ·  ·  ME
closed          ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  CA CA CA ·  ·  ·
reopened        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  RD
person_pushed   ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  PL ·  ·  ·
retry           ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  PL ·
answered        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
lease_expired   =  =  =  =  =  =  =  =  =  =  =  =  ·  ·  ·  ·
deadline_passed =  =  =  =  =  =  =  =  =  =  =  =  ·  ·  ·  ·
reminded        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
unanswered      ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
preview_over    ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  =  ·  ·  ·
"""

# The same while a follow-up is under way: the pull request holds the proved commit of the first request.
# No job here is failed: what would fail goes back to the proved commit.
FOLLOW_UP = """
                RE PL WC SC DS DR IM TR BV VR PO RR RD
done            PL WC SC DS DR IM TR BV VR PO RR RD x
fell_back       x  x  x  x  x  x  =  IM IM IM x  IM x
faulted         =  =  =  =  =  =  =  =  =  =  =  =  x
gave_up         RD RD RD RD RD RD RD RD RD RD RD RD x
asked           =  =  =  =  =  =  =  =  =  =  =  =  x
handed_back     =  =  =  =  =  =  =  =  =  =  =  =  x
sandbox_lost    =  =  PL PL PL PL PL PL PL PL =  =  =
noted           =  =  =  =  =  =  =  =  =  =  =  =  =
follow_up       =  =  =  =  =  =  =  =  =  =  =  =  RE
cancel          RD RD RD RD RD RD RD RD RD RD RD RD CA
merged          ME ME ME ME ME ME ME ME ME ME ME ME ME
closed          CA CA CA CA CA CA CA CA CA CA CA CA CA
reopened        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
person_pushed   ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  PL
retry           ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
answered        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
lease_expired   =  =  =  =  =  =  =  =  =  =  =  =  ·
deadline_passed =  =  =  =  =  =  =  =  =  =  =  =  ·
reminded        ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
unanswered      ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
preview_over    ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  =
"""

# The same while a person has to answer (a budget): the lease was handed back.
WAITING = """
                RE PL WC SC DS DR IM TR BV VR PO RR RD
answered        =  =  =  =  =  =  =  =  =  =  =  =  =
reminded        =  =  =  =  =  =  =  =  =  =  =  =  =
unanswered      CA CA CA CA CA CA CA CA CA CA RD RD =
follow_up       =  =  =  =  =  =  =  =  =  =  =  =  RE
cancel          CA CA CA CA CA CA CA CA CA CA CA CA CA
lease_expired   ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
deadline_passed ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·  ·
sandbox_lost    ·  ·  PL PL PL PL PL PL PL PL =  =  =
"""
FREE = {"lease_owner": None, "lease_until": None, "claimed_at": None}
BUDGET = Waiting(kind="budget", asks="More?", since=NOW)
ROWS = {
    "first request": (FIRST_REQUEST, example),
    "follow-up": (FOLLOW_UP, lambda s: example(s, later=True)),
    "waiting": (WAITING, lambda s: example(s, waiting=BUDGET, **FREE)),
}


def cells() -> list[Any]:
    found = []
    for name, (table, _) in ROWS.items():
        head, *lines = table.strip("\n").splitlines()
        for line in lines:
            event, *row = line.split()
            assert len(row) == len(head.split()), line
            for code, expected in zip(head.split(), row, strict=True):
                found.append(pytest.param(name, CODES[code], event, expected, id=f"{name}: {code} {event}"))
    return found


@pytest.mark.parametrize(("name", "state", "event", "expected"), cells())
def test_every_state_with_every_event(name: str, state: State, event: str, expected: str) -> None:
    """Each pair moves, stays, is absorbed or is refused as the design says, and the row is left as it was."""
    job = ROWS[name][1](state)
    before = msgspec.json.encode(job)
    if expected == "x":
        with pytest.raises(Illegal):
            decide(job, EVENTS[event], NOW)
    else:
        move = decide(job, EVENTS[event], NOW)
        assert move == decide(job, EVENTS[event], NOW), "the step is not pure"
        found = "·" if move is None else "=" if move.to is state else move.to
        assert found == (expected if expected in "·=" else CODES[expected])
    assert msgspec.json.encode(job) == before


def test_the_tables_are_whole() -> None:
    """Every state is a column and every event of `events.py` is a row, so that a new one needs an answer here."""
    kinds = [str(e.__struct_config__.tag) for e in ev.ALL]
    assert list(EVENTS) == kinds
    assert [e.kind for e in EVENTS.values()] == kinds
    lines = FIRST_REQUEST.strip("\n").splitlines()
    assert [CODES[c] for c in lines[0].split()] == list(State)
    assert [line.split()[0] for line in lines[1:]] == kinds
    assert [line.split()[0] for line in FOLLOW_UP.strip("\n").splitlines()[1:]] == kinds


# ── the table itself ──────────────────────────────────────────────────────────

# state, owner, to, back, minutes, needs the sandbox
DESIGN = [
    ("received", "planner", "planned", None, 10, False),
    ("planned", "envkeeper", "worktree_created", None, 10, False),
    ("worktree_created", "envkeeper", "sandbox_created", None, 10, True),
    ("sandbox_created", "envkeeper", "dev_environment_starting", None, 30, True),
    ("dev_environment_starting", "envkeeper", "dev_environment_ready", None, 30, True),
    ("dev_environment_ready", "builder", "implementation_in_progress", None, 10, True),
    ("implementation_in_progress", "builder", "tests_running", "implementation_in_progress", 60, True),
    ("tests_running", "builder", "browser_validation_running", "implementation_in_progress", 30, True),
    ("browser_validation_running", "recorder", "video_recorded", "implementation_in_progress", 15, True),
    ("video_recorded", "builder", "pr_opened", "implementation_in_progress", 10, True),
    ("pr_opened", "reviewer", "review_running", None, 10, False),
    ("review_running", "reviewer", "ready_for_human_review", "implementation_in_progress", 20, False),
    ("ready_for_human_review", "person", None, None, None, False),
    ("merged", "none", None, None, None, False),
    ("failed", "none", None, None, None, False),
    ("cancelled", "none", None, None, None, False),
]


@pytest.mark.parametrize("row", DESIGN, ids=lambda row: row[0])
def test_every_state_has_its_row(row: tuple[Any, ...]) -> None:
    """Owner, way on, way back, deadline and whether the sandbox is needed are those of the design."""
    state, owner, to, back, minutes, placed = row
    phase = machine.PHASES[State(state)]
    assert (phase.owner, phase.to, phase.back, phase.placed) == (owner, to, back, placed)
    assert minutes is None or phase.within == minutes * 60
    assert phase.say
    assert phase.does


def test_the_states_are_sixteen_and_reachable() -> None:
    """No state is missing or extra, and each is reached from `received` by some event."""
    assert [s.value for s in State] == [row[0] for row in DESIGN] == [s.value for s in machine.PHASES]
    assert sorted(machine.TERMINAL) == sorted(ENDED)
    reached, edge = {S.RECEIVED}, [S.RECEIVED]
    while edge:
        job = example(edge.pop())
        for event in EVENTS.values():
            try:
                move = decide(job, event, NOW)
            except Illegal:
                continue
            if move and move.to not in reached:
                reached.add(move.to)
                edge.append(move.to)
    assert reached == set(State)


def test_errands_have_owners() -> None:
    """The four errands, each with the role that does it."""
    assert machine.ERRAND_OWNER == {
        "cleanup": "envkeeper",
        "reset_sandbox": "envkeeper",
        "close_pr": "builder",
        "set_statuses": "builder",
    }


# ── the line ──────────────────────────────────────────────────────────────────


def test_the_lease_is_kept_only_where_the_same_role_goes_on() -> None:
    """Done hands the lease back exactly where the owner changes, and never fences."""
    kept = {s for s in WORK if not step(example(s), ev.Done()).release}
    assert kept == {
        S.PLANNED,
        S.WORKTREE_CREATED,
        S.SANDBOX_CREATED,
        S.DEV_ENVIRONMENT_READY,
        S.IMPLEMENTATION_IN_PROGRESS,
        S.PR_OPENED,
    }
    kept = {s: not step(example(s), ev.FellBack(feedback="red")).release for s in BACK}
    assert kept == {
        S.IMPLEMENTATION_IN_PROGRESS: True,
        S.TESTS_RUNNING: True,
        S.BROWSER_VALIDATION_RUNNING: False,
        S.VIDEO_RECORDED: True,
        S.REVIEW_RUNNING: False,
    }
    assert not any(step(example(s), ev.Done()).fence for s in WORK)


@pytest.mark.parametrize("later", [False, True])
def test_what_goes_well_leaves_no_errand(later: bool) -> None:
    """After Done and Noted the chassis does not ask whether there is one."""
    for state in WORK:
        done = step(example(state, later=later), ev.Done())
        assert done.errands == () and (done.if_unread is None or done.if_unread.errands == ())
    for state in State:
        assert step(example(state, later=later), ev.Noted(facts={"cleanup": "done"})).errands == ()


@pytest.mark.parametrize("state", WORK)
def test_done_carries_the_facts_and_begins_the_next_state_at_its_first_try(state: State) -> None:
    """Facts are written with the move; the next state's tries begin anew and an old failure is gone."""
    move = step(example(state, attempt=3, failure=OURS), ev.Done(facts={"branch": "b"}))
    assert (move.set["branch"], move.set["attempt"], move.set["failure"]) == ("b", 1, None)


def test_what_single_states_add_when_they_are_done() -> None:
    """The plan's number, the first round, the proof of exactly `work_sha`, and the end of `verify`."""
    assert step(example(S.RECEIVED, later=True), ev.Done()).set["planned_no"] == 2
    assert step(example(S.DEV_ENVIRONMENT_READY), ev.Done()).set["round"] == 1
    assert step(example(S.DEV_ENVIRONMENT_READY, round=3), ev.Done()).set["round"] == 3
    proved = step(example(S.VIDEO_RECORDED, later=True, verdict="approved"), ev.Done()).set
    assert (proved["proved_sha"], proved["verdict"]) == ("second", None)
    assert step(example(S.REVIEW_RUNNING, verify=True), ev.Done()).set["verify"] is False
    assert step(example(S.IMPLEMENTATION_IN_PROGRESS, losses=2), ev.Done()).set["losses"] == 0


def test_noted_changes_facts_only() -> None:
    """A note keeps state, lease and tries."""
    move = step(example(S.TESTS_RUNNING), ev.Noted(facts={"cleanup": "done"}))
    assert move == Move(to=S.TESTS_RUNNING, set={"cleanup": "done"})


# ── faults and tries ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", WORK)
def test_our_fault_is_tried_three_times(state: State) -> None:
    """Twice again with growing waits in the same state, then the job ends."""
    waits = []
    for attempt in (1, 2):
        move = step(example(state, attempt=attempt), ev.Faulted(failure=OURS))
        assert (move.to, move.set["attempt"], move.release, move.fence) == (state, attempt + 1, True, False)
        waits.append(move.delay)
    assert waits == [2, 10]
    last = step(example(state, attempt=3), ev.Faulted(failure=OURS))
    assert last.to is (S.READY_FOR_HUMAN_REVIEW if state in {S.PR_OPENED, S.REVIEW_RUNNING} else S.FAILED)
    assert last.set["failure"] == OURS


def test_a_fault_of_the_outside_is_waited_out() -> None:
    """Twelve tries with waits to two minutes, about 16 minutes together, before the job ends."""
    waits = [
        step(example(S.VIDEO_RECORDED, attempt=n), ev.Faulted(failure=THEIRS)).delay
        for n in range(1, machine.OUTSIDE_TRIES)
    ]
    assert waits == [2, 10, 30, 60] + [120] * 7
    end = step(example(S.VIDEO_RECORDED, attempt=12), ev.Faulted(failure=THEIRS))
    assert (end.to, end.set["failure"]) == (S.FAILED, THEIRS)


def test_the_outside_may_say_how_long_to_wait() -> None:
    """A delay that came with the fault is kept to."""
    assert step(example(S.VIDEO_RECORDED), ev.Faulted(failure=THEIRS, delay=77)).delay == 77


@pytest.mark.parametrize("state", WORK)
def test_a_hand_back_is_no_try(state: State) -> None:
    """SIGTERM hands the lease back at once, with what was saved, and counts nothing."""
    move = step(example(state, attempt=2), ev.HandedBack(facts={"work_sha": "half"}))
    assert move == Move(to=state, set={"work_sha": "half"}, release=True)


@pytest.mark.parametrize("event", [ev.LeaseExpired(), ev.DeadlinePassed()], ids=lambda e: e.kind)
@pytest.mark.parametrize("state", WORK)
def test_a_dead_or_late_worker_costs_a_try_and_is_fenced(state: State, event: ev.Event) -> None:
    """The next try begins at once, under a higher epoch; there is an end to it."""
    move = step(example(state), event)
    assert (move.to, move.set, move.fence, move.release) == (state, {"attempt": 2}, True, True)
    assert move.delay < 0.1
    end = step(example(state, attempt=DEAD if isinstance(event, ev.LeaseExpired) else 3), event)
    assert end.to in {S.FAILED, S.READY_FOR_HUMAN_REVIEW}
    assert end.fence
    assert end.set["failure"].code == ("deadline" if isinstance(event, ev.DeadlinePassed) else "worker_died")


def test_a_worker_that_dies_takes_others_with_it() -> None:
    """Six tries, with a longer pause before each: what shares a process with a job that kills it gets on in between."""
    moves = [step(example(S.TESTS_RUNNING, attempt=n), ev.LeaseExpired()) for n in range(1, DEAD + 1)]
    assert [m.to for m in moves] == [S.TESTS_RUNNING] * 5 + [S.FAILED]
    assert [m.delay for m in moves[1:5]] == [2, 10, 30, 60]


@pytest.mark.parametrize("event", [ev.LeaseExpired(), ev.DeadlinePassed()], ids=lambda e: e.kind)
def test_a_lease_that_nobody_holds_cannot_expire(event: ev.Event) -> None:
    """The second of two sweepers that found the same lease changes nothing."""
    assert decide(example(S.TESTS_RUNNING, **FREE), event, NOW) is None


@pytest.mark.parametrize("state", RECEIVED_TO_VIDEO)
def test_what_the_repo_cannot_do_fails_the_job(state: State) -> None:
    """Without a proved commit: failed, with its failure, and a cleanup of the place that there is."""
    job = example(state)
    move = step(job, ev.GaveUp(failure=REPO))
    assert (move.to, move.set["failure"], move.release) == (S.FAILED, REPO, True)
    assert (move.set["cleanup"], move.errands) == (("pending", (PLACE,)) if job.placement else ("done", ()))


@pytest.mark.parametrize("state", WORK)
@pytest.mark.parametrize(
    "event",
    [ev.GaveUp(failure=REPO), ev.Faulted(failure=OURS), ev.LeaseExpired(), ev.DeadlinePassed()],
    ids=lambda e: e.kind,
)
def test_a_proved_commit_never_fails(state: State, event: ev.Event) -> None:
    """Whatever ends later work leads to a person, at the proved commit, with the reason and the sandbox put back."""
    job = example(state, later=True, attempt=DEAD if isinstance(event, ev.LeaseExpired) else 3)
    move = step(job, event)
    assert move.to is S.READY_FOR_HUMAN_REVIEW
    assert (move.set["work_sha"], move.set["verify"], move.set["attempt"]) == (job.proved_sha, False, 1)
    assert move.set["failure"].code in {"setup_failed", "bug", "worker_died", "deadline"}
    assert move.errands == back_to(job)


# ── rounds ────────────────────────────────────────────────────────────────────

BACK = [
    S.IMPLEMENTATION_IN_PROGRESS,
    S.TESTS_RUNNING,
    S.BROWSER_VALIDATION_RUNNING,
    S.VIDEO_RECORDED,
    S.REVIEW_RUNNING,
]


@pytest.mark.parametrize("state", BACK)
def test_work_that_does_not_hold_goes_to_the_agents_next_round(state: State) -> None:
    """The round is counted, the tries begin anew, facts are kept."""
    move = step(example(state, round=2, attempt=2), ev.FellBack(feedback="red", facts={"work_sha": "w"}))
    assert move.to is S.IMPLEMENTATION_IN_PROGRESS
    assert move.set == {"work_sha": "w", "round": 3, "attempt": 1}


@pytest.mark.parametrize("state", BACK[:4])
def test_out_of_rounds_without_proof_fails_with_an_offer(state: State) -> None:
    """The fifth round that does not hold is the last; the failure is the work's, says what was red, and offers more."""
    move = step(example(state, round=5), ev.FellBack(feedback="red", log_url="http://log", facts={"work_sha": "w"}))
    failure = move.set["failure"]
    assert (move.to, failure.blame, failure.code, failure.stage) == (S.FAILED, "work", "out_of_rounds", state)
    assert (failure.log_tail, failure.log_url) == ("red", "http://log")
    assert "5 rounds" in failure.message
    assert "Retry" in failure.hint
    assert (move.set["work_sha"], move.errands) == ("w", (PLACE,))


@pytest.mark.parametrize("state", BACK[:4])
def test_out_of_rounds_of_a_follow_up_is_ready_at_the_proved_commit(state: State) -> None:
    """What was not proved is dropped; the offer is one that a ready job can take."""
    move = step(example(state, later=True, round=5), ev.FellBack(feedback="red", facts={"work_sha": "w"}))
    assert (move.to, move.set["work_sha"]) == (S.READY_FOR_HUMAN_REVIEW, "first")
    assert move.set["failure"].code == "out_of_rounds"
    assert "Retry" not in move.set["failure"].hint, "a ready job absorbs retry"
    assert "Reply" in move.set["failure"].hint


@pytest.mark.parametrize("later", [False, True])
def test_out_of_rounds_in_review_is_ready_with_its_verdict(later: bool) -> None:
    """The review's commit is proved, so a person gets it, with *changes requested*."""
    job = example(S.REVIEW_RUNNING, later=later, round=5)
    move = step(job, ev.FellBack(feedback="secrets", facts={"verdict": "changes_requested"}))
    assert (move.to, move.set["verdict"]) == (S.READY_FOR_HUMAN_REVIEW, "changes_requested")
    assert (move.set["work_sha"], move.set["failure"].code) == (job.proved_sha, "out_of_rounds")


def test_a_review_that_sends_back_needs_a_place() -> None:
    """The sandbox may have been lost while the reviewer read: the next round then enters at planned."""
    job = example(S.REVIEW_RUNNING, round=2, sandbox=None, placement=None, node=None)
    move = step(job, ev.FellBack(feedback="secrets", facts={"verdict": "changes_requested"}))
    assert (move.to, move.set["round"], move.release) == (S.PLANNED, 3, True)


# ── re-entry and follow-up ────────────────────────────────────────────────────


def test_a_follow_up_at_ready_is_the_next_request_of_the_same_job() -> None:
    """Same branch, pull request, place and proof; rounds, tries, losses, question and failure begin anew."""
    job = example(S.READY_FOR_HUMAN_REVIEW, round=4, rounds_max=9, losses=2, failure=OURS, waiting=BUDGET, attempt=2)
    move = step(job, ev.FollowUp(by="ann", text="also blue"))
    assert (move.to, move.fence, move.release, move.errands) == (S.RECEIVED, True, True, ())
    assert move.set == {
        "request_no": 2,
        "round": 0,
        "rounds_max": 5,
        "attempt": 1,
        "losses": 0,
        "waiting": None,
        "failure": None,
        "verify": False,
    }


@pytest.mark.parametrize("state", WORK)
def test_a_message_while_work_runs_is_a_steer(state: State) -> None:
    """It changes nothing but the event log: the holder keeps its lease and reads it at the next round's start."""
    assert step(example(state), ev.FollowUp(by="ann", text="also blue")) == Move(to=state)


def test_a_reply_to_a_failed_job_retries_it_with_that_text() -> None:
    """A new request, planned anew, in a new place."""
    move = step(example(S.FAILED, round=5), ev.FollowUp(by="ann", text="use node 20"))
    assert move.to is S.RECEIVED
    assert move.set.items() >= {"request_no": 2, "round": 0, "failure": None, "cleanup": None, **NO_PLACE}.items()


@pytest.mark.parametrize("state", [S.MERGED, S.CANCELLED])
def test_a_reply_to_an_ended_job_is_refused(state: State) -> None:
    """The caller makes a new job of it."""
    with pytest.raises(Illegal, match="new job"):
        decide(example(state), ev.FollowUp(by="ann", text="also blue"), NOW)


WAYS_TO_READY = {
    "the review holds": (example(S.REVIEW_RUNNING), ev.Done()),
    "out of rounds": (example(S.TESTS_RUNNING, later=True, round=5), ev.FellBack(feedback="red")),
    "out of rounds in review": (example(S.REVIEW_RUNNING, round=5), ev.FellBack(feedback="red")),
    "out of tries": (example(S.PLANNED, later=True, attempt=3), ev.Faulted(failure=OURS)),
    "the repo cannot": (example(S.SANDBOX_CREATED, later=True), ev.GaveUp(failure=REPO)),
    "worker died": (example(S.TESTS_RUNNING, later=True, attempt=DEAD), ev.LeaseExpired()),
    "too late": (example(S.TESTS_RUNNING, later=True, attempt=3), ev.DeadlinePassed()),
    "three places lost": (example(S.TESTS_RUNNING, later=True, losses=2), ev.SandboxLost(reason="gone")),
    "a person's push is red": (example(S.TESTS_RUNNING, later=True, verify=True), ev.FellBack(feedback="red")),
    "nobody answered": (example(S.TESTS_RUNNING, later=True, waiting=BUDGET, **FREE), ev.Unanswered()),
    "reopened": (example(S.CANCELLED), ev.Reopened(head="first")),
}


@pytest.mark.parametrize("way", WAYS_TO_READY)
def test_every_way_to_ready_looks_for_unread_messages(way: str) -> None:
    """Where a message came meanwhile the same move leads on with it, as the next request, carrying the same facts."""
    job, event = WAYS_TO_READY[way]
    move = step(job, event)
    assert move.to is S.READY_FOR_HUMAN_REVIEW
    unread = move.if_unread
    assert unread is not None
    assert (unread.to, unread.release, unread.fence) == (S.RECEIVED, True, move.fence)
    assert unread.set["request_no"] == job.request_no + 1
    for gone in ("waiting", "failure"):
        assert unread.set[gone] is None
    for fact in ("verdict", "pr", "work_sha", "sandbox"):
        assert unread.set.get(fact) == move.set.get(fact)
    assert unread.if_unread is None


STOPS = {
    "cancelled": (example(S.TESTS_RUNNING, later=True), ev.Cancel(by="ann")),
    "not a change": (example(S.RECEIVED, later=True), ev.Cancel(by="ann")),
    "gate rejected": (
        example(S.PLANNED, later=True, waiting=Waiting(kind="gate:plan", asks="?", since=NOW), **FREE),
        ev.Answered(ask="gate:plan", answer="reject", by="ann"),
    ),
    "budget: stop": (
        example(S.TESTS_RUNNING, later=True, waiting=BUDGET, **FREE),
        ev.Answered(ask="budget", answer="stop", by="ann"),
    ),
}


@pytest.mark.parametrize("stop", STOPS)
def test_a_person_who_stops_the_work_takes_back_what_nobody_has_read(stop: str) -> None:
    """Ready, and not on with the very message that was just cancelled; it does not come up with the next one either."""
    move = step(*STOPS[stop])
    assert (move.to, move.if_unread, move.drop_unread) == (S.READY_FOR_HUMAN_REVIEW, None, True)


@pytest.mark.parametrize(
    "event", [ev.GaveUp(failure=REPO), ev.Faulted(failure=OURS), ev.LeaseExpired()], ids=lambda e: e.kind
)
def test_a_plan_that_fails_does_not_begin_again_by_itself(event: ev.Event) -> None:
    """The message that the planner could not take up is unread still: it must not bring the job back for ever."""
    attempt = DEAD if isinstance(event, ev.LeaseExpired) else 3
    move = step(example(S.RECEIVED, later=True, attempt=attempt), event)
    assert (move.to, move.if_unread, move.drop_unread) == (S.READY_FOR_HUMAN_REVIEW, None, False)


# ── cancel ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", LIVE)
def test_cancel_of_a_first_request(state: State) -> None:
    """Cancelled in every live state: holders are fenced, the place is cleaned, the pull request closed."""
    job = example(state, waiting=BUDGET if state is S.READY_FOR_HUMAN_REVIEW else None)
    move = step(job, ev.Cancel(by="ann"))
    assert (move.to, move.fence, move.release, move.set["waiting"]) == (S.CANCELLED, True, True, None)
    errands = ((PLACE,) if job.placement else ()) + ((CLOSE,) if job.pr else ())
    assert (move.errands, move.set["cleanup"]) == (errands, "pending" if job.placement else "done")


@pytest.mark.parametrize("state", WORK)
def test_cancel_of_later_work_keeps_what_was_proved(state: State) -> None:
    """Ready at the proved commit; the pull request stays open and the place stays, reset."""
    job = example(state, later=True)
    move = step(job, ev.Cancel(by="ann"))
    assert (move.to, move.fence, move.set["work_sha"]) == (S.READY_FOR_HUMAN_REVIEW, True, job.proved_sha)
    assert move.errands == back_to(job)
    assert (move.set["failure"], move.set["waiting"]) == (None, None)


def test_cancel_of_a_round_after_the_review_is_later_work() -> None:
    """The first request has a proved commit as soon as its pull request is open."""
    job = example(
        S.IMPLEMENTATION_IN_PROGRESS, round=2, work_sha="first", proved_sha="first", pr=example(S.PR_OPENED).pr
    )
    assert step(job, ev.Cancel(by="ann")).to is S.READY_FOR_HUMAN_REVIEW


def test_cancel_at_ready_closes_the_pull_request_of_a_follow_up_too() -> None:
    """At ready there is no later work to drop."""
    move = step(example(S.READY_FOR_HUMAN_REVIEW, later=True), ev.Cancel(by="ann"))
    assert (move.to, move.errands) == (S.CANCELLED, (PLACE, CLOSE))


# ── retry ─────────────────────────────────────────────────────────────────────


def test_retry_with_a_plan_enters_at_planned() -> None:
    """New place, first try, no failure; the round it stopped in goes on."""
    move = step(example(S.FAILED, round=2, losses=2, attempt=3), ev.Retry(by="ann"))
    assert (move.to, move.fence, move.release) == (S.PLANNED, True, True)
    assert move.set == {
        **NO_PLACE,
        "cleanup": None,
        "attempt": 1,
        "waiting": None,
        "failure": None,
        "losses": 0,
        "rounds_max": 5,
    }


def test_retry_without_a_plan_enters_at_received() -> None:
    """It failed before this request had a plan."""
    assert step(example(S.FAILED, planned_no=0), ev.Retry(by="ann")).to is S.RECEIVED
    assert step(example(S.FAILED, request_no=2, planned_no=1), ev.Retry(by="ann")).to is S.RECEIVED


def test_retry_out_of_rounds_gives_as_many_again() -> None:
    """As the failure offered."""
    assert step(example(S.FAILED, round=5), ev.Retry(by="ann")).set["rounds_max"] == 10
    job = example(S.FAILED, round=3, rounds_max=3, snapshot={"rounds": 3})
    assert step(job, ev.Retry(by="ann")).set["rounds_max"] == 6


@pytest.mark.parametrize("event", [ev.Retry(by="ann"), ev.FollowUp(by="ann", text="use node 20")], ids=lambda e: e.kind)
@pytest.mark.parametrize("work_sha", [None, "base"])
def test_a_retry_with_nothing_to_keep_takes_the_base_as_it_is(event: ev.Event, work_sha: str | None) -> None:
    """Planner or envkeeper find the base branch's commit of that day; the branch's name is kept."""
    move = step(example(S.FAILED, work_sha=work_sha), event)
    assert (move.set["base_sha"], move.set["work_sha"]) == (None, None)
    assert "branch" not in move.set


@pytest.mark.parametrize("event", [ev.Retry(by="ann"), ev.FollowUp(by="ann", text="use node 20")], ids=lambda e: e.kind)
def test_a_retry_with_a_checkpoint_stays_on_its_base(event: ev.Event) -> None:
    """What the agent made builds on it."""
    move = step(example(S.FAILED), event)
    assert "base_sha" not in move.set
    assert "work_sha" not in move.set


@pytest.mark.parametrize("later", [False, True])
def test_a_base_that_has_moved_and_conflicts_costs_a_round(later: bool) -> None:
    """At the push the work goes back to its next round, under the same lease; the commit stays."""
    job = example(S.VIDEO_RECORDED, later=later, round=2)
    move = step(job, ev.FellBack(feedback="main has moved"))
    assert move == Move(to=S.IMPLEMENTATION_IN_PROGRESS, set={"round": 3, "attempt": 1})


# ── the place is lost ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("state", PLACED)
def test_a_lost_place_enters_at_planned(state: State, later: bool) -> None:
    """Attempt + 1, the place forgotten on the row and cleaned by its errand, the holder fenced."""
    move = step(example(state, later=later), ev.SandboxLost(reason="gone"))
    assert (move.to, move.fence, move.release, move.errands) == (S.PLANNED, True, True, (PLACE,))
    assert move.set == {**NO_PLACE, "losses": 1, "attempt": 2}


def test_a_lost_place_never_counts_beyond_the_tries() -> None:
    """A third try of some state leaves one try of planned."""
    assert step(example(S.TESTS_RUNNING, attempt=3), ev.SandboxLost(reason="gone")).set["attempt"] == 3


@pytest.mark.parametrize("state", [S.PR_OPENED, S.REVIEW_RUNNING, S.READY_FOR_HUMAN_REVIEW])
def test_a_lost_place_that_nobody_needs_leaves_the_state(state: State) -> None:
    """The reviewer goes on under its lease; the row says that there is no preview."""
    move = step(example(state), ev.SandboxLost(reason="gone"))
    assert move == Move(to=state, set=NO_PLACE, errands=(PLACE,))


@pytest.mark.parametrize("state", [S.RECEIVED, S.PLANNED])
def test_a_lost_place_before_it_is_needed_is_forgotten(state: State) -> None:
    """Of a follow-up whose old place dies while it is planned."""
    move = step(example(state, later=True), ev.SandboxLost(reason="gone"))
    assert move == Move(to=state, set=NO_PLACE, errands=(PLACE,))


@pytest.mark.parametrize("state", ENDED)
def test_a_lost_place_of_an_ended_job_is_unreachable(state: State) -> None:
    """Only where its cleanup is still to be done."""
    job = example(state, cleanup="pending")
    assert step(job, ev.SandboxLost(reason="gone")) == Move(to=state, set={"cleanup": "unreachable"})
    for cleanup in ("done", "problem", "unreachable"):
        assert decide(example(state, cleanup=cleanup), ev.SandboxLost(reason="gone"), NOW) is None


def test_a_place_is_lost_once() -> None:
    """The second report of the same loss changes nothing."""
    assert decide(example(S.READY_FOR_HUMAN_REVIEW, **NO_PLACE), ev.SandboxLost(reason="gone"), NOW) is None
    assert decide(example(S.PLANNED), ev.SandboxLost(reason="gone"), NOW) is None


def test_three_lost_places_end_the_request() -> None:
    """Failed without a proved commit, with the place still to be cleaned."""
    move = step(example(S.TESTS_RUNNING, losses=2), ev.SandboxLost(reason="gone"))
    assert (move.to, move.fence, move.errands, move.set["cleanup"]) == (S.FAILED, True, (PLACE,), "pending")
    assert (move.set["failure"].code, move.set["failure"].blame) == ("sandbox_lost", "factory")


def test_three_lost_places_of_a_follow_up_are_ready_without_a_preview() -> None:
    """At the proved commit; there is no sandbox to reset, only a place to clean."""
    move = step(example(S.TESTS_RUNNING, later=True, losses=2), ev.SandboxLost(reason="gone"))
    assert (move.to, move.fence, move.errands) == (S.READY_FOR_HUMAN_REVIEW, True, (PLACE,))
    assert move.set.items() >= {**NO_PLACE, "work_sha": "first"}.items()
    assert move.set["failure"].code == "sandbox_lost"
    assert move.if_unread is not None
    assert move.if_unread.errands == (PLACE,)


# ── a person pushes ───────────────────────────────────────────────────────────


def test_a_push_at_ready_is_proved_without_an_agent() -> None:
    """Planned, with verify, at the person's commit."""
    move = step(example(S.READY_FOR_HUMAN_REVIEW), ev.PersonPushed(head="theirs"))
    assert (move.to, move.fence, move.set["verify"], move.set["work_sha"]) == (S.PLANNED, True, True, "theirs")
    assert move.set["pr"].head == "theirs"
    assert move.errands == (statuses("theirs"),), "its checks are open, and the forge does not show it"


def proving(state: State, **changes: Any) -> Job:
    """While the commit `theirs` of a person is proved, after a job whose proved commit is `first`."""
    facts = {"work_sha": "theirs", "proved_sha": "first", "pr": Pull(number=7, url="u", head="theirs"), "verify": True}
    return example(state, later=True, **facts | changes)


@pytest.mark.parametrize("state", WORK)
def test_a_newer_push_takes_the_place_of_the_one_that_is_proved(state: State) -> None:
    """No work of ours is lost by it, so nobody is asked; the holder is fenced and the newer one is proved."""
    move = step(proving(state), ev.PersonPushed(head="newer"))
    assert (move.to, move.fence, move.set["verify"], move.set["work_sha"]) == (S.PLANNED, True, True, "newer")
    assert (move.set["pr"].head, move.errands) == ("newer", (statuses("newer"),))
    assert decide(proving(state), ev.PersonPushed(head="theirs"), NOW) is None


def test_a_newer_push_before_there_is_a_pull_request() -> None:
    """Of a first request where theirs shall stand: builder meets it when it would open the pull request."""
    job = proving(S.VIDEO_RECORDED, pr=None, proved_sha=None)
    move = step(job, ev.PersonPushed(head="newer"))
    assert (move.to, move.set["work_sha"]) == (S.PLANNED, "newer")
    assert "pr" not in move.set
    assert decide(job, ev.PersonPushed(head="theirs"), NOW) is None


@pytest.mark.parametrize("state", [*WORK, S.READY_FOR_HUMAN_REVIEW])
def test_a_push_that_is_taken_back(state: State) -> None:
    """The branch stands at the proved commit again: so does the job, whatever was asked about the other commit."""
    job = proving(state, verify=state is not S.READY_FOR_HUMAN_REVIEW, waiting=red().waiting, **FREE)
    move = step(job, ev.PersonPushed(head="first"))
    assert (move.to, move.set["work_sha"], move.set["verify"]) == (S.READY_FOR_HUMAN_REVIEW, "first", False)
    assert (move.set["pr"].head, move.set["waiting"], move.fence) == ("first", None, True)
    assert Errand(kind="reset_sandbox", data={"sha": "first"}) in move.errands


def test_a_push_is_told_once() -> None:
    """The head that the row knows already, ours or theirs, is no news, however often the poll sees it."""
    ready = example(S.READY_FOR_HUMAN_REVIEW)
    assert ready.pr is not None
    assert decide(ready, ev.PersonPushed(head="first"), NOW) is None
    theirs = msgspec.structs.replace(ready.pr, head="theirs")
    assert decide(msgspec.structs.replace(ready, pr=theirs), ev.PersonPushed(head="theirs"), NOW) is None


@pytest.mark.parametrize("state", BACK)
def test_a_persons_red_commit_goes_to_the_person(state: State) -> None:
    """Red in the app, the suites, the browser or the review: ready, with the question; no round is begun."""
    job = example(state, later=True, verify=True, work_sha="theirs", round=1)
    move = step(job, ev.FellBack(feedback="red", facts={"verdict": "changes_requested"}))
    assert (move.to, move.set["verify"]) == (S.READY_FOR_HUMAN_REVIEW, False)
    assert "round" not in move.set
    asked = move.set["waiting"]
    assert (asked.kind, asked.sha, asked.since) == ("question:red", "theirs", NOW)
    assert [answer for answer, _ in asked.options] == ["mend", "leave"]
    assert move.errands == (statuses("theirs"),), "what has not run is not pending any more"
    assert "work_sha" not in move.set, "an answer is about the commit that is there"


def red(**changes: Any) -> Job:
    asked = Waiting(kind="question:red", asks="Mend it?", since=NOW, sha="theirs")
    return example(S.READY_FOR_HUMAN_REVIEW, work_sha="theirs", waiting=asked, **changes)


def test_mend_enters_at_planned_with_a_round_more() -> None:
    """Also where the rounds were used up: the person asked for it."""
    move = step(red(round=2), ev.Answered(ask="question:red", answer="mend", by="ann"))
    assert (move.to, move.set["round"], move.set["rounds_max"], move.set["waiting"]) == (S.PLANNED, 3, 5, None)
    move = step(red(round=5), ev.Answered(ask="question:red", answer="mend", by="ann"))
    assert (move.set["round"], move.set["rounds_max"]) == (6, 6)


def test_leave_only_closes_the_question() -> None:
    """The job stays ready as it is."""
    move = step(red(), ev.Answered(ask="question:red", answer="leave", by="ann"))
    assert move == Move(to=S.READY_FOR_HUMAN_REVIEW, set={"waiting": None})


def test_a_red_commit_before_any_pull_request_is_mended_or_ends_the_job() -> None:
    """Left as it is it would be ready with nothing proved and nowhere to be looked at."""
    job = example(S.TESTS_RUNNING, verify=True, work_sha="theirs", round=1)
    assert job.pr is None
    asked = step(job, ev.FellBack(feedback="red")).set["waiting"]
    assert [answer for answer, _ in asked.options] == ["mend", "stop"]
    job = msgspec.structs.replace(job, state=S.READY_FOR_HUMAN_REVIEW, waiting=asked)
    move = step(job, ev.Answered(ask="question:red", answer="stop", by="ann"))
    assert (move.to, [e.kind for e in move.errands]) == (S.CANCELLED, ["cleanup"])


def test_a_green_commit_of_a_person_is_the_new_proof() -> None:
    """On the way it is proved, pushed nowhere else and reviewed like ours; then verify is over."""
    job = example(S.READY_FOR_HUMAN_REVIEW)
    job = written(job, step(job, ev.PersonPushed(head="theirs")))
    assert (job.state, job.verify) == ("planned", True)
    while job.state != S.READY_FOR_HUMAN_REVIEW:
        job = written(job, step(job, ev.Done()))
        assert job.verify == (job.state != S.READY_FOR_HUMAN_REVIEW)
    assert (job.proved_sha, job.work_sha, job.round) == ("theirs", "theirs", 1)


def written(job: Job, move: Move) -> Job:
    """The row after a move, as far as the machine decides it."""
    return msgspec.structs.replace(job, state=move.to.value, **move.set)


PUSHED = Waiting(kind="question:push", asks="What shall stand?", since=NOW, sha="theirs")


@pytest.mark.parametrize("later", [False, True])
def test_a_push_in_mid_round_asks_what_shall_stand(later: bool) -> None:
    """Builder's question keeps the state and hands the lease back."""
    options = [["mine", "Mine on top"], ["theirs", "Theirs"]]
    event = ev.Asked(ask="question:push", asks="What shall stand?", sha="theirs", options=options)
    move = step(example(S.VIDEO_RECORDED, later=later), event)
    waiting = msgspec.structs.replace(PUSHED, options=options)
    assert move == Move(to=S.VIDEO_RECORDED, set={"waiting": waiting}, release=True)


def test_theirs_is_as_a_push_at_ready() -> None:
    """Planned, with verify, at their commit, which the pull request holds."""
    event = ev.Answered(ask="question:push", answer="theirs", by="ann", sha="theirs")
    move = step(example(S.VIDEO_RECORDED, later=True, waiting=PUSHED, **FREE), event)
    assert (move.to, move.set["verify"], move.set["work_sha"], move.set["waiting"]) == (S.PLANNED, True, "theirs", None)
    assert move.set["pr"].head == "theirs"
    first = step(example(S.VIDEO_RECORDED, waiting=PUSHED, **FREE), event)
    assert (first.to, first.set["work_sha"]) == (S.PLANNED, "theirs")
    assert "pr" not in first.set


@pytest.mark.parametrize("state", [S.VIDEO_RECORDED, S.PLANNED])
def test_mine_on_top_is_a_round_more_from_planned(state: State) -> None:
    """The place may have gone while the question was open, so the way in is the one that makes or finds it."""
    event = ev.Answered(ask="question:push", answer="mine", by="ann", sha="theirs")
    move = step(example(state, later=True, round=5, waiting=PUSHED, **FREE), event)
    assert (move.to, move.set["round"], move.set["rounds_max"]) == (S.PLANNED, 6, 6)
    assert "work_sha" not in move.set
    assert "verify" not in move.set


def test_a_push_in_mid_round_is_met_by_builder() -> None:
    """The poll's news is absorbed while work runs."""
    assert decide(example(S.TESTS_RUNNING, later=True), ev.PersonPushed(head="theirs"), NOW) is None


# ── gates, budgets, questions ─────────────────────────────────────────────────


def gated(kind: str, state: State, *, later: bool = False) -> Job:
    return example(state, later=later, waiting=Waiting(kind=kind, asks="?", since=NOW, sha="w"), **FREE)


@pytest.mark.parametrize(("kind", "state"), [("gate:plan", S.PLANNED), ("gate:risk", S.VIDEO_RECORDED)])
def test_gates(kind: str, state: State) -> None:
    """Approved goes on in the state it stopped in; rejected cancels, or keeps what was proved."""
    on = step(gated(kind, state), ev.Answered(ask=kind, answer="approve", by="ann", sha="w"))
    assert on == Move(to=state, set={"waiting": None})
    no = ev.Answered(ask=kind, answer="reject", by="ann", sha="w")
    assert step(gated(kind, state), no).to is S.CANCELLED
    assert step(gated(kind, state, later=True), no).to is S.READY_FOR_HUMAN_REVIEW


def test_budget() -> None:
    """More and no-more-turns go on, with what was granted; stop ends as cancel does."""
    job = gated("budget", S.IMPLEMENTATION_IN_PROGRESS)
    more = step(job, ev.Answered(ask="budget", answer="more", by="ann", facts={"budget": {"usd": 9}}))
    assert more == Move(to=S.IMPLEMENTATION_IN_PROGRESS, set={"budget": {"usd": 9}, "waiting": None})
    assert step(job, ev.Answered(ask="budget", answer="prove", by="ann")).set == {"waiting": None}
    stop = ev.Answered(ask="budget", answer="stop", by="ann")
    assert step(job, stop).to is S.CANCELLED
    assert step(gated("budget", S.IMPLEMENTATION_IN_PROGRESS, later=True), stop).to is S.READY_FOR_HUMAN_REVIEW


def test_an_answer_to_another_question_is_absorbed() -> None:
    """A late or repeated button, of another question or of another commit, changes nothing."""
    job = gated("gate:risk", S.VIDEO_RECORDED)
    assert decide(job, ev.Answered(ask="gate:plan", answer="approve", by="ann"), NOW) is None
    assert decide(job, ev.Answered(ask="gate:risk", answer="approve", by="ann", sha="older"), NOW) is None
    assert decide(written(job, Move(to=S.VIDEO_RECORDED, set={"waiting": None})), EVENTS["answered"], NOW) is None


@pytest.mark.parametrize("state", WORK)
def test_asking_keeps_the_try_and_hands_the_lease_back(state: State) -> None:
    """A question is no fault; its time is Postgres'."""
    event = ev.Asked(ask="budget", asks="More?", sha="w", options=[["more", "More"]], facts={"spent": {"usd": 3}})
    move = step(example(state, attempt=2), event)
    waiting = Waiting(kind="budget", asks="More?", since=NOW, sha="w", options=[["more", "More"]])
    assert move == Move(to=state, set={"spent": {"usd": 3}, "waiting": waiting}, release=True)


def test_a_reminder_is_written_once() -> None:
    """A day later the question is marked; a second reminder is absorbed."""
    job = gated("budget", S.TESTS_RUNNING)
    job = written(job, step(job, ev.Reminded()))
    assert job.waiting is not None
    assert (job.waiting.reminded, job.waiting.since, job.state) == (True, NOW, "tests_running")
    assert decide(job, ev.Reminded(), NOW) is None


@pytest.mark.parametrize("state", LIVE)
def test_a_question_that_nobody_answers(state: State) -> None:
    """Cancelled with its errands; or ready where a proved commit is, for what holds stays."""
    first, later = (example(state, later=n, waiting=BUDGET, **FREE) for n in (False, True))
    move = step(first, ev.Unanswered())
    assert move.to is (S.READY_FOR_HUMAN_REVIEW if first.proved else S.CANCELLED)
    assert move.set["waiting"] is None
    if not first.proved:
        assert move.errands == ((PLACE,) if first.placement else ())
    move = step(later, ev.Unanswered())
    assert (move.to, move.set["waiting"]) == (S.READY_FOR_HUMAN_REVIEW, None)


def test_a_preview_ends() -> None:
    """The stack is cleaned, the job stays ready; the second sweeper finds nothing."""
    job = example(S.READY_FOR_HUMAN_REVIEW)
    move = step(job, ev.PreviewOver())
    assert move == Move(to=S.READY_FOR_HUMAN_REVIEW, set=NO_PLACE, errands=(PLACE,))
    assert decide(written(job, move), ev.PreviewOver(), NOW) is None


# ── the forge ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", LIVE)
def test_merged_in_every_state_that_has_a_pull_request(state: State) -> None:
    """The holder is fenced, the question gone, the place cleaned; without a pull request it cannot be meant."""
    job = example(state, later=True, waiting=BUDGET)
    move = step(job, ev.Merged())
    assert (move.to, move.fence, move.release, move.set["waiting"]) == (S.MERGED, True, True, None)
    assert (move.set["pr"].state, move.set["pr"].draft) == ("merged", False)
    assert (move.errands, move.set["cleanup"]) == ((PLACE,), "pending")
    assert decide(example(state, later=True, pr=None), ev.Merged(), NOW) is None


@pytest.mark.parametrize("cleanup", ["pending", "done", "problem", "unreachable"])
def test_a_cancelled_job_that_is_merged_after_all_keeps_its_cleanup(cleanup: str) -> None:
    """Its cleanup was written when it was cancelled, and is not begun anew without an errand."""
    job = example(S.CANCELLED, cleanup=cleanup)
    after = written(job, step(job, ev.Merged()))
    assert (after.state, after.cleanup, step(job, ev.Merged()).errands) == ("merged", cleanup, ())


@pytest.mark.parametrize("state", LIVE)
def test_closed_in_every_live_state(state: State) -> None:
    """Cancelled as by /cancel, but there is nothing to close."""
    move = step(example(state, later=True), ev.Closed())
    assert (move.to, move.fence, move.errands, move.set["pr"].state) == (S.CANCELLED, True, (PLACE,), "closed")


def test_reopened_at_the_proved_commit_is_ready() -> None:
    """In no place, at that commit, whatever it was at when it was closed."""
    closed = example(S.CANCELLED, later=True, work_sha="half", verify=True, attempt=2, waiting=None)
    move = step(closed, ev.Reopened(head="second"))
    assert move.to is S.READY_FOR_HUMAN_REVIEW
    assert (
        move.set.items() >= {**NO_PLACE, "cleanup": None, "work_sha": "second", "verify": False, "attempt": 1}.items()
    )
    assert (move.set["pr"].state, move.set["pr"].head) == ("open", "second")


def test_reopened_at_another_commit_is_as_a_persons_push() -> None:
    """Planned, with verify, in a new place."""
    move = step(example(S.CANCELLED), ev.Reopened(head="theirs"))
    assert (move.to, move.set["verify"], move.set["work_sha"], move.set["cleanup"]) == (S.PLANNED, True, "theirs", None)
    assert (move.set["pr"].state, move.set["pr"].head) == ("open", "theirs")


# ── random walks ──────────────────────────────────────────────────────────────

# What a move may write; the rest of the row is the store's.
COLUMNS = {
    "title", "node", "placement", "sandbox", "branch", "base_sha", "work_sha", "proved_sha", "pr", "request_no",
    "planned_no", "round", "rounds_max", "attempt", "losses", "verify", "waiting", "cleanup", "failure", "verdict",
    "budget", "spent",
}  # fmt: skip
WAYS_IN = {S.RECEIVED, S.PLANNED}


class Walk:
    """One job's life by chance: its owner works, people and the forge interfere, the sweep finds what it finds.

    The row is written as `job_apply` and `job_claim` write it; what must always hold is checked at every step.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.job = example(S.RECEIVED, snapshot={"rounds": 2}, rounds_max=2, **FREE)
        self.commits = 0
        self.unread = 0
        self.places: set[int] = set()  # made
        self.cleaned: set[int] = set()  # with an errand, or looked at by envkeeper
        self.outside_fault = False
        self.seen: set[tuple[str, str, str]] = set()  # (state, event, state)

    # ── what happens ──

    def event(self) -> ev.Event:
        """Mostly the owner's good outcomes, so that jobs get far; everything else at any time, also where it is late."""
        roll = self.random.random()
        if roll < 0.75 and self.job.state in machine.WORKING and self.job.lease_owner:
            return self.outcome()
        if roll < 0.80 and self.job.waiting:
            return self.answer()
        return self.random.choice([self.outcome, self.outside, self.outside, self.swept, self.answer])()

    def outcome(self) -> ev.Event:
        choose = self.random.random()
        if choose < 0.80:
            return ev.Done(facts=self.facts())
        half = {"work_sha": self.commit()} if self.job.state == "implementation_in_progress" else {}
        made: list[ev.Event] = [
            ev.FellBack(feedback="red", facts=half),
            ev.FellBack(feedback="red"),
            ev.Faulted(failure=OURS),
            ev.Faulted(failure=THEIRS),
            ev.GaveUp(failure=REPO),
            ev.Asked(ask="budget", asks="?"),
            ev.Asked(ask="gate:risk", asks="?", sha=self.job.work_sha or ""),
            ev.Asked(ask="question:push", asks="?", sha=self.commit()),
            ev.HandedBack(facts=half),
            ev.SandboxLost(reason="refused"),
            ev.Noted(facts={"title": "noted"}),
        ]
        return self.random.choice(made)

    def facts(self) -> dict[str, Any]:
        """What the owner of the present state finds or makes."""
        job = self.job
        match job.state:
            case "received":
                return {"base_sha": "base", "title": "planned"}
            case "planned" if job.sandbox is None:
                if job.placement:
                    self.cleaned.add(job.placement)  # envkeeper clears a dead place before it makes the next
                self.places.add(number := len(self.places) + 1)
                return {"node": "n1", "placement": number, "branch": "factory/b", "base_sha": "base", "sandbox": None}
            case "worktree_created":
                return {"sandbox": Sandbox(provider="local", handle={})}
            case "implementation_in_progress" if not job.verify:
                return {"work_sha": self.commit()}
            case "video_recorded":
                return {"pr": Pull(number=7, url="u", head=job.work_sha or "")}
            case "review_running":
                return {"verdict": "approved"}
        return {}

    def commit(self) -> str:
        self.commits += 1
        return f"c{self.commits}"

    def outside(self) -> ev.Event:
        head = self.random.choice(
            [self.job.proved_sha or "c0", self.job.pr.head if self.job.pr else "c0", "other", "newer"]
        )
        made: list[ev.Event] = [
            ev.Cancel(by="ann"), ev.Merged(), ev.Closed(), ev.Reopened(head=head), ev.Reopened(head=head),
            ev.PersonPushed(head=head), ev.Retry(by="ann"), ev.Retry(by="ann"), ev.SandboxLost(reason="unseen"),
            ev.Noted(facts={"cleanup": "done", "sandbox": None} if self.job.state in ENDED else {}),
        ]  # fmt: skip
        if self.random.random() < 0.6:
            self.unread += self.job.state not in {"merged", "cancelled"}
            return ev.FollowUp(by="ann", text="also blue")
        return self.random.choice(made)

    def swept(self) -> ev.Event:
        kinds = [ev.LeaseExpired, ev.DeadlinePassed, ev.Reminded, ev.Unanswered, ev.PreviewOver]
        return self.random.choice(kinds)()

    def answer(self) -> ev.Event:
        asked = self.job.waiting or BUDGET
        answers = ["approve", "reject", "more", "stop", "prove", "mine", "theirs", "mend", "leave", "?"]
        sha = self.random.choice([asked.sha, "", "older"])
        return ev.Answered(ask=asked.kind, answer=self.random.choice(answers), by="ann", sha=sha)

    # ── one step ──

    def step(self) -> None:
        if self.claimable() and self.random.random() < 0.9:
            self.claim()
        event, before = self.event(), self.job
        try:
            move = decide(before, event, NOW)
        except Illegal:
            assert isinstance(event, ev.FollowUp) or event.kind in {e.__struct_config__.tag for e in ev.OUTCOMES}
            return
        if move is not None:
            self.write(event, move)
            self.seen.add((before.state, event.kind, self.job.state))
            self.check_row(event)

    def claimable(self) -> bool:
        return self.job.state in machine.WORKING and not self.job.lease_owner and not self.job.waiting

    def claim(self) -> None:
        owner = machine.PHASES[State(self.job.state)].owner
        if self.job.state == "received":
            self.unread = 0  # the planner takes up everything
        epoch = self.job.lease_epoch + 1
        self.job = msgspec.structs.replace(self.job, lease_owner=owner, lease_epoch=epoch, lease_until=NOW)

    def write(self, event: ev.Event, move: Move) -> None:
        before = self.job
        self.check_move(event, move)
        if move.if_unread is not None and self.unread:
            move = move.if_unread
            self.check_move(event, move)
        if move.drop_unread:
            self.unread = 0
        facts: dict[str, Any] = {"version": before.version + 1, "lease_epoch": before.lease_epoch + move.fence}
        if move.fence or move.release:
            facts |= FREE
        self.cleaned |= {e.data["placement"] for e in move.errands if e.kind == "cleanup"}
        self.job = msgspec.structs.replace(before, state=move.to.value, **(facts | move.set))
        if self.job.state != before.state or self.job.attempt == 1:
            self.outside_fault = False
        self.outside_fault |= isinstance(event, ev.Faulted) and event.failure.blame == "outside"
        self.check_change(event, before)

    # ── what must always hold ──

    def check_move(self, event: ev.Event, move: Move) -> None:
        before = self.job
        assert set(move.set) <= COLUMNS, "a column that job_apply does not write, or that is the store's"
        assert move.delay >= 0
        if move.to is S.READY_FOR_HUMAN_REVIEW and before.state != move.to:
            asked_nothing_more = move.drop_unread or before.state == "received"
            assert (move.if_unread is None) == asked_nothing_more, "a message can get lost on the way to ready"
        same_role = machine.PHASES[move.to].owner is machine.PHASES[State(before.state)].owner
        if move.to.value != before.state and not (move.release or move.fence):
            assert same_role, "the lease was kept by another role"
            assert move.to in machine.WORKING
        if before.lease_owner and move.to.value != before.state and type(event) not in ev.OUTCOMES:
            assert move.fence, "the holder was not fenced"
        for errand in move.errands:
            assert errand.kind in machine.ERRAND_OWNER
            assert errand.kind != "cleanup" or errand.data["placement"] == before.placement

    def check_change(self, event: ev.Event, before: Job) -> None:
        after, phase = self.job, machine.PHASES[State(before.state)]
        assert after.lease_epoch >= before.lease_epoch
        assert before.request_no <= after.request_no <= before.request_no + (after.state == "received")
        if before.proved:
            assert after.state != S.FAILED, "a proved commit has failed"
            assert after.proved, "the proof is gone"
        if after.proved_sha != before.proved_sha:
            assert (before.state, event.kind, after.proved_sha) == ("video_recorded", "done", before.work_sha)
        if isinstance(event, ev.SandboxLost) and after.state not in ENDED:
            assert (after.sandbox, after.placement) == (None, None), "a lost place is still on the row"
        if after.state == before.state:
            return
        on = {phase.to} if isinstance(event, ev.Done) else {phase.back} if isinstance(event, ev.FellBack) else set()
        out = {S.READY_FOR_HUMAN_REVIEW, *ENDED}
        assert State(after.state) in on | out | WAYS_IN, "a way back in that is none"
        if before.state in {S.READY_FOR_HUMAN_REVIEW, *ENDED} and after.state in machine.WORKING:
            assert after.state in WAYS_IN
            assert (after.waiting, after.failure, after.attempt) == (None, None, 1)

    def check_row(self, event: ev.Event) -> None:
        job, state = self.job, State(self.job.state)
        assert 1 <= job.attempt <= (machine.OUTSIDE_TRIES if self.outside_fault else machine.DEATHS)
        assert 0 <= job.round <= job.rounds_max
        assert 0 <= job.losses <= machine.LOSSES
        assert job.planned_no <= job.request_no
        assert not (job.waiting and job.lease_owner), "a job that waits is held"
        assert state in machine.WORKING or job.lease_owner is None
        assert (state in machine.TERMINAL) == (job.cleanup is not None), "a terminal state without its cleanup"
        if state in machine.TERMINAL:
            assert job.waiting is None
            assert self.places <= self.cleaned, "a place that nobody cleans"
        assert self.places <= self.cleaned | {job.placement}, "a place that nobody cleans"
        assert (state is S.FAILED) <= (job.failure is not None)
        assert not (state is S.FAILED and job.proved)
        if machine.PHASES[state].placed:
            assert job.placement is not None
            assert job.node is not None
            assert job.sandbox is not None or state is S.WORKTREE_CREATED, "work in no sandbox"
        if state in {*PLACED[4:], S.PR_OPENED, S.REVIEW_RUNNING}:
            assert job.round >= 1
        if state in {S.PR_OPENED, S.REVIEW_RUNNING}:
            assert job.proved
            assert job.proved_sha == job.work_sha
        if state is S.READY_FOR_HUMAN_REVIEW:
            assert job.proved or (job.waiting and job.waiting.kind == "question:red") or event.kind != "done"
            assert not job.verify


def test_a_thousand_lives() -> None:
    """Whatever happens to a job, in whatever order, it stays a legal one; and chance has been everywhere."""
    seen: set[tuple[str, str, str]] = set()
    for seed in range(1000):
        walk = Walk(seed)
        for _ in range(120):
            try:
                walk.step()
            except AssertionError as e:
                e.add_note(f"seed {seed}: {walk.job}")
                raise
        seen |= walk.seen
    assert {state for _, _, state in seen} == {s.value for s in State}
    assert {kind for _, kind, _ in seen} == {e.kind for e in EVENTS.values()}
    assert {f for f, k, t in seen if k == "cancel" and f != t} >= {s.value for s in LIVE}
    assert {f for f, k, t in seen if k == "done"} == {s.value for s in WORK}
    assert len(seen) > 250
