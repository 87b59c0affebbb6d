"""Comments under issues and pull requests."""

from .. import refusals
from ..hub import check_body
from ..operation import Answer, Ask, Page, operation
from ..records import LEVELS, Comment, now

ISSUES = "/repos/{owner}/{repo}/issues"
ON_ISSUE = f"{ISSUES}/{{issue_number}}/comments"
COMMENT = f"{ISSUES}/comments/{{comment_id}}"


@operation("issues/list-comments", f"GET {ON_ISSUE}", "issues:read")
async def list_comments(ask: Ask) -> Page:
    since, number = ask.query.get("since", ""), ask.issue().number
    found = [c for c in ask.store.comments.of(ask.repo.name, number=number) if c.updated_at >= since]
    return Page(found, ask.shapes.comment)


@operation("issues/create-comment", f"POST {ON_ISSUE}", "issues:write", people="read")
async def create(ask: Ask) -> Answer:
    body = ask.required("IssueComment", "body")
    return Answer(ask.shapes.comment(ask.hub.comment(ask.issue(), ask.login, body, ask.app)), 201)


@operation("issues/get-comment", f"GET {COMMENT}", "issues:read")
async def get(ask: Ask) -> Answer:
    return Answer(ask.shapes.comment(_comment(ask)))


@operation("issues/update-comment", f"PATCH {COMMENT}", "issues:write", people="read")
async def update(ask: Ask) -> Answer:
    comment = _own(ask)
    body = ask.required("IssueComment", "body")
    check_body("IssueComment", body)
    comment.body, comment.updated_at = body, now()
    ask.store.comments.put(comment)
    ask.hub.news.comment(comment, "edited", ask.login)
    return Answer(ask.shapes.comment(comment))


@operation("issues/delete-comment", f"DELETE {COMMENT}", "issues:write", people="read")
async def delete(ask: Ask) -> Answer:
    comment = _own(ask)
    ask.hub.news.comment(comment, "deleted", ask.login)
    ask.store.comments.drop(comment)
    return Answer(None, 204)


def _comment(ask: Ask) -> Comment:
    comment = ask.store.comments.get(ask.path["comment_id"])
    if comment is None or comment.repo != ask.repo.name:
        raise refusals.not_found()
    return comment


def _own(ask: Ask) -> Comment:
    """One's own, or anyone's for who may write. Raises Refusal (403)."""
    comment = _comment(ask)
    if comment.author != ask.login and not ask.app and ask.repo.level(ask.login) < LEVELS.index("write"):
        raise refusals.Refusal(403, "Must have admin rights to Repository.")
    return comment
