"""`docs/asyncapi.yaml`: the bus as AsyncAPI 3 describes it, made from the table, the subjects and the messages.

https://www.asyncapi.com/docs/reference/specification/v3.0.0. It knows NATS, but not JetStream: streams and durables
stand under `x-jetstream`, in the words of NATS' own API.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import yaml

from . import messages
from .ids import PATTERN
from .machine import ERRAND_OWNER, OWNED_BY, WORKING, Role, State
from .messages import Control, ErrandHint, Hint

HEAD = """# Generated from libs/jobs/src/factory_jobs/{machine,messages}.py by `python -m factory_jobs.generate`; `make check` compares.
"""
WORKERS = [r for r in Role if any(s in WORKING for s in OWNED_BY[r])]
NODE = "<node>"
AT = datetime(2026, 1, 1, tzinfo=UTC)
JOB = "jabcdefgh23"

PARAMETERS: dict[str, dict[str, Any]] = {
    "state": {"description": "The state whose work is next; its owner hears it.", "enum": [s.value for s in State]},
    "kind": {"description": "What there is to do beside the state.", "enum": list(ERRAND_OWNER)},
    "node": {
        "description": "The node of the job's place, `[a-z0-9-]`; `any` until it has one.",
        "examples": ["any", "n1"],
    },
    "job_id": {"description": "`j` and ten characters of lower-case base32.", "examples": [JOB]},
}
FIELDS: dict[str, dict[str, Any]] = {  # what the types of Python do not say
    "v": {"const": messages.VERSION},
    "job_id": {"pattern": f"^{PATTERN.pattern}$"},
    "state": {"enum": PARAMETERS["state"]["enum"]},
    "kind": {"enum": PARAMETERS["kind"]["enum"]},
    "node": {"pattern": "^[a-z0-9-]{1,40}$"},
    "at": {"format": "date-time"},
}
SENT: dict[str, tuple[type[msgspec.Struct], msgspec.Struct, str]] = {  # name: its type, an example, its Nats-Msg-Id
    "hint": (
        Hint,
        Hint(job_id=JOB, seq=3, state="planned", node="any", round=0, attempt=1, at=AT),
        "`<job_id>.<seq>.<hint_no>`: a hint that is made again is no duplicate",
    ),
    "errand": (
        ErrandHint,
        ErrandHint(job_id=JOB, errand=1, kind="cleanup", node="n1", at=AT),
        "`<job_id>.e<errand>.<hint_no>`",
    ),
    "control": (Control, Control(job_id=JOB, epoch=4, state="cancelled"), ""),
}


def text() -> str:
    return HEAD + yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=110)


class _Plain(yaml.SafeDumper):
    """Without anchors: what stands twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def document() -> dict[str, Any]:
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Software Factory: the bus",
            "version": f"{messages.VERSION}.0.0",
            "description": "Postgres is the only truth. A message says that a job has work, and can be made again from its "
            "row; workers read the row, claim it, acknowledge the message and then work. Late, repeated and lost "
            "messages change nothing.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "nats": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS with JetStream: FACTORY_NATS_URL.",
            }
        },
        "channels": _channels(),
        "operations": _operations(),
        "components": {
            "messages": {name: _message(name) for name in SENT},
            "schemas": _schemas(),
            "parameters": PARAMETERS,
        },
    }


# ── channels ──────────────────────────────────────────────────────────────────


def _channels() -> dict[str, Any]:
    state, kind, node, job = (f"{{{name}}}" for name in PARAMETERS)
    return {
        "jobs": _channel(messages.job_subject(state, node, job), "hint", "A job has work in this state."),
        "errands": _channel(messages.errand_subject(kind, node, job), "errand", "A job has work beside its state."),
        "replays": _channel(
            messages.job_subject(state, node, job, replay=True),
            "hint",
            "The same for replays of jobs, which only services started with `--replay` hear.",
            replay=True,
        ),
        "replay_errands": _channel(
            messages.errand_subject(kind, node, job, replay=True), "errand", "Errands of replays.", replay=True
        ),
        "control": {
            "address": messages.control_subject(job),
            "description": "Plain NATS, kept by nobody: tells who holds a job at once what its row says already.",
            "messages": {"control": _ref("components/messages/control")},
            "parameters": _parameters(messages.control_subject(job)),
        },
    }


