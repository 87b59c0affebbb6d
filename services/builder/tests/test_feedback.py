"""What goes back to the agent."""

from datetime import UTC, datetime
from typing import Any

import pytest
from factory_builder import feedback
from factory_jobs.records import Round


def suite(name: str = "unit", failures: int = 1, message: str = "1 != 2", **facts: Any) -> dict[str, Any]:
    found = [{"name": f"test_{i}", "message": f"{message} ({i})"} for i in range(failures)]
    return {"suite": name, "passed": 3, "failed": failures, "failures": found, "exit_code": 1, **facts}


@pytest.mark.parametrize(
    ("text", "size", "clipped"),
    [
        ("short", 10, "short"),
        ("  spaces \n", 10, "spaces"),
        ("the beginning and the end", 7, "…the end"),
        (["two", "lines"], 20, "two\nlines"),
        (["one", "two"], 3, "…two"),
        ("", 3, ""),
        ([], 3, ""),
    ],
)
def test_clip(text: str | list[str], size: int, clipped: str) -> None:
    """Of what is too long the end is kept: there logs say why."""
    assert feedback.clip(text, size) == clipped


def test_suites() -> None:
    """Counts, the failed tests with their messages, the end of the log."""
    said = feedback.suites([suite(failures=2, tail=["Traceback", "AssertionError: 1 != 2"])])
    assert said.startswith("Suite `unit` failed: 2 failed, 3 passed.\n- test_0: 1 != 2 (0)\n- test_1: 1 != 2 (1)\n")
    assert "```\nTraceback\nAssertionError: 1 != 2\n```" in said


def test_a_suite_that_ran_nothing() -> None:
    """Is told as such, with its exit code."""
    none = {"suite": "unit", "passed": 0, "failed": 0, "exit_code": 4, "runner": "pytest", "tail": "no tests ran"}
    said = feedback.suites([none])
    assert said.startswith("Suite `unit` ran no test (exit code 4).")
    assert "no tests ran" in said


def test_a_check_that_failed() -> None:
    """It has no tests, so it is not told that it ran none."""
    check = {"suite": "types", "passed": 0, "failed": 0, "exit_code": 2, "runner": None, "tail": "TS2304"}
    assert feedback.suites([check]).startswith("Suite `types` failed with exit code 2.")


def test_green_tests_behind_a_red_exit_code() -> None:
    """Counts alone would say that nothing is wrong."""
    red = suite(failures=0) | {"note": "every test that ran has passed, but it ended with exit code 1"}
    assert "0 failed, 3 passed; every test that ran has passed, but it ended with exit code 1." in feedback.suites(
        [red]
    )


def test_a_missing_suite() -> None:
    """The agent is told that it is gone and that it has to come back."""
    assert "`unit` did not run" in feedback.suites([{"suite": "unit", "missing": True}])


def test_long_feedback_keeps_what_matters() -> None:
    """However long messages and logs are: every suite and the first failures are named, in bounded space."""
    long = [suite(name, failures=40, message="x" * 5000, tail="y" * 50_000) for name in ("unit", "api", "e2e")]
    said = feedback.suites(long)
    assert len(said) <= feedback.MAX
    for name in ("unit", "api", "e2e"):
        assert f"Suite `{name}` failed: 40 failed" in said
    assert said.count("- test_0: ") == 3
    assert said.count("(0)") == 3  # the end of each message
    assert said.count("- … and 30 more") == 3


def test_one_long_suite_begins_with_its_name() -> None:
    """The heading and the first message are not what is cut."""
    said = feedback.suites([suite(failures=10, message="x" * 5000, tail="y" * 50_000)])
    assert said.startswith("Suite `unit` failed")
    assert "- test_9: " in said
    assert len(said) <= feedback.MAX


def test_a_failure_without_words() -> None:
    """A test without a message is named all the same."""
    bare = suite() | {"failures": [{"name": "test_a", "message": None}, {"name": "test_b"}]}
    assert "- test_a: \n- test_b: " in feedback.suites([bare]) + "\n"


@pytest.mark.parametrize("tail", ["boom", ["boom"], "y" * 50_000])
def test_environment(tail: str | list[str]) -> None:
    """Says which verb failed and why; a long log does not push that out."""
    said = feedback.environment("restart", "web is not ready", tail)
    assert said.startswith("After your change `factory restart` fails: web is not ready\n```\n")
    assert said.endswith("\n```")
    assert len(said) <= feedback.MAX


def test_environment_with_a_long_error() -> None:
    """The log's end is there even where the error itself is long."""
    said = feedback.environment("setup", "x" * 50_000, "boom")
    assert len(said) <= feedback.MAX
    assert "\nboom\n" in said


def a_round(request_no: int, number: int, said: str | None) -> Round:
    return Round(
        request_no=request_no,
        round=number,
        commit=None,
        parent=None,
        outcome=None,
        summary=None,
        feedback=said,
        bundle=None,
        proved=False,
        spent={},
        at=datetime.now(UTC),
    )


@pytest.mark.parametrize(
    ("rounds", "round_no", "said"),
    [
        ([], 1, None),
        ([a_round(2, 1, "red")], 2, "red"),
        ([a_round(2, 1, "red"), a_round(2, 2, "redder")], 3, "redder"),
        ([a_round(2, 1, "red"), a_round(2, 2, None)], 2, "red"),
        ([a_round(2, 1, "red"), a_round(2, 2, "the app is down")], 2, "red\n\nthe app is down"),
        ([a_round(2, 0, "the app is down")], 1, "the app is down"),
        ([a_round(1, 5, "of the request before")], 1, None),
        ([a_round(2, 2, "later")], 1, None),
    ],
)
def test_before(rounds: list[Round], round_no: int, said: str | None) -> None:
    """Of this request: what the last round left, and what was found when its checkpoint came up again."""
    assert feedback.before(rounds, 2, round_no) == said
