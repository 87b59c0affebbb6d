"""What a run of the suites is worth: red tests that were red on the base are shown and never counted."""

from __future__ import annotations

from typing import Any


def names(suite: dict[str, Any]) -> set[str]:
    return {f["name"] for f in suite.get("failures", [])}


def judge(suites: list[dict[str, Any]], base: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each suite with `counts` (it stands against the change) and `known` (failures that the base has too)."""
    before = {s["suite"]: s for s in base}
    return [_judged(s, before.get(s["suite"])) for s in suites]


def _judged(suite: dict[str, Any], base: dict[str, Any] | None) -> dict[str, Any]:
    if suite.get("ok") or base is None or base.get("ok"):
        return suite | {"counts": not suite.get("ok"), "known": []}
    known = names(suite) & names(base)
    fresh = [f for f in suite.get("failures", []) if f["name"] not in known]
    # a suite that failed without naming a test fails the same way it did on the base
    counts = bool(fresh) if names(suite) else bool(names(base))
    return suite | {"counts": counts, "known": sorted(known), "failures": fresh or suite.get("failures", [])}


def holds(judged: list[dict[str, Any]]) -> bool:
    return not any(s["counts"] for s in judged)
