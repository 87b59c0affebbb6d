"""What goes over the bus: hints that can be made again from the row, and the subjects they go to."""

from __future__ import annotations

from datetime import datetime

import msgspec

from .job import Job
from .machine import ERRAND_OWNER, NODE_ROLES, OWNED_BY, Role, State
from .store import Errand

VERSION = 1
STREAM = "JOBS"
SUBJECTS = ("factory.job.>", "factory.errand.>")
REPLAY_STREAM = "REPLAY"  # hints of replays, which only services for replays hear
REPLAY_SUBJECTS = ("factory.replay.>",)
KEEP = 7 * 24 * 3600  # seconds a hint stays to be looked at
DUPLICATES = 120.0  # seconds in which a message with the id of another is none
ACK_WAIT = 30.0  # seconds; a hint is acked as soon as the lease is taken
MAX_DELIVER = -1  # for ever
MAX_ACK_PENDING = 1000
ANY = "any"


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """This job has work in this state. Workers read the row for everything else."""

    v: int = VERSION
    job_id: str
    seq: int
    state: str
    node: str
    round: int
    attempt: int
    at: datetime


class ErrandHint(msgspec.Struct, frozen=True, kw_only=True):
    """This job has an errand."""

    v: int = VERSION
    job_id: str
    errand: int
    kind: str
    node: str
    at: datetime


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The row has changed under its holder (cancelled, fenced, answered): look at once."""

    v: int = VERSION
    job_id: str
    epoch: int
    state: str


class BadMessage(Exception):
    """A message that is no hint of ours; it is acknowledged, counted and logged."""


def encode(message: Hint | ErrandHint | Control) -> bytes:
    return msgspec.json.encode(message)


def decode(data: bytes, kind: type[Hint] | type[ErrandHint] | type[Control]) -> Hint | ErrandHint | Control:
    """Raises BadMessage where it is no JSON, of an unknown version or of another shape."""
    try:
        if msgspec.json.decode(data, type=_Version).v != VERSION:
            raise BadMessage("unknown version")
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as e:
        raise BadMessage(str(e)) from e


class _Version(msgspec.Struct):
    v: int


def stream(replay: bool = False) -> str:
    return REPLAY_STREAM if replay else STREAM


def job_subject(state: str, node: str | None, job_id: str, *, replay: bool = False) -> str:
    return f"factory.{'replay' if replay else 'job'}.{state}.{node or ANY}.{job_id}"


def errand_subject(kind: str, node: str | None, job_id: str, *, replay: bool = False) -> str:
    return f"factory.{'replay.errand' if replay else 'errand'}.{kind}.{node or ANY}.{job_id}"


def control_subject(job_id: str) -> str:
    return f"factory.control.{job_id}"


def durable(role: Role, node: str | None) -> str:
    """The name of a role's consumer: by node where its work is where the sandbox is."""
    return f"{role}-{node}" if role in NODE_ROLES else str(role)


def filters(role: Role, node: str | None, *, replay: bool = False) -> list[str]:
    """What a role listens to. A job is `any`'s until it is placed, then its node's."""
    if role in NODE_ROLES:
        assert node is not None
        nodes = [node, ANY] if role is Role.ENVKEEPER else [node]
    else:
        nodes = ["*"]
    return [job_subject(s, n, "*", replay=replay) for s in OWNED_BY[role] for n in nodes]


def errand_filters(role: Role, node: str | None, *, replay: bool = False) -> list[str]:
    kinds = [k for k, r in ERRAND_OWNER.items() if r is role]
    nodes = [node, ANY] if node else ["*"]
    return [errand_subject(k, n, "*", replay=replay) for k in kinds for n in nodes]


def hint_of(job: Job, at: datetime) -> Hint:
    return Hint(
        job_id=job.id,
        seq=job.seq,
        state=State(job.state),
        node=job.node or ANY,
        round=job.round,
        attempt=job.attempt,
        at=at,
    )


def errand_hint_of(errand: Errand, at: datetime) -> ErrandHint:
    return ErrandHint(job_id=errand.job_id, errand=errand.id, kind=errand.kind, node=errand.node or ANY, at=at)
