"""Where a replay went another way than its original: states, verdict, what each round's commit holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import zip_longest

from factory_forge.errors import NoSuchRef
from factory_forge.git import Mirror
from factory_jobs import fold
from factory_jobs.fold import Event
from factory_jobs.job import Job
from factory_jobs.machine import WORKING
from factory_jobs.records import Round
from factory_jobs.replay import enters

Step = tuple[str, int]  # state and round


def stretch(fork: Job, events: Sequence[Event]) -> list[Event]:
    """The events of the original that the replay plays: from where it begins to where nobody works, or it stops."""
    assert fork.replay is not None
    played: list[Event] = []
    for event in (e for e in events if e["seq"] >= fork.replay.seq):
        played.append(event)
        state = event["to"]
        if enters(event) and (state not in WORKING or (fork.replay.states and state not in fork.replay.states)):
            break
    return played


def steps(events: Iterable[Event]) -> list[Step]:
    return [(e["to"], e["data"]["round"]) for e in events if enters(e)]


def since(found: list[Step], state: str) -> list[Step]:
    """From the first stay in `state` on: how a replay came there is its own."""
    first = next((n for n, (name, _) in enumerate(found) if name == state), len(found))
    return found[first:]


async def differences(
    original: Sequence[Event],
    fork: Job,
    events: Sequence[Event],
    rounds: tuple[Sequence[Round], Sequence[Round]],
    mirror: Mirror,
) -> list[str]:
    """Sentences; none where both went the same way. `rounds` are the original's and the replay's."""
    assert fork.replay is not None
    played = stretch(fork, original)
    found = _paths(steps(played), since(steps(events), fork.replay.state))
    verdict = fold.fold([e for e in original if e["seq"] <= played[-1]["seq"]]).get("verdict")
    if not fork.stopped and verdict != fork.verdict:
        found.append(f"verdict: {fork.verdict or 'none'}, it was {verdict or 'none'}")
    return found + [said async for said in _trees(*rounds, mirror)]


def _paths(then: list[Step], now: list[Step]) -> list[str]:
    for n, (before, after) in enumerate(zip_longest(then, now), start=1):
        if before != after:
            return [f"step {n}: {_step(after)}, it was {_step(before)}"]
    return []


def _step(step: Step | None) -> str:
    if step is None:
        return "the end"
    state, round_ = step
    return f"{state} in round {round_}" if round_ else state


async def _trees(then: Sequence[Round], now: Sequence[Round], mirror: Mirror) -> AsyncIterator[str]:
    was = {(r.request_no, r.round): r.commit for r in then}
    for round_ in now:
        before = was.get((round_.request_no, round_.round))
        if before and round_.commit and before != round_.commit:
            changed = await _changed(mirror, before, round_.commit)
            if changed:
                yield f"round {round_.round} of request {round_.request_no}: its commit differs in {changed}"


async def _changed(mirror: Mirror, one: str, other: str) -> str:
    try:
        files = (await mirror.diff(one, other)).files
    except NoSuchRef as e:
        return f"what cannot be told ({e.message})"
    shown = ", ".join(f.path for f in files[:5])
    return f"{shown} and {len(files) - 5} more" if len(files) > 5 else shown
