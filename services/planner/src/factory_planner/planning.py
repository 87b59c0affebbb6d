"""Who plans: the interface, and the planner by rules behind it. A model's planner is another class of this shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from factory_chassis.plan import Plan

from . import rules


class Planner(Protocol):
    """Makes a plan from what people said and what the repo holds. Raises WorkError where it refuses."""

    async def plan(
        self,
        texts: Sequence[str],
        files: Mapping[str, str],
        *,
        request_no: int,
        earlier: Plan | None,
        issues: Sequence[str],
    ) -> Plan: ...


class RulesPlanner:
    """Deterministic, and says so in `Plan.by`."""

    async def plan(
        self,
        texts: Sequence[str],
        files: Mapping[str, str],
        *,
        request_no: int,
        earlier: Plan | None,
        issues: Sequence[str],
    ) -> Plan:
        return rules.make_plan(texts, files, request_no=request_no, earlier=earlier, issues=issues)
