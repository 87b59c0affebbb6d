"""What a run of the suites is worth: red tests that were red on the base are shown and never counted."""

from __future__ import annotations

from typing import Any

from factory_sandbox.contract import Answer

NO_SUITES = "no_suites"  # the contract's code for a repo that names none


def broke(answer: Answer) -> bool:
    """Whether `factory test` gave no results at all: out of time, no answer, a contract that is none any more."""
    if answer.data.get("suites") or answer.error_code == NO_SUITES:
        return False
    return not answer.ok or "error" in answer.data


def names(suite: dict[str, Any]) -> set[str]:
    return {f["name"] for f in suite.get("failures", [])}


def judge(suites: list[dict[str, Any]], base: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each suite with `counts` (it stands against the change) and `known` (failures that the base has too).

    A suite of the base that did not run is there too, as `missing`: it counts, or a change could take its judge away.
    """
    before = {s["suite"]: s for s in base}
    run = {s["suite"] for s in suites}
    judged = [_judged(s, before.get(s["suite"])) for s in suites]
    return judged + [_missing(name) for name in before if name not in run]


def _judged(suite: dict[str, Any], base: dict[str, Any] | None) -> dict[str, Any]:
    if suite.get("ok") or base is None or base.get("ok"):
        return suite | {"counts": not suite.get("ok"), "known": []}
    known = names(suite) & names(base)
    fresh = [f for f in suite.get("failures", []) if f["name"] not in known]
    # a suite that failed without naming a test fails the same way it did on the base
    counts = bool(fresh) if names(suite) else bool(names(base))
    return suite | {"counts": counts, "known": sorted(known), "failures": fresh or suite.get("failures", [])}


def _missing(name: str) -> dict[str, Any]:
    nothing = {"passed": 0, "failed": 0, "skipped": 0, "seconds": 0.0, "failures": [], "known": []}
    return {"suite": name, "ok": False, "missing": True, "counts": True, **nothing}


def holds(judged: list[dict[str, Any]]) -> bool:
    return not any(s["counts"] for s in judged)
