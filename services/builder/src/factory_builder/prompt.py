"""What an agent is told: the request, the criteria, how to use the running app, and after a round what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

from factory_chassis.plan import Plan
from factory_jobs.job import Sandbox

CONTRACT = """\
The app runs already, in this checkout. Use the `factory` command: `factory status`, `factory urls`,
`factory logs --service NAME --tail 50`, `factory restart [SERVICE]`, `factory test [SUITE]`, `factory validate`.
Add --json for one JSON object. Do not start servers of your own and do not commit: the factory makes the commit."""

SCENARIOS = """\
Leave browser scenarios in .software-factory/scenarios.yaml (it is not committed): at least one for each criterion,
each with an `expect`, written as a person would try it:

scenarios:
  - name: A short sentence
    criteria: [c1]
    steps:
      - goto: /path
      - fill: {label: Email, value: someone@example.com}
      - click: {role: button, name: Sign in}
      - expect: {role: heading, name: Welcome}"""


def first_lines(round_no: int, rounds_max: int) -> str:
    return f"Round {round_no} of {rounds_max}."


def build(
    plan: Plan,
    *,
    request: str,
    request_no: int,
    round_no: int,
    rounds_max: int,
    sandbox: Sandbox | None,
    feedback: str | None,
    steers: Sequence[str] = (),
    merge: str | None = None,
) -> str:
    """The whole prompt of one turn. Every round stands alone: an agent that was started anew knows as much."""
    criteria = "\n".join(f"- {c.id}: {c.text}" for c in plan.criteria)
    new = ", ".join(c.id for c in plan.of_request(request_no))
    urls = "\n".join(f"- {u['service']}: {u['url']}" for u in (sandbox.urls if sandbox else []))
    parts = [
        first_lines(round_no, rounds_max),
        f"# The request\n\n{request}",
        f"# Acceptance criteria\n\n{criteria}" + (f"\n\nNew in this request: {new}." if request_no > 1 else ""),
        f"# Scope\n\n{plan.scope}" + (f"\nFiles likely touched: {', '.join(plan.files)}." if plan.files else ""),
        f"# The running app\n\n{CONTRACT}\n\n{urls}".rstrip(),
        f"# Proof\n\nWrite or change tests for what you change. {SCENARIOS}",
    ]
    if steers:
        parts.append("# What people have said since\n\n" + "\n\n".join(steers))
    if merge:
        parts.append(f"# Two lines of work\n\n{merge}")
    if feedback:
        parts.append(f"# What did not hold after the last round\n\n{feedback}\n\nMend this first.")
    return "\n\n".join(parts) + "\n"
