"""One role on the real chassis, whose work on every state is done at once: `python noop_role.py ROLE`."""

from __future__ import annotations

import sys
from typing import Any

from factory_chassis import service
from factory_chassis.service import Service
from factory_chassis.settings import Settings
from factory_chassis.work import Work
from factory_jobs import events as ev
from factory_jobs.machine import OWNED_BY, Role, State

SHA = "0123456789" * 4
FOUND: dict[State, dict[str, Any]] = {  # what real work writes into the row, without the work
    State.RECEIVED: {"title": "A blue button"},
    State.PLANNED: {"node": "", "placement": 1, "branch": "factory/a-blue-button", "base_sha": SHA},
    State.SANDBOX_CREATED: {"sandbox": {"provider": "local", "handle": {"pid": 1, "socket": "/tmp/s"}}},
    State.IMPLEMENTATION_IN_PROGRESS: {"work_sha": SHA[::-1]},
    State.VIDEO_RECORDED: {"pr": {"number": 7, "url": "https://forge/shop/7", "head": SHA[::-1]}},
    State.REVIEW_RUNNING: {"verdict": "approved"},
}


def build(role: Role, settings: Settings) -> Service:
    async def done(work: Work) -> ev.Event:
        if work.job.state == State.RECEIVED:  # what nobody has read would be the next request
            await work.records.mark_read(work.job.id, "plan:1", await work.records.unread(work.job.id))
        facts = FOUND.get(State(work.job.state), {})
        return ev.Done(facts=facts | {"node": made.node} if "node" in facts else facts)

    made = Service(role.value, settings, role=role, handlers=dict.fromkeys(OWNED_BY[role], done))
    return made


if __name__ == "__main__":
    service.run(Settings, lambda settings: build(Role(sys.argv[1]), settings))
