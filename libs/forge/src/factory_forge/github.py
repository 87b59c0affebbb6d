"""GitHub, by PyGithub: one repository seen by one identity.

Nothing here relies on memory: what a call made before is found by what is there, by the head branch of a pull request,
the hidden marker and author of a review or comment, the context of a status, the commit and environment of a deployment.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, TypeVar, cast

import github
import msgspec
from github.Commit import Commit
from github.CommitStatus import CommitStatus
from github.Deployment import Deployment as Deployed
from github.DeploymentStatus import DeploymentStatus
from github.GithubObject import NotSet
from github.Issue import Issue as Asked
from github.IssueComment import IssueComment
from github.PaginatedList import PaginatedList
from github.PullRequest import PullRequest as Pull
from github.PullRequestComment import PullRequestComment
from github.PullRequestReview import PullRequestReview
from github.Repository import Repository as Repo

from .errors import (
    BadField,
    ForgeAway,
    ForgeRefused,
    LineNotInDiff,
    NoSuchBranch,
    NoSuchPull,
    NoSuchRef,
    NothingToPull,
    ProtectedBranch,
    PullState,
    SelfReview,
)
from .forge import (
    Comment,
    Deployment,
    Issue,
    LineComment,
    Look,
    PullRequest,
    PullStates,
    Review,
    Status,
    StatusState,
    Verdict,
    check_labels,
    check_text,
    hidden_marker,
    marked,
    short,
)
from .git import Mirror
from .github_client import METADATA, Client, reason_of

ISSUES = 300  # open issues that are read
PULLS_R, PULLS_W = "Pull requests: read", "Pull requests: write"
ISSUES_R, ISSUES_W = "Issues: read", "Issues: write"
CONTENTS_R = "Contents: read"
STATUSES_R, STATUSES_W = "Commit statuses: read", "Commit statuses: write"
DEPLOYMENTS_R, DEPLOYMENTS_W = "Deployments: read", "Deployments: write"

# The colour of a label that is made on demand, by how it begins, and what it says.
COLOURS = {
    "factory-generated": ("5319e7", "Made and proved by the software factory"),
    "needs-human-review": ("fbca04", "A person decides"),
    "risk:low": ("0e8a16", "By the factory's rules"),
    "risk:medium": ("fbca04", "By the factory's rules"),
    "risk:high": ("d93f0b", "By the factory's rules"),
    "project:": ("1d76db", "The project in the factory"),
    "": ("ededed", ""),
}
EVENTS: dict[Verdict, str] = {"approve": "APPROVE", "request_changes": "REQUEST_CHANGES", "comment": "COMMENT"}
VERDICTS: dict[str, Verdict] = {"APPROVED": "approve", "CHANGES_REQUESTED": "request_changes"}

T = TypeVar("T")


class GitHubForge:
    """Implements `forge.Forge`. Use `open`."""

    def __init__(self, client: Client, name: str, author: str, default_branch: str) -> None:
        """`name` is the repository's present one: a renamed one redirects, and what makes something is not redirected."""
        self.name, self.author, self.default_branch = name, author, default_branch
        self._client = client

    @classmethod
    async def open(cls, client: Client) -> GitHubForge:
        """Raises what `Client.call` does: the repository has to be there, and the identity known."""
        author = await client.login()
        repo = await client.call("read the repository", METADATA, lambda gh: gh.get_repo(client.name).complete())
        return cls(client, repo.full_name, author, repo.default_branch)

    def push_url(self) -> str:
        return self._client.site.url_of(self.name)

    async def push(self, mirror: Mirror, sha: str, branch: str) -> None:
        if branch == self.default_branch or (await self._branch(branch))[1]:
            raise ProtectedBranch(branch=branch)
        credentials = await self._client.credentials()
        await mirror.push(self.push_url(), sha, branch, credentials=credentials, protected=[self.default_branch])

    async def tip(self, branch: str) -> str | None:
        return (await self._branch(branch))[0]

    async def _branch(self, name: str) -> tuple[str | None, bool]:
        """(its commit, whether it is protected)."""

        def look(repo: Repo) -> tuple[str | None, bool]:
            found = _or_none(lambda: repo.get_branch(name))
            return (found.commit.sha, bool(found.protected)) if found else (None, False)

        return await self._do("look at a branch", CONTENTS_R, look)

    # ── pull requests ─────────────────────────────────────────────────────────

    async def find_pull(self, branch: str) -> PullRequest | None:
        owner = self.name.partition("/")[0]

        def find(repo: Repo) -> PullRequest | None:
            listed = repo.get_pulls(state="all", sort="created", direction="desc", head=f"{owner}:{branch}")
            found = [_pull(pull) for pull in islice(listed, 100)]
            return next((pull for pull in found if pull.state == "open"), found[0] if found else None)

        return await self._do("look for a pull request", PULLS_R, find)

    async def open_pull(
        self, *, branch: str, base: str, title: str, body: str, draft: bool = True, labels: Sequence[str] = ()
    ) -> PullRequest:
        check_text(title, body)
        wanted = check_labels(labels)
        if (there := await self.find_pull(branch)) and there.state == "open":
            return there

        def create(repo: Repo) -> PullRequest | str:
            try:
                return _pull(repo.create_pull(base, branch, title=title, body=body, draft=draft))
            except github.GithubException as error:
                if error.status != 422:
                    raise
                if draft and "draft pull requests are not supported" in reason_of(error).lower():
                    # a private repository of a plan without drafts
                    return _pull(repo.create_pull(base, branch, title=title, body=body))
                return reason_of(error)

        made = await self._do("open a pull request", PULLS_W, create)
        if isinstance(made, str):
            return await self._not_opened(made, branch, base)
        return await self.set_labels(made.number, wanted) if wanted else made

    async def _not_opened(self, reason: str, branch: str, base: str) -> PullRequest:
        """What stands behind a 422: somebody was faster, nothing is new, a branch is missing, or is not seen yet."""
        if (there := await self.find_pull(branch)) and there.state == "open":
            return there
        for name in (branch, base):
            if await self.tip(name) is None:
                raise NoSuchBranch(repo=self.name, branch=name)
        if "no commits between" in reason.lower():
            raise NothingToPull(branch=branch, base=base)
        where = {"host": self._client.site.host, "repo": self.name, "does": "open a pull request", "reason": reason}
        if "already exists" in reason or "head invalid" in reason:  # what was pushed just now is not seen everywhere
            raise ForgeAway(**where, retry_after=5.0)
        raise ForgeRefused(**where)

    async def update_pull(self, number: int, title: str | None = None, body: str | None = None) -> PullRequest:
        check_text(title or "", body or "", title_given=title is not None)

        def edit(pull: Pull) -> PullRequest:
            pull.edit(title=NotSet if title is None else title, body=NotSet if body is None else body)
            return _pull(pull)

        return await self._of(number, "edit a pull request", PULLS_W, edit)

    async def mark_ready(self, number: int) -> PullRequest:
        def ready(pull: Pull) -> PullRequest:
            _only(pull, ("open",), "ready for review")
            if pull.draft:
                pull.mark_ready_for_review()
            return _pull(pull)

        return await self._of(number, "take a pull request out of draft", PULLS_W, ready)

    async def close_pull(self, number: int) -> PullRequest:
        def close(pull: Pull) -> PullRequest:
            if _only(pull, ("open", "closed"), "closed") == "open":
                pull.edit(state="closed")
            return _pull(pull)

        return await self._of(number, "close a pull request", PULLS_W, close)

    async def reopen_pull(self, number: int) -> PullRequest:
        def reopen(pull: Pull) -> PullRequest:
            state = _only(pull, ("open", "closed"), "reopened")
            if state == "closed":
                try:
                    pull.edit(state="open")
                except github.GithubException as error:
                    if error.status != 422:
                        raise
                    raise PullState(number=number, state=state, wanted=f"reopened: {reason_of(error)}") from None
            return _pull(pull)

        return await self._of(number, "reopen a pull request", PULLS_W, reopen)

    async def set_labels(self, number: int, labels: Sequence[str]) -> PullRequest:
        wanted = check_labels(labels)

        def label(repo: Repo) -> PullRequest:
            pull = self._found(repo, number)
            there = {label.name.lower() for label in pull.labels}
            if there == {name.lower() for name in wanted}:
                return _pull(pull)
            for name in wanted:
                if name.lower() not in there:
                    _ensure_label(repo, name)
            repo.get_issue(number).edit(labels=wanted)  # set_labels sends a bare list, which is described no more
            return _pull(self._found(repo, number))

        return await self._do("set labels", ISSUES_W, label)

    async def pull(self, number: int) -> PullRequest:
        return await self._of(number, "read a pull request", PULLS_R, _pull)

    async def pulls(self) -> list[PullRequest]:
        def listed(repo: Repo) -> list[PullRequest]:
            return [_pull(pull) for pull in repo.get_pulls(state="all", sort="created", direction="asc")]

        return await self._do("list pull requests", PULLS_R, listed)

    async def look(self, etag: str = "") -> Look | None:
        parameters = {"state": "all", "sort": "updated", "direction": "desc", "per_page": 100}

        def look(repo: Repo) -> Look | None:
            condition = {"If-None-Match": etag} if etag else {}
            url, ask = f"{repo.url}/pulls", repo.requester.requestJsonAndCheck
            headers, data = ask("GET", url, parameters=parameters, headers=condition)
            if data is None:  # 304: nothing is new, and it cost nothing of the rate limit
                return None
            found = [_pull(Pull(repo.requester, headers, one)) for one in data]
            return Look(pulls=found, etag=headers.get("etag", ""))

        return await self._do("look for news", PULLS_R, look)

    # ── what hangs on them ────────────────────────────────────────────────────

    async def set_status(self, status: Status) -> None:
        said = (status.state, short(status.description), status.url)

        def say(repo: Repo) -> None:
            newest = next((s for s in _statuses(repo, status.sha) if s.context == status.context), None)
            if newest and (newest.state, newest.description, newest.url) == said:
                return
            target = {"target_url": status.url} if status.url else {}
            description = {"description": said[1]} if said[1] else {}
            facts = {"url": f"{repo.url}/commits/{status.sha}", "sha": status.sha}  # all that is needed of the commit
            commit = Commit(repo.requester, {}, facts, completed=True)
            commit.create_status(status.state, context=status.context, **target, **description)

        await self._do("set a commit status", STATUSES_W, self._of_commit(status.sha, say))

    async def statuses(self, sha: str) -> list[Status]:
        read = self._of_commit(sha, lambda repo: _statuses(repo, sha))
        return await self._do("read commit statuses", STATUSES_R, read)

    async def add_review(
        self,
        number: int,
        *,
        sha: str,
        verdict: Verdict,
        body: str,
        comments: Sequence[LineComment] = (),
        marker: str,
    ) -> Review:
        text, mark = marked(body, marker), hidden_marker(marker)
        mine = [r for r in await self.reviews(number) if r.author == self.author and mark in r.body]
        if mine:
            return mine[0]

        def add(pull: Pull) -> Review:
            if verdict != "comment" and _login(pull.user) == self.author:
                raise SelfReview(author=self.author, number=number, verdict=verdict)
            given: Any = [{"path": c.path, "line": c.line, "side": "RIGHT", "body": c.body} for c in comments]
            try:
                commit = Commit(pull.requester, {}, {"sha": sha}, completed=True)
                made = pull.create_review(commit, text, EVENTS[verdict], given)
            except github.GithubException as error:
                if error.status != 422:
                    raise
                raise _not_reviewed(error, pull, sha, comments) from None
            return _review(made, list(comments))

        return await self._of(number, "review a pull request", PULLS_W, add)

    async def reviews(self, number: int) -> list[Review]:
        def read(pull: Pull) -> list[Review]:
            found = [r for r in pull.get_reviews() if r.state != "PENDING"]  # those are begun, and seen by nobody
            lines: dict[int, list[LineComment]] = {}
            if found:
                for remark in pull.get_review_comments():
                    lines.setdefault(remark.pull_request_review_id, []).append(_remark(remark))
            return [_review(r, lines.get(r.id, [])) for r in found]

        return await self._of(number, "read reviews", PULLS_R, read)

    async def sticky_comment(self, number: int, marker: str, body: str) -> Comment:
        text, mark = marked(body, marker), hidden_marker(marker)

        def stick(pull: Pull) -> Comment:
            mine = (c for c in pull.get_issue_comments() if _login(c.user) == self.author and mark in (c.body or ""))
            if (there := next(mine, None)) is None:
                return _comment(pull.create_issue_comment(text))
            if there.body != text:
                there.edit(text)
            return _comment(there)

        return await self._of(number, "comment on a pull request", PULLS_W, stick)

    async def comments(self, number: int) -> list[Comment]:
        read = "read comments", PULLS_R
        return await self._of(number, *read, lambda pull: [_comment(c) for c in pull.get_issue_comments()])

    async def issues(self) -> list[Issue]:
        def read(repo: Repo) -> list[Issue]:
            try:
                listed = repo.get_issues(state="open", sort="updated", direction="desc")
                found = list(islice((issue for issue in listed if "/pull/" not in issue.html_url), ISSUES))
            except github.GithubException as error:
                if error.status != 410:  # this repository has no issues
                    raise
                return []
            return sorted((_issue(issue) for issue in found), key=lambda issue: issue.number)

        return await self._do("read issues", ISSUES_R, read)

    # ── previews ──────────────────────────────────────────────────────────────

    async def deploy(self, deployment: Deployment) -> None:
        def show(repo: Repo) -> None:
            listed = list(repo.get_deployments(environment=deployment.environment))
            there = next((d for d in listed if d.sha == deployment.sha), None)
            if there is None and deployment.state == "inactive":
                return
            _say(there or _create(repo, deployment), deployment)
            if deployment.state == "success":
                for other in (d for d in listed if d.sha != deployment.sha):
                    if (newest := _newest(other)) is None or newest.state != "inactive":
                        other.create_status("inactive", auto_inactive=False)

        await self._do("show a deployment", DEPLOYMENTS_W, self._of_commit(deployment.sha, show))

    async def deployments(self, sha: str) -> list[Deployment]:
        def read(repo: Repo) -> list[Deployment]:
            found = [_deployment(d, _newest(d)) for d in repo.get_deployments(sha=sha)]
            return sorted(found, key=lambda d: d.environment)

        return await self._do("read deployments", DEPLOYMENTS_R, read)

    # ── how it is asked ───────────────────────────────────────────────────────

    async def _do(self, does: str, needs: str, what: Callable[[Repo], T]) -> T:
        return await self._client.call(does, needs, lambda gh: what(gh.get_repo(self.name)))

    async def _of(self, number: int, does: str, needs: str, what: Callable[[Pull], T]) -> T:
        """About a pull request as it is now. Raises NoSuchPull."""
        return await self._do(does, needs, lambda repo: what(self._found(repo, number)))

    def _found(self, repo: Repo, number: int) -> Pull:
        if (pull := _or_none(repo.get_pull(number).complete)) is None:
            raise NoSuchPull(repo=self.name, number=number)
        return pull

    def _of_commit(self, sha: str, what: Callable[[Repo], T]) -> Callable[[Repo], T]:
        """`what`, about a commit: raises NoSuchRef where GitHub does not know it."""

        def known(repo: Repo) -> T:
            try:
                return what(repo)
            except github.GithubException as error:
                said = reason_of(error).lower()
                if error.status in {404, 422} and ("no commit found" in said or "no ref found" in said):
                    raise NoSuchRef(ref=sha[:200], where=self.name) from None
                raise

        return known


