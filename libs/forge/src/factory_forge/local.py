"""The local forge: a bare repository, and beside it a SQLite file with its pull requests, reviews, comments, statuses.

For one machine, for the demo and for tests. It keeps GitHub's rules where the factory could trip over them: one open
pull request a branch, no review of one's own work, comments only on lines that the diff shows, merged when the base
holds the head, limits of length.
"""

import asyncio
import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from .errors import (
    BadField,
    LineNotInDiff,
    NoSuchBranch,
    NoSuchPull,
    NoSuchRef,
    NotABareRepository,
    NothingToPull,
    PullState,
    RecordsBroken,
    SelfReview,
)
from .forge import (
    Comment,
    Deployment,
    Issue,
    LineComment,
    Look,
    PullRequest,
    Review,
    Status,
    Verdict,
    check_labels,
    check_text,
    marked,
    short,
)
from .git import Mirror
from .repository import Repository

_VERSION = 2
# One statement a paragraph; what a version brought stands last.
_SCHEMA = """
CREATE TABLE numbers (number INTEGER PRIMARY KEY AUTOINCREMENT)  -- pull requests and issues share them

CREATE TABLE pulls (
    number INTEGER PRIMARY KEY, branch TEXT NOT NULL, base TEXT NOT NULL,
    head_sha TEXT NOT NULL,  -- as last seen; what counts while it is open is the branch
    base_sha TEXT NOT NULL,  -- of the base when it was opened
    title TEXT NOT NULL, body TEXT NOT NULL, draft INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'merged')),
    labels TEXT NOT NULL, author TEXT NOT NULL
)

CREATE UNIQUE INDEX one_open_pull_a_branch ON pulls (branch) WHERE state = 'open'

CREATE TABLE issues (
    number INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL, labels TEXT NOT NULL, author TEXT NOT NULL
)

CREATE TABLE reviews (
    id INTEGER PRIMARY KEY, number INTEGER NOT NULL REFERENCES pulls, sha TEXT NOT NULL,
    verdict TEXT NOT NULL CHECK (verdict IN ('approve', 'request_changes', 'comment')),
    body TEXT NOT NULL, comments TEXT NOT NULL, author TEXT NOT NULL, marker TEXT NOT NULL,
    UNIQUE (number, author, marker)
)

CREATE TABLE comments (
    id INTEGER PRIMARY KEY, number INTEGER NOT NULL REFERENCES pulls, body TEXT NOT NULL, author TEXT NOT NULL,
    marker TEXT NOT NULL, UNIQUE (number, author, marker)
)

CREATE TABLE statuses (
    sha TEXT NOT NULL, context TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'success', 'failure', 'error')),
    description TEXT NOT NULL, url TEXT NOT NULL, PRIMARY KEY (sha, context)
)

CREATE TABLE deployments (
    sha TEXT NOT NULL, environment TEXT NOT NULL, state TEXT NOT NULL, url TEXT NOT NULL, description TEXT NOT NULL,
    PRIMARY KEY (sha, environment)
)
"""
_BROUGHT = {2: 1}  # version → how many of the last statements it brought

T = TypeVar("T")


