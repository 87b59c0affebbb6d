"""What several answers and webhooks hold: users, repositories, labels, issues, pull requests, comments, in REST's shape."""

from dataclasses import dataclass
from typing import Any

from .records import LEVELS, App, Comment, Issue, Label, LineComment, Pull, Repo, Review
from .site import Site, node_id
from .store import Store

Wire = dict[str, Any]  # an object as it is on the wire

NOTHING_SPECIAL = {
    "description": None,
    "fork": False,
    "mirror_url": None,
    "homepage": None,
    "language": None,
    "forks_count": 0,
    "stargazers_count": 0,
    "watchers_count": 0,
    "size": 0,
    "is_template": False,
    "topics": [],
    "has_issues": True,
    "has_projects": False,
    "has_wiki": False,
    "has_pages": False,
    "has_downloads": True,
    "has_discussions": False,
    "archived": False,
    "disabled": False,
    "forks": 0,
    "watchers": 0,
    "allow_forking": True,
    "web_commit_signoff_required": False,
    "license": None,
}
ADDRESSES = """
    =archive:{archive_format}{/ref} assignees:{/user} git/blobs=blobs:{/sha} branches:{/branch} events
    collaborators:{/collaborator} comments:{/number} commits:{/sha} compare:/{base}...{head} contents:/{+path}
    contributors deployments downloads forks git/commits=git_commits:{/sha} git/refs=git_refs:{/sha} hooks
    git/tags=git_tags:{/sha} issues/comments=issue_comment:{/number} issues/events=issue_events:{/number}
    issues:{/number} keys:{/key_id} labels:{/name} languages merges milestones:{/number}
    notifications:{?since,all,participating} pulls:{/number} releases:{/id} stargazers statuses:/{sha} subscribers
    subscription tags teams git/trees=trees:{/sha}
"""
MERGE_WAYS = {
    "allow_squash_merge": True,
    "allow_merge_commit": True,
    "allow_rebase_merge": True,
    "allow_auto_merge": False,
    "allow_update_branch": False,
    "delete_branch_on_merge": False,
}


@dataclass
class PullStats:
    """What git says of a pull request; `mergeable` None: not looked at yet."""

    commits: int
    additions: int
    deletions: int
    changed_files: int
    mergeable: bool | None


