"""What an audit finds, and what to do about each kind of it."""

from __future__ import annotations

import msgspec

HINTS = {
    "event": "The log is append-only: compare with a backup (docs/runbook.md). Until then trust neither row nor log.",
    "effect": "Somebody took it away outside. `factoryctl retry` or a reply to the job brings the work back.",
    "outside": "The factory has no record of it: look who made it; close or delete it by hand where nobody needs it.",
    "double": "Keep the one that the job's page shows, close or delete the other by hand.",
    "process": "It belongs to no living sandbox: end it with `kill`, unless it is your own shell in there.",
    "port": "It listens where a job's app wants to: end it, or let it use another port.",
    "place": "Envkeeper removes what its ledger holds when it starts; remove this by hand where it stays.",
    "owned": "Restart envkeeper: it cleans at its start what its ledger holds and nobody needs.",
    "artifact": "The object is gone or changed: restore the bucket from a backup; links to it show nothing meanwhile.",
    "lease": "No service sweeps: is any of them healthy?",
    "hint": "Nobody hints or takes it: is its role up and healthy, and NATS?",
    "chat": "The notifier is behind: is it healthy, may the bot write to this chat?",
    "unseen": "Nothing can be said about it before it answers again.",
}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be. Two looks that find the same give equal records."""

    kind: str  # one of HINTS
    job_id: str  # empty where no job is known
    what: str  # a sentence
    hint: str


def finding(kind: str, job_id: str, what: str) -> Finding:
    return Finding(kind=kind, job_id=job_id, what=what, hint=HINTS[kind])
