"""Writes `docs/job-states.md` and `docs/asyncapi.yaml` from the table, and compares the lists in `schema.sql` with it.

    python -m factory_jobs.generate           writes
    python -m factory_jobs.generate --check   exits 1 naming what differs, and writes nothing

The arrows are not copied from the code: each is found by asking `decide` what an event does to an example row.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from . import asyncapi, machine, messages
from . import events as ev
from .errors import Failure
from .job import Job, Pull, Sandbox, Waiting
from .machine import ERRAND_OWNER, NODE_ROLES, PHASES, TERMINAL, WORKING, Role, State

TARGET, BUS = Path("docs/job-states.md"), Path("docs/asyncapi.yaml")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LINE = tuple(State)
S = State


# ── example rows ──────────────────────────────────────────────────────────────


def example(state: State, *, later: bool = False, **changes: Any) -> Job:
    """A row as it looks in this state, held by a worker where somebody works.

    In its first request, where nothing is proved before `pr_opened`; or, with `later`, in its second: the pull request
    holds the proved commit of the first, and its place still lives.
    """

    def reached(other: State) -> bool:
        return LINE.index(other) <= LINE.index(state)

    committed, opened = reached(S.TESTS_RUNNING), reached(S.PR_OPENED) and state is not S.FAILED
    facts: dict[str, Any] = {"request_no": 2 if later else 1}
    facts["planned_no"] = facts["request_no"] - (state is S.RECEIVED)
    facts["round"] = 1 if reached(S.IMPLEMENTATION_IN_PROGRESS) else 0
    if later or reached(S.WORKTREE_CREATED):
        facts |= {"node": "n1", "placement": 1, "branch": "factory/jabcdefghij-a-job", "base_sha": "base"}
    if (later or reached(S.SANDBOX_CREATED)) and state not in TERMINAL:
        facts["sandbox"] = Sandbox(provider="local", handle={"pid": 1}, preview="up")
    if later or committed:
        facts["work_sha"] = "second" if later and committed else "first"
    if later or opened:
        facts["proved_sha"] = "second" if later and opened else "first"
        facts["pr"] = Pull(number=7, url="https://forge/7", head=facts["proved_sha"])
    if state in WORKING:
        facts |= {"lease_owner": "worker", "lease_epoch": 3, "lease_until": NOW, "claimed_at": NOW}
    if state in TERMINAL:
        facts["cleanup"] = "done"
    if state is S.FAILED:
        facts["failure"] = Failure(blame="repo", code="setup_failed", message="setup ended with 1", stage="planned")
    row: dict[str, Any] = {
        "id": "jabcdefghij",
        "state": state.value,
        "version": 9,
        "seq": 9,
        "project": "shop",
        "snapshot": {"rounds": 5},
        "repo": "https://forge/shop",
        "title": "A job",
        "next_attempt_at": NOW,
        "created_at": NOW,
        "entered_at": NOW,
    }
    return Job(**(row | facts | changes))


# ── the arrows ────────────────────────────────────────────────────────────────


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that can happen: an event, and what the row is like when it does."""

    says: str  # no colon and no semicolon: a label of Mermaid ends there
    event: ev.Event
    row: dict[str, Any] = {}
    states: Collection[State] = LINE  # where it can happen, if not the event but the row says so
    later: bool = False  # a follow-up is under way
    unread: bool = False  # a message came that nobody has read


def _asked(kind: str) -> dict[str, Any]:
    asked = Waiting(kind=kind, asks="?", since=NOW, sha="theirs")
    return {"waiting": asked, "lease_owner": None, "lease_until": None}


def _answer(says: str, kind: str, answer: str, states: Collection[State] = LINE, later: bool = False) -> Case:
    event = ev.Answered(ask=kind, answer=answer, by="")
    return Case(says=says, event=event, row=_asked(kind), states=states, later=later)


