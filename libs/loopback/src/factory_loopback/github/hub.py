"""What happens at GitHub and what follows from it: a push moves pull requests, a merge closes them, hooks hear of it."""

import asyncio
import re
from pathlib import Path
from typing import Any

from . import refusals
from .bare import Bare, GitFailed, Signature
from .news import News
from .records import Comment, Event, Issue, Label, Pull, Repo, now
from .shapes import PullStats, Shapes
from .site import Site
from .store import Store
from .webhooks import Webhooks

TITLE_MAX, BODY_MAX = 256, 65_536  # characters
NEW_LABEL_COLOR = "ededed"
CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):? #(\d+)", re.IGNORECASE)


class Hub:
    """All that the doors (REST, GraphQL, git, people) act through. Who writes holds the repository's `lock`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.site = Site()
        self.shapes = Shapes(store, self.site)
        self.webhooks = Webhooks(store)
        self.news = News(store, self.shapes, self.webhooks)
        self._bares: dict[str, Bare] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._looked_at: set[tuple[str, str, str]] = set()

    def bare(self, repo: Repo) -> Bare:
        return self._bares.setdefault(repo.name, Bare(Path(repo.path)))

    def lock(self, repo: Repo) -> asyncio.Lock:
        return self._locks.setdefault(repo.name, asyncio.Lock())

    def repo(self, name: str) -> Repo | None:
        """GitHub finds repositories in any case."""
        return next((r for r in self.store.repos if r.name.lower() == name.lower()), None)

    # Branches

    async def settle(self) -> None:
        """At start: what a push or a merge did to branches just before the server was killed is followed up."""
        for repo in self.store.repos:
            branches = await self.bare(repo).branches()
            for pull in self._open(repo):
                if branches.get(pull.head) != pull.head_sha:
                    await self.moved(repo, pull.head, pull.head_sha, branches.get(pull.head), repo.owner)
                base = branches.get(pull.base)
                if self.issue(pull).state == "open" and base and await self.bare(repo).contains(base, pull.head_sha):
                    self.merged(pull, base, repo.owner)

    async def pushed(self, repo: Repo, before: dict[str, str], login: str) -> None:
        """Follows up whatever a push did: `before` is what branches there were."""
        after = await self.bare(repo).branches()
        for branch in sorted(before.keys() | after.keys()):
            if before.get(branch) != after.get(branch):
                await self.moved(repo, branch, before.get(branch), after.get(branch), login)

    async def moved(self, repo: Repo, branch: str, old: str | None, new: str | None, login: str) -> None:
        """A branch is new, has moved or is gone."""
        repo.pushed_at = now()
        self.store.repos.put(repo)
        await self.news.push(repo, self.bare(repo), branch, old, new, login)
        for pull in self._open(repo):
            if new is None and branch in (pull.head, pull.base):
                self.close(self.issue(pull), login)
            elif new and branch == pull.head and new != pull.head_sha:
                await self._synchronize(repo, pull, new, login)
            if new and branch == pull.base and await self.bare(repo).contains(new, pull.head_sha):
                self.merged(pull, pull.head_sha, login)

    async def _synchronize(self, repo: Repo, pull: Pull, new: str, login: str) -> None:
        old, bare = pull.head_sha, self.bare(repo)
        pull.head_sha, pull.base_sha = new, await bare.branch(pull.base) or pull.base_sha
        await self._keep_head(repo, pull)
        self.touch(self.issue(pull))
        if not await bare.contains(new, old):
            self.event(self.issue(pull), login, "head_ref_force_pushed", commit_id=new)
        self.news.pull(pull, "synchronize", login, before=old, after=new)

    async def _keep_head(self, repo: Repo, pull: Pull) -> None:
        """`refs/pull/<n>/head` holds the commits when the branch is long gone."""
        self.store.pulls.put(pull)
        await self.bare(repo).set_ref(f"refs/pull/{pull.number}/head", pull.head_sha)

    def _open(self, repo: Repo) -> list[Pull]:
        return [pull for pull in self.store.pulls.of(repo.name) if self.issue(pull).state == "open"]

    # Pull requests

    def issue(self, pull: Pull) -> Issue:
        issue = self.store.issues.get(pull.key)
        assert issue  # the other half
        return issue

    async def open_pull(
        self,
        repo: Repo,
        login: str,
        *,
        title: str,
        body: str | None,
        head: str,
        base: str,
        draft: bool,
        app: int | None,
    ) -> Pull:
        """Raises Refusal (422) as GitHub does, among others for a second one of the same branches."""
        bare, head = self.bare(repo), head.removeprefix(f"{repo.owner}:")
        check_text("PullRequest", title, body)
        if draft and not repo.drafts:
            raise refusals.custom("PullRequest", "Draft pull requests are not supported in this repository.")
        base_sha, head_sha = await bare.branch(base), await bare.branch(head)
        if base_sha is None:
            raise refusals.invalid("PullRequest", "base")
        if head_sha is None:
            raise refusals.invalid("PullRequest", "head")
        if any(pull.head == head and pull.base == base for pull in self._open(repo)):
            raise refusals.custom("PullRequest", f"A pull request already exists for {repo.owner}:{head}.")
        if not await bare.between(base_sha, head_sha):
            raise refusals.custom("PullRequest", f"No commits between {base} and {head}")
        number = self.store.next_number(repo)
        issue = Issue(self.store.next_id(), repo.name, number, title, body, login, by_app=app)
        pull = Pull(self.store.next_id(), repo.name, number, head, base, head_sha, base_sha, draft)
        self.store.pulls.put(pull)
        self.store.issues.put(issue)
        await self._keep_head(repo, pull)
        self.news.pull(pull, "opened", login)
        return pull

    async def edit_pull(
        self,
        repo: Repo,
        pull: Pull,
        login: str,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
        base: str | None = None,
    ) -> None:
        """Changes what is not None. Raises Refusal (422)."""
        if base and base != pull.base:
            if self.issue(pull).state == "closed":
                words = "Cannot change the base branch of a closed pull request."
                raise refusals.invalid("PullRequest", "base", message=words)
            base_sha = await self.bare(repo).branch(base)
            if base_sha is None:
                raise refusals.invalid("PullRequest", "base")
            pull.base, pull.base_sha = base, base_sha
            self.store.pulls.put(pull)
        await self.edit_issue(repo, self.issue(pull), login, title=title, body=body, state=state)

    async def stats(self, repo: Repo, pull: Pull) -> PullStats:
        """Whether it can be merged, GitHub finds out behind the first look at two commits: until then it is None."""
        files = await self.files(repo, pull)
        commits = await self.bare(repo).between(pull.base_sha, pull.head_sha)
        counts = (sum(f.additions for f in files), sum(f.deletions for f in files), len(files))
        return PullStats(len(commits), *counts, await self._mergeable(repo, pull))

    async def _mergeable(self, repo: Repo, pull: Pull) -> bool | None:
        base = await self.bare(repo).branch(pull.base)
        if pull.merged_at or base is None:
            return None
        look = (pull.key, pull.head_sha, base)
        if look not in self._looked_at:
            self._looked_at.add(look)
            return None
        return await self.bare(repo).merge_tree(base, pull.head_sha) is not None

    async def files(self, repo: Repo, pull: Pull) -> list[Any]:
        """What it changes since it left its base."""
        bare = self.bare(repo)
        return await bare.diff(await bare.merge_base(pull.base_sha, pull.head_sha) or pull.base_sha, pull.head_sha)

    def set_draft(self, pull: Pull, draft: bool, login: str) -> None:
        if pull.draft == draft:
            return
        pull.draft = draft
        self.store.pulls.put(pull)
        self.touch(self.issue(pull))
        action = "converted_to_draft" if draft else "ready_for_review"
        self.event(self.issue(pull), login, "convert_to_draft" if draft else action)
        self.news.pull(pull, action, login)

    def merged(self, pull: Pull, sha: str, login: str) -> None:
        """Its commits are in the base; issues that its text says it closes are closed, where that is the default branch."""
        pull.merged_at, pull.merged_by, pull.merge_commit_sha = now(), login, sha
        self.store.pulls.put(pull)
        self.event(self.issue(pull), login, "merged", commit_id=sha)
        self.close(self.issue(pull), login)
        repo = self.store.repos.get(pull.repo)
        if repo and pull.base == repo.default_branch:
            for number in CLOSES.findall(self.issue(pull).body or ""):
                issue = self.store.issues.get(f"{pull.repo}#{number}")
                if issue and issue.key not in (pull.key, *(other.key for other in self.store.pulls)):
                    self.close(issue, login)

    async def reopen(self, repo: Repo, issue: Issue, login: str) -> None:
        """Raises Refusal (422) for a pull request that is merged, whose branch is gone or was rewritten, or that has a double."""
        pull = self.store.pulls.get(issue.key)
        head = None
        if pull:
            head = await self._head_to_reopen(repo, pull)
        issue.state, issue.closed_at, issue.closed_by, issue.state_reason = "open", None, None, None
        if not pull:
            issue.state_reason = "reopened"
        self.touch(issue)
        self.event(issue, login, "reopened")
        self.news.issue(issue, "reopened", login)
        if pull and head and head != pull.head_sha:
            await self._synchronize(repo, pull, head, login)

    async def _head_to_reopen(self, repo: Repo, pull: Pull) -> str:
        bare, cannot = self.bare(repo), "state cannot be changed."
        head = await bare.branch(pull.head)
        words = ""
        if pull.merged_at:
            words = f"{cannot} The pull request is merged."
        elif head is None:
            words = f"{cannot} The {pull.head} branch has been deleted."
        elif not await bare.contains(head, pull.head_sha):
            words = f"{cannot} The {pull.head} branch was force-pushed or recreated."
        elif any(other.head == pull.head and other.base == pull.base for other in self._open(repo)):
            words = f"{cannot} There is already an open pull request from {repo.owner}:{pull.head} to {repo.owner}:{pull.base}."
        if words or head is None:
            raise refusals.invalid("PullRequest", "state", message=words)
        return head

    async def merge(self, repo: Repo, pull: Pull, login: str, *, way: str, title: str, message: str) -> str:
        """Merges it into its base and returns the new tip. Raises Refusal (405) where GitHub does not offer it."""
        bare, base = self.bare(repo), await self.bare(repo).branch(pull.base)
        if pull.draft:
            raise refusals.Refusal(405, "Pull Request is still a draft")
        tree = await bare.merge_tree(base, pull.head_sha) if base else None
        if base is None or tree is None or self.issue(pull).state != "open":
            raise refusals.Refusal(405, "Pull Request is not mergeable")
        who = self.signature(login)
        if way == "rebase":
            try:
                sha = await bare.rebased(base, await bare.between(base, pull.head_sha), who)
            except GitFailed as error:
                raise refusals.Refusal(405, "This branch can't be rebased") from error
        else:
            parents = [base] if way == "squash" else [base, pull.head_sha]
            text = title or default_title(self.issue(pull), pull, repo, way)
            sha = await bare.commit_tree(tree, parents, f"{text}\n\n{message}".strip() + "\n", who)
        await bare.set_ref(f"refs/heads/{pull.base}", sha, base)
        self.merged(pull, sha, login)
        await self.moved(repo, pull.base, base, sha, login)
        return sha

    def signature(self, login: str) -> Signature:
        """Who is named in commits that GitHub makes."""
        user = self.store.user(login)
        return Signature(login, f"{user.id}+{login}@users.noreply.github.com", now())

    # Issues

    def open_issue(self, repo: Repo, login: str, title: str, body: str | None, app: int | None) -> Issue:
        check_text("Issue", title, body)
        number = self.store.next_number(repo)
        issue = Issue(self.store.next_id(), repo.name, number, title, body, login, by_app=app)
        self.store.issues.put(issue)
        self.news.issue(issue, "opened", login)
        return issue

    async def edit_issue(
        self,
        repo: Repo,
        issue: Issue,
        login: str,
        *,
        title: str | None = None,
        body: str | None = None,
        state: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Changes what is not None. Raises Refusal (422)."""
        check_text("Issue", issue.title if title is None else title, body)
        if title is not None or body is not None:
            issue.title, issue.body = title or issue.title, issue.body if body is None else body
            self.touch(issue)
            self.news.issue(issue, "edited", login)
        if state == "closed":
            self.close(issue, login, reason)
        elif state == "open" and issue.state == "closed":
            await self.reopen(repo, issue, login)

    def close(self, issue: Issue, login: str, reason: str | None = None) -> None:
        if issue.state == "closed":
            return
        issue.state, issue.closed_at, issue.closed_by = "closed", now(), login
        issue.state_reason = None if self.store.pulls.get(issue.key) else reason or "completed"
        self.touch(issue)
        self.event(issue, login, "closed")
        self.news.issue(issue, "closed", login)

    def touch(self, issue: Issue) -> None:
        """Keeps a change of an issue."""
        issue.updated_at = now()
        self.store.issues.put(issue)

    def comment(self, issue: Issue, login: str, body: str, app: int | None) -> Comment:
        check_body("IssueComment", body)
        comment = Comment(self.store.next_id(), issue.repo, issue.number, login, body, by_app=app)
        self.store.comments.put(comment)
        self.touch(issue)
        self.news.comment(comment, "created", login)
        return comment

    def label(self, repo: Repo, name: str) -> Label:
        """The label of this name, made (grey) where there is none."""
        found = self.store.labels.get(f"{repo.name}:{name.lower()}")
        return found or self.store.labels.put(Label(self.store.next_id(), repo.name, name, NEW_LABEL_COLOR))

    def set_labels(self, repo: Repo, issue: Issue, names: list[str], login: str) -> None:
        """Makes its labels exactly these."""
        wanted = list(dict.fromkeys(self.label(repo, name).name for name in names))
        before, issue.labels = issue.labels, wanted
        self.touch(issue)
        for event, changed in (("unlabeled", set(before) - set(wanted)), ("labeled", set(wanted) - set(before))):
            for name in sorted(changed):
                label = self.shapes.label(repo.name, name)
                self.event(issue, login, event, label={"name": name, "color": label["color"]})
                self.news.issue(issue, event, login, label=label)

    def event(self, issue: Issue, login: str, event: str, **more: Any) -> None:
        """Writes into the issue's history."""
        self.store.events.put(Event(self.store.next_id(), issue.repo, issue.number, login, event, more))


def default_title(issue: Issue, pull: Pull, repo: Repo, way: str) -> str:
    if way == "squash":
        return f"{issue.title} (#{issue.number})"
    return f"Merge pull request #{issue.number} from {repo.owner}/{pull.head}"


def check_text(resource: str, title: str, body: str | None) -> None:
    """Raises Refusal (422) for no title, or too long a title or body."""
    if not title.strip():
        raise refusals.invalid(resource, "title", "missing_field")
    if len(title) > TITLE_MAX:
        raise refusals.invalid(resource, "title", "custom", f"title is too long (maximum is {TITLE_MAX} characters)")
    if body:
        check_body(resource, body)


def check_body(resource: str, body: str) -> None:
    if len(body) > BODY_MAX:
        raise refusals.invalid(resource, "body", "custom", f"body is too long (maximum is {BODY_MAX} characters)")
    if resource == "IssueComment" and not body.strip():
        raise refusals.custom(resource, "body can't be blank")
