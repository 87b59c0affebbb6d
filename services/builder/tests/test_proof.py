"""What a run of the suites is worth, against what the base says."""

from typing import Any

import pytest
from factory_builder import proof
from factory_sandbox.contract import Answer


def suite(name: str, *failed: str, ok: bool | None = None) -> dict[str, Any]:
    failures = [{"name": f, "message": f"{f} is red"} for f in failed]
    return {"suite": name, "ok": not failed if ok is None else ok, "failures": failures, "failed": len(failed)}


@pytest.mark.parametrize(
    ("now", "base", "holds", "known"),
    [
        (suite("unit"), suite("unit"), True, []),
        (suite("unit"), suite("unit", "a"), True, []),  # it mended the base
        (suite("unit", "a"), suite("unit"), False, []),
        (suite("unit", "a"), None, False, []),  # a new suite has to be green
        (suite("unit", "a"), suite("unit", "a"), True, ["a"]),
        (suite("unit", "a"), suite("unit", "a", "b"), True, ["a"]),
        (suite("unit", "a", "b"), suite("unit", "a"), False, ["a"]),
        (suite("unit", "b"), suite("unit", "a"), False, []),
        (suite("unit", ok=False), suite("unit", ok=False), True, []),  # it cannot be run, as on the base
        (suite("unit", ok=False), suite("unit", "a"), False, []),  # the base could at least be run
        (suite("unit", ok=False), suite("unit"), False, []),
        (suite("unit", "a"), suite("unit", ok=False), False, []),  # now it runs, and what is red is nobody's but ours
    ],
)
def test_judge(now: dict[str, Any], base: dict[str, Any] | None, holds: bool, known: list[str]) -> None:
    """Red on the base is shown and not counted; anything else that is red counts."""
    (judged,) = proof.judge([now], [base] if base else [])
    assert judged["counts"] is not holds
    assert judged["known"] == known
    assert proof.holds([judged]) is holds


def test_only_new_failures_are_told() -> None:
    """The agent is not sent after what was red before."""
    (judged,) = proof.judge([suite("unit", "a", "b")], [suite("unit", "a")])
    assert [f["name"] for f in judged["failures"]] == ["b"]


def test_known_failures_stay_shown() -> None:
    """Where nothing is new the known ones are still there for the pull request."""
    (judged,) = proof.judge([suite("unit", "a")], [suite("unit", "a")])
    assert [f["name"] for f in judged["failures"]] == ["a"]


@pytest.mark.parametrize("base", [suite("api"), suite("api", "a")])
def test_a_suite_that_is_gone(base: dict[str, Any]) -> None:
    """A change cannot take away a suite that would judge it."""
    judged = proof.judge([suite("unit")], [suite("unit"), base])
    assert [(s["suite"], s["counts"], s.get("missing", False)) for s in judged] == [
        ("unit", False, False),
        ("api", True, True),
    ]
    assert not proof.holds(judged)


def test_suites_are_judged_apart() -> None:
    """A failure that one suite knows is new in another."""
    judged = proof.judge([suite("unit", "a"), suite("api", "a")], [suite("unit", "a"), suite("api")])
    assert [s["counts"] for s in judged] == [False, True]


def test_no_suites() -> None:
    """A repo without suites has nothing that could be red."""
    assert proof.judge([], []) == []
    assert proof.holds([])


ERROR = {"code": "timeout", "message": "factory test took longer than 1700 s"}


@pytest.mark.parametrize(
    ("answer", "broke"),
    [
        (Answer("test", 0, {"suites": [suite("unit")]}), False),
        (Answer("test", 1, {"suites": [suite("unit", "a")], "error": {"code": "tests_failed"}}), False),
        (Answer("test", 2, {"error": {"code": "no_suites"}}), False),
        (Answer("test", 1, {"error": ERROR}), True),  # out of time: it has an error and an exit code of failed tests
        (Answer("test", 0, {"error": {"code": "no_json"}}), True),
        (Answer("test", 1, {}), True),
        (Answer("test", 2, {"errors": [{"code": "unknown_key", "message": "x"}]}), True),
        (Answer("test", -9, {}), True),
        (Answer("test", 0, {}), False),  # a repo's own implementation that says nothing but its exit code
    ],
)
def test_broke(answer: Answer, broke: bool) -> None:
    """A run that gave no results is no green run, whatever its exit code; a repo without suites is not broken."""
    assert proof.broke(answer) is broke
