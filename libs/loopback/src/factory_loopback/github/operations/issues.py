"""Issues; a pull request is one too."""

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import LEVELS, Issue

ISSUES = "/repos/{owner}/{repo}/issues"
ISSUE = f"{ISSUES}/{{issue_number}}"


@operation("issues/list-for-repo", f"GET {ISSUES}", "issues:read")
async def list_issues(ask: Ask) -> Page:
    """As on GitHub, pull requests among them."""
    order = {"updated": "updated_at", "created": "created_at"}.get(ask.query.get("sort", ""), "created_at")
    found = [issue for issue in ask.store.issues.of(ask.repo.name) if _wanted(ask, issue)]
    found.sort(key=lambda issue: (getattr(issue, order), issue.number), reverse=ask.query.get("direction") != "asc")
    return Page(found, lambda issue: ask.shapes.issue(issue, closed_by=False))


def _wanted(ask: Ask, issue: Issue) -> bool:
    state, labels, creator, assignee, since = (
        ask.query.get(name, "") for name in ("state", "labels", "creator", "assignee", "since")
    )
    has = {name.lower() for name in issue.labels}
    return (
        (state == "all" or issue.state == (state or "open"))
        and all(name.lower() in has for name in labels.split(",") if name)
        and (not creator or creator == issue.author)
        and (assignee in ("", "*", "none") or assignee in issue.assignees)
        and (assignee != "none" or not issue.assignees)
        and (assignee != "*" or bool(issue.assignees))
        and issue.updated_at >= since
    )


@operation("issues/create", f"POST {ISSUES}", "issues:write", people="read")
async def create(ask: Ask) -> Answer:
    title = str(ask.required("Issue", "title"))
    issue = ask.hub.open_issue(ask.repo, ask.login, title, ask.field("body"), ask.app)
    if may_sort(ask):
        ask.hub.set_labels(ask.repo, issue, names_of(ask.field("labels", [])), ask.login)
        issue.assignees = ask.field("assignees", [])
        ask.store.issues.put(issue)
    return Answer(ask.shapes.issue(issue), 201)


@operation("issues/get", f"GET {ISSUE}", "issues:read")
async def get(ask: Ask) -> Answer:
    return Answer(ask.shapes.issue(ask.issue()))


@operation("issues/update", f"PATCH {ISSUE}", "issues:write", people="read")
async def update(ask: Ask) -> Answer:
    issue = ask.issue()
    check_may_edit(ask, issue)
    await ask.hub.edit_issue(
        ask.repo,
        issue,
        ask.login,
        title=None if ask.field("title") is None else str(ask.field("title")),
        body=ask.field("body"),
        state=ask.field("state"),
        reason=ask.field("state_reason"),
    )
    if ask.field("labels") is not None and may_sort(ask):
        ask.hub.set_labels(ask.repo, issue, names_of(ask.field("labels")), ask.login)
    if ask.field("assignees") is not None and may_sort(ask):
        issue.assignees = [each if isinstance(each, str) else each["login"] for each in ask.field("assignees")]
        ask.hub.touch(issue)
    return Answer(ask.shapes.issue(issue))


def may_sort(ask: Ask) -> bool:
    """Whether they may set labels and assignees; of others, GitHub silently drops these."""
    return bool(ask.app) or ask.repo.level(ask.login) >= LEVELS.index("triage")


def check_may_edit(ask: Ask, issue: Issue) -> None:
    """One's own, or anyone's for who may write. Raises Refusal (403)."""
    if issue.author != ask.login and not ask.app and ask.repo.level(ask.login) < LEVELS.index("write"):
        raise refusals.Refusal(403, "Must have admin rights to Repository.")


def names_of(labels: list[object]) -> list[str]:
    """Labels are given by name or as objects with one. Raises Refusal (422)."""
    names = [label.get("name") if isinstance(label, dict) else label for label in labels]
    if not all(isinstance(name, str) and name for name in names):
        raise refusals.invalid("Label", "name", "missing_field")
    return [str(name) for name in names]