# ── what is there ─────────────────────────────────────────────────────────────


def _or_none(get: Callable[[], T]) -> T | None:
    try:
        return get()
    except github.GithubException as error:
        if error.status != 404:
            raise
        return None


def _statuses(repo: Repo, sha: str) -> list[Status]:
    """The newest of each context. GitHub lists all that were ever set, newest first."""
    newest: dict[str, Status] = {}
    for s in PaginatedList(CommitStatus, repo.requester, f"{repo.url}/commits/{sha}/statuses"):
        state = cast(StatusState, s.state)
        said = Status(sha=sha, context=s.context, state=state, description=s.description or "", url=s.target_url or "")
        newest.setdefault(s.context, said)
    return sorted(newest.values(), key=lambda status: status.context)


def _ensure_label(repo: Repo, name: str) -> None:
    if _or_none(repo.get_label(name).complete):
        return
    colour, says = next(value for begin, value in COLOURS.items() if name.lower().startswith(begin))
    try:
        repo.create_label(name, colour, says)
    except github.GithubException as error:
        if error.status != 422 or "already_exists" not in reason_of(error):  # another job was faster
            raise


def _only(pull: Pull, states: Sequence[PullStates], wanted: str) -> PullStates:
    """Raises PullState."""
    state = _state(pull)
    if state not in states:
        raise PullState(number=pull.number, state=state, wanted=wanted)
    return state


