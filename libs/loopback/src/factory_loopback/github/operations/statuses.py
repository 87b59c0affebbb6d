"""Statuses of commits: what a check says in one word; the newest of a context counts."""

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Status
from ..refusals import Refusal
from ..shapes import Wire
from ..site import node_id

DESCRIPTION_MAX = 140  # characters
STATES = ("error", "failure", "pending", "success")


@operation("repos/create-commit-status", "POST /repos/{owner}/{repo}/statuses/{sha}", "statuses:write")
async def create(ask: Ask) -> Answer:
    sha, state = ask.path["sha"], ask.required("Status", "state")
    if state not in STATES:
        raise refusals.invalid("Status", "state")
    description = ask.field("description")
    if description and len(description) > DESCRIPTION_MAX:
        words = f"description is too long (maximum is {DESCRIPTION_MAX} characters)"
        raise refusals.invalid("Status", "description", "custom", words)
    if await ask.bare.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    status = Status(
        ask.store.next_id(),
        ask.repo.name,
        sha,
        ask.field("context", "default"),
        state,
        description,
        ask.field("target_url"),
        ask.login,
    )
    return Answer(_with_creator(ask, ask.store.statuses.put(status)), 201)


@operation("repos/list-commit-statuses-for-ref", "GET /repos/{owner}/{repo}/statuses/{ref}", "statuses:read")
@operation("repos/list-commit-statuses-for-ref", "GET /repos/{owner}/{repo}/commits/{ref}/statuses", "statuses:read")
async def list_statuses(ask: Ask) -> Page:
    """Also at an address that GitHub no longer describes, and that PyGithub uses."""
    found = ask.store.statuses.of(ask.repo.name, sha=await ask.commit())
    return Page(found[::-1], lambda status: _with_creator(ask, status))


@operation("repos/get-combined-status-for-ref", "GET /repos/{owner}/{repo}/commits/{ref}/status", "statuses:read")
async def combined(ask: Ask) -> Page:
    sha = await ask.commit()
    newest = {status.context: status for status in ask.store.statuses.of(ask.repo.name, sha=sha)}
    url = f"{ask.hub.site.repo(ask.repo.name)}/commits/{sha}"

    def whole(statuses: list[Wire]) -> Wire:
        return {
            "state": _together({status.state for status in newest.values()}),
            "statuses": statuses,
            "sha": sha,
            "total_count": len(newest),
            "repository": ask.shapes.repo(ask.repo),
            "commit_url": url,
            "url": f"{url}/status",
        }

    return Page(list(newest.values()), lambda status: _shape(ask, status), whole)


def _together(states: set[str]) -> str:
    """All say success, or one says it failed, or it is not over (as where nobody says anything)."""
    if states & {"failure", "error"}:
        return "failure"
    return "success" if states == {"success"} else "pending"


def _shape(ask: Ask, status: Status) -> Wire:
    return {
        "url": f"{ask.hub.site.repo(status.repo)}/statuses/{status.sha}",
        "avatar_url": ask.shapes.user(status.author)["avatar_url"],
        "id": status.id,
        "node_id": node_id("SC", status),
        "state": status.state,
        "description": status.description,
        "target_url": status.target_url,
        "context": status.context,
        "created_at": status.created_at,
        "updated_at": status.created_at,
    }


def _with_creator(ask: Ask, status: Status) -> Wire:
    return _shape(ask, status) | {"creator": ask.shapes.user(status.author)}
