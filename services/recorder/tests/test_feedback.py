"""What the browser saw, as words for the agent."""

from typing import Any

import pytest
from factory_recorder import feedback


def result(name: str = "The badge is red", **facts: Any) -> dict[str, Any]:
    whole = {
        "name": name,
        "criteria": ["c2"],
        "ok": False,
        "error": "no element with text “Urgent”",
        "step_index": 3,
        "step": "expect text Urgent",
        "outline": "- heading: Tickets",
    }
    return whole | facts


def seen(text: str, **facts: Any) -> dict[str, Any]:
    return {"text": text, "key": f"normalised {text}", "where": "", "scenario": "s", "times": 1} | facts


def test_a_failed_step() -> None:
    """Scenario, criterion, step counted from 1, the step in words, why, and what the page showed."""
    said = feedback.of_recording({"results": [result(), result("Fine", ok=True)]})
    assert said.startswith(
        "In the browser:\n\nScenario “The badge is red” (c2) failed at step 4 `expect text Urgent`: "
        "no element with text “Urgent”\n\n"
    )
    assert "What the page showed when “The badge is red” failed:\n```\n- heading: Tickets\n```" in said
    assert "Fine" not in said


def test_a_scenario_that_could_not_begin() -> None:
    """No step is named where none was tried, no criterion where it has none."""
    said = feedback.of_recording({"results": [result(step_index=None, step="", criteria=[], outline="")]})
    assert "Scenario “The badge is red” failed at its start: no element" in said
    assert "What the page showed" not in said


def test_new_errors() -> None:
    """Each kind under its name, each error once with its place and how often; what the base had is not told."""
    said = feedback.of_recording(
        {
            "results": [],
            "console_new": [seen("boom", where="http://localhost:2000/app.js", times=3)],
            "requests_new": [seen("GET /api/x 500")],
            "page_errors": [seen("TypeError: x is undefined")],
            "console_known": [seen("old noise")],
        }
    )
    assert "New console errors:\n- boom (http://localhost:2000/app.js), 3 times" in said
    assert "New failed requests:\n- GET /api/x 500" in said
    assert "Errors thrown in the page:\n- TypeError: x is undefined" in said
    assert "old noise" not in said
    assert "normalised" not in said


def test_everything_is_named_before_pages_are_shown() -> None:
    """Long pages and long errors push out neither a failed scenario nor an error of the page."""
    results = [result(f"Scenario {i}", outline="x" * 2000, error="y" * 2000) for i in range(4)]
    said = feedback.of_recording({"results": results, "console_new": [seen("boom")]})
    assert len(said) <= feedback.MAX
    assert [f"“Scenario {i}”" in said for i in range(4)] == [True] * 4
    assert "- boom" in said


def test_many_errors() -> None:
    """Of very many the rest is counted."""
    said = feedback.of_recording({"results": [], "console_new": [seen(f"error {i}") for i in range(25)]})
    assert "- error 9\n- … and 15 more" in said
    assert "error 10" not in said


def test_missing_scenarios() -> None:
    """The criteria that lack one, with their texts."""
    said = feedback.of_missing(["c1", "c3"], {"c1": "A box.", "c2": "A badge."})
    assert said.endswith("these criteria:\n- c1: A box.\n- c3: ")


@pytest.mark.parametrize("tail", ["Traceback", "x" * 10_000])
def test_an_app_that_is_down(tail: str) -> None:
    """Why, and the end of its log."""
    said = feedback.of_app("web has exited", tail)
    assert "web has exited" in said
    assert said.endswith(f"{tail[-100:]}\n```")
    assert len(said) < feedback.MAX