def _create(repo: Repo, deployment: Deployment) -> Deployed:
    return repo.create_deployment(
        deployment.sha,
        environment=deployment.environment,
        description=short(deployment.description),
        auto_merge=False,
        required_contexts=[],  # it is up already, whatever the checks say
        transient_environment=True,
        production_environment=False,
    )


def _say(there: Deployed, wanted: Deployment) -> None:
    url = wanted.url if re.match(r"https?://", wanted.url) else ""
    wanted = msgspec.structs.replace(wanted, url=url, description=short(wanted.description))
    if (newest := _newest(there)) and _deployment(there, newest) == wanted:
        return
    shown = {"environment_url": url} if url else {}
    there.create_status(wanted.state, description=wanted.description, auto_inactive=False, **shown)


def _not_reviewed(error: github.GithubException, pull: Pull, sha: str, given: Sequence[LineComment]) -> Exception:
    """What a 422 means: GitHub says that a line is not in the diff, and not which."""
    reason = reason_of(error)
    if "your own pull request" in reason.lower():
        return SelfReview(author=_login(pull.user), number=pull.number, verdict="review")
    if given and re.search(r"\b(line|path|position|diff)\b", reason, re.I):
        shown = _shown(pull)
        wrong = next((c for c in given if not any(c.line in lines for lines in shown.get(c.path, []))), given[0])
        return LineNotInDiff(number=pull.number, path=wrong.path, line=wrong.line)
    return BadField(field="sha", value=sha[:64], reason=reason)


