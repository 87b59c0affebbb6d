"""What a forge is to the factory: pull requests and what hangs on them, as records behind one interface."""

import re
from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec

from .errors import BadField
from .git import Mirror

Verdict = Literal["approve", "request_changes", "comment"]
PullStates = Literal["open", "closed", "merged"]
StatusState = Literal["pending", "success", "failure", "error"]

# Characters, GitHub's limits; every forge here keeps them.
TITLE_MAX, BODY_MAX, LABEL_MAX, DESCRIPTION_MAX = 256, 65_536, 50, 140
_MARKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,99}")
PROOF = (
    "factory/setup",
    "factory/tests",
    "factory/browser",
    "factory/review",
)  # contexts of what is proved of a commit


class PullRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A pull request as the forge says it is now."""

    number: int
    url: str
    branch: str
    base: str
    head_sha: str  # follows the branch while the pull request is open
    title: str
    body: str
    draft: bool
    state: PullStates
    labels: list[str]
    author: str
    merged_by: str = ""  # where the forge says so
    updated_at: str = ""  # ISO 8601; also by what is not told here, as a comment. Where the forge says so


class LineComment(msgspec.Struct, frozen=True, kw_only=True):
    """A reviewer's remark on one line of the new text; the line has to be among those that the diff shows."""

    path: str
    line: int  # 1-based, in the file at the reviewed commit
    body: str


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict on one commit of a pull request."""

    id: int
    sha: str
    verdict: Verdict
    body: str
    comments: list[LineComment]
    author: str


class Comment(msgspec.Struct, frozen=True, kw_only=True):
    """A comment under a pull request; an edited one keeps its id."""

    id: int
    body: str
    author: str


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What one check says about one commit; the newest of a context counts."""

    sha: str
    context: str  # e.g. factory/tests
    state: StatusState
    description: str = ""
    url: str = ""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """The pull requests that changed last, as many as one answer holds, and the tag by which the next look asks for
    news alone."""

    pulls: list[PullRequest]
    etag: str


class Deployment(msgspec.Struct, frozen=True, kw_only=True):
    """The preview of one commit as the forge shows it."""

    sha: str
    environment: str  # `preview_of` a job
    state: Literal["in_progress", "success", "failure", "inactive"]
    url: str = ""
    description: str = ""


def preview_of(job_id: str) -> str:
    """The environment in which a job's previews are shown."""
    return f"factory/{job_id}"


class Issue(msgspec.Struct, frozen=True, kw_only=True):
    """An open wish or fault that people wrote down."""

    number: int
    url: str
    title: str
    body: str
    labels: list[str]
    author: str


def hidden_marker(marker: str) -> str:
    """The comment that people do not see and by which a review or sticky comment is found again."""
    return f"<!-- factory:{marker} -->"


def marked(body: str, marker: str) -> str:
    """`body` with its marker, as it is posted. Raises BadField."""
    if not _MARKER.fullmatch(marker):
        raise BadField(field="marker", value=marker[:100], reason=f"it has to match {_MARKER.pattern}")
    text = f"{body}\n\n{hidden_marker(marker)}"
    check_text("-", text)
    return text


def check_text(title: str, body: str, title_given: bool = True) -> None:
    """Raises BadField for what no forge would take."""
    if title_given and not (title.strip() and len(title) <= TITLE_MAX):
        raise BadField(field="title", value=title[:60], reason=f"1 to {TITLE_MAX} characters")
    if len(body) > BODY_MAX:
        raise BadField(field="body", value=body[:60] + "…", reason=f"{len(body)} characters, {BODY_MAX} are allowed")


def check_labels(labels: Sequence[str]) -> list[str]:
    """Each once. Raises BadField."""
    for label in labels:
        if not label.strip() or len(label) > LABEL_MAX:
            raise BadField(field="label", value=label[:60], reason=f"1 to {LABEL_MAX} characters")
    return list(dict.fromkeys(labels))


def short(description: str) -> str:
    """A status' or deployment's description, cut where GitHub would refuse it."""
    return description if len(description) <= DESCRIPTION_MAX else description[: DESCRIPTION_MAX - 1] + "…"


class Forge(Protocol):
    """One repository on a forge, seen by one identity (`author`).

    Every call that acts can be made again after an unclear error: it finds what it did before and leaves that.
    """

    author: str

    def push_url(self) -> str:
        """Where `push` pushes to."""
        ...

    async def push(self, mirror: Mirror, sha: str, branch: str) -> None:
        """Pushes `sha` to `branch`, forward only. Raises NotFastForward, ProtectedBranch, PushRefused."""
        ...

    async def tip(self, branch: str) -> str | None:
        """The commit at which `branch` stands on the forge now; None where there is no such branch."""
        ...

    async def find_pull(self, branch: str) -> PullRequest | None:
        """The open pull request of `branch`, else its newest one, else None; never one of a fork."""
        ...

    async def open_pull(
        self, *, branch: str, base: str, title: str, body: str, draft: bool = True, labels: Sequence[str] = ()
    ) -> PullRequest:
        """Opens one, or returns unchanged the one that is open for this branch. Raises NoSuchBranch, NothingToPull."""
        ...

    async def update_pull(self, number: int, title: str | None = None, body: str | None = None) -> PullRequest:
        """Replaces title or body."""
        ...

    async def mark_ready(self, number: int) -> PullRequest:
        """Draft no more."""
        ...

    async def close_pull(self, number: int) -> PullRequest:
        """Closes it unmerged; a closed one stays as it is. Raises PullState for a merged one."""
        ...

    async def reopen_pull(self, number: int) -> PullRequest:
        """Opens a closed one again. Raises PullState for a merged one and where the branch has another one open."""
        ...

    async def set_labels(self, number: int, labels: Sequence[str]) -> PullRequest:
        """Makes its labels exactly these; what the repository lacks is created."""
        ...

    async def set_status(self, status: Status) -> None:
        """Sets the check `status.context` of a commit."""
        ...

    async def statuses(self, sha: str) -> list[Status]:
        """The newest status of each context, by context."""
        ...

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
        """Adds a review, or returns unchanged this author's review with the same marker.

        Raises SelfReview for an author who approves or requests changes of their own pull request, LineNotInDiff.
        """
        ...

    async def reviews(self, number: int) -> list[Review]:
        """All reviews, oldest first."""
        ...

    async def sticky_comment(self, number: int, marker: str, body: str) -> Comment:
        """This author's one comment with this marker, made or edited in place."""
        ...

    async def comments(self, number: int) -> list[Comment]:
        """All comments, oldest first."""
        ...

    async def issues(self) -> list[Issue]:
        """Open issues, oldest first; of very many those that changed last."""
        ...

    async def pull(self, number: int) -> PullRequest:
        """Raises NoSuchPull."""
        ...

    async def pulls(self) -> list[PullRequest]:
        """All pull requests, oldest first."""
        ...

    async def look(self, etag: str = "") -> Look | None:
        """What has changed since the look that gave `etag`; None where nothing has."""
        ...

    async def deploy(self, deployment: Deployment) -> None:
        """Shows the preview of a commit: one deployment a commit and environment, its state the newest that was said.

        An environment shows one commit: where this one is a `success`, the others of its environment are `inactive`.
        """
        ...

    async def deployments(self, sha: str) -> list[Deployment]:
        """The deployments of a commit, each with its newest state."""
        ...
