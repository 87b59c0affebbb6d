"""What happened to an issue or a pull request: its events, and its timeline with comments, reviews and commits among them."""

from ..operation import Ask, Page, operation
from ..records import Event
from ..shapes import Wire
from ..site import node_id

ISSUE = "/repos/{owner}/{repo}/issues/{issue_number}"


@operation("issues/list-events", f"GET {ISSUE}/events", "issues:read")
async def events(ask: Ask) -> Page:
    found = ask.store.events.of(ask.repo.name, number=ask.issue().number)
    return Page(found, lambda event: _shape(ask, event))


@operation("issues/list-events-for-timeline", f"GET {ISSUE}/timeline", "issues:read")
async def timeline(ask: Ask) -> Page:
    """Commits first, then everything else as it came."""
    issue, repo = ask.issue(), ask.repo.name
    pull = ask.store.pulls.get(issue.key)
    commits = await ask.bare.between(pull.base_sha, pull.head_sha) if pull else []
    committed = [_committed(ask.git_shapes.commit(commit)) for commit in commits]
    shown = [
        *((event.created_at, event.id, _shape(ask, event)) for event in ask.store.events.of(repo, number=issue.number)),
        *(
            (comment.created_at, comment.id, _commented(ask, ask.shapes.comment(comment)))
            for comment in ask.store.comments.of(repo, number=issue.number)
        ),
        *(
            (review.submitted_at, review.id, {**ask.shapes.review(review), "event": "reviewed"})
            for review in ask.store.reviews.of(repo, number=issue.number)
            if review.submitted_at
        ),
    ]
    rest = [shape for _, _, shape in sorted(shown, key=lambda each: each[:2])]
    return Page([*committed, *rest], lambda shape: shape)


def _shape(ask: Ask, event: Event) -> Wire:
    commit = event.more.get("commit_id")
    return {
        "id": event.id,
        "node_id": node_id("EV", event),
        "url": f"{ask.hub.site.repo(event.repo)}/issues/events/{event.id}",
        "actor": ask.shapes.user(event.actor),
        "event": event.event,
        "commit_id": None,
        "commit_url": f"{ask.hub.site.repo(event.repo)}/commits/{commit}" if commit else None,
        "created_at": event.created_at,
        "performed_via_github_app": None,
        **event.more,
    }


def _commented(ask: Ask, comment: Wire) -> Wire:
    return {**comment, "event": "commented", "actor": comment["user"]}


def _committed(commit: Wire) -> Wire:
    kept = {name: commit[name] for name in ("sha", "node_id", "html_url", "parents")}
    inner = {name: commit["commit"][name] for name in ("author", "committer", "message", "tree", "url", "verification")}
    return {**kept, **inner, "event": "committed"}