def _shown(pull: Pull) -> dict[str, list[range]]:
    """The lines of the new text that the pull request's diff shows, by path."""
    shown = {}
    for file in pull.get_files():
        hunks = re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", file.patch or "", re.M)
        shown[file.filename] = [range(int(start), int(start) + int(count or 1)) for start, count in hunks]
    return shown


# ── GitHub's objects as ours ──────────────────────────────────────────────────


def _state(pull: Pull) -> PullStates:
    if pull.merged_at is not None:
        return "merged"
    return "open" if pull.state == "open" else "closed"


def _pull(pull: Pull) -> PullRequest:
    if not pull.number:  # a redirect of a POST, which PyGithub takes for an answer
        raise ValueError("no pull request in the answer")
    state = _state(pull)
    by = _login(pull.merged_by) if state == "merged" and pull.completed else ""  # a list does not say it
    return PullRequest(
        number=pull.number,
        url=pull.html_url,
        branch=pull.head.ref,
        base=pull.base.ref,
        head_sha=pull.head.sha,
        title=pull.title,
        body=pull.body or "",
        draft=bool(pull.draft),
        state=state,
        merged_by=by,
        updated_at=pull.updated_at.isoformat() if pull.updated_at else "",
        labels=[label.name for label in pull.labels],
        author=_login(pull.user),
    )