def _both(says: str, event: ev.Event, row: dict[str, Any], states: Collection[State] = LINE) -> list[Case]:
    """The same for a first request and for a follow-up, which has something to fall back to."""
    return [
        Case(says=says, event=event, row=row, states=states),
        Case(says=f"{says}, of a follow-up", event=event, row=row, states=states, later=True),
    ]


_FAULT = ev.Faulted(failure=Failure(blame="factory", code="bug", message=""))
_LAST_TRY, _LAST_ROUND, _LAST_PLACE = {"attempt": machine.TRIES}, {"round": 5}, {"losses": machine.LOSSES - 1}
_STOP = "gate rejected, budget stopped"
_PROVING = {"verify": True, "work_sha": "theirs", "proved_sha": "first", "pr": Pull(number=7, url="", head="theirs")}
_MERGED = Case(says="merged", event=ev.Merged(), later=True)

CASES: dict[str, list[Case]] = {
    "its owner": [
        *_both("does not hold, out of rounds", ev.FellBack(feedback=""), _LAST_ROUND),
        Case(says="a person's commit does not hold", event=ev.FellBack(feedback=""), row={"verify": True}, later=True),
        *_both("cannot go on, or out of tries", _FAULT, _LAST_TRY),
        Case(says="done, and a message is unread", event=ev.Done(), unread=True),
    ],
    "people": [
        Case(says="a reply with a wish", event=ev.FollowUp(by="", text="")),
        *_both("cancel", ev.Cancel(by=""), {}),
        Case(says="retry, with a plan", event=ev.Retry(by="")),
        Case(says="retry, without a plan", event=ev.Retry(by=""), row={"planned_no": 0}),
        _answer(_STOP, "budget", "stop", WORKING),
        _answer(f"{_STOP}, of a follow-up", "budget", "stop", WORKING, later=True),
        _answer("somebody pushed, mine on top", "question:push", "mine", [S.VIDEO_RECORDED]),
        _answer("somebody pushed, theirs", "question:push", "theirs", [S.VIDEO_RECORDED]),
        _answer("a person's commit does not hold, mend it", "question:red", "mend", [S.READY_FOR_HUMAN_REVIEW]),
        _answer("a person's commit does not hold, stop the job", "question:red", "stop", [S.READY_FOR_HUMAN_REVIEW]),
    ],
    "the forge": [
        _MERGED,
        Case(says="closed", event=ev.Closed(), later=True),
        Case(says="reopened at the proved commit", event=ev.Reopened(head="first")),
        Case(says="reopened at another commit", event=ev.Reopened(head="theirs")),
        Case(says="a person pushed", event=ev.PersonPushed(head="theirs")),
        Case(
            says="a person pushed again", event=ev.PersonPushed(head="newer"), row=_PROVING, states=LINE[1:], later=True
        ),
        Case(
            says="a person took a push back",
            event=ev.PersonPushed(head="first"),
            row=_PROVING,
            states=LINE[1:],
            later=True,
        ),
    ],
    "the sweep": [
        Case(says="sandbox lost", event=ev.SandboxLost(reason="")),
        *_both("a third sandbox lost", ev.SandboxLost(reason=""), _LAST_PLACE),
        *_both("worker died or took too long, out of tries", ev.LeaseExpired(), {"attempt": machine.DEATHS}),
        *_both("nobody answered for 7 days", ev.Unanswered(), _asked("budget"), WORKING),
    ],
}


def arrows(case: Case) -> Iterator[tuple[State, State]]:
    """(from, to) wherever the case moves a job to another state."""
    for state in LINE:
        if state not in case.states:
            continue
        try:
            move = machine.decide(example(state, later=case.later, **case.row), case.event, NOW)
        except machine.Illegal:
            continue
        if move and case.unread:
            move = move.if_unread
        if move and move.to is not state:
            yield state, move.to


def ways(case: Case) -> list[tuple[str, State]]:
    """The arrows of a case as (span of states, to)."""
    by_target: dict[State, list[State]] = {}
    for state, to in arrows(case):
        by_target.setdefault(to, []).append(state)
    return [(_span(states), to) for to, states in by_target.items()]


