"""What webhooks hear of: the payload of each event, with the repository and who did it.

https://docs.github.com/en/webhooks/webhook-events-and-payloads
"""

from typing import Any

from .bare import Bare, Commit
from .records import Comment, Hook, Issue, Pull, Repo, Review
from .shapes import Shapes, Wire
from .store import Store
from .webhooks import Webhooks

ZEROS = "0" * 40
PUSH_MAX = 20  # commits that a push names


class News:
    """Tells the hooks of a repository."""

    def __init__(self, store: Store, shapes: Shapes, webhooks: Webhooks) -> None:
        self._store, self._shapes, self._webhooks = store, shapes, webhooks

    def issue(self, issue: Issue, action: str, login: str, **more: Any) -> None:
        pull = self._store.pulls.get(issue.key)
        if pull:
            self.pull(pull, action, login, **more)
        else:
            self._tell(issue.repo, "issues", login, action=action, issue=self._shapes.issue(issue), **more)

    def pull(self, pull: Pull, action: str, login: str, **more: Any) -> None:
        shown = self._shapes.pull(pull) | {"merged": pull.merged_at is not None}
        shown["merged_by"] = self._shapes.maybe_user(pull.merged_by)
        self._tell(pull.repo, "pull_request", login, action=action, number=pull.number, pull_request=shown, **more)

    def comment(self, comment: Comment, action: str, login: str) -> None:
        issue = self._store.issues.get(f"{comment.repo}#{comment.number}")
        assert issue
        shown = {"issue": self._shapes.issue(issue), "comment": self._shapes.comment(comment)}
        self._tell(comment.repo, "issue_comment", login, action=action, **shown)

    def review(self, pull: Pull, review: Review) -> None:
        shown = {"pull_request": self._shapes.pull(pull), "review": self._shapes.review(review)}
        shown["review"]["state"] = review.state.lower()
        self._tell(pull.repo, "pull_request_review", review.author, action="submitted", **shown)

    def ping(self, hook: Hook, login: str) -> None:
        """What a new hook hears first."""
        self._tell(hook.repo, "ping", login, zen="Keep it logically awesome.", hook_id=hook.id)

    async def push(self, repo: Repo, bare: Bare, branch: str, old: str | None, new: str | None, login: str) -> None:
        commits = await bare.between(old, new) if old and new else []
        forced = bool(old and new and not await bare.contains(new, old))
        shown = [_push_commit(commit) for commit in commits[-PUSH_MAX:]]
        self._tell(
            repo.name,
            "push",
            login,
            ref=f"refs/heads/{branch}",
            before=old or ZEROS,
            after=new or ZEROS,
            created=old is None,
            deleted=new is None,
            forced=forced,
            commits=shown,
            head_commit=_push_commit(await bare.commit(new)) if new else None,
            pusher={"name": login},
        )

    def _tell(self, repo: str, event: str, login: str, **payload: Any) -> None:
        kept = self._store.repos.get(repo)
        assert kept
        self._webhooks.tell(
            kept.name, event, payload | {"repository": self._shapes.repo(kept), "sender": self._shapes.user(login)}
        )


def _push_commit(commit: Commit) -> Wire:
    people = {
        role: {"name": who.name, "email": who.email}
        for role, who in (("author", commit.author), ("committer", commit.committer))
    }
    return {
        "id": commit.sha,
        "tree_id": commit.tree,
        "message": commit.message,
        "timestamp": commit.committer.date,
        **people,
    }