def _review(review: PullRequestReview, lines: list[LineComment]) -> Review:
    """A review that was dismissed counts no more: it is a comment."""
    return Review(
        id=review.id,
        sha=review.commit_id or "",
        verdict=VERDICTS.get(review.state, "comment"),
        body=review.body or "",
        comments=lines,
        author=_login(review.user),
    )


def _remark(remark: PullRequestComment) -> LineComment:
    """Where it stood when it was made: `line` is empty once later commits have changed that place."""
    return LineComment(path=remark.path, line=remark.original_line or remark.line or 0, body=remark.body)


def _comment(comment: IssueComment) -> Comment:
    return Comment(id=comment.id, body=comment.body or "", author=_login(comment.user))


def _issue(issue: Asked) -> Issue:
    return Issue(
        number=issue.number,
        url=issue.html_url,
        title=issue.title,
        body=issue.body or "",
        labels=[label.name for label in issue.labels],
        author=_login(issue.user),
    )


def _newest(there: Deployed) -> DeploymentStatus | None:
    return next(iter(there.get_statuses()), None)


def _deployment(there: Deployed, newest: DeploymentStatus | None) -> Deployment:
    said = newest.state if newest else "in_progress"
    states = {"success": "success", "inactive": "inactive", "failure": "failure", "error": "failure"}
    return Deployment(
        sha=there.sha,
        environment=there.environment,
        state=cast(Any, states.get(said, "in_progress")),
        url=(newest.environment_url or "") if newest else "",
        description=(newest.description or "") if newest else "",
    )


def _login(user: Any) -> str:
    """Of an account that was deleted, GitHub's word for it."""
    return user.login if user is not None else "ghost"