class LocalForge:
    """One bare repository, seen by one identity; implements `forge.Forge`. Any number of processes may share it."""

    def __init__(self, repo: Path, author: str, public_url: str) -> None:
        """`public_url` is console's; a pull request's page is `<public_url>/pulls/<repo>/<n>`.

        Raises NotABareRepository.
        """
        self.path, self.author = repo.absolute(), author
        if not ((self.path / "HEAD").is_file() and (self.path / "objects").is_dir()):
            raise NotABareRepository(path=str(repo))
        self.name = self.path.name.removesuffix(".git")
        self.repository = Repository(self.path)
        self._records = self.path.with_name(self.path.name + ".forge.sqlite")
        self._public_url = public_url.rstrip("/")

    def push_url(self) -> str:
        return str(self.path)

    async def push(self, mirror: Mirror, sha: str, branch: str) -> None:
        await mirror.push(self.push_url(), sha, branch, protected=[await self.repository.default_branch()])

    async def tip(self, branch: str) -> str | None:
        try:
            return await self.repository.resolve(f"refs/heads/{branch}")
        except NoSuchRef:
            return None

    # Pull requests

    async def find_pull(self, branch: str) -> PullRequest | None:
        found = [pull for pull in await self.pulls() if pull.branch == branch]
        still_open = [pull for pull in found if pull.state == "open"]
        return (still_open or found or [None])[-1]

    async def pull(self, number: int) -> PullRequest:
        return await self._now(await self._row(number))

    async def pulls(self) -> list[PullRequest]:
        rows = await self._do(lambda db: db.execute("SELECT * FROM pulls ORDER BY number").fetchall())
        return [await self._now(row) for row in rows]

    async def look(self, etag: str = "") -> Look | None:
        """All of them; one read of the records and one of the branches where nothing has changed."""
        rows = await self._do(lambda db: db.execute("SELECT * FROM pulls ORDER BY number").fetchall())
        stands = [[tuple(row) for row in rows], await self.repository.tips()]
        now = hashlib.sha256(msgspec.json.encode(stands)).hexdigest()[:16]
        return None if now == etag else Look(pulls=await self.pulls(), etag=now)

    async def open_pull(
        self, *, branch: str, base: str, title: str, body: str, draft: bool = True, labels: Sequence[str] = ()
    ) -> PullRequest:
        check_text(title, body)
        head_sha, base_sha = await self.tip(branch), await self.tip(base)
        if not head_sha or not base_sha:
            raise NoSuchBranch(repo=self.name, branch=branch if not head_sha else base)
        values = (branch, base, head_sha, base_sha, title, body, draft, _stored(labels), self.author)
        is_open = ("SELECT number FROM pulls WHERE branch = ? AND state = 'open'", (branch,))
        there = await self._do(lambda db: db.execute(*is_open).fetchone())
        if there is None and await self.repository.is_ancestor(head_sha, base_sha):
            raise NothingToPull(branch=branch, base=base)

        def insert(db: sqlite3.Connection) -> int:
            if there := db.execute(*is_open).fetchone():
                return there["number"]
            number = _next_number(db)
            columns = "number, branch, base, head_sha, base_sha, title, body, draft, labels, author, state"
            db.execute(
                f"INSERT INTO pulls ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open')", (number, *values)
            )
            return number

        return await self.pull(await self._do(insert))

    async def update_pull(self, number: int, title: str | None = None, body: str | None = None) -> PullRequest:
        check_text(title or "", body or "", title_given=title is not None)
        await self._row(number)
        sql = "UPDATE pulls SET title = coalesce(?, title), body = coalesce(?, body) WHERE number = ?"
        await self._do(lambda db: db.execute(sql, (title, body, number)))
        return await self.pull(number)

    async def mark_ready(self, number: int) -> PullRequest:
        return await self._change(number, "ready for review", ("open",), draft=0)

    async def close_pull(self, number: int) -> PullRequest:
        return await self._change(number, "closed", ("open", "closed"), state="closed")

    async def reopen_pull(self, number: int) -> PullRequest:
        pull = await self.pull(number)
        other = await self.find_pull(pull.branch)
        if other and other.state == "open" and other.number != number:
            raise PullState(number=number, state=pull.state, wanted=f"reopened while #{other.number} is open")
        return await self._change(number, "reopened", ("open", "closed"), state="open")

    async def merge_pull(self, number: int) -> PullRequest:
        """What a person's button does: a merge commit on the base. Raises PullState (also for a draft), MergeConflict.

        Not part of the interface: the factory itself never merges.
        """
        pull = await self.pull(number)
        if pull.state != "open" or pull.draft:
            raise PullState(number=number, state="a draft" if pull.draft else pull.state, wanted="merged")
        message = f"Merge pull request #{number} from {pull.branch}\n\n{pull.title}\n"
        await self.repository.merge(pull.base, pull.head_sha, message, self.author)
        return await self._change(number, "merged", ("open", "merged"), state="merged")

    async def set_labels(self, number: int, labels: Sequence[str]) -> PullRequest:
        return await self._change(number, "labelled", ("open", "closed", "merged"), labels=_stored(labels))

    # What hangs on them

    async def set_status(self, status: Status) -> None:
        """As on GitHub, a description ends after 140 characters. Raises NoSuchRef for an unknown commit."""
        await self.repository.resolve(status.sha)
        row = (status.sha, status.context, status.state, short(status.description), status.url)
        sql = "INSERT OR REPLACE INTO statuses (sha, context, state, description, url) VALUES (?, ?, ?, ?, ?)"
        await self._do(lambda db: db.execute(sql, row))

    async def statuses(self, sha: str) -> list[Status]:
        sql = "SELECT * FROM statuses WHERE sha = ? ORDER BY context"
        return [Status(**row) for row in await self._do(lambda db: db.execute(sql, (sha,)).fetchall())]

    async def deploy(self, deployment: Deployment) -> None:
        await self.repository.resolve(deployment.sha)
        key = (deployment.environment, deployment.sha)
        values = (
            deployment.sha,
            deployment.environment,
            deployment.state,
            deployment.url,
            short(deployment.description),
        )
        sql = "INSERT OR REPLACE INTO deployments (sha, environment, state, url, description) VALUES (?, ?, ?, ?, ?)"

        def show(db: sqlite3.Connection) -> None:
            db.execute(sql, values)
            if deployment.state == "success":
                db.execute("UPDATE deployments SET state = 'inactive' WHERE environment = ? AND sha <> ?", key)

        await self._do(show)

    async def deployments(self, sha: str) -> list[Deployment]:
        sql = "SELECT * FROM deployments WHERE sha = ? ORDER BY environment"
        return [Deployment(**row) for row in await self._do(lambda db: db.execute(sql, (sha,)).fetchall())]

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
        pull, body = await self.pull(number), marked(body, marker)
        key = (number, self.author, marker)
        find = "SELECT * FROM reviews WHERE number = ? AND author = ? AND marker = ?"
        if there := await self._do(lambda db: db.execute(find, key).fetchone()):
            return _review(there)
        if pull.author == self.author and verdict != "comment":
            raise SelfReview(author=self.author, number=number, verdict=verdict)
        await self._check_lines(pull, sha, comments)
        values = (*key, sha, verdict, body, msgspec.json.encode(list(comments)).decode())

        def insert(db: sqlite3.Connection) -> sqlite3.Row:
            columns = "number, author, marker, sha, verdict, body, comments"
            db.execute(f"INSERT OR IGNORE INTO reviews ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
            return db.execute(find, key).fetchone()

        return _review(await self._do(insert))

    async def reviews(self, number: int) -> list[Review]:
        await self._row(number)
        sql = "SELECT * FROM reviews WHERE number = ? ORDER BY id"
        return [_review(row) for row in await self._do(lambda db: db.execute(sql, (number,)).fetchall())]

    async def sticky_comment(self, number: int, marker: str, body: str) -> Comment:
        await self._row(number)
        values = (number, self.author, marker, marked(body, marker))
        sql = (
            "INSERT INTO comments (number, author, marker, body) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (number, author, marker) DO UPDATE SET body = excluded.body RETURNING id, body, author"
        )
        return Comment(**await self._do(lambda db: db.execute(sql, values).fetchone()))

    async def comments(self, number: int) -> list[Comment]:
        await self._row(number)
        sql = "SELECT id, body, author FROM comments WHERE number = ? ORDER BY id"
        return [Comment(**row) for row in await self._do(lambda db: db.execute(sql, (number,)).fetchall())]

    async def issues(self) -> list[Issue]:
        rows = await self._do(lambda db: db.execute("SELECT * FROM issues ORDER BY number").fetchall())
        return [Issue(**{**row, "labels": msgspec.json.decode(row["labels"]), "url": self._url(row)}) for row in rows]

    async def open_issue(self, title: str, body: str, labels: Sequence[str] = ()) -> int:
        """What a person does; returns its number. Not part of the interface."""
        check_text(title, body)
        values = (title, body, _stored(labels), self.author)

        def insert(db: sqlite3.Connection) -> int:
            number = _next_number(db)
            sql = "INSERT INTO issues (number, title, body, labels, author) VALUES (?, ?, ?, ?, ?)"
            db.execute(sql, (number, *values))
            return number

        return await self._do(insert)

    # How it is kept

    async def _now(self, row: sqlite3.Row) -> PullRequest:
        """The record as the repository says it is now: an open pull request follows its branch, and is merged where
        the base has come to hold its head, whoever brought it there.
        """
        facts = dict(row)
        if row["state"] == "open":
            facts["head_sha"] = await self.tip(row["branch"]) or row["head_sha"]
            if await self._in_base(facts):
                facts["state"] = "merged"
            if (facts["head_sha"], facts["state"]) != (row["head_sha"], "open"):
                sql = "UPDATE pulls SET head_sha = ?, state = ? WHERE number = ? AND state = 'open'"
                values = (facts["head_sha"], facts["state"], row["number"])
                await self._do(lambda db: db.execute(sql, values))
        del facts["base_sha"]
        facts.update(url=self._url(row), draft=bool(row["draft"]), labels=msgspec.json.decode(row["labels"]))
        return PullRequest(**facts)

    async def _in_base(self, facts: dict[str, str]) -> bool:
        """Whether the base holds the head, and did not when the pull request was opened: a branch that was reset to
        an old commit brings nothing and is not merged."""
        tip = await self.tip(facts["base"])
        if tip is None or tip == facts["base_sha"]:
            return False
        if not await self.repository.is_ancestor(facts["head_sha"], tip):
            return False
        return not await self.repository.is_ancestor(facts["head_sha"], facts["base_sha"])

    async def _change(self, number: int, wanted: str, states: Sequence[str], **columns: str | int) -> PullRequest:
        """Sets columns of a pull request that is in one of `states`. Raises NoSuchPull, PullState."""
        pull = await self.pull(number)
        if pull.state not in states:
            raise PullState(number=number, state=pull.state, wanted=wanted)
        sets = ", ".join(f"{name} = ?" for name in columns)
        marks = ", ".join("?" * len(states))
        sql = f"UPDATE pulls SET {sets} WHERE number = ? AND state IN ({marks})"
        changed = await self._do(lambda db: db.execute(sql, (*columns.values(), number, *states)).rowcount)
        pull = await self.pull(number)
        if not changed:
            raise PullState(number=number, state=pull.state, wanted=wanted)
        return pull

    async def _check_lines(self, pull: PullRequest, sha: str, comments: Sequence[LineComment]) -> None:
        """Raises BadField for a commit that is not of this pull request, LineNotInDiff."""
        try:
            known = await self.repository.is_ancestor(sha, pull.head_sha)
        except NoSuchRef:
            known = False
        if not known:
            raise BadField(field="sha", value=sha[:64], reason=f"#{pull.number} does not hold it")
        if not comments:
            return
        row = await self._row(pull.number)
        base = (await self.tip(pull.base)) if pull.state == "open" else None
        start = await self.repository.merge_base(base or row["base_sha"], sha)
        shown = {
            (file.path, line.new_no)
            for file in (await self.repository.diff(start, sha)).files
            for hunk in file.hunks
            for line in hunk.lines
        }
        for comment in comments:
            if (comment.path, comment.line) not in shown:
                raise LineNotInDiff(number=pull.number, path=comment.path, line=comment.line)

    async def _row(self, number: int) -> sqlite3.Row:
        row = await self._do(lambda db: db.execute("SELECT * FROM pulls WHERE number = ?", (number,)).fetchone())
        if row is None:
            raise NoSuchPull(repo=self.name, number=number)
        return row

    def _url(self, row: sqlite3.Row) -> str:
        return f"{self._public_url}/pulls/{self.name}/{row['number']}"

    async def _do(self, call: Callable[[sqlite3.Connection], T]) -> T:
        """Runs `call` in a thread and one transaction. Raises RecordsBroken."""

        def run() -> T:
            with self._transaction() as db:
                return call(db)

        try:
            return await asyncio.to_thread(run)
        except sqlite3.DatabaseError as error:
            raise RecordsBroken(path=str(self._records), reason=str(error)) from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        db = sqlite3.connect(self._records, timeout=20, isolation_level=None)
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            _ensure_schema(db)
            yield db
            db.execute("COMMIT")
        finally:
            db.close()  # what was not committed is rolled back


def _ensure_schema(db: sqlite3.Connection) -> None:
    version = db.execute("PRAGMA user_version").fetchone()[0]
    statements = _SCHEMA.strip().split("\n\n")
    if version in {0, *(v - 1 for v in _BROUGHT)}:
        for statement in statements[-_BROUGHT[version + 1] :] if version else statements:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {_VERSION}")
    elif version != _VERSION:
        raise sqlite3.DatabaseError(f"they are of version {version}, this reads {_VERSION}")


def _next_number(db: sqlite3.Connection) -> int:
    return db.execute("INSERT INTO numbers DEFAULT VALUES RETURNING number").fetchone()["number"]


def _review(row: sqlite3.Row) -> Review:
    return Review(
        id=row["id"],
        sha=row["sha"],
        verdict=row["verdict"],
        body=row["body"],
        comments=msgspec.json.decode(row["comments"], type=list[LineComment]),
        author=row["author"],
    )


def _stored(labels: Sequence[str]) -> str:
    return msgspec.json.encode(check_labels(labels)).decode()