def _span(states: list[State]) -> str:
    """The names, three in a row and more as `received … video_recorded`."""
    runs: list[list[State]] = []
    for state in states:
        if runs and LINE.index(state) == LINE.index(runs[-1][-1]) + 1:
            runs[-1].append(state)
        else:
            runs.append([state])
    return ", ".join(f"{run[0]} … {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


# ── the page ──────────────────────────────────────────────────────────────────

HEAD = """# Job states

Generated from `libs/jobs/src/factory_jobs/machine.py` by `python -m factory_jobs.generate`; `make check` compares.

A state means *this work is next*. Its owner claims the job, does the work and says how it ended: **done** leads on,
work that **does not hold** leads to the agent's next round, and after a **fault** the same state is tried again.
"""


def page() -> str:
    return "\n\n".join(part.strip() for part in (HEAD, _states(), _line(), _ways(), _errands(), _bus())) + "\n"


def _table(head: str, rows: Iterable[Iterable[Any]]) -> str:
    rule = "|" + " --- |" * len(head.split(" | "))
    return "\n".join([f"| {head} |", rule, *("| " + " | ".join(map(str, row)) + " |" for row in rows)])


def _mermaid(direction: str, lines: Iterable[str]) -> str:
    return "\n".join(
        ["```mermaid", "stateDiagram-v2", f"    direction {direction}", *(f"    {x}" for x in lines), "```"]
    )


def _code(name: str | None) -> str:
    return f"`{name}`" if name else ""


def _states() -> str:
    rows = []
    for state, p in PHASES.items():
        owner = p.owner if p.owner is not Role.NONE else ""
        limits = (f"{p.within // 60} min", machine.TRIES) if state in WORKING else ("", "")
        rows.append((_code(state), owner, p.does, _code(p.to), _code(p.back), *limits))
    kept = [s for s in LINE if (p := PHASES[s]).to and PHASES[p.to].owner is p.owner]
    return f"""## States

{_table("state | owner | does | done | does not hold | deadline | tries", rows)}

Deadlines count from the claim, or from the entry where the lease was kept: so that a job does not queue, its owner keeps
it when it is done with {", ".join(map(_code, kept))}.
Tries are counted after faults of ours; a fault of the outside is waited out, with {machine.OUTSIDE_TRIES} tries in all. A
worker that dies takes all its jobs with it, whosever fault it was: each has {machine.DEATHS} tries then. A worker that is
told to stop hands its jobs back, which is no try."""


def _line() -> str:
    lines = ["[*] --> received"]
    lines += [f"{s} --> {p.to}: {p.owner}" for s, p in PHASES.items() if p.to]
    lines += [f"{s} --> {p.back}: does not hold" for s, p in PHASES.items() if p.back]
    lines += [f"{s} --> {to}: merged" for s, to in arrows(_MERGED) if PHASES[s].owner is Role.PERSON]
    return f"## The line\n\n{_mermaid('TB', lines)}"


def _ways() -> str:
    parts = "\n\n".join(_ways_by(by, cases) for by, cases in CASES.items())
    return f"""## Every other way

Found by asking the machine what each event does in each state; where nothing stands here, it moves no job to another
state. A holder that did not say so itself is fenced. *Of a follow-up* means that the pull request holds a commit that
passed everything: such a job never becomes `failed`. Where work ends at `ready_for_human_review` and a message is
unread, the same statement leads on to `received`, as the next request; who stops the work takes such messages back.

{parts}"""


def _ways_by(by: str, cases: list[Case]) -> str:
    rows = [(case.says, start, to) for case in cases for start, to in ways(case)]
    labels: dict[tuple[str, State], list[str]] = {}
    for says, start, to in rows:
        labels.setdefault((start, to), []).append(says)
    spans = {
        start: f"span{n}" for n, start in enumerate(dict.fromkeys(start for start, _ in labels)) if start not in LINE
    }
    lines = [f'state "{start}" as {name}' for start, name in spans.items()]
    lines += [f"{spans.get(start, start)} --> {to}: {'<br/>'.join(says)}" for (start, to), says in labels.items()]
    return f"""### Said by {by}

{_table("what happens | from | to", [(says, start, _code(to)) for says, start, to in rows])}

{_mermaid("LR", lines)}"""


def _errands() -> str:
    does = {
        "cleanup": "everything of a placement goes; the row says how it went",
        "reset_sandbox": "later work was dropped, so the sandbox shows the proved commit again",
        "close_pr": "the pull request of a cancelled job is closed",
        "set_statuses": "what the forge says of a commit is what the records say",
    }
    rows = [(_code(kind), owner, does[kind]) for kind, owner in ERRAND_OWNER.items()]
    return f"""## Errands

Work beside the state, written by the transition's own statement, claimed and swept like jobs.

{_table("errand | owner | does", rows)}"""


def _bus() -> str:
    node = "<node>"
    rows = []
    for role in dict.fromkeys(PHASES[s].owner for s in LINE if s in WORKING):
        place = node if role in NODE_ROLES else None
        for name, subjects in (
            (messages.durable(role, place), messages.filters(role, place)),
            (f"{messages.durable(role, place)}-errands", messages.errand_filters(role, place)),
        ):
            if subjects:
                rows.append((_code(name), "<br>".join(map(_code, subjects))))
    return f"""## Subjects and durables

Stream `{messages.STREAM}` on {", ".join(map(_code, messages.SUBJECTS))}, kept for {messages.KEEP // 86400} days. A message is a
hint, `{", ".join(messages.Hint.__struct_fields__)}`, and can be made again from the row.
A job's node is `{messages.ANY}` until it has a place. {_code(messages.control_subject("<job_id>"))}, without a stream,
tells a holder that the row has changed.

{_table("durable | hears", rows)}"""


# ── the check lists ───────────────────────────────────────────────────────────


def wrong_lists(schema: str) -> list[str]:
    """What a check of `schema.sql` lists and the code does not, or the other way round."""
    lists = {
        ("jobs", "state"): [str(s) for s in State],
        ("job_events", "kind"): list(ev.KINDS),
        ("errands", "kind"): list(ERRAND_OWNER),
    }
    found: list[str] = []
    for (table, column), of_code in lists.items():
        of_schema = _check_list(schema, table, column)
        found += [f"schema.sql: {table}.{column} lacks '{x}'" for x in of_code if x not in of_schema]
        found += [f"schema.sql: {table}.{column} knows '{x}', the code does not" for x in of_schema if x not in of_code]
    return found


def _check_list(schema: str, table: str, column: str) -> list[str]:
    body = re.search(rf"^CREATE TABLE {table} \((.*?)^\);", schema, re.M | re.S)
    check = re.search(rf"^\s+{column}\s+text NOT NULL CHECK \({column} IN \(([^)]*)\)", body[1], re.M) if body else None
    return re.findall(r"'(\w+)'", check[1]) if check else []


# ── the command ───────────────────────────────────────────────────────────────


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m factory_jobs.generate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 where something differs")
    check = parser.parse_args(argv).check
    if not TARGET.parent.is_dir():
        sys.stderr.write(f"{TARGET.parent}/ is not here: run it at the root of the repository\n")
        return 2
    problems = wrong_lists(files("factory_jobs").joinpath("sql/schema.sql").read_text())
    for target, wanted in ((TARGET, page()), (BUS, asyncapi.text())):
        if not check:
            target.write_text(wanted)
        elif wanted != (found := target.read_text() if target.exists() else ""):
            problems.append(f"{target} is not what the code says: run python -m factory_jobs.generate")
            lines = found.splitlines(), wanted.splitlines()
            problems += difflib.unified_diff(*lines, str(target), "generated", lineterm="", n=0)
    sys.stderr.writelines(f"{problem}\n" for problem in problems)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
