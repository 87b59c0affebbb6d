"""What an agent is told."""

import pytest
from factory_builder import prompt
from factory_chassis.plan import Criterion, Plan
from factory_jobs.job import Sandbox

PLAN = Plan(
    title="Urgent tickets",
    problem="Urgent tickets get lost.",
    scope="Only what the criteria ask for.",
    criteria=[Criterion(id="c1", text="The form has a box."), Criterion(id="c2", text="A red badge.", request_no=2)],
    files=["web/form.py", "web/list.py"],
)
SANDBOX = Sandbox(
    provider="local",
    handle={},
    urls=[{"service": "web", "url": "http://localhost:2000"}, {"service": "api", "url": "http://localhost:2001"}],
)


def build(**changes: object) -> str:
    facts: dict[str, object] = {
        "request": "Urgent tickets get lost.\n- The form has a box.",
        "request_no": 1,
        "round_no": 1,
        "rounds_max": 5,
        "sandbox": SANDBOX,
        "feedback": None,
    }
    return prompt.build(PLAN, **(facts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("round_no", [1, 2, 5])
def test_every_round_stands_alone(round_no: int) -> None:
    """An agent that was started anew is told all: round, request, criteria, scope, app, how to leave scenarios."""
    text = build(round_no=round_no, feedback="Suite `unit` failed." if round_no > 1 else None)
    assert text.startswith(f"Round {round_no} of 5.")
    for needed in (
        "Urgent tickets get lost.\n- The form has a box.",
        "- c1: The form has a box.",
        "- c2: A red badge.",
        "Only what the criteria ask for.",
        "web/form.py, web/list.py",
        "- web: http://localhost:2000",
        "- api: http://localhost:2001",
        "factory restart",
        "factory test",
        ".software-factory/scenarios.yaml",
        "expect:",
        "do not commit",
    ):
        assert needed in text, needed


def test_first_round_mends_nothing() -> None:
    """Without feedback and steers there are no headings for them."""
    text = build()
    assert "did not hold" not in text
    assert "have said since" not in text
    assert "New in this request" not in text


def test_feedback_and_steers_come_last() -> None:
    """What people said since, then what has to be mended: the last thing read is the first thing to do."""
    text = build(round_no=2, feedback="Suite `unit` failed.", steers=["Make it blue.", "And larger."])
    steers, feedback = text.index("Make it blue.\n\nAnd larger."), text.index("Suite `unit` failed.")
    assert text.index("# Proof") < steers < feedback
    assert text.rstrip().endswith("Mend this first.")


def test_a_merge() -> None:
    """Stands between what people said and what has to be mended."""
    text = build(round_no=2, feedback="Suite `unit` failed.", steers=["Make it blue."], merge="In these files: a.py")
    heads = [
        text.index(h) for h in ("Make it blue.", "# Two lines of work\n\nIn these files: a.py", "Mend this first.")
    ]
    assert heads == sorted(heads)
    assert "Two lines" not in build()


def test_follow_up() -> None:
    """A later request says which criteria are new; the old ones still stand there."""
    text = build(request="Make it red.", request_no=2)
    assert "New in this request: c2." in text
    assert "- c1: The form has a box." in text


def test_without_an_app() -> None:
    """No URLs are made up where there are none, and no files where the plan names none."""
    bare = PLAN.model_copy(update={"files": []})
    text = prompt.build(bare, request="x", request_no=1, round_no=1, rounds_max=1, sandbox=None, feedback=None)
    assert "http" not in text
    assert "likely touched" not in text
