"""Check runs: what an app says about a commit, at length. Only apps make them."""

from typing import Any

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import CheckRun, now
from ..refusals import Refusal
from ..shapes import Wire
from ..site import node_id

RUNS = "/repos/{owner}/{repo}/check-runs"
RUN = f"{RUNS}/{{check_run_id}}"


@operation("checks/create", f"POST {RUNS}", "checks:write")
async def create(ask: Ask) -> Answer:
    if ask.app is None:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    sha = ask.required("CheckRun", "head_sha")
    if await ask.bare.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    name = ask.required("CheckRun", "name")
    run = CheckRun(ask.store.next_id(), ask.repo.name, sha, name, "queued", ask.app, started_at=now())
    return Answer(_changed(ask, run), 201)


@operation("checks/get", f"GET {RUN}", "checks:read")
async def get(ask: Ask) -> Answer:
    return Answer(_shape(ask, _run(ask)))


@operation("checks/update", f"PATCH {RUN}", "checks:write")
async def update(ask: Ask) -> Answer:
    run = _run(ask)
    if run.app != ask.app:
        words = "check run can only be modified by the GitHub App that created it."
        raise Refusal(403, f"Invalid app_id `{ask.app}` - {words}")
    return Answer(_changed(ask, run))


@operation("checks/list-for-ref", "GET /repos/{owner}/{repo}/commits/{ref}/check-runs", "checks:read")
async def list_runs(ask: Ask) -> Page:
    found = ask.store.checks.of(ask.repo.name, sha=await ask.commit())
    if ask.query.get("filter", "latest") == "latest":
        found = list({(run.app, run.name): run for run in found}.values())
    name, status, app = (ask.query.get(key) for key in ("check_name", "status", "app_id"))
    wanted = [
        run
        for run in found
        if name in (None, run.name) and status in (None, run.status) and app in (None, str(run.app))
    ]
    count = len(wanted)
    return Page(wanted[::-1], lambda run: _shape(ask, run), lambda runs: {"total_count": count, "check_runs": runs})


def _run(ask: Ask) -> CheckRun:
    run = ask.store.checks.get(ask.path["check_run_id"])
    if run is None or run.repo != ask.repo.name:
        raise refusals.not_found()
    return run


def _changed(ask: Ask, run: CheckRun) -> Wire:
    """A conclusion completes it; annotations are added to those before."""
    for name in ("name", "status", "conclusion", "external_id", "details_url", "started_at", "completed_at"):
        setattr(run, name, ask.field(name, getattr(run, name)))
    if ask.field("conclusion"):
        run.status, run.completed_at = "completed", run.completed_at or now()
    elif run.status == "completed" and run.conclusion is None:
        raise refusals.invalid("CheckRun", "conclusion", "missing_field")
    output: dict[str, Any] = ask.field("output", {})
    annotations = [*run.output.get("annotations", []), *output.get("annotations", [])]
    run.output = run.output | output | {"annotations": annotations}
    return _shape(ask, ask.store.checks.put(run))


def _shape(ask: Ask, run: CheckRun) -> Wire:
    url = f"{ask.hub.site.repo(run.repo)}/check-runs/{run.id}"
    page = f"{ask.hub.site.page(run.repo)}/runs/{run.id}"
    output = {name: run.output.get(name) for name in ("title", "summary", "text")}
    return {
        "id": run.id,
        "head_sha": run.sha,
        "node_id": node_id("CR", run),
        "external_id": run.external_id,
        "url": url,
        "html_url": page,
        "details_url": run.details_url or page,
        "status": run.status,
        "conclusion": run.conclusion,
        "started_at": run.started_at,
        "completed_at": run.completed_at,
        "output": {
            **output,
            "annotations_count": len(run.output.get("annotations", [])),
            "annotations_url": f"{url}/annotations",
        },
        "name": run.name,
        "check_suite": {"id": run.app},
        "app": ask.shapes.maybe_app(run.app),
        "pull_requests": [],
    }
