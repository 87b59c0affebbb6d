"""What GitHub keeps, as plain records: each has an id that counts up over all kinds, and says which repository it is of.

Times are ISO 8601 in UTC with whole seconds, as on the wire.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

LEVELS = ("none", "read", "triage", "write", "maintain", "admin")  # a person's permission on a repository, rising


def iso(seconds: float) -> str:
    """Unix time as on the wire."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now() -> str:
    return iso(time.time())


@dataclass
class Record:
    id: int

    @property
    def key(self) -> str:
        """What it is found by."""
        return str(self.id)


@dataclass
class User(Record):
    """A person, or the bot of an app (`factory[bot]`)."""

    login: str
    kind: str = "User"  # or Bot

    @property
    def key(self) -> str:
        return self.login


@dataclass
class Repo(Record):
    """A repository; its git part lies in the bare repository at `path`."""

    name: str  # owner/name
    path: str
    default_branch: str
    private: bool = True
    drafts: bool = True  # False: as in a private repository of a plan without draft pull requests
    protected: list[str] = field(default_factory=list)  # branches that only pull requests change
    collaborators: dict[str, str] = field(default_factory=dict)  # login: one of LEVELS
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    pushed_at: str = field(default_factory=now)
    last_number: int = 0  # issues and pull requests count together

    @property
    def key(self) -> str:
        return self.name

    @property
    def owner(self) -> str:
        return self.name.partition("/")[0]

    def level(self, login: str) -> int:
        """What this user may, as an index of LEVELS."""
        return LEVELS.index(self.collaborators.get(login, "none" if self.private else "read"))


@dataclass
class Label(Record):
    repo: str
    name: str
    color: str
    description: str | None = None

    @property
    def key(self) -> str:
        return f"{self.repo}:{self.name.lower()}"  # GitHub finds labels in any case


@dataclass
class Issue(Record):
    """An issue, or the half of a pull request that is like one."""

    repo: str
    number: int
    title: str
    body: str | None
    author: str
    state: str = "open"
    state_reason: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    closed_at: str | None = None
    closed_by: str | None = None
    by_app: int | None = None  # the id of the app through which it was made

    @property
    def key(self) -> str:
        return f"{self.repo}#{self.number}"


@dataclass
class Pull(Record):
    """The half of a pull request that is about commits; `head_sha` follows the branch while it is open."""

    repo: str
    number: int
    head: str  # branch
    base: str  # branch
    head_sha: str
    base_sha: str  # the base's tip when the head last moved
    draft: bool = False
    merged_at: str | None = None
    merged_by: str | None = None
    merge_commit_sha: str | None = None
    reviewers: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.repo}#{self.number}"


@dataclass
class Comment(Record):
    """Under an issue or a pull request."""

    repo: str
    number: int
    author: str
    body: str
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)
    by_app: int | None = None


@dataclass
class Review(Record):
    repo: str
    number: int
    author: str
    body: str
    state: str  # PENDING, COMMENTED, APPROVED, CHANGES_REQUESTED, DISMISSED
    commit_id: str
    submitted_at: str | None = None


@dataclass
class LineComment(Record):
    """A remark on a line (or on `start_line` to `line`) of a pull request's diff."""

    repo: str
    number: int
    review: int
    author: str
    body: str
    path: str
    commit_id: str
    diff_hunk: str
    position: int | None  # in the file's patch, the line below its first @@ is 1; None: the whole file
    line: int | None
    side: str = "RIGHT"
    start_line: int | None = None
    start_side: str | None = None
    in_reply_to: int | None = None
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class Status(Record):
    repo: str
    sha: str
    context: str
    state: str
    description: str | None
    target_url: str | None
    author: str
    created_at: str = field(default_factory=now)


@dataclass
class CheckRun(Record):
    repo: str
    sha: str
    name: str
    status: str
    app: int
    conclusion: str | None = None
    external_id: str = ""
    details_url: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    output: dict[str, Any] = field(default_factory=dict)  # title, summary, text, annotations


@dataclass
class Deployment(Record):
    repo: str
    sha: str
    ref: str
    task: str
    environment: str
    author: str
    description: str | None = None
    payload: Any = field(default_factory=dict)
    transient: bool = False
    production: bool = False
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)


@dataclass
class DeploymentStatus(Record):
    repo: str
    deployment: int
    state: str
    environment: str
    author: str
    description: str = ""
    environment_url: str = ""
    log_url: str = ""
    created_at: str = field(default_factory=now)


@dataclass
class Event(Record):
    """What happened to an issue or a pull request; `more` is what this kind of event has beside (a label, a commit)."""

    repo: str
    number: int
    actor: str
    event: str
    more: dict[str, Any] = field(default_factory=dict)
    created_at: str = field(default_factory=now)


@dataclass
class Reaction(Record):
    repo: str
    subject: str  # issue:<id> or comment:<id>
    author: str
    content: str
    created_at: str = field(default_factory=now)


@dataclass
class Hook(Record):
    """A webhook of a repository."""

    repo: str
    url: str
    secret: str
    events: list[str]
    active: bool = True
    created_at: str = field(default_factory=now)


@dataclass
class Delivery(Record):
    """A message to a hook and what became of it; a second try is a delivery of its own with the same `guid`."""

    repo: str
    hook: int
    guid: str
    event: str
    action: str
    payload: str  # the exact text that is signed and sent
    status: int | None = None  # None: under way; 0: no answer
    again: bool = False
    at: str = field(default_factory=now)


@dataclass
class App(Record):
    """A GitHub App with one installation on every repository here."""

    slug: str
    public_key: str  # PEM
    installation: int
    permissions: dict[str, str] = field(default_factory=dict)

    @property
    def login(self) -> str:
        return f"{self.slug}[bot]"


@dataclass
class Grant(Record):
    """An installation token: what it opens, and until when (Unix time)."""

    token: str
    app: int
    expires: float
    permissions: dict[str, str]
    repos: list[str] | None = None  # None: all

    @property
    def key(self) -> str:
        return self.token
