"""The row of a job as its events alone tell it: audit compares the two, a replay begins from one of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from .job import Job

# Columns that the store keeps for itself; no event tells them.
STORES_OWN = frozenset(
    "id version lease_owner lease_until claimed_at next_attempt_at hinted_at hint_no created_at entered_at"
    " replay_of replay".split()
)
COUNTED = ("request_no", "round", "attempt")  # stand in every event, beside what it set

Event = Any  # a row of `job_events`


def fold(events: Iterable[Event]) -> dict[str, Any]:
    """Columns by name, as plain data; a column that no event has set is not in it."""
    row: dict[str, Any] = {}
    for event in events:
        row |= event["data"].get("set", {})
        row |= {"state": event["to"], "seq": event["seq"], "lease_epoch": event["epoch"]}
        row |= {name: event["data"][name] for name in COUNTED}
    return row


def as_told(job: Job, events: Iterable[Event]) -> Job:
    """The row that these events of it make; what the store keeps for itself is as it stands. Raises ValidationError."""
    own = {name: value for name, value in msgspec.to_builtins(job).items() if name in STORES_OWN}
    return msgspec.convert({**own, **fold(events)}, Job)


def faults(job: Job, events: Sequence[Event]) -> list[str]:
    """What is wrong with the log of a job, or between it and the row; a sentence each. Nothing: they agree."""
    return list(_gaps(job, events)) or [*_breaks(events), *_differences(job, events)]


def _gaps(job: Job, events: Sequence[Event]) -> Iterator[str]:
    """Where an event is missing nothing else can be told."""
    there = {e["seq"] for e in events}
    for seq in range(1, job.seq + 1):
        if seq not in there:
            yield f"event {seq} is missing"
    for seq in sorted(s for s in there if s > job.seq):
        yield f"event {seq} is newer than the row, which stands at {job.seq}"


def _breaks(events: Sequence[Event]) -> Iterator[str]:
    """Each event begins where the one before it ended."""
    if events[0]["kind"] != "created":
        yield f"the log begins with {events[0]['kind']}, not with created"
    told: dict[str, Any] = {}
    for event in events:
        told |= event["data"].get("set", {})
        for name in COUNTED:
            if (said := event["data"].get(name)) != told.setdefault(name, said):
                yield f"event {event['seq']} says {name} {said}, the events before it {told[name]}"
    for before, after in pairwise(events):
        if after["from"] != before["to"]:
            yield f"event {after['seq']} comes from {after['from']}, the one before it led to {before['to']}"
        if after["epoch"] < before["epoch"]:
            yield f"event {after['seq']} has epoch {after['epoch']}, the one before it {before['epoch']}"


def _differences(job: Job, events: Sequence[Event]) -> Iterator[str]:
    try:
        told = as_told(job, events)
    except msgspec.ValidationError as e:
        yield f"the events make no row: {e}"
        return
    for name in Job.__struct_fields__:
        row, said = getattr(job, name), getattr(told, name)
        if name not in STORES_OWN and said != row:
            yield f"{name} is {_short(row)}, the events make it {_short(said)}"


def _short(value: Any) -> str:
    value = msgspec.to_builtins(value)
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= 80 else text[:79] + "…"
