"""What planner hands to whoever plans."""

from types import SimpleNamespace
from typing import Any

import pytest
from factory_artifacts.redact import Redactor
from factory_chassis.plan import Plan
from factory_jobs import events as ev
from factory_planner import handlers as module
from factory_planner.handlers import Handlers
from factory_planner.settings import Settings

SECRET = "correct-horse-battery"


class Forges:
    """A mirror and a forge of a repository with one commit and no issue."""

    async def mirror(self, *_: Any) -> Any:
        return self

    async def connect(self, *_: Any, **__: Any) -> Any:
        return self

    async def fetch(self) -> None: ...

    async def issues(self) -> list[Any]:
        return []


class KeptWork:
    """A job with one message, and what was planned of it."""

    def __init__(self, text: str) -> None:
        self.job = SimpleNamespace(id="j", repo="/r.git", base_sha="a" * 40, request_no=1)
        self.records, self.redactor = self, Redactor([SECRET])
        self.log = SimpleNamespace(info=lambda *_, **__: None)
        self.messages = [SimpleNamespace(text=text)]
        self.planned: dict[str, Any] = {}

    async def unread(self, job_id: str) -> list[Any]:
        return self.messages

    async def add_plan(self, job_id: str, request_no: int, plan: dict[str, Any]) -> None:
        self.planned = plan

    async def mark_read(self, job_id: str, by: str, messages: list[Any]) -> None:
        assert messages == self.messages


async def test_no_half_of_a_secret_is_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person gives away goes to the agent alone: the plan, whose texts are cut, has neither it nor a part of it."""

    async def texts(*_: Any) -> dict[str, str]:
        return {}

    monkeypatch.setattr(module.repo, "texts", texts)
    work, handlers = KeptWork("y" * 1195 + SECRET), Handlers(Settings())
    handlers.forges = Forges()  # type: ignore[assignment]
    done = await handlers.received(work)  # type: ignore[arg-type]
    assert isinstance(done, ev.Done)
    plan = Plan.model_validate(work.planned)
    assert plan.problem.startswith("yyy")
    assert SECRET[:5] not in plan.model_dump_json()