@dataclass
class Shapes:
    """Makes answers of records."""

    store: Store
    site: Site

    # People and apps

    def user(self, login: str) -> Wire:
        user, url = self.store.user(login), self.site.user(login)
        return {
            "login": login,
            "id": user.id,
            "node_id": node_id("BOT" if user.kind == "Bot" else "U", user),
            "avatar_url": f"{self.site.url}/avatars/u/{user.id}",
            "gravatar_id": "",
            "url": url,
            "html_url": f"{self.site.url}/{login.replace('[bot]', '')}",
            "followers_url": f"{url}/followers",
            "following_url": f"{url}/following{{/other_user}}",
            "gists_url": f"{url}/gists{{/gist_id}}",
            "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
            "subscriptions_url": f"{url}/subscriptions",
            "organizations_url": f"{url}/orgs",
            "repos_url": f"{url}/repos",
            "events_url": f"{url}/events{{/privacy}}",
            "received_events_url": f"{url}/received_events",
            "type": user.kind,
            "site_admin": False,
        }

    def maybe_user(self, login: str | None) -> Wire | None:
        return self.user(login) if login else None

    def app(self, app: App) -> Wire:
        owner = next(iter(self.store.repos)).owner
        return {
            "id": app.id,
            "slug": app.slug,
            "node_id": node_id("A", app),
            "owner": self.user(owner),
            "name": app.slug,
            "description": None,
            "external_url": self.site.url,
            "html_url": f"{self.site.url}/apps/{app.slug}",
            "created_at": "2025-01-01T00:00:00Z",
            "updated_at": "2025-01-01T00:00:00Z",
            "permissions": app.permissions,
            "events": ["issue_comment", "pull_request", "push"],
        }

    def maybe_app(self, app_id: int | None) -> Wire | None:
        app = self.store.apps.get(app_id) if app_id else None
        return self.app(app) if app else None

    def association(self, repo: Repo, login: str) -> str:
        """What the author is to the repository: a bot is nobody, as on GitHub."""
        if login == repo.owner:
            return "OWNER"
        return "COLLABORATOR" if repo.level(login) > 1 else "NONE"

    # Repositories

    def repo(self, repo: Repo, login: str = "") -> Wire:
        """A repository inside other answers; with `login`, what that user may."""
        url, page = self.site.repo(repo.name), self.site.page(repo.name)
        issues = len(self.store.issues.of(repo.name, state="open"))
        may = {"permissions": permissions(repo.level(login))} if login else {}
        return {
            "id": repo.id,
            "node_id": node_id("R", repo),
            "name": repo.name.partition("/")[2],
            "full_name": repo.name,
            "owner": self.user(repo.owner),
            "private": repo.private,
            "html_url": page,
            "url": url,
            **_addresses(url),
            "git_url": f"git://{page.partition('://')[2]}.git",
            "ssh_url": f"git@{page.partition('://')[2].replace('/', ':', 1)}.git",
            "clone_url": f"{page}.git",
            "svn_url": page,
            **NOTHING_SPECIAL,
            "visibility": "private" if repo.private else "public",
            "default_branch": repo.default_branch,
            "open_issues_count": issues,
            "open_issues": issues,
            "created_at": repo.created_at,
            "updated_at": repo.updated_at,
            "pushed_at": repo.pushed_at,
            **may,
        }

    def full_repo(self, repo: Repo, login: str) -> Wire:
        return self.repo(repo, login) | MERGE_WAYS | {"subscribers_count": 0, "network_count": 0}

    # Issues

    def label(self, repo: str, name: str) -> Wire:
        label = self.store.labels.get(f"{repo}:{name.lower()}")
        assert label  # an issue holds only labels that are there
        return self.full_label(label)

    def full_label(self, label: Label) -> Wire:
        return {
            "id": label.id,
            "node_id": node_id("LA", label),
            "url": f"{self.site.repo(label.repo)}/labels/{label.name}",
            "name": label.name,
            "color": label.color,
            "default": False,
            "description": label.description,
        }

    def issue(self, issue: Issue, *, closed_by: bool = True) -> Wire:
        """An issue, or a pull request as an issue; lists leave out who closed it."""
        url = self.site.issue(issue)
        pull = self.store.pulls.get(issue.key)
        page = f"{self.site.page(issue.repo)}/{'pull' if pull else 'issues'}/{issue.number}"
        return {
            "url": url,
            "repository_url": self.site.repo(issue.repo),
            "labels_url": f"{url}/labels{{/name}}",
            "comments_url": f"{url}/comments",
            "events_url": f"{url}/events",
            "html_url": page,
            "id": issue.id,
            "node_id": node_id("PR" if pull else "I", pull or issue),
            **self._issue_half(issue),
            "comments": len(self.store.comments.of(issue.repo, number=issue.number)),
            "performed_via_github_app": self.maybe_app(issue.by_app),
            "reactions": self.reactions(issue.repo, f"issue:{issue.id}", url),
            "timeline_url": f"{url}/timeline",
            "state_reason": issue.state_reason,
            **({"closed_by": self.maybe_user(issue.closed_by)} if closed_by else {}),
            **(self._pull_links(pull, page) if pull else {}),
        }

    def _issue_half(self, issue: Issue) -> Wire:
        """What issues and pull requests have alike."""
        assignees = [self.user(login) for login in issue.assignees]
        repo = self._repo(issue.repo)
        return {
            "number": issue.number,
            "title": issue.title,
            "body": issue.body,
            "user": self.user(issue.author),
            "labels": [self.label(issue.repo, name) for name in issue.labels],
            "state": issue.state,
            "locked": False,
            "active_lock_reason": None,
            "assignee": assignees[0] if assignees else None,
            "assignees": assignees,
            "milestone": None,
            "created_at": issue.created_at,
            "updated_at": issue.updated_at,
            "closed_at": issue.closed_at,
            "author_association": self.association(repo, issue.author),
        }

    def _pull_links(self, pull: Pull, page: str) -> Wire:
        links = {
            "url": self.site.pull(pull.repo, pull.number),
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": pull.merged_at,
        }
        return {"draft": pull.draft, "pull_request": links}

    def comment(self, comment: Comment) -> Wire:
        issue = self._issue(comment.repo, comment.number)
        url = f"{self.site.repo(comment.repo)}/issues/comments/{comment.id}"
        page = "pull" if self.store.pulls.get(issue.key) else "issues"
        return {
            "url": url,
            "html_url": f"{self.site.page(comment.repo)}/{page}/{comment.number}#issuecomment-{comment.id}",
            "issue_url": self.site.issue(issue),
            "id": comment.id,
            "node_id": node_id("IC", comment),
            "user": self.user(comment.author),
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "body": comment.body,
            "author_association": self.association(self._repo(comment.repo), comment.author),
            "reactions": self.reactions(comment.repo, f"comment:{comment.id}", url),
            "performed_via_github_app": self.maybe_app(comment.by_app),
        }

    def reactions(self, repo: str, subject: str, url: str) -> Wire:
        found = [reaction.content for reaction in self.store.reactions.of(repo, subject=subject)]
        kinds = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
        counts = {kind: found.count(kind) for kind in kinds}
        return {"url": f"{url}/reactions", "total_count": len(found), **counts}

    # Pull requests

    def pull(self, pull: Pull) -> Wire:
        """A pull request as lists and webhooks show it."""
        issue, repo = self._issue(pull.repo, pull.number), self._repo(pull.repo)
        url, page = self.site.pull(pull.repo, pull.number), f"{self.site.page(pull.repo)}/pull/{pull.number}"
        links = {
            "html": page,
            "issue": self.site.issue(issue),
            "comments": f"{self.site.issue(issue)}/comments",
            "review_comments": f"{url}/comments",
            "review_comment": f"{self.site.repo(pull.repo)}/pulls/comments{{/number}}",
            "commits": f"{url}/commits",
            "statuses": f"{self.site.repo(pull.repo)}/statuses/{pull.head_sha}",
        }
        addresses = {f"{name}_url": link for name, link in links.items()}
        return {
            "url": url,
            "id": pull.id,
            "node_id": node_id("PR", pull),
            **addresses,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            **self._issue_half(issue),
            "merged_at": pull.merged_at,
            "merge_commit_sha": pull.merge_commit_sha,
            "requested_reviewers": [self.user(login) for login in pull.reviewers],
            "requested_teams": [],
            "draft": pull.draft,
            "head": self._end(repo, pull.head, pull.head_sha),
            "base": self._end(repo, pull.base, pull.base_sha),
            "_links": {name: {"href": link} for name, link in (links | {"self": url}).items()},
            "auto_merge": None,
        }

    def full_pull(self, pull: Pull, stats: PullStats) -> Wire:
        """A pull request by itself."""
        issue = self._issue(pull.repo, pull.number)
        merged = pull.merged_at is not None
        states = {None: "unknown", True: "draft" if pull.draft else "clean", False: "dirty"}
        return self.pull(pull) | {
            "merged": merged,
            "mergeable": stats.mergeable,
            "rebaseable": stats.mergeable,
            "mergeable_state": states[stats.mergeable],
            "merged_by": self.maybe_user(pull.merged_by),
            "comments": len(self.store.comments.of(pull.repo, number=issue.number)),
            "review_comments": len(self.store.line_comments.of(pull.repo, number=issue.number)),
            "maintainer_can_modify": False,
            "commits": stats.commits,
            "additions": stats.additions,
            "deletions": stats.deletions,
            "changed_files": stats.changed_files,
        }

    def _end(self, repo: Repo, branch: str, sha: str) -> Wire:
        return {
            "label": f"{repo.owner}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": self.user(repo.owner),
            "repo": self.repo(repo),
        }

    def review(self, review: Review) -> Wire:
        pull = self.site.pull(review.repo, review.number)
        page = f"{self.site.page(review.repo)}/pull/{review.number}#pullrequestreview-{review.id}"
        return {
            "id": review.id,
            "node_id": node_id("PRR", review),
            "user": self.user(review.author),
            "body": review.body,
            "state": review.state,
            "html_url": page,
            "pull_request_url": pull,
            "author_association": self.association(self._repo(review.repo), review.author),
            "_links": {"html": {"href": page}, "pull_request": {"href": pull}},
            **({"submitted_at": review.submitted_at} if review.submitted_at else {}),
            "commit_id": review.commit_id,
        }

    def line_comment(self, comment: LineComment) -> Wire:
        url = f"{self.site.repo(comment.repo)}/pulls/comments/{comment.id}"
        page = f"{self.site.page(comment.repo)}/pull/{comment.number}#discussion_r{comment.id}"
        pull = self.site.pull(comment.repo, comment.number)
        place = {
            "position": comment.position,
            "original_position": comment.position,
            "line": comment.line,
            "original_line": comment.line,
        }
        return {
            "url": url,
            "pull_request_review_id": comment.review,
            "id": comment.id,
            "node_id": node_id("PRRC", comment),
            "diff_hunk": comment.diff_hunk,
            "path": comment.path,
            "commit_id": comment.commit_id,
            "original_commit_id": comment.commit_id,
            "user": self.user(comment.author),
            "body": comment.body,
            "created_at": comment.created_at,
            "updated_at": comment.updated_at,
            "html_url": page,
            "pull_request_url": pull,
            "author_association": self.association(self._repo(comment.repo), comment.author),
            "_links": {"self": {"href": url}, "html": {"href": page}, "pull_request": {"href": pull}},
            "reactions": self.reactions(comment.repo, f"line_comment:{comment.id}", url),
            "start_line": comment.start_line,
            "original_start_line": comment.start_line,
            "start_side": comment.start_side,
            "side": comment.side,
            "subject_type": "line" if comment.line else "file",
            **{name: number for name, number in place.items() if number is not None},
            **({"in_reply_to_id": comment.in_reply_to} if comment.in_reply_to else {}),
        }

    def _issue(self, repo: str, number: int) -> Issue:
        issue = self.store.issues.get(f"{repo}#{number}")
        assert issue  # what hangs on an issue is made and removed with it
        return issue

    def _repo(self, name: str) -> Repo:
        repo = self.store.repos.get(name)
        assert repo  # as above
        return repo


def permissions(level: int) -> dict[str, bool]:
    """A level as the flags of a repository."""
    flags = {"admin": "admin", "maintain": "maintain", "push": "write", "triage": "triage", "pull": "read"}
    return {flag: level >= LEVELS.index(name) for flag, name in flags.items()}


def _addresses(url: str) -> dict[str, str]:
    """All the `…_url`s of a repository."""
    found = {}
    for word in ADDRESSES.split():
        path, _, rest = word.partition(":")
        place, _, name = path.partition("=")
        found[f"{name or place}_url"] = f"{url}/{place}{rest}"
    return found
