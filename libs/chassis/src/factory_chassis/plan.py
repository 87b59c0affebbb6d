"""A plan: what planner writes, agents are told, and the pull request shows. Immutable, one a request."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Criterion(BaseModel):
    """What must hold in the running app, as a person would check it."""

    model_config = ConfigDict(frozen=True)

    id: str  # c1, c2, …: counted through all requests of a job
    text: str
    request_no: int = 1


class Plan(BaseModel):
    model_config = ConfigDict(frozen=True)

    title: str
    problem: str
    scope: str
    criteria: list[Criterion]
    files: list[str] = []  # likely touched
    risks: list[str] = []
    notes: list[str] = []  # what the repo says that bears on it
    by: str = "rules"  # who made it: said wherever the plan is shown

    def of_request(self, request_no: int) -> list[Criterion]:
        return [c for c in self.criteria if c.request_no == request_no]