def _channel(address: str, message: str, says: str, *, replay: bool = False) -> dict[str, Any]:
    return {
        "address": address,
        "description": says,
        "messages": {message: _ref(f"components/messages/{message}")},
        "parameters": _parameters(address),
        "x-jetstream": {
            "stream": messages.stream(replay),
            "subjects": list(messages.REPLAY_SUBJECTS if replay else messages.SUBJECTS),
            "storage": "file",
            "retention": "limits",
            "max_age": messages.KEEP,
            "duplicate_window": messages.DUPLICATES,
        },
    }


def _parameters(address: str) -> dict[str, Any]:
    return {name: _ref(f"components/parameters/{name}") for name in PARAMETERS if f"{{{name}}}" in address}


# ── operations ────────────────────────────────────────────────────────────────


def _operations() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for replay in (False, True):
        jobs, errands = ("replays", "replay_errands") if replay else ("jobs", "errands")
        for role in WORKERS:
            durable = messages.durable(role, NODE)
            filters = messages.filters(role, NODE, replay=replay)
            says = "Claims, acknowledges, works: " + ", ".join(s for s in OWNED_BY[role]) + "."
            found[f"{role}_takes_{jobs}"] = _receive(jobs, "hint", says, durable, filters, replay)
            if filters := messages.errand_filters(role, NODE, replay=replay):
                kinds = ", ".join(k for k, r in ERRAND_OWNER.items() if r is role)
                says = f"Claims, acknowledges, does: {kinds}."
                found[f"{role}_takes_{errands}"] = _receive(
                    errands, "errand", says, f"{durable}-errands", filters, replay
                )
        everything: list[str] = [*messages.REPLAY_SUBJECTS] if replay else ["factory.job.>"]
        says = "Looks for what the chats do not show yet."
        found[f"notifier_hears_{jobs}"] = _receive(jobs, "hint", says, "notifier", everything, replay)
        found[f"send_{jobs}"] = _send(
            jobs, "hint", "After each move, by whoever wrote it; by the sweep where it was lost."
        )
        found[f"send_{errands}"] = _send(errands, "errand", "With the move that asks for it; again by the sweep.")
    found["send_control"] = _send("control", "control", "When a move takes the job from its holder.")
    found["hear_control"] = {
        "action": "receive",
        "channel": _ref("channels/control"),
        "summary": "Every worker: who holds the job with a lower epoch ends its work.",
        "messages": [_ref("channels/control/messages/control")],
    }
    return found


def _receive(channel: str, message: str, says: str, durable: str, filters: list[str], replay: bool) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": _ref(f"channels/{channel}"),
        "summary": says,
        "messages": [_ref(f"channels/{channel}/messages/{message}")],
        "x-jetstream": {
            "stream": messages.stream(replay),
            "durable_name": durable,
            "filter_subjects": sorted(filters),
            "ack_policy": "explicit",
            "deliver_policy": "all",
            "ack_wait": messages.ACK_WAIT,
            "max_deliver": messages.MAX_DELIVER,
            "max_ack_pending": messages.MAX_ACK_PENDING,
        },
    }


def _send(channel: str, message: str, says: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": _ref(f"channels/{channel}"),
        "summary": says,
        "messages": [_ref(f"channels/{channel}/messages/{message}")],
    }


# ── messages ──────────────────────────────────────────────────────────────────


def _message(name: str) -> dict[str, Any]:
    kind, example, message_id = SENT[name]
    found: dict[str, Any] = {
        "name": kind.__name__,
        "summary": (kind.__doc__ or "").strip(),
        "payload": _ref(f"components/schemas/{kind.__name__}"),
        "examples": [{"payload": msgspec.to_builtins(example)}],
    }
    if message_id:
        header = {"type": "string", "description": message_id}
        found["headers"] = {"type": "object", "properties": {"Nats-Msg-Id": header}, "required": ["Nats-Msg-Id"]}
    return found


def _schemas() -> dict[str, Any]:
    types = [kind for kind, _, _ in SENT.values()]
    _, found = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    for schema in found.values():
        schema.pop("description", None)  # it is the message's
        for name, facts in FIELDS.items():
            if name in schema["properties"]:
                schema["properties"][name] |= facts
        schema["properties"]["v"].pop("default", None)
        schema["required"].insert(0, "v")  # what has none is of an unknown version
    return found


def _ref(path: str) -> dict[str, str]:
    return {"$ref": f"#/{path}"}
