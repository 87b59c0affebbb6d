"""How an agent's turn ends a round, and what of it is written down."""

from datetime import UTC, datetime

import pytest
from factory_agents import events
from factory_agents.driver import Turn
from factory_builder import turn
from factory_builder.handlers import FAILED_TURNS, _turn_problem
from factory_chassis.logs import StageLog
from factory_jobs.errors import OutsideError, WorkError

NOW = datetime.now(UTC)


def test_a_good_turn() -> None:
    """Has no problem."""
    assert _turn_problem(Turn(stop_reason="end_turn")) is None


@pytest.mark.parametrize("problem", sorted(FAILED_TURNS))
def test_faults_of_the_outside(problem: str) -> None:
    """A model or an agent that fails is tried again and costs no round."""
    with pytest.raises(OutsideError, match="it broke") as e:
        _turn_problem(Turn(stop_reason="", problem=problem, detail="it broke"))
    assert e.value.code == problem
    assert e.value.retry


def test_denied() -> None:
    """The agent is told what it may not do."""
    said = _turn_problem(Turn(stop_reason="end_turn", problem="permission_denied", denied=["rm -rf /", "curl x"]))
    assert said is not None
    assert "rm -rf /, curl x" in said


@pytest.mark.parametrize("problem", ["refused", "max_tokens", "max_turn_requests", "deadline", "cancelled"])
def test_a_turn_that_ended_early(problem: str) -> None:
    """It costs the round, and the next one is told why; by name where nothing more is known."""
    assert _turn_problem(Turn(stop_reason=problem, problem=problem)) == f"Your last turn ended early: {problem}."
    detailed = _turn_problem(Turn(stop_reason=problem, problem=problem, detail="after 40 minutes"))
    assert detailed == "Your last turn ended early: after 40 minutes."


@pytest.mark.parametrize("agent", ["no-such-agent", {"command": []}, {"driver": "smoke-signals", "command": ["x"]}, {}])
def test_no_such_agent(agent: object) -> None:
    """A project whose agent is none gets the agent's own words as an error of the work."""
    with pytest.raises(WorkError) as e:
        turn.preset_of(agent)  # type: ignore[arg-type]
    assert e.value.code
    assert e.value.message


def test_an_agent_of_ones_own() -> None:
    """A command with its label."""
    assert turn.preset_of({"command": ["my-agent", "acp"], "label": "Mine"}).label == "Mine"
    assert turn.preset_of("claude").label == "Claude Code"


def test_narrator() -> None:
    """The stage's log tells what the agent did, its words in one piece before what it did next."""
    log = StageLog()
    hear = turn.Narrator(log)
    for event in (
        events.Message(at=NOW, text="I look "),
        events.Message(at=NOW, text="around."),
        events.ToolCall(at=NOW, id="1", title="ls", kind="execute"),
        events.ToolCallUpdate(at=NOW, id="1", status="in_progress"),
        events.ToolCallUpdate(at=NOW, id="1", status="completed", output="README.md"),
        events.Plan(at=NOW, entries=(events.PlanEntry(content="Write a test", status="pending"),)),
        events.Stderr(at=NOW, text="warning: x\n"),
    ):
        hear(event)
    said = [line.partition(" ")[2] if line[2:3] == ":" else line for line in log.text().splitlines()]
    assert said == [
        "agent says: I look around.",
        "agent: execute: ls",
        "agent: completed",
        "README.md",
        "agent's plan: [pending] Write a test",
        "agent's stderr: warning: x",
    ]
