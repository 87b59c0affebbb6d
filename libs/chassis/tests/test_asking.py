"""Gates: asked once for each commit or request, and what was answered holds."""

from types import SimpleNamespace
from typing import Any

import pytest
from factory_chassis import asking
from factory_jobs import events as ev


class Decisions:
    """The answers that people gave: (kind, sha) → answer."""

    def __init__(self, answers: dict[tuple[str, str], str]) -> None:
        self.answers = answers

    async def decision(self, job_id: str, kind: str, sha: str = "") -> str | None:
        assert job_id == "jaaaaaaaaaa"
        return self.answers.get((kind, sha))


def work(answers: dict[tuple[str, str], str], *, gates: list[str], request_no: int = 1) -> Any:
    return SimpleNamespace(
        job=SimpleNamespace(id="jaaaaaaaaaa", request_no=request_no),
        records=Decisions(answers),
        project=SimpleNamespace(gates=gates),
    )


async def test_a_gate_asks_with_buttons() -> None:
    """What is asked, about which commit, and the two answers that there are."""
    asked = await asking.gate(work({}, gates=[]), "gate:risk", "Shall it be pushed?", "c0ffee")
    assert asked == ev.Asked(
        ask="gate:risk", asks="Shall it be pushed?", sha="c0ffee", options=[["approve", "Go on"], ["reject", "Stop"]]
    )


@pytest.mark.parametrize(
    ("answers", "opens"),
    [
        ({("gate:risk", "c0ffee"): "approve"}, True),
        ({("gate:risk", "c0ffee"): "reject"}, False),
        ({("gate:risk", "older"): "approve"}, False),
        ({("gate:plan", "c0ffee"): "approve"}, False),
    ],
)
async def test_only_an_approval_of_this_very_commit_opens_it(answers: dict[tuple[str, str], str], opens: bool) -> None:
    """An answer about another commit, or at another gate, is none."""
    asked = await asking.gate(work(answers, gates=[]), "gate:risk", "Shall it?", "c0ffee")
    assert (asked is None) is opens


async def test_the_plan_gate_is_the_projects_wish() -> None:
    """Without it nobody is asked; with it once a request, and a follow-up's plan is asked about anew."""
    assert await asking.plan_gate(work({}, gates=["risk"])) is None
    asked = await asking.plan_gate(work({}, gates=["plan"]))
    assert asked is not None and (asked.ask, asked.sha) == ("gate:plan", "request:1")
    answered = {("gate:plan", "request:1"): "approve"}
    assert await asking.plan_gate(work(answered, gates=["plan"])) is None
    assert await asking.plan_gate(work(answered, gates=["plan"], request_no=2)) is not None
