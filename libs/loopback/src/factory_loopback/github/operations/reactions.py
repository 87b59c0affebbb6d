"""Reactions: one of eight signs under an issue or a comment."""

from .. import refusals
from ..operation import Answer, Ask, Page, operation
from ..records import Reaction
from ..shapes import Wire
from ..site import node_id

ISSUES = "/repos/{owner}/{repo}/issues"
ON_ISSUE = f"{ISSUES}/{{issue_number}}/reactions"
ON_COMMENT = f"{ISSUES}/comments/{{comment_id}}/reactions"


@operation("reactions/list-for-issue", f"GET {ON_ISSUE}", "issues:read")
async def on_issue(ask: Ask) -> Page:
    return _listed(ask, f"issue:{ask.issue().id}")


@operation("reactions/create-for-issue", f"POST {ON_ISSUE}", "issues:write", people="read")
async def to_issue(ask: Ask) -> Answer:
    return _given(ask, f"issue:{ask.issue().id}")


@operation("reactions/list-for-issue-comment", f"GET {ON_COMMENT}", "issues:read")
async def on_comment(ask: Ask) -> Page:
    return _listed(ask, _comment(ask))


@operation("reactions/create-for-issue-comment", f"POST {ON_COMMENT}", "issues:write", people="read")
async def to_comment(ask: Ask) -> Answer:
    return _given(ask, _comment(ask))


def _comment(ask: Ask) -> str:
    comment = ask.store.comments.get(ask.path["comment_id"])
    if comment is None or comment.repo != ask.repo.name:
        raise refusals.not_found()
    return f"comment:{comment.id}"


def _listed(ask: Ask, subject: str) -> Page:
    found = ask.store.reactions.of(ask.repo.name, subject=subject)
    wanted = ask.query.get("content")
    return Page([each for each in found if wanted in (None, each.content)], lambda each: _shape(ask, each))


def _given(ask: Ask, subject: str) -> Answer:
    """Nobody gives the same sign twice."""
    content = ask.required("Reaction", "content")
    facts = {"subject": subject, "author": ask.login, "content": content}
    if there := ask.store.reactions.of(ask.repo.name, **facts):
        return Answer(_shape(ask, there[0]))
    made = ask.store.reactions.put(Reaction(ask.store.next_id(), ask.repo.name, **facts))
    return Answer(_shape(ask, made), 201)


def _shape(ask: Ask, reaction: Reaction) -> Wire:
    return {
        "id": reaction.id,
        "node_id": node_id("REA", reaction),
        "user": ask.shapes.user(reaction.author),
        "content": reaction.content,
        "created_at": reaction.created_at,
    }
