"""A replay is a fork of a job: a new id, the row as it was when it entered a state, and what was known by then.

Pure; `Store.fork` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from . import fold
from .fold import Event
from .job import Job, Replay
from .machine import OWNED_BY, PHASES, WORKING, Role, State

LINE = (Role.PLANNER, Role.ENVKEEPER, Role.BUILDER, Role.RECORDER, Role.REVIEWER)  # as a job first meets them
FRESH: dict[str, Any] = {
    "version": 1,
    "seq": 1,
    "node": None,
    "placement": None,
    "sandbox": None,
    "attempt": 1,
    "losses": 0,
    "lease_owner": None,
    "lease_epoch": 0,
    "lease_until": None,
    "claimed_at": None,
    "hinted_at": None,
    "hint_no": 0,
    "waiting": None,
    "cleanup": None,
    "failure": None,
}  # what no replay takes over: place, lease, tries, questions


class CannotReplay(Exception):
    """There is nothing to begin with, for the reason given."""


def beginning(job: Job, events: Sequence[Event], state: State | None) -> Event:
    """The event with which the job last entered `state`; None: its first. Raises CannotReplay."""
    if problems := fold.faults(job, events):
        raise CannotReplay(f"the log of {job.id} is not whole: {problems[0]}")
    if state is None:
        return events[0]
    if state not in WORKING:
        raise CannotReplay(f"nothing is worked on in {state}; begin at one of: {', '.join(sorted(WORKING))}")
    entered = [e for e in events if e["to"] == state and enters(e)]
    if not entered:
        raise CannotReplay(f"{job.id} has never been in {state}")
    return entered[-1]


def enters(event: Event) -> bool:
    """Whether the event begins a stay in a state: the same state again, too, where work fell back."""
    return event["from"] != event["to"] or event["kind"] in {"created", "fell_back"}


def row(
    job: Job, events: Sequence[Event], begins: Event, new_id: str, *, to: Role | None, agent: bool
) -> dict[str, Any]:
    """The fork's row, as plain data. What needs a sandbox begins at `planned`. Raises CannotReplay."""
    was = fold.as_told(job, [e for e in events if e["seq"] <= begins["seq"]])
    state = State(begins["to"])
    enters_at = State.PLANNED if PHASES[state].placed else state
    marks = Replay(seq=begins["seq"], state=state, states=_worked_on(to, enters_at), agent=agent)
    facts = msgspec.to_builtins(was) | FRESH
    facts["base_sha"] = was.base_sha or _first(events, "base_sha")  # the branch has moved on since
    return facts | {"id": new_id, "state": enters_at, "replay_of": job.id, "replay": msgspec.to_builtins(marks)}


def _worked_on(to: Role | None, begins: State) -> list[str]:
    """The states of all roles up to `to`; empty where it goes to the end."""
    if to is None:
        return []
    if to not in LINE:
        raise CannotReplay(f"{to} works on no state; stop after one of: {', '.join(LINE)}")
    if LINE.index(PHASES[begins].owner) > LINE.index(to):
        raise CannotReplay(f"{to} has nothing to do after {begins}")
    return [state for role in LINE[: LINE.index(to) + 1] for state in OWNED_BY[role]]


def _first(events: Sequence[Event], column: str) -> Any:
    return next((v for e in events if (v := e["data"].get("set", {}).get(column)) is not None), None)


def created(facts: dict[str, Any]) -> dict[str, Any]:
    """What the fork's first event sets: all that the log tells of a row."""
    return {k: v for k, v in facts.items() if k not in fold.STORES_OWN | {"state", "seq", "lease_epoch"}}
